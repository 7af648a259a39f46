//! The signals that the program obeys: those that stop it, and the one to reload.

use std::fmt;
use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Receives SIGHUP, SIGINT and SIGTERM from its creation on.
#[derive(Debug)]
pub(crate) struct Signals {
    hangup: Signal,
    interrupt: Signal,
    terminate: Signal,
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Received {
    /// SIGHUP: read the configuration again.
    Reload,
    Stop(StopSignal),
}

/// A signal that stops the program.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum StopSignal {
    Interrupt,
    Terminate,
}

impl Signals {
    /// Begins to listen. Must be called within the runtime.
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Waits for the next signal. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Received {
        tokio::select! {
            _ = self.hangup.recv() => Received::Reload,
            _ = self.interrupt.recv() => Received::Stop(StopSignal::Interrupt),
            _ = self.terminate.recv() => Received::Stop(StopSignal::Terminate),
        }
    }

    /// Waits for the next signal that stops the program, and drops requests to reload. Cancel-safe.
    pub(crate) async fn next_stop(&mut self) -> StopSignal {
        loop {
            if let Received::Stop(signal) = self.next().await {
                return signal;
            }
        }
    }
}

impl StopSignal {
    /// What a shell reports of a program that the signal ended.
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Self::Interrupt => 128 + 2,
            Self::Terminate => 128 + 15,
        }
    }
}

impl fmt::Display for StopSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
        })
    }
}
