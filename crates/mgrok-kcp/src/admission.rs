//! Who may begin a session: proof that datagrams come from where they say, without keeping anything for those who have to give it.
//!
//! Datagrams can be sent in anybody's name. So a session that one datagram begins is cheap, and there are few of that kind
//! ([`ListenerConfig::max_unproved`](crate::ListenerConfig::max_unproved)). When there are no more of them, a first datagram is
//! answered with a challenge: a segment that every KCP acknowledges and hands to nobody ([`CHALLENGE_NUMBER`]), with a timestamp
//! that only we can make for that address and conversation. Its acknowledgement carries the timestamp back, and proves that the
//! sender receives what goes to its address. It then sends its first datagram again, as after any loss.

use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::arq::UNPROVED_WINDOW;
use crate::packet::{CHALLENGE_NUMBER, Command, SegmentHeader};

/// A timestamp is good for so long at least, and twice as long at most.
const PERIOD: Duration = Duration::from_secs(10);

/// Makes and knows timestamps that cannot be guessed.
#[derive(Debug)]
pub(crate) struct Admission {
    /// Hashes are keyed with it.
    secret: RandomState,
    began_at: Instant,
}

impl Admission {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            secret: RandomState::new(),
            began_at: now,
        }
    }

    /// Appends a challenge to `peer` to `out`. It is no longer than the shortest datagram that it answers.
    pub(crate) fn challenge(
        &self,
        peer: SocketAddr,
        conversation: u32,
        now: Instant,
        out: &mut Vec<u8>,
    ) {
        let header = SegmentHeader {
            conversation,
            command: Command::Push,
            window: UNPROVED_WINDOW,
            timestamp: self.timestamp(peer, conversation, self.period(now)),
            number: CHALLENGE_NUMBER,
            next: 0,
            length: 0,
        };
        header.write(out);
    }

    /// Whether `timestamp` is that of a challenge to `peer`.
    pub(crate) fn is_proof(
        &self,
        peer: SocketAddr,
        conversation: u32,
        timestamp: u32,
        now: Instant,
    ) -> bool {
        let period = self.period(now);
        [period, period.wrapping_sub(1)]
            .into_iter()
            .any(|period| timestamp == self.timestamp(peer, conversation, period))
    }

    /// What the clock of a session begins with. Its acknowledgements prove as much as that of a challenge.
    pub(crate) fn origin(&self, peer: SocketAddr, conversation: u32, now: Instant) -> u32 {
        let passed = now.saturating_duration_since(self.began_at);
        self.secret.hash_one((peer, conversation, passed, "origin")) as u32
    }

    fn timestamp(&self, peer: SocketAddr, conversation: u32, period: u64) -> u32 {
        self.secret
            .hash_one((peer, conversation, period, "challenge")) as u32
    }

    fn period(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.began_at).as_secs() / PERIOD.as_secs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timestamp(datagram: &[u8]) -> u32 {
        SegmentHeader::parse(datagram).unwrap().timestamp
    }

    #[test]
    fn a_challenge_proves_one_address_and_conversation_for_a_while() {
        let now = Instant::now();
        let admission = Admission::new(now);
        let peer: SocketAddr = "192.0.2.1:7000".parse().unwrap();
        let mut datagram = Vec::new();
        admission.challenge(peer, 5, now, &mut datagram);
        let proof = timestamp(&datagram);
        for later in [0, 1, 9, 19].map(Duration::from_secs) {
            assert!(admission.is_proof(peer, 5, proof, now + later));
        }
        assert!(!admission.is_proof(peer, 5, proof, now + 2 * PERIOD));
        assert!(!admission.is_proof(peer, 6, proof, now));
        let elsewhere = "192.0.2.1:7001".parse().unwrap();
        assert!(!admission.is_proof(elsewhere, 5, proof, now));
        assert!(!Admission::new(now).is_proof(peer, 5, proof, now));
    }
}
