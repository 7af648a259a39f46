//! The server's part: of two NATs, and of what worked before between the same two, it makes what each side should do.
//!
//! There is a fixed list of [ways](Way) to try. Which of them are worth it depends on the NATs; each has a score that falls
//! whenever it is tried and rises when it worked, so that one failure after the other walks down the list. No I/O, no clock.

mod scores;
mod way;

use std::collections::HashMap;
use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use mgrok_proto::message::{
    DetectBehavior, NatHoleClient, NatHoleResp, NatHoleVisitor, PortsRange,
};

use self::scores::{Key, Record};
pub use self::way::Way;
use self::way::{Part, Role};
use crate::addrs;
use crate::nat::{ClassifyError, Nat};

/// How many pairs of sides are remembered, at some hundred bytes each; beyond, the one unused for longest is forgotten.
const MAX_RECORDS: usize = 10_000;

/// How often old records are looked for.
const PRUNE_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// How long the sender's instructions are held back, so that the receiver's datagrams are on their way first.
///
/// frp: (`pkg/nathole/controller.go`#HandleVisitor), as the next three.
const SENDER_HANDICAP: Duration = Duration::from_secs(1);

/// How long each side waits for the other, in milliseconds, delays not counted.
const READ_TIMEOUT_MS: i64 = 5_000;

/// What is added where a side tries a thousand ports, 15 ms each.
const RANDOM_PORTS_MS: i64 = 30_000;

/// How long after the client's waiting is over its report is still of use.
const REPORT_GRACE: Duration = Duration::from_secs(30);

/// What a server has learnt about ways through NATs.
#[derive(Debug)]
pub struct Analysis {
    retention: Duration,
    records: HashMap<Key, Record>,
    prune_at: Option<Instant>,
}

/// What to tell the two sides of one attempt.
#[derive(Clone, Debug)]
pub struct Advice {
    /// For the proxy's client.
    pub client: Answer,
    /// For the visitor.
    pub visitor: Answer,
    /// What to remember for the client's report, and for how long.
    pub attempt: Attempt,
}

/// What to tell one side.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The message.
    pub resp: NatHoleResp,
    /// How long to hold it back.
    pub delay: Duration,
}

/// An attempt that was advised.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// The way that was chosen.
    pub way: Way,
    /// How long the client's report may take from the moment of its answer.
    pub report_within: Duration,
    key: Key,
}

/// Why there is no advice. frp tells both sides this text, cause and all.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum AdviceError {
    /// The proxy's client did not say enough of itself.
    #[error("classify client nat feature error: {0}")]
    Client(ClassifyError),
    /// The visitor did not say enough of itself.
    #[error("classify visitor nat feature error: {0}")]
    Visitor(ClassifyError),
}

/// One side as it described itself.
struct Side {
    mapped: Vec<SocketAddrV4>,
    assisted: Vec<SocketAddrV4>,
    nat: Nat,
}

impl Analysis {
    /// Knows nothing yet; what it learns about a pair of sides is forgotten once it was not used for `retention`.
    pub fn new(retention: Duration) -> Self {
        Self {
            retention,
            records: HashMap::new(),
            prune_at: None,
        }
    }

    /// Forgets from now on what was not used for `retention`.
    pub fn set_retention(&mut self, retention: Duration) {
        self.retention = retention;
    }

