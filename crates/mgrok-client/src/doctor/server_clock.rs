//! What time it is where the server is, as far as somebody there says so in HTTP: a `Date` is the only clock that can be asked.

use std::time::{Duration, SystemTime};

use jiff::fmt::rfc2822;
use mgrok_config::{ClientConfig, ProxyKind};
use mgrok_doctor::Sound;
use mgrok_net::conn::Conn;
use mgrok_net::resolver::Resolver;
use mgrok_net::tcp::{DialOptions, dial};
use mgrok_net::tls::UnixSeconds;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::http::{self, Wanted};
use super::running::RunningClient;

/// How long anybody has to answer. Nothing depends on it but this check.
const TIME: Duration = Duration::from_millis(1500);

/// How far clocks may be apart before it is said. An answer is on its way for some of it, and `Date` has whole seconds.
const WELL: Duration = Duration::from_secs(60);

/// Where web servers are that may be on the server's host, beside the port of a proxy that is known.
const WEB_PORTS: [u16; 2] = [80, 8080];

/// Whom nobody publishes, so that the server itself answers.
const NOBODY: &str = "mgrok-doctor.invalid";

/// What somebody at the server's host has said.
#[derive(Clone, Debug)]
pub(super) struct ServerClock {
    by: String,
    there: SystemTime,
    /// The clock of this host when that came.
    here: SystemTime,
}

/// The ports at which the server of `config` may be asked.
pub(super) fn ports(config: &ClientConfig, running: &RunningClient) -> Vec<u16> {
    let websites = config
        .proxies
        .iter()
        .filter(|it| matches!(it.kind, ProxyKind::Http(_)));
    let published = websites.filter_map(|it| running.proxy(&config.user, &it.name));
    let known = published.filter_map(|it| {
        let first = it.remote_addr.split(',').next()?;
        first.trim().rsplit_once(':')?.1.parse().ok()
    });
    let mut ports: Vec<u16> = known.take(1).collect();
    for port in WEB_PORTS {
        if !ports.contains(&port) {
            ports.push(port);
        }
    }
    ports
}

impl ServerClock {
    /// Asks all `ports` of `host` at once. Of those that answer the first in the list counts.
    pub(super) async fn ask(host: &str, ports: &[u16], resolver: &Resolver) -> Option<Self> {
        let mut asked = JoinSet::new();
        for (rank, port) in ports.iter().copied().enumerate() {
            let (host, resolver) = (host.to_owned(), resolver.clone());
            asked.spawn(async move {
                let answer = timeout(TIME, ask(&host, port, resolver)).await;
                Some((rank, answer.ok()??))
            });
        }
        let answers = asked.join_all().await;
        let first = answers.into_iter().flatten().min_by_key(|(rank, _)| *rank);
        first.map(|(_, clock)| clock)
    }

    /// What it says.
    pub(super) fn there(&self) -> SystemTime {
        self.there
    }

    /// Whether this host's clock says the same.
    pub(super) fn agrees(&self) -> bool {
        self.apart() <= WELL
    }

    /// What to say of the two clocks.
    pub(super) fn verdict(&self) -> Sound<()> {
        let apart = self.apart();
        if self.agrees() {
            let finding = format!("{self} as here, give or take {} s", apart.as_secs());
            return Sound::good((), finding);
        }
        let finding = format!(
            "{self}, and {} by this host's clock: they are {} apart",
            shown(self.here),
            in_words(apart)
        );
        let remedy = "set both by NTP; which of them is wrong cannot be known from here";
        Sound::doubtful((), finding, remedy)
    }

    fn apart(&self) -> Duration {
        let later = self.there.duration_since(self.here);
        later.unwrap_or_else(|error| error.duration())
    }
}

impl std::fmt::Display for ServerClock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "by {} it is {}", self.by, shown(self.there))
    }
}

async fn ask(host: &str, port: u16, resolver: Resolver) -> Option<ServerClock> {
    let options = DialOptions {
        timeout: TIME,
        keepalive: None,
        local_ip: None,
        resolver,
    };
    let mut conn = Conn::from(dial(host, port, &options).await.ok()?);
    let answer = http::get(&mut conn, NOBODY, "/", None, Wanted::Head).await;
    let date = answer.ok()?.date?;
    let there = rfc2822::parse(&date).ok()?.timestamp().as_second();
    let since = Duration::from_secs(u64::try_from(there).ok()?);
    Some(ServerClock {
        by: format!("http://{host}:{port}"),
        there: SystemTime::UNIX_EPOCH.checked_add(since)?,
        here: SystemTime::now(),
    })
}

fn shown(time: SystemTime) -> UnixSeconds {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    let seconds = since.unwrap_or_default().as_secs();
    UnixSeconds(i64::try_from(seconds).unwrap_or(i64::MAX))
}

fn in_words(apart: Duration) -> String {
    match apart.as_secs() {
        seconds @ ..7200 => format!("{} minutes", seconds / 60),
        seconds @ ..172_800 => format!("{} hours", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock(ahead: u64) -> ServerClock {
        let here = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        ServerClock {
            by: "http://a.test:80".to_owned(),
            there: here + Duration::from_secs(ahead),
            here,
        }
    }

    #[test]
    fn clocks_that_are_apart_are_told() {
        for (ahead, words) in [
            (5, "as here, give or take 5 s"),
            (600, "they are 10 minutes apart"),
            (7200, "they are 2 hours apart"),
            (10 * 86_400, "they are 10 days apart"),
        ] {
            let Sound {
                finding, remedy, ..
            } = clock(ahead).verdict();
            assert!(finding.contains(words), "{finding}");
            assert_eq!(remedy.is_none(), ahead == 5);
        }
    }
}
