//! The multiplexer from outside: on the wire, against hostile input, against a model, and as
//! tokio sees it.

mod golden;
mod hostile;
mod life;
mod model;
mod raw;
mod session;
mod windows;
