//! Puts a component into a registry.

use bytes::Bytes;
use hyper::header::LOCATION;
use hyper::{Method, StatusCode};

use super::manifest::{self, Interfaces, MANIFEST};
use super::session::{Asked, Session};
use crate::config::{OciReference, OciVersion};
use crate::digest::sha256;

/// Puts description, component and manifest there, in this order: what has a manifest is whole.
pub(super) async fn push(
    mut session: Session<'_>,
    reference: &OciReference,
    (content, interfaces): (&[u8], &Interfaces),
    signature: Option<String>,
) -> Result<String, String> {
    let OciVersion::Tag(tag) = &reference.version else {
        return Err("a digest is what a push comes to; name a tag to push to".to_owned());
    };
    let config = manifest::config(content, interfaces);
    for blob in [content, &config] {
        put(&mut session, reference, blob).await?;
    }
    let manifest = manifest::written(&config, content, signature);
    let digest = sha256(&manifest);
    let url = format!("/v2/{}/manifests/{tag}", reference.name);
    let asked = Asked { content: Some(MANIFEST), body: manifest.into(), ..Asked::new(Method::PUT, url) };
    let answer = session.ask(&asked).await?;
    if answer.status() == StatusCode::CREATED { Ok(digest) } else { Err(session.refused(answer.status())) }
}

/// Puts one content there, unless the registry has it.
async fn put(session: &mut Session<'_>, reference: &OciReference, content: &[u8]) -> Result<(), String> {
    let (name, digest) = (&reference.name, sha256(content));
    let has = session.ask(&Asked::new(Method::HEAD, format!("/v2/{name}/blobs/sha256:{digest}"))).await?;
    if has.status() == StatusCode::OK {
        return Ok(());
    }
    let begun = session.ask(&Asked::new(Method::POST, format!("/v2/{name}/blobs/uploads/"))).await?;
    if begun.status() != StatusCode::ACCEPTED {
        return Err(session.refused(begun.status()));
    }
    let place = begun.headers().get(LOCATION).and_then(|place| place.to_str().ok());
    let place = place.ok_or_else(|| session.odd("does not say where to put it"))?;
    let url = format!("{place}{}digest=sha256:{digest}", if place.contains('?') { '&' } else { '?' });
    let body = Bytes::copy_from_slice(content);
    let asked = Asked { content: Some("application/octet-stream"), body, ..Asked::new(Method::PUT, url) };
    let answer = session.ask(&asked).await?;
    if answer.status() == StatusCode::CREATED { Ok(()) } else { Err(session.refused(answer.status())) }
}
