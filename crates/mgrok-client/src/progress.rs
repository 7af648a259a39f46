//! Whether a client is connected to its servers, for the service manager and `/readyz`.

use std::fmt::{self, Display, Formatter};
use std::future::{pending, poll_fn};
use std::task::Poll;
use std::time::Duration;

use mgrok_config::ServerAddr;
use tokio::sync::watch;

use crate::proxies::Table;
use crate::status::ProxyPhase;

/// What a supervisor does at the moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It tries to log in.
    #[default]
    Connecting,
    /// It has a session with this server.
    Connected(ServerAddr),
    /// It pauses for so long before it tries again.
    Waiting(Duration),
}

impl Display for Stage {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connecting => f.write_str("connecting"),
            Self::Connected(server) => write!(f, "connected to {server}"),
            Self::Waiting(pause) => write!(f, "reconnecting in {} s", pause.as_secs_f64().ceil()),
        }
    }
}

/// Where supervisors say what they do. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    stages: watch::Sender<Vec<Stage>>,
}

impl Progress {
    /// For so many supervisors.
    pub(crate) fn new(supervisors: usize) -> Self {
        Self {
            stages: watch::Sender::new(vec![Stage::default(); supervisors]),
        }
    }

    /// Takes note of what the supervisor with this number does from now on.
    pub(crate) fn set(&self, number: usize, stage: Stage) {
        self.stages.send_if_modified(|stages| {
            let Some(known) = stages.get_mut(number).filter(|it| **it != stage) else {
                return false;
            };
            *known = stage;
            true
        });
    }

    /// Follows it, beside the `tables` of the supervisors, in their order.
    pub(crate) fn watch(&self, tables: Vec<watch::Receiver<Table>>) -> ProgressWatch {
        ProgressWatch {
            stages: self.stages.subscribe(),
            tables,
        }
    }
}

/// Follows how a [`Client`](crate::Client) is with its servers. [`Display`] says it in a few words.
#[derive(Clone, Debug)]
pub struct ProgressWatch {
    stages: watch::Receiver<Vec<Stage>>,
    tables: Vec<watch::Receiver<Table>>,
}

impl ProgressWatch {
    /// Whether it is logged in to a server.
    pub fn is_logged_in(&self) -> bool {
        let stages = self.stages.borrow();
        stages.iter().any(|it| matches!(it, Stage::Connected(_)))
    }

    /// To how many servers it is logged in, and to how many it wants to be at the same time.
    pub(crate) fn connected(&self) -> (usize, usize) {
        let stages = self.stages.borrow();
        let connected = stages.iter().filter(|it| matches!(it, Stage::Connected(_)));
        (connected.count(), stages.len())
    }

    /// Whether users can be served: all proxies run on one server at least.
    ///
    /// # Errors
    /// Why not, without names: this is for everybody.
    pub fn ready(&self) -> Result<(), String> {
        let stages = self.stages.borrow();
        let mut best = None;
        for (stage, table) in stages.iter().zip(&self.tables) {
            let table = table.borrow();
            if matches!(stage, Stage::Connected(_)) && table.in_session() {
                let (running, all) = count(&table);
                if running == all {
                    return Ok(());
                }
                best = best.max(Some((running, all)));
            }
        }
        Err(match best {
            Some((running, all)) => {
                format!("{running} of {all} proxies run; /api/status says why the others do not")
            }
            None => format!("not logged in to a server: {self}"),
        })
    }

    /// Waits until something has changed since the last call. Never ends once the client has. Cancel-safe.
    pub async fn changed(&mut self) {
        let tables = self.tables.iter_mut().map(|it| Box::pin(it.changed()));
        let mut tables: Vec<_> = tables.collect();
        let tables = poll_fn(|context| {
            let mut polled = tables.iter_mut().map(|it| it.as_mut().poll(context));
            polled.find(Poll::is_ready).unwrap_or(Poll::Pending)
        });
        let changed = tokio::select! {
            changed = self.stages.changed() => changed,
            changed = tables => changed,
        };
        if changed.is_err() {
            pending().await
        }
    }
}

impl Display for ProgressWatch {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let stages = self.stages.borrow();
        for (place, (stage, table)) in stages.iter().zip(&self.tables).enumerate() {
            let separator = if place == 0 { "" } else { "; " };
            write!(f, "{separator}{stage}")?;
            if matches!(stage, Stage::Connected(_)) {
                match count(&table.borrow()) {
                    (1, 1) => f.write_str(" with 1 proxy")?,
                    (running, all) if running == all => write!(f, " with {all} proxies")?,
                    (running, all) => write!(f, " with {running} of {all} proxies")?,
                }
            }
        }
        Ok(())
    }
}

/// How many proxies run, and how many there are to be.
fn count(table: &Table) -> (usize, usize) {
    let phases = table.statuses().map(|(_, status)| status.phase);
    phases.fold((0, 0), |(running, all), phase| {
        let runs = usize::from(phase == ProxyPhase::Running);
        (running + runs, all + 1)
    })
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use mgrok_config::{ProxyConfig, ProxyKind};
    use mgrok_net::resolver::Resolver;
    use mgrok_proto::auth::Secret;
    use mgrok_proto::cipher::CipherKey;
    use mgrok_proto::message::NewProxyResp;

    use super::*;
    use crate::proxies::Proxies;

    #[test]
    fn a_client_is_ready_when_it_is_logged_in_and_its_proxies_run() {
        let key = CipherKey::derive(&Secret::default());
        let mut proxies = Proxies::new(String::new(), String::new(), key, Resolver::default());
        let tcp = |name| ProxyConfig::new(name, ProxyKind::Tcp { remote_port: 0 }, 22);
        let progress = Progress::new(1);
        let watch = progress.watch(vec![proxies.watch()]);
        let check = |text: &str, ready: Result<(), &str>| {
            assert_eq!(watch.to_string(), text);
            assert_eq!(watch.ready(), ready.map_err(str::to_owned));
        };
        check("connecting", Err("not logged in to a server: connecting"));

        let now = Instant::now();
        proxies.apply(&[tcp("a"), tcp("b")], now);
        proxies.begin_session(now);
        progress.set(0, Stage::Connected(ServerAddr::new("a.test", 7000)));
        let why = "0 of 2 proxies run; /api/status says why the others do not";
        check("connected to a.test:7000 with 0 of 2 proxies", Err(why));

        while proxies.poll_send(now).is_some() {}
        for name in ["a", "b"] {
            let answer = NewProxyResp {
                proxy_name: name.to_owned(),
                ..NewProxyResp::default()
            };
            proxies.handle_answer(&answer, now);
        }
        check("connected to a.test:7000 with 2 proxies", Ok(()));

        proxies.end_session();
        progress.set(0, Stage::Waiting(Duration::from_millis(1500)));
        let why = "not logged in to a server: reconnecting in 2 s";
        check("reconnecting in 2 s", Err(why));
    }

    #[test]
    fn one_server_of_several_is_enough() {
        let key = CipherKey::derive(&Secret::default());
        let mut proxies = Proxies::new(String::new(), String::new(), key, Resolver::default());
        let progress = Progress::new(2);
        let watch = progress.watch(vec![proxies.watch(), proxies.watch()]);
        progress.set(1, Stage::Connected(ServerAddr::new("b.test", 7000)));
        assert!(watch.ready().is_err(), "it does not know its proxies yet");
        proxies.begin_session(Instant::now());
        assert_eq!(
            watch.to_string(),
            "connecting; connected to b.test:7000 with 0 proxies"
        );
        assert_eq!(watch.ready(), Ok(()));
    }
}