    /// Advises the two sides that sent these messages on the attempt `sid`.
    ///
    /// Of their addresses those that are usable are passed on, see [`addrs::read`].
    ///
    /// # Errors
    /// If one of them has fewer than two usable `mapped_addrs`.
    pub fn advise(
        &mut self,
        client: &NatHoleClient,
        visitor: &NatHoleVisitor,
        sid: &str,
        now: Instant,
    ) -> Result<Advice, AdviceError> {
        let client_side = Side::read(&client.mapped_addrs, &client.assisted_addrs)
            .map_err(AdviceError::Client)?;
        let visitor_side = Side::read(&visitor.mapped_addrs, &visitor.assisted_addrs)
            .map_err(AdviceError::Visitor)?;
        let nats = (client_side.nat, visitor_side.nat);
        // Whoever could be classified has a first address.
        let key = Key::new(
            (client_side.mapped[0], &nats.0),
            (visitor_side.mapped[0], &nats.1),
        );

        self.forget(now, &key);
        let record = self
            .records
            .entry(key)
            .or_insert_with(|| Record::new(&nats.0, &nats.1, now));
        let way = record.choose(now);

        let (client_part, visitor_part) = way.parts(&nats.0);
        let wait_ms = READ_TIMEOUT_MS
            + client_part.delay_ms.max(visitor_part.delay_ms)
            + if client_part.listen > 0 || visitor_part.listen > 0 {
                RANDOM_PORTS_MS
            } else {
                0
            };
        let answer = |transaction_id: &str, part: Part, other: &Side| Answer {
            resp: NatHoleResp {
                transaction_id: transaction_id.into(),
                sid: sid.into(),
                protocol: visitor.protocol.clone(),
                candidate_addrs: compact(&other.mapped),
                assisted_addrs: compact(&other.assisted),
                detect_behavior: part.behavior(way, wait_ms - part.delay_ms, other),
                error: String::new(),
            },
            delay: match part.role {
                Role::Receiver => Duration::ZERO,
                Role::Sender => SENDER_HANDICAP,
            },
        };
        let client_wait = wait_ms - client_part.delay_ms;
        Ok(Advice {
            client: answer(&client.transaction_id, client_part, &visitor_side),
            visitor: answer(&visitor.transaction_id, visitor_part, &client_side),
            attempt: Attempt {
                way,
                report_within: Duration::from_millis(client_wait.unsigned_abs()) + REPORT_GRACE,
                key,
            },
        })
    }

    /// Takes note that this attempt found a way.
    pub fn report_success(&mut self, attempt: &Attempt, now: Instant) {
        if let Some(record) = self.records.get_mut(&attempt.key) {
            record.reward(attempt.way, now);
        }
    }

    /// Drops what is too old, and makes room for `key`.
    fn forget(&mut self, now: Instant, key: &Key) {
        let retention = self.retention;
        let fresh = |record: &Record| now.duration_since(record.used_at()) <= retention;
        let full = self.records.len() >= MAX_RECORDS && !self.records.contains_key(key);
        let prune_at = *self.prune_at.get_or_insert(now + PRUNE_INTERVAL);
        if full || now >= prune_at {
            self.prune_at = Some(now + PRUNE_INTERVAL);
            self.records.retain(|_, record| fresh(record));
        } else if self.records.get(key).is_some_and(|record| !fresh(record)) {
            self.records.remove(key);
        }
        if full && self.records.len() >= MAX_RECORDS {
            let oldest = self
                .records
                .iter()
                .min_by_key(|(_, record)| record.used_at());
            if let Some((&oldest, _)) = oldest {
                self.records.remove(&oldest);
            }
        }
    }
}

impl Side {
    fn read(mapped: &[String], assisted: &[String]) -> Result<Self, ClassifyError> {
        let mapped = addrs::read(mapped);
        let assisted = addrs::read(assisted);
        let local: Vec<_> = assisted.iter().map(|addr| *addr.ip()).collect();
        Ok(Self {
            nat: Nat::classify(&mapped, &local)?,
            mapped,
            assisted,
        })
    }
}

impl Part {
    /// The instructions for whoever plays this part towards `other`.
    fn behavior(&self, way: Way, read_timeout: i64, other: &Side) -> DetectBehavior {
        DetectBehavior {
            role: self.role.as_str().into(),
            mode: way.mode.into(),
            ttl: self.ttl,
            send_delay_ms: self.delay_ms,
            read_timeout,
            candidate_ports: self.ports_near(other).into_iter().collect(),
            send_random_ports: self.random,
            listen_random_ports: self.listen,
        }
    }

    /// The ports where `other` may come from next.
    ///
    /// frp: (`pkg/nathole/controller.go`#getRangePorts).
    fn ports_near(&self, other: &Side) -> Option<PortsRange> {
        let last = i64::from(other.mapped.last()?.port());
        let reach = self.range.min(i64::from(other.nat.ports_difference) + 5);
        (self.range > 0).then(|| PortsRange {
            from: (last - reach).max(1),
            to: (last + reach).min(u16::MAX.into()),
        })
    }
}

/// As messages carry them, without those equal to the one before.
fn compact(addrs: &[SocketAddrV4]) -> Vec<String> {
    let mut addrs = addrs.to_vec();
    addrs.dedup();
    addrs::write(&addrs)
}

#[cfg(test)]
mod tests;
