//! The package that holds mgrok's end-to-end tests and embedding examples.
//!
//! It has no code of its own: the server is in `mgrok-server`, the client in
//! `mgrok-client`, and `ARCHITECTURE.md` says where everything else is.
