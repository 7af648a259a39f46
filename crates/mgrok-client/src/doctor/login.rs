//! The login over a link, and if it does not work, which layer is to blame.

use mgrok_doctor::{Examination, Fault, Passed, Sound, Unmet};
use mgrok_net::error_chain::Chain;
use mgrok_proto::WireVersion;

use super::access;
use super::stranger::identify;
use super::trial::{Attempt, Trial, Welcome};
use crate::connect::{Dialler, Link, Transport};

/// What refusals have in them that are a matter of the time, in the words of servers and of the libraries that they use.
const OF_THE_TIME: [&str; 4] = ["is expired", "has expired", "not yet valid", "clock"];

/// Logs in by `trial`, over the link that was made by it, and tells of what the login shows: multiplexing, version, token. Returns whether
/// a client would get in.
pub(super) async fn examine(
    trial: &Trial,
    link: Passed<Link>,
    subject: &str,
    examination: &mut Examination<'_>,
) -> bool {
    let link = match link.and_then(|link| trial.token.clone().map(|_| link)) {
        Ok(link) => link,
        Err(unmet) => {
            skip(trial, subject, unmet, examination);
            return false;
        }
    };
    // The link has come of one.
    let Ok(connector) = trial.connector() else {
        return false;
    };
    match trial.log_in(&connector, link).await {
        Attempt::In(welcome) => {
            layers_work(trial, subject, examination);
            let _ = examination.note("wire", subject, Ok(Sound::good((), wire(&welcome))));
            let _ = examination.note(
                "login",
                subject,
                Ok(Sound::good((), "the server lets us in")),
            );
            if trial.wants_access {
                let _ = examination.note("access", subject, access::kept(welcome.keeps_access));
            }
            true
        }
        Attempt::No(refusal) => {
            layers_work(trial, subject, examination);
            let _ = examination.note("wire", subject, Ok(Sound::good((), "the server answers")));
            refused(&refusal, subject, examination);
            false
        }
        Attempt::Failed(error) => {
            let why = Chain(&error).to_string();
            blame(trial, &why, subject, examination).await;
            false
        }
        Attempt::Silent => {
            blame(trial, "the server does not answer", subject, examination).await;
            false
        }
    }
}

/// Tells that nothing of it can be looked at.
fn skip(trial: &Trial, subject: &str, unmet: Unmet, examination: &mut Examination<'_>) {
    let has_mux = trial.transport != Transport::Quic;
    let checks = [("mux", has_mux), ("wire", true), ("login", true)];
    for (check, _) in checks.into_iter().filter(|(_, is_there)| *is_there) {
        let _ = examination.skip::<()>(check, subject, unmet);
    }
}

/// What must have worked for the server to say anything.
fn layers_work(trial: &Trial, subject: &str, examination: &mut Examination<'_>) {
    if !has_tls(trial) {
        let off = Sound::doubtful(
            (),
            "off, so that those on the way read what users send",
            "set transport.tls.enable = true, which is the default",
        );
        let _ = examination.note("tls", subject, Ok(off));
    }
    if trial.transport != Transport::Quic {
        let finding = match trial.config.transport.tcp_mux {
            true => "many streams on one connection, at both ends",
            false => "a connection for each stream, at both ends",
        };
        let _ = examination.note("mux", subject, Ok(Sound::good((), finding)));
    }
}

fn has_tls(trial: &Trial) -> bool {
    trial.config.transport.tls.is_some() || !trial.may_lack_tls()
}

fn wire(welcome: &Welcome) -> String {
    let version = match welcome.wire {
        WireVersion::V1 => "v1",
        WireVersion::V2 => "v2",
    };
    let Welcome {
        version: of_server,
        is_kin,
        ..
    } = welcome;
    match (is_kin, of_server.as_str()) {
        (true, _) => format!("{version}, with an mgrok"),
        (false, "") => version.to_owned(),
        (false, frp) => format!("{version}, with a server of version {frp}"),
    }
}

