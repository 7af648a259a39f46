//! The access lists of proxies, as far as the file alone tells what they come to.

use mgrok_config::ClientConfig;
use mgrok_doctor::{Examination, Fault, Sound, Verdict};

use super::services::subject;

/// Whether a server keeps to `access` of proxies, if it `is_able` to.
pub(super) fn kept(is_able: bool) -> Verdict<()> {
    match is_able {
        true => Ok(Sound::good(
            (),
            "the server keeps to `access` of the proxies",
        )),
        false => Err(Fault::new(
            "the server does not keep to `access` of proxies, so that those with it are not started",
            "take mgroks and transport.wireProtocol = \"auto\", or take `access` out and have a firewall do it",
        )),
    }
}

/// Looks at the list of each proxy that has one.
pub(super) fn examine(config: &ClientConfig, examination: &mut Examination<'_>) {
    for proxy in &config.proxies {
        if proxy.access.is_open() {
            continue;
        }
        let sound = match proxy.access.flaw() {
            None => Sound::good((), "every network in it has an effect"),
            Some(flaw) => Sound::doubtful((), flaw, flaw.remedy()),
        };
        let _ = examination.note("access", &subject(proxy), Ok(sound));
    }
}
