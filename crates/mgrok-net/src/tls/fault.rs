//! Faults of the peer's certificate.

use std::io;

use rustls::{AlertDescription, Error};

use super::pinned::NotPinned;

/// The fault of a server's certificate, as far as the advice depends on it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CertificateFault {
    /// It has expired, or is not valid yet.
    Expired,
    /// No trusted authority has signed it.
    Issuer,
    /// It is for another name.
    Name,
    /// It is not the pinned certificate.
    NotPinned,
    /// Any other fault.
    Other,
}

impl CertificateFault {
    /// The fault that made a handshake fail; `None` if the handshake failed for another reason.
    pub fn of(error: &io::Error) -> Option<Self> {
        let inner = error.get_ref()?;
        if inner.is::<NotPinned>() {
            return Some(Self::NotPinned);
        }
        match inner.downcast_ref()? {
            Error::InvalidCertificate(error) => {
                Some(Self::of_alert(error.clone().into()).unwrap_or(Self::Other))
            }
            _ => None,
        }
    }

    /// The fault that `alert` stands for when a client aborts the handshake with it; `None` if the alert is not about
    /// the certificate.
    pub(crate) fn of_alert(alert: AlertDescription) -> Option<Self> {
        match alert {
            AlertDescription::BadCertificate => Some(Self::Name),
            AlertDescription::CertificateExpired => Some(Self::Expired),
            AlertDescription::CertificateRevoked | AlertDescription::UnsupportedCertificate => {
                Some(Self::Other)
            }
            // rustls sends this alert for [`NotPinned`].
            AlertDescription::CertificateUnknown => Some(Self::NotPinned),
            // rustls sends `DecryptError` when the signature is not that of the authority which has this name.
            AlertDescription::UnknownCA | AlertDescription::DecryptError => Some(Self::Issuer),
            _ => None,
        }
    }

    /// The fault and its remedy, in the terms of the client's configuration.
    pub fn advice(self) -> &'static str {
        match self {
            Self::Expired => {
                "it has expired or is not valid yet; give the server a valid one, and check the clocks"
            }
            Self::Issuer => "no authority of transport.tls.trustedCaFile has signed it",
            Self::Name => {
                "it is for another name; set transport.tls.serverName to one that it is for"
            }
            Self::NotPinned => {
                "it is not the one of transport.tls.pinnedSha256; somebody may be intercepting the connection, so ask whoever \
                 runs the server for its fingerprint, by another way than this connection"
            }
            Self::Other => "check it with transport.tls.trustedCaFile",
        }
    }
}

#[cfg(test)]
mod tests {
    use rustls::CertificateError;

    use super::*;

    #[test]
    fn faults_are_distinguished() {
        for (error, fault) in [
            (CertificateError::Expired, CertificateFault::Expired),
            (CertificateError::NotValidYet, CertificateFault::Expired),
            (CertificateError::UnknownIssuer, CertificateFault::Issuer),
            (CertificateError::BadSignature, CertificateFault::Issuer),
            (CertificateError::NotValidForName, CertificateFault::Name),
            (CertificateError::Revoked, CertificateFault::Other),
        ] {
            let error = io::Error::other(Error::InvalidCertificate(error));
            assert_eq!(CertificateFault::of(&error), Some(fault));
        }
        let other = io::Error::other(Error::HandshakeNotComplete);
        assert_eq!(CertificateFault::of(&other), None);
        assert_eq!(CertificateFault::of(&io::ErrorKind::Other.into()), None);
    }
}