/// The server has spoken, and said no.
fn refused(refusal: &str, subject: &str, examination: &mut Examination<'_>) {
    let remedy = if OF_THE_TIME.iter().any(|it| refusal.contains(it)) {
        "what proves who this is has a time, which the server finds wrong: set the clocks of both ends by NTP (see the check `clock`), \
         or renew it"
    } else if refusal.contains("OIDC") {
        "what the server wants of a token is in its auth.oidc.issuer and auth.oidc.audience; the check `token` says what this one has"
    } else if refusal.contains("is kept out by") {
        "the server's access.logins leaves this host out: have its operator add the address to allow, or take it out of deny"
    } else if refusal.contains("is banned for") {
        "somebody has guessed tokens from this address: wait, or have the server's operator lift the ban in its dashboard"
    } else if refusal.contains("token") {
        "auth.token must be the same on both ends"
    } else if refusal.contains("plugin") {
        "a plugin of the server decides on logins: look into its log and the server's; the doctor logs in without clientID"
    } else {
        "look into the server's log, which says why"
    };
    let fault = Fault::new(format_args!("the server says: {refusal}"), remedy);
    let _ = examination.note::<()>("login", subject, Err(fault));
}

/// Finds out by other ways of speaking which layer it is for which the server has not answered, and tells that.
async fn blame(trial: &Trial, why: &str, subject: &str, examination: &mut Examination<'_>) {
    let has_mux = trial.transport != Transport::Quic;
    if has_mux && trial.with_other_mux().is_answered().await {
        return mux_differs(trial, subject, examination);
    }
    if trial.may_lack_tls() && !has_tls(trial) {
        if trial.with_other_tls().is_answered().await {
            return tls_is_missed(trial, subject, examination);
        }
        if has_mux && trial.with_other_tls().with_other_mux().is_answered().await {
            return tls_is_missed(trial, subject, examination);
        }
    }
    if trial.insists_on_v2() {
        let v1 =
            trial.with(|config| config.transport.wire_protocol = mgrok_config::WireProtocol::V1);
        if v1.is_answered().await {
            layers_work(trial, subject, examination);
            let fault = Fault::new(
                "the server speaks v1 of frp's protocol only, and this file wants v2",
                "set transport.wireProtocol = \"auto\", or bring the server to frp 0.69 or later",
            );
            let unmet = examination.note::<()>("wire", subject, Err(fault));
            if let Err(unmet) = unmet {
                let _ = examination.skip::<()>("login", subject, unmet);
            }
            return;
        }
    }
    if !has_tls(trial) {
        examination.leave_out("tls", subject, "off");
    }
    let fault = match who_is_there(trial).await {
        Some(who) => Fault::new(
            format_args!("it is not the server: {who}"),
            "check serverAddr and serverPort: the port must be the bindPort of mgroks or frps",
        ),
        None => Fault::new(
            why,
            "check that serverPort is the bindPort of mgroks or frps; a server with transport.tls.trustedCaFile wants certFile and \
             keyFile here; its log says more",
        ),
    };
    let _ = examination.note::<()>("login", subject, Err(fault));
}

fn mux_differs(trial: &Trial, subject: &str, examination: &mut Examination<'_>) {
    let (here, there) = match trial.config.transport.tcp_mux {
        true => ("many streams on one connection", "false"),
        false => ("a connection for each stream", "true"),
    };
    if !has_tls(trial) {
        let _ = examination.note("tls", subject, Ok(Sound::good((), "off, at both ends")));
    }
    let fault = Fault::new(
        format_args!("this file wants {here}, the server does not"),
        format_args!(
            "set transport.tcpMux = {there} here, or the other value at the server: both must have the same"
        ),
    );
    if let Err(unmet) = examination.note::<()>("mux", subject, Err(fault)) {
        let _ = examination.skip::<()>("wire", subject, unmet);
        let _ = examination.skip::<()>("login", subject, unmet);
    }
}

fn tls_is_missed(trial: &Trial, subject: &str, examination: &mut Examination<'_>) {
    let fault = Fault::new(
        "the server answers to clients with TLS only",
        "set transport.tls.enable = true, which is the default",
    );
    if let Err(unmet) = examination.note::<()>("tls", subject, Err(fault)) {
        skip(trial, subject, unmet, examination);
    }
}

/// Who is at the server's port instead.
async fn who_is_there(trial: &Trial) -> Option<String> {
    if trial.transport.is_udp() {
        return None;
    }
    let connector = trial.unverified().connector().ok()?;
    let dialler: Dialler = connector.dialler(trial.transport);
    let dialled = tokio::time::timeout(mgrok_doctor::PATIENCE, async {
        let conn = dialler.dial().await.ok()?;
        match dialler.has_tls() {
            true => dialler.secure(conn).await.ok(),
            false => Some(conn),
        }
    });
    identify(dialled.await.ok()??).await
}
