//! The client of a workload: a pool of connections, and whose certificates they take.

use std::path::Path;
use std::time::Duration;

use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use wasmtime_wasi_http::WasiBody;

pub(super) type HttpClient = Client<HttpsConnector<HttpConnector>, WasiBody>;

/// How long a connection that nobody uses is kept.
const IDLE: Duration = Duration::from_secs(30);
/// Bytes of the head of a response, and of its body that wait for the guest.
const BUFFER: usize = 64 << 10;
/// Headers of a response.
const HEADERS: usize = 100;

/// Makes a client. What is wrong comes in words that follow "its handler".
pub(super) fn client(ca: Option<&Path>, connect: Duration, at_once: usize) -> Result<HttpClient, String> {
    let tls = ClientConfig::builder().with_root_certificates(authorities(ca)?).with_no_client_auth();
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(connect));
    let connector =
        HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(tcp);
    Ok(Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(at_once)
        .http1_max_buf_size(BUFFER)
        .http1_max_headers(HEADERS)
        .build(connector))
}

/// The system's, and those of the file.
fn authorities(ca: Option<&Path>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let Some(ca) = ca else { return Ok(roots) };
    let unusable = |why: &dyn std::fmt::Display| {
        format!("cannot use {}: {why}; let grants.http-ca name a PEM file with certificates", ca.display())
    };
    let (known, read) = (roots.len(), CertificateDer::pem_file_iter(ca).map_err(|error| unusable(&error))?);
    for certificate in read {
        let certificate = certificate.map_err(|error| unusable(&error))?;
        roots.add(certificate).map_err(|error| unusable(&error))?;
    }
    if roots.len() == known { Err(unusable(&"it has no certificate")) } else { Ok(roots) }
}
