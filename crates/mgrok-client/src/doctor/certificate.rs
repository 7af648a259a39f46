//! What is to be said of the server's certificate.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use mgrok_config::ClientTls;
use mgrok_doctor::{Fault, Sound, Verdict};
use mgrok_net::tls::{
    CertificateDetails, CertificateFault, Fingerprint, ShownCertificate, Validity,
};

use super::server_clock::ServerClock;

/// How long before its end a certificate should be renewed at the latest.
const SOON: Duration = Duration::from_secs(14 * 24 * 60 * 60);

const DAY: u64 = 24 * 60 * 60;

/// What to say of the certificate that the server has `shown`, by a client with `tls` that has accepted it.
pub(super) fn accepted(shown: &ShownCertificate, tls: Option<&ClientTls>) -> Verdict<()> {
    let mut finding = describe(shown);
    let validity = shown
        .details
        .as_ref()
        .map(|it| it.validity(SystemTime::now()));
    let by_authority = tls.is_some_and(|it| it.trusted_ca.is_some());
    let by_pin = tls.is_some_and(|it| it.pinned_sha256.is_some());
    let checked = match (by_authority, by_pin) {
        (true, true) => "checked by transport.tls.trustedCaFile and pinnedSha256",
        (true, false) => "checked by transport.tls.trustedCaFile",
        (false, true) => "it is the one of transport.tls.pinnedSha256",
        (false, false) => "nobody checks it, so that somebody on the way could pose as the server",
    };
    // Writing to memory does not fail.
    let _ = write!(finding, "; {checked}");
    let fingerprint = shown.fingerprint;
    if let (Some(Validity::NotYet(_)), Some(details)) = (validity, &shown.details) {
        let remedy =
            "set the clock of this host, or that of the server, which made the certificate";
        finding = format!(
            "by this host's clock it is not valid before {}: {finding}",
            details.not_before
        );
        return Ok(Sound::doubtful((), finding, remedy));
    }
    if !by_authority && !by_pin {
        let remedy = format!(
            "if the server says that this is its own, insist on it by transport.tls.pinnedSha256 = \"{fingerprint}\""
        );
        return Ok(Sound::doubtful((), finding, remedy));
    }
    match validity {
        Some(Validity::Valid(left)) if by_authority && left < SOON => {
            let days = left.as_secs() / DAY;
            let remedy = format!("renew the server's certificate within {days} days");
            Ok(Sound::doubtful((), finding, remedy))
        }
        _ => Ok(Sound::good((), finding)),
    }
}

/// What to say of a certificate that was not accepted because of `fault`. `shown` is `None` if it cannot be seen, `clock` if
/// nobody says what time it is at the server.
pub(super) fn refused(
    shown: Option<&ShownCertificate>,
    fault: CertificateFault,
    name: &str,
    tls: Option<&ClientTls>,
    clock: Option<&ServerClock>,
) -> Fault {
    let details = shown.and_then(|it| it.details.as_ref());
    if let (CertificateFault::Expired, Some(details), Some(clock)) = (fault, details, clock)
        && let Some(fault) = by_two_clocks(details, clock)
    {
        return fault;
    }
    let cause = match (fault, details) {
        (CertificateFault::Expired, Some(details)) => match details.validity(SystemTime::now()) {
            Validity::NotYet(_) => format!(
                "it is not valid before {}, by this host's clock",
                details.not_before
            ),
            Validity::Expired(_) | Validity::Valid(_) => {
                format!("it has expired at {}", details.not_after)
            }
        },
        (CertificateFault::Expired, None) => "it has expired, or is not valid yet".to_owned(),
        (CertificateFault::Issuer, Some(details)) if details.issuer == details.subject => {
            "it has signed itself, and is not among the authorities of this client".to_owned()
        }
        (CertificateFault::Issuer, Some(details)) => {
            format!(
                "it is signed by [{}], which no authority of this client is",
                details.issuer
            )
        }
        (CertificateFault::Issuer, None) => "no authority of this client has signed it".to_owned(),
        (CertificateFault::Name, Some(details)) => {
            format!("it is for {}, not for `{name}`", names(details))
        }
        (CertificateFault::Name, None) => format!("it is not for `{name}`"),
        (CertificateFault::NotPinned, _) => match (shown, tls.and_then(|it| it.pinned_sha256)) {
            (Some(shown), Some(pinned)) => format!(
                "its fingerprint is {}, and {} is pinned",
                shown.fingerprint,
                Fingerprint(pinned)
            ),
            _ => "it is not the one that is pinned".to_owned(),
        },
        (CertificateFault::Other, _) => "it is not accepted".to_owned(),
    };
    let cause = match shown {
        Some(shown) if fault != CertificateFault::NotPinned => {
            format!("{cause}: {}", describe(shown))
        }
        _ => cause,
    };
    Fault::new(cause, fault.advice())
}

/// What is wrong with the time of a certificate that this host finds out of date, if the server's clock decides it.
fn by_two_clocks(details: &CertificateDetails, clock: &ServerClock) -> Option<Fault> {
    let here = match details.validity(SystemTime::now()) {
        Validity::NotYet(_) => format!("it is not valid before {}", details.not_before),
        Validity::Expired(_) => format!("it has expired at {}", details.not_after),
        Validity::Valid(_) => return None,
    };
    match details.validity(clock.there()) {
        Validity::Valid(_) if !clock.agrees() => Some(Fault::new(
            format_args!("{here}, by the clock of this host, which is wrong: {clock}"),
            "set the clock of this host, best by NTP: the certificate is valid by the server's",
        )),
        Validity::NotYet(_) if clock.agrees() => Some(Fault::new(
            format_args!("{here}, by both clocks: {clock}"),
            "give the server a certificate that is valid now; whoever made this one had a clock that was ahead",
        )),
        Validity::Expired(_) if clock.agrees() => Some(Fault::new(
            format_args!("{here}, by both clocks: {clock}"),
            "renew the server's certificate",
        )),
        _ => None,
    }
}

/// For whom it is, who has signed it, and until when it is valid.
pub(super) fn describe(shown: &ShownCertificate) -> String {
    let Some(details) = &shown.details else {
        return format!(
            "a certificate that cannot be read, with the fingerprint {}",
            shown.fingerprint
        );
    };
    let signer = match (details.issuer.as_str(), details.issuer == details.subject) {
        (_, true) => "by itself".to_owned(),
        ("", false) => "by nobody with a name".to_owned(),
        (issuer, false) => format!("by [{issuer}]"),
    };
    format!(
        "for {}, signed {signer}, valid from {} to {}",
        names(details),
        details.not_before,
        details.not_after
    )
}

fn names(details: &CertificateDetails) -> String {
    match (details.names.as_slice(), details.subject.as_str()) {
        ([], "") => "nobody by name".to_owned(),
        ([], subject) => format!("[{subject}]"),
        (names, _) => names.join(", "),
    }
}
