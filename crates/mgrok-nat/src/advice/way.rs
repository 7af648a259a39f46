//! The ways to try, as a table.

use crate::nat::{Kind, Nat};

/// One way to try, by its place in the table.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Way {
    /// Which of the five kinds of NATs it is made for; goes over the wire.
    pub mode: u8,
    /// Which of the mode's entries.
    pub index: u8,
}

/// Who speaks first matters to NATs: the receiver's datagram opens its own, the sender's passes through and is answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Role {
    Receiver,
    Sender,
}

/// What one side does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Part {
    pub(super) role: Role,
    /// Time to live of what is sent first: enough to pass the own NAT, not enough to reach the other, which might take offence.
    pub(super) ttl: i64,
    /// How long to wait before sending, in milliseconds.
    pub(super) delay_ms: i64,
    /// How far from the other side's last port its next ones are looked for.
    pub(super) range: i64,
    /// How many random ports of the other side are tried.
    pub(super) random: i64,
    /// How many more sockets are opened.
    pub(super) listen: i64,
}

const R: Part = Part::new(Role::Receiver);
const S: Part = Part::new(Role::Sender);

/// For every mode what two sides do. frp: (`pkg/nathole/analysis.go`#mode0Behaviors and following).
const WAYS: [&[(Part, Part)]; 5] = [
    // Both know where the other is.
    &[
        (S, R.ttl(7)),
        (R.ttl(7), S),
        (S, R.ttl(4)),
        (R.ttl(4), S),
        (S, R),
        (R, S),
        (S.delay(5_000), R),
        (S.delay(10_000), R),
        (R, S.delay(5_000)),
        (R, S.delay(10_000)),
    ],
    // The sender will come from a port near its last one.
    &[
        (S, R.ttl(7).range(10)),
        (S.delay(2_000), R.ttl(7).range(10)),
        (S, R.ttl(4).range(10)),
        (S.delay(2_000), R.ttl(4).range(10)),
        (S, R.range(10)),
        (S.delay(2_000), R.range(10)),
    ],
    // The receiver may be at any port: it opens many, the sender tries many, and two of them may well meet.
    &[
        (GUESSES, MANY.ttl(7)),
        (GUESSES, MANY.ttl(4)),
        (GUESSES, MANY),
    ],
    // Both will come from a port near their last one.
    &[
        (S.range(10), R.ttl(7).range(10)),
        (S.range(10), R.ttl(4).range(10)),
        (S.range(10), R.range(10)),
        (R.ttl(7).range(10), S.range(10)),
        (R.ttl(4).range(10), S.range(10)),
        (R.range(10), S.range(10)),
    ],
    // The sender will come from a port near its last one, the receiver may be at any.
    &[
        (GUESSES, MANY.ttl(7).range(2)),
        (GUESSES, MANY.ttl(4).range(2)),
        (GUESSES, MANY.range(2)),
    ],
];

const GUESSES: Part = Part {
    random: 1_000,
    ..S.delay(3_000)
};
const MANY: Part = Part { listen: 256, ..R };

impl Way {
    /// All ways of a mode, in the order in which they are tried.
    pub(super) fn of_mode(mode: u8) -> impl Iterator<Item = Self> {
        let count = WAYS[usize::from(mode)].len() as u8;
        (0..count).map(move |index| Self { mode, index })
    }

    /// What the table says, whoever is first and second.
    pub(super) fn entry(self) -> (Part, Part) {
        WAYS[usize::from(self.mode)][usize::from(self.index)]
    }

    /// What client and visitor do.
    ///
    /// frp: (`pkg/nathole/analysis.go`#GetRecommandBehaviors).
    pub(super) fn parts(self, client: &Nat) -> (Part, Part) {
        let (first, second) = self.entry();
        let swapped = match self.mode {
            // The hard NAT must send.
            1 => client.kind() == Kind::Easy,
            // The hard NAT must receive.
            2 => client.kind() == Kind::Hard,
            // The regular NAT must send.
            4 => !client.is_regular(),
            _ => false,
        };
        if swapped {
            (second, first)
        } else {
            (first, second)
        }
    }
}

impl Role {
    /// As messages carry it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Receiver => "receiver",
            Self::Sender => "sender",
        }
    }
}

impl Part {
    const fn new(role: Role) -> Self {
        Self {
            role,
            ttl: 0,
            delay_ms: 0,
            range: 0,
            random: 0,
            listen: 0,
        }
    }

    const fn ttl(self, ttl: i64) -> Self {
        Self { ttl, ..self }
    }

    const fn delay(self, delay_ms: i64) -> Self {
        Self { delay_ms, ..self }
    }

    const fn range(self, range: i64) -> Self {
        Self { range, ..self }
    }
}
