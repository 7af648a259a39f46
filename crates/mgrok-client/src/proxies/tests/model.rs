//! Tests the table against a model of a server that, like frp's, handles one message after the other and answers each
//! announcement once, whatever happens in between.

use proptest::prelude::*;

use super::*;

const NAMES: [&str; 3] = ["a", "b", "c"];

#[derive(Clone, Debug)]
enum Step {
    /// Time passes.
    Advance { seconds: u64 },
    /// The proxy with this number gets another configuration, or with variant 0 is removed.
    Configure { number: usize, variant: u16 },
    /// The health of the proxy's local service changes.
    Health { number: usize, healthy: bool },
    /// The client receives some answers.
    Receive { count: usize },
    /// The session is lost, and the next one begins.
    Reconnect,
    /// The client sends until there is no more room.
    Send { room: usize },
    /// The server handles some messages, and may refuse proxies.
    Serve { count: usize, refuses: bool },
}

fn step() -> impl Strategy<Value = Step> {
    let number = 0..NAMES.len();
    prop_oneof![
        4 => (0usize..4).prop_map(|room| Step::Send { room }),
        4 => (0usize..3, any::<bool>()).prop_map(|(count, refuses)| Step::Serve { count, refuses }),
        4 => (0usize..3).prop_map(|count| Step::Receive { count }),
        2 => prop_oneof![Just(1u64), Just(20), Just(30)].prop_map(|seconds| Step::Advance { seconds }),
        2 => (number.clone(), any::<bool>()).prop_map(|(number, healthy)| Step::Health { number, healthy }),
        2 => (number, 0u16..3).prop_map(|(number, variant)| Step::Configure { number, variant }),
        1 => Just(Step::Reconnect),
    ]
}

/// A message to the server.
enum Sent {
    Close(String),
    New(String, i64),
}

impl Sent {
    fn name(&self) -> &str {
        match self {
            Self::Close(name) | Self::New(name, _) => name,
        }
    }
}

struct Model {
    proxies: Proxies,
    now: Instant,
    wanted: [u16; NAMES.len()],
    healthy: [bool; NAMES.len()],
    to_server: VecDeque<Sent>,
    to_client: VecDeque<NewProxyResp>,
    /// The proxies that the server serves, and their configurations.
    serves: BTreeMap<String, i64>,
}

impl Model {
    fn new() -> Self {
        let (mut proxies, now) = proxies(&[]);
        proxies.begin_session(now);
        Self {
            proxies,
            now,
            wanted: [0; NAMES.len()],
            healthy: [false; NAMES.len()],
            to_server: VecDeque::new(),
            to_client: VecDeque::new(),
            serves: BTreeMap::new(),
        }
    }

    fn apply(&mut self) {
        let configs: Vec<_> = NAMES
            .iter()
            .zip(self.wanted)
            .filter(|(_, variant)| *variant > 0)
            .map(|(name, remote_port)| {
                let mut config = checked(name);
                config.kind = ProxyKind::Tcp { remote_port };
                config
            })
            .collect();
        let changes = self.proxies.apply(&configs, self.now);
        for name in changes.added {
            let number = NAMES.iter().position(|it| **it == *name).unwrap();
            self.healthy[number] = false;
        }
    }

    fn health(&mut self, number: usize, healthy: bool) {
        if let Some(proxy) = self.proxies.get(NAMES[number]) {
            self.proxies.handle_health(&proxy, healthy, self.now);
            self.healthy[number] = healthy;
        }
    }

    fn send(&mut self, room: usize) {
        for _ in 0..room {
            let Some(outgoing) = self.proxies.poll_send(self.now) else {
                return;
            };
            self.to_server.push_back(match outgoing {
                Outgoing::Announce(_, new) => Sent::New(new.proxy_name, new.remote_port),
                Outgoing::Withdraw(_, close) => Sent::Close(close.proxy_name),
            });
        }
        if let Some(outgoing) = self.proxies.poll_send(self.now) {
            self.proxies.handle_full(outgoing, self.now);
        }
    }

    fn serve(&mut self, count: usize, refuses: bool) {
        for _ in 0..count {
            match self.to_server.pop_front() {
                None => return,
                Some(Sent::Close(name)) => {
                    self.serves.remove(&name);
                }
                Some(Sent::New(name, variant)) => {
                    let error = if self.serves.contains_key(&name) {
                        "proxy already exists"
                    } else if refuses {
                        "port already used"
                    } else {
                        self.serves.insert(name.clone(), variant);
                        ""
                    };
                    self.to_client.push_back(answer(&name, ":1", error));
                }
            }
        }
    }

    fn receive(&mut self, count: usize) {
        for _ in 0..count {
            if let Some(answer) = self.to_client.pop_front() {
                self.proxies.handle_answer(&answer, self.now);
            }
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Advance { seconds } => self.now += Duration::from_secs(seconds),
            Step::Configure { number, variant } => {
                self.wanted[number] = variant;
                self.apply();
            }
            Step::Health { number, healthy } => self.health(number, healthy),
            Step::Receive { count } => self.receive(count),
            Step::Reconnect => {
                self.proxies.end_session();
                self.to_server.clear();
                self.to_client.clear();
                self.serves.clear();
                self.proxies.begin_session(self.now);
            }
            Step::Send { room } => self.send(room),
            Step::Serve { count, refuses } => self.serve(count, refuses),
        }
        self.check();
    }

    /// Checks that the server serves every proxy that the client considers running, in the wanted configuration, and
    /// that no message in flight changes this.
    fn check(&self) {
        for (name, variant) in NAMES.iter().zip(self.wanted) {
            if phase(&self.proxies, name) == Some(ProxyPhase::Running) {
                let on_wire = format!("ada.{name}");
                assert_eq!(self.serves.get(&on_wire), Some(&i64::from(variant)));
                assert!(self.to_server.iter().all(|it| it.name() != on_wire));
            }
        }
        let unanswered = self.to_client.len()
            + self
                .to_server
                .iter()
                .filter(|it| matches!(it, Sent::New(..)))
                .count();
        assert_eq!(self.proxies.unanswered, unanswered);
    }

    /// Delivers all messages in flight, to a server that accepts every proxy.
    fn settle(&mut self) {
        for _ in 0..4 {
            self.send(100);
            self.serve(100, false);
            self.receive(100);
            self.check();
            self.now += RETRY_AFTER_ERROR;
        }
    }
}

proptest! {
    #[test]
    fn the_client_considers_running_only_what_the_server_serves(
        steps in prop::collection::vec(step(), 0..60),
    ) {
        let mut model = Model::new();
        for step in steps {
            model.take(step);
        }
        model.settle();
        for (number, name) in NAMES.iter().enumerate() {
            let on_wire = format!("ada.{name}");
            if model.wanted[number] == 0 || !model.healthy[number] {
                prop_assert!(!model.serves.contains_key(&on_wire));
            } else {
                let running = Some(ProxyPhase::Running);
                prop_assert_eq!(phase(&model.proxies, name), running, "{}", name);
                let variant = i64::from(model.wanted[number]);
                prop_assert_eq!(model.serves.get(&on_wire), Some(&variant));
            }
        }
    }
}
