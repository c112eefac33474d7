//! How this process sends HTTP requests: by TCP or TLS, with the system's authorities and those of a file.

use std::error::Error;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::GaiResolver;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tower_service::Service;

/// The file with authorities, and the key that names it.
pub(crate) type Authorities<'a> = (Option<&'a Path>, &'static str);

/// Connects within a time, TLS included. What waits for a connection may have given up on this one, and be answered by
/// another: the pool goes on connecting by itself, for as long as this lets it.
#[derive(Debug, Clone)]
pub(crate) struct Connector<R = GaiResolver> {
    inner: HttpsConnector<HttpConnector<R>>,
    within: Duration,
}

impl<R> Service<Uri> for Connector<R>
where
    HttpsConnector<HttpConnector<R>>: Service<Uri, Error = BoxError>,
    <HttpsConnector<HttpConnector<R>> as Service<Uri>>::Future: Send + 'static,
{
    type Response = <HttpsConnector<HttpConnector<R>> as Service<Uri>>::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let connected = tokio::time::timeout(self.within, self.inner.call(to));
        Box::pin(async { connected.await.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into())) })
    }
}

type BoxError = Box<dyn Error + Send + Sync>;

/// Makes what connects. Reads files, so it blocks.
///
/// # Errors
/// What is wrong with the file, in words that name the key.
pub(crate) fn connector(ca: Authorities<'_>, connect: Duration) -> Result<Connector, String> {
    connector_with(ca, connect, GaiResolver::new())
}

/// The same with a resolver of its own.
///
/// # Errors
/// As above.
pub(crate) fn connector_with<R>(ca: Authorities<'_>, connect: Duration, resolver: R) -> Result<Connector<R>, String> {
    let tls = ClientConfig::builder().with_root_certificates(roots(ca)?).with_no_client_auth();
    let mut tcp = HttpConnector::new_with_resolver(resolver);
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(connect));
    let inner = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(tcp);
    Ok(Connector { inner, within: connect })
}

/// The system's, and those of the file.
fn roots((ca, key): Authorities<'_>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let Some(ca) = ca else { return Ok(roots) };
    let unusable = |why: &dyn std::fmt::Display| {
        format!("cannot use {}: {why}; let {key} name a PEM file with certificates", ca.display())
    };
    let (known, read) = (roots.len(), CertificateDer::pem_file_iter(ca).map_err(|error| unusable(&error))?);
    for certificate in read {
        let certificate = certificate.map_err(|error| unusable(&error))?;
        roots.add(certificate).map_err(|error| unusable(&error))?;
    }
    if roots.len() == known { Err(unusable(&"it has no certificate")) } else { Ok(roots) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use tokio::io::AsyncReadExt as _;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_peer_without_tls_keeps_a_connection_no_longer_than_connecting_may_take() {
        let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = format!("https://{}/", mute.local_addr().unwrap()).parse().unwrap();
        let connecting = connector((None, "ca"), Duration::from_millis(50)).unwrap().call(to);
        let (connected, taken) = tokio::join!(connecting, mute.accept());
        let Err(error) = connected else { panic!("connected") };
        assert_eq!(error.downcast_ref::<io::Error>().map(io::Error::kind), Some(io::ErrorKind::TimedOut));
        // The other side sees its end.
        taken.unwrap().0.read_to_end(&mut Vec::new()).await.unwrap();
    }
}
