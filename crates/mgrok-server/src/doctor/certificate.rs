//! The server's own certificate.

use std::path::Path;
use std::time::{Duration, SystemTime};

use mgrok_config::ServerTls as TlsConfig;
use mgrok_doctor::{Fault, Sound, Verdict};
use mgrok_net::error_chain::Chain;
use mgrok_net::tls::{
    CertificateDetails, ServerTls, ServerTlsOptions, ShownCertificate, TlsError, Validity,
};

/// How long before its end a certificate should be renewed at the latest.
const SOON: Duration = Duration::from_secs(14 * 24 * 60 * 60);

const DAY: u64 = 24 * 60 * 60;

/// Whether clients can be shown what `config` names. Nothing is made for that.
///
/// Blocks for as long as it takes to read a few files.
pub(super) fn examine(config: &TlsConfig) -> Verdict<()> {
    let kept = config.auto_gen_cert_path.as_ref();
    let certificate = match (&config.certificate, kept) {
        (Some(pair), _) => Some(pair.clone()),
        (None, Some(path)) if path.exists() => Some((path.clone(), path.clone())),
        (None, _) => None,
    };
    let options = ServerTlsOptions {
        certificate: certificate.clone(),
        trusted_ca: config.trusted_ca.clone(),
        ..ServerTlsOptions::default()
    };
    ServerTls::new(options).map_err(|error| Fault::new(Chain(&error), remedy(&error)))?;
    if let Some((path, _)) = certificate {
        return shown(&path);
    }
    match kept {
        Some(path) => to_be_kept(path),
        None => Ok(Sound::good(
            (),
            "none is given, so that the server makes one, which clients may pin",
        )),
    }
}

fn to_be_kept(path: &Path) -> Verdict<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };
    match directory.is_dir() {
        true => Ok(Sound::good(
            (),
            format_args!(
                "the first start makes one, and keeps it in {}",
                path.display()
            ),
        )),
        false => Err(Fault::new(
            format_args!("there is no directory {}", directory.display()),
            "make it, or mend transport.tls.autoGenCertPath",
        )),
    }
}

fn remedy(error: &TlsError) -> &'static str {
    match error {
        TlsError::Mismatch { .. } => {
            "transport.tls.keyFile must be the key of the first certificate in certFile, which is the server's own"
        }
        TlsError::Read { .. } => {
            "the file must be there, and the user who runs the server be allowed to read it"
        }
        _ => "mend the files of transport.tls.certFile, keyFile and trustedCaFile",
    }
}

fn shown(path: &Path) -> Verdict<()> {
    let shown = ShownCertificate::in_file(path);
    let shown = shown.map_err(|error| Fault::new(Chain(&error), remedy(&error)))?;
    let Some(details) = shown.details else {
        return Ok(Sound::good(
            (),
            "it goes with its key; more cannot be read of it",
        ));
    };
    let CertificateDetails {
        names,
        not_before,
        not_after,
        ..
    } = &details;
    let for_whom = match names.as_slice() {
        [] => "nobody by name".to_owned(),
        names => names.join(", "),
    };
    let finding = format!(
        "it goes with its key, is for {for_whom}, valid from {not_before} to {not_after}; its fingerprint is {}",
        shown.fingerprint
    );
    match details.validity(SystemTime::now()) {
        Validity::Expired(_) => Err(Fault::new(
            format_args!("it has expired at {not_after}"),
            "renew it; a running server takes the new files by itself",
        )),
        Validity::NotYet(_) => Err(Fault::new(
            format_args!("it is not valid before {not_before}, by this host's clock"),
            "set the clock, or have a certificate that is valid now",
        )),
        Validity::Valid(left) if left < SOON => {
            let days = left.as_secs() / DAY;
            Ok(Sound::doubtful(
                (),
                finding,
                format_args!("renew it within {days} days"),
            ))
        }
        Validity::Valid(_) if names.is_empty() && details.subject.contains("CN=") => {
            Ok(Sound::doubtful(
                (),
                finding,
                "clients that verify by an authority want the name as a subject alternative name, not as CN alone",
            ))
        }
        Validity::Valid(_) => Ok(Sound::good((), finding)),
    }
}
