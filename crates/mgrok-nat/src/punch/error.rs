//! Why there is no hole.

use std::fmt;
use std::io;
use std::time::Duration;

use mgrok_proto::EncodeError;

/// Why there is no hole.
#[derive(Debug, thiserror::Error)]
pub enum PunchError {
    /// The attempt's name is too long to be sent.
    #[error("cannot write a datagram")]
    Encode(#[source] EncodeError),
    /// The server sent no `candidate_addrs`, or none that is `ip:port` with an IPv4 address of one host.
    #[error("the server tells of no usable address of the other side")]
    NoCandidates,
    /// The operating system said no.
    #[error("cannot receive datagrams")]
    Receive(#[source] io::Error),
    /// There is no attempt to take part in.
    #[error("the server refuses: {0}")]
    Refused(String),
    /// Begins as frp's text does.
    #[error("wait detect message timeout: {sent} datagrams sent in {}ms, {skipped}", waited.as_millis())]
    TimedOut {
        /// How long this side has tried, its own delay included.
        waited: Duration,
        /// The datagrams that were sent.
        sent: u32,
        /// What came in.
        skipped: Skipped,
    },
}

/// The datagrams that came in and were of no use, by reason.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Skipped {
    /// Of another attempt, as late ones are.
    pub foreign: u32,
    /// From the other side, which has not received ours.
    pub unanswered: u32,
    /// Not what the secret decrypts: the two sides have different secrets, or it comes from a stranger.
    pub unreadable: u32,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::default() {
            return f.write_str("nothing came from the other side");
        }
        let counts = [
            (self.unreadable, "are not decrypted by the secret"),
            (self.foreign, "are of another attempt"),
            (self.unanswered, "are requests while ours are not answered"),
        ];
        f.write_str("of those that came")?;
        for (index, (count, what)) in counts.iter().filter(|(count, _)| *count > 0).enumerate() {
            write!(f, "{} {count} {what}", if index > 0 { "," } else { "" })?;
        }
        Ok(())
    }
}
