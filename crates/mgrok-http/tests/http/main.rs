//! The proxy between real sockets: raw users on one side, raw backends on the other.

mod forwarding;
mod hostile;
mod http2;
mod lives;
mod raw;
mod support;
