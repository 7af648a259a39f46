//! Certificates for one test.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use tempfile::TempDir;

/// A certificate authority, and a directory for what it signs.
pub struct Authority {
    directory: TempDir,
    issuer: Issuer<'static, KeyPair>,
    file: PathBuf,
}

/// A certificate and its key, as PEM files.
pub struct Certificate {
    /// The certificate's file.
    pub cert: PathBuf,
    /// The key's file.
    pub key: PathBuf,
}

impl Authority {
    /// A new authority that nobody knows yet.
    ///
    /// # Panics
    /// When the files cannot be written.
    pub fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        // Another name than those whom it signs have, who would look as if they had signed themselves.
        let name = &mut params.distinguished_name;
        name.push(DnType::CommonName, "the authority of a test");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let file = directory.path().join("ca.pem");
        std::fs::write(&file, params.self_signed(&key).unwrap().pem()).unwrap();
        Self {
            directory,
            issuer: Issuer::new(params, key),
            file,
        }
    }

    /// The authority's own certificate, for `trustedCaFile`.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// A certificate for `name`, good for both ends of TLS.
    ///
    /// # Panics
    /// When the files cannot be written.
    pub fn sign(&self, name: &str) -> Certificate {
        self.sign_with(CertificateParams::new(vec![name.to_owned()]).unwrap(), name)
    }

    /// As [`sign`](Self::sign), but it has not been good for years.
    ///
    /// # Panics
    /// As [`sign`](Self::sign).
    pub fn sign_expired(&self, name: &str) -> Certificate {
        self.sign_from(2019, name)
    }

    /// As [`sign`](Self::sign), but it is good for this `year` only.
    ///
    /// # Panics
    /// As [`sign`](Self::sign).
    pub fn sign_from(&self, year: i32, name: &str) -> Certificate {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(year, 1, 1);
        params.not_after = date_time_ymd(year + 1, 1, 1);
        self.sign_with(params, name)
    }

    fn sign_with(&self, mut params: CertificateParams, name: &str) -> Certificate {
        let key = KeyPair::generate().unwrap();
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        let files = Certificate {
            cert: self.directory.path().join(format!("{name}.pem")),
            key: self.directory.path().join(format!("{name}.key")),
        };
        std::fs::write(&files.cert, cert.pem()).unwrap();
        std::fs::write(&files.key, key.serialize_pem()).unwrap();
        files
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Certificate {
    /// The two lines of a configuration file that present this certificate.
    pub fn settings(&self) -> String {
        format!(
            "transport.tls.certFile = {:?}\ntransport.tls.keyFile = {:?}\n",
            self.cert, self.key
        )
    }
}
