//! Stand-in for systems whose kernel cannot splice between sockets: always copies.

use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::net::TcpStream;

use super::failure::Failure;

#[derive(Debug, Default)]
pub(super) struct Splice;

pub(super) enum Moved {
    Bytes(usize),
    End,
    Nothing { unsent: Bytes },
}

impl Splice {
    pub(super) fn is_possible(&self) -> bool {
        false
    }

    pub(super) fn holds_bytes(&self) -> bool {
        false
    }

    pub(super) fn holds_pipe(&self) -> bool {
        false
    }

    pub(super) fn poll_move(
        &mut self,
        _source: &TcpStream,
        _target: &TcpStream,
        _cx: &mut Context<'_>,
    ) -> Poll<Result<Moved, Failure>> {
        Poll::Ready(Ok(Moved::Nothing {
            unsent: Bytes::new(),
        }))
    }
}
