//! How this process sends HTTP requests: by TCP or TLS, with the system's authorities and those of a file.

use std::path::Path;
use std::time::Duration;

use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::GaiResolver;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// The file with authorities, and the key that names it.
pub(crate) type Authorities<'a> = (Option<&'a Path>, &'static str);

/// Makes what connects. Reads files, so it blocks.
///
/// # Errors
/// What is wrong with the file, in words that name the key.
pub(crate) fn connector(ca: Authorities<'_>, connect: Duration) -> Result<HttpsConnector<HttpConnector>, String> {
    connector_with(ca, connect, GaiResolver::new())
}

/// The same with a resolver of its own.
///
/// # Errors
/// As above.
pub(crate) fn connector_with<R>(
    ca: Authorities<'_>,
    connect: Duration,
    resolver: R,
) -> Result<HttpsConnector<HttpConnector<R>>, String> {
    let tls = ClientConfig::builder().with_root_certificates(roots(ca)?).with_no_client_auth();
    let mut tcp = HttpConnector::new_with_resolver(resolver);
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(connect));
    Ok(HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(tcp))
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
