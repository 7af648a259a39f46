//! Which end of one direction of a relay failed.

use std::io;

/// Which end of a direction failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The source.
    Read(io::Error),
    /// The target.
    Write(io::Error),
}
