//! A second connection to the server that the client library is connected to.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use async_nats::ServerAddr;
use async_nats::rustls::pki_types::pem::PemObject;
use async_nats::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use async_nats::rustls::{ClientConfig, RootCertStore};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::BytesMut;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::frame::{Frame, next};
use crate::config::Nats;
use crate::jetstream::credentials::{Proof, prove};

/// How long one attempt may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A socket, encrypted or not.
pub(super) trait Socket: AsyncRead + AsyncWrite + Send + Sync + Unpin + std::fmt::Debug {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin + std::fmt::Debug> Socket for T {}

/// Connects to the first of these servers that accepts the client, and authenticates.
pub(super) async fn dial(nats: &Nats, servers: &[ServerAddr]) -> anyhow::Result<(Box<dyn Socket>, BytesMut)> {
    let mut why = anyhow::anyhow!("there is no server to connect to");
    for server in servers {
        match tokio::time::timeout(TIMEOUT, attempt(nats, server)).await {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(error)) => why = error,
            Err(elapsed) => why = elapsed.into(),
        }
    }
    Err(why)
}

async fn attempt(nats: &Nats, server: &ServerAddr) -> anyhow::Result<(Box<dyn Socket>, BytesMut)> {
    ensure!(!server.is_websocket(), "websockets are not spoken here");
    let address = server.socket_addrs().await?.next().context("the name does not resolve")?;
    let tcp = TcpStream::connect(address).await?;
    tcp.set_nodelay(true)?;
    let mut socket: Box<dyn Socket> = Box::new(tcp);
    if nats.tls_first {
        socket = encrypt(socket, nats, server).await?;
    }
    let mut buffer = BytesMut::with_capacity(1 << 14);
    let info = match read(&mut socket, &mut buffer).await? {
        Frame::Info(info) => serde_json::from_slice::<Value>(&info)?,
        other => bail!("the server did not say who it is but {other:?}"),
    };
    let wants_tls = nats.tls_first || nats.ca.is_some() || nats.certificate.is_some() || server.tls_required();
    let has_tls = info.get("tls_required").and_then(Value::as_bool).unwrap_or(false);
    if !nats.tls_first && (wants_tls || has_tls) {
        ensure!(buffer.is_empty(), "the server spoke before TLS");
        socket = encrypt(socket, nats, server).await?;
    }
    let nonce = info.get("nonce").and_then(Value::as_str).unwrap_or_default();
    let hello = hello(prove(&nats.auth, nonce).await.map_err(anyhow::Error::msg)?, wants_tls);
    socket.write_all(format!("CONNECT {hello}\r\nPING\r\n").as_bytes()).await?;
    socket.flush().await?;
    loop {
        match read(&mut socket, &mut buffer).await? {
            Frame::Pong => return Ok((socket, buffer)),
            Frame::Error(words) => bail!("the server refuses: {words}"),
            _ => {}
        }
    }
}

async fn encrypt(socket: Box<dyn Socket>, nats: &Nats, server: &ServerAddr) -> anyhow::Result<Box<dyn Socket>> {
    let name = ServerName::try_from(server.host().to_owned())?;
    Ok(Box::new(TlsConnector::from(Arc::new(tls(nats)?)).connect(name, socket).await?))
}

async fn read(socket: &mut Box<dyn Socket>, buffer: &mut BytesMut) -> anyhow::Result<Frame> {
    loop {
        if let Some(frame) = next(buffer)? {
            return Ok(frame);
        }
        if socket.read_buf(buffer).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
    }
}

/// The client's `CONNECT` message.
fn hello(proof: Proof, tls: bool) -> Value {
    let Proof { user, password, token, jwt, nkey, signature } = proof;
    json!({
        "verbose": false, "pedantic": false, "lang": "rust", "version": env!("CARGO_PKG_VERSION"), "name": "tidegate",
        "protocol": 1, "echo": true, "headers": true, "no_responders": true, "tls_required": tls,
        "user": user, "pass": password, "auth_token": token, "jwt": jwt, "nkey": nkey,
        "sig": signature.map(|signature| BASE64_URL_SAFE_NO_PAD.encode(signature)),
    })
}

/// The TLS settings that the client library makes of the same configuration.
fn tls(nats: &Nats) -> anyhow::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    match &nats.ca {
        Some(ca) => {
            for certificate in CertificateDer::pem_file_iter(ca)? {
                roots.add(certificate?)?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let builder = ClientConfig::builder().with_root_certificates(roots);
    Ok(match &nats.certificate {
        Some((certificate, key)) => {
            let chain = CertificateDer::pem_file_iter(certificate)?.collect::<Result<Vec<_>, _>>()?;
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(key)?)?
        }
        None => builder.with_no_client_auth(),
    })
}
