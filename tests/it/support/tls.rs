//! Certificates for one test.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use tempfile::TempDir;

/// An authority of its own, and the directory with all that it has signed.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    dir: TempDir,
}

/// The files of a certificate and its key.
pub(crate) struct Certificate {
    pub(crate) cert: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let dir = TempDir::new().unwrap();
        write(&dir.path().join("ca.pem"), "CERTIFICATE", issuer.as_ref().der());
        Self { issuer, dir }
    }

    /// The file with the authority's certificate.
    pub(crate) fn file(&self) -> String {
        shown(self.dir.path().join("ca.pem"))
    }

    /// Signs a certificate for `name`.
    pub(crate) fn sign(&self, name: &str) -> Certificate {
        self.signed(name, CertificateParams::new(vec![name.to_owned()]).unwrap())
    }

    /// The same of a certificate that has expired at the beginning of 2021. Its files take the place of those of a good
    /// one.
    pub(crate) fn sign_expired(&self, name: &str) -> Certificate {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
        self.signed(name, params)
    }

    fn signed(&self, name: &str, params: CertificateParams) -> Certificate {
        let key = KeyPair::generate().unwrap();
        let signed = params.signed_by(&key, &self.issuer).unwrap();
        let [cert, key_file] = ["cert", "key"].map(|kind| self.dir.path().join(format!("{name}-{kind}.pem")));
        write(&cert, "CERTIFICATE", signed.der());
        write(&key_file, "PRIVATE KEY", key.serialized_der());
        Certificate { cert: shown(cert), key: shown(key_file) }
    }

    /// The configuration of a server on loopback that speaks only TLS, and maybe only with who has a certificate.
    pub(crate) fn server(&self, verify: bool) -> String {
        let Certificate { cert, key } = self.sign("127.0.0.1");
        format!("tls {{ cert_file: {cert:?}, key_file: {key:?}, ca_file: {:?}, verify: {verify} }}", self.file())
    }
}

fn write(path: &Path, kind: &str, der: &[u8]) {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    std::fs::write(path, format!("-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n", lines.join("\n"))).unwrap();
}

fn shown(path: PathBuf) -> String {
    path.to_str().unwrap().to_owned()
}
