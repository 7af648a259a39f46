//! What the doctors of both ends have in common: checks that are made in order, what came of them, and how that is shown.
//!
//! A check has a name, which stays the same from version to version, and a subject. It comes to a [`Verdict`]. What a later check
//! needs of an earlier one is what that one has [`Passed`] on, so that a check without it cannot be made, and says so. An end makes its checks in
//! an [`Examination`], which gives each of them so much time and no more. What all checks have told is the [`Report`].
//!
//! The crate knows nothing of tunnels. Modules are in order, lowest first.

// Lowest layer first.
mod outcome;

mod report;

mod examination;

mod host;
mod occupant;

mod show;

pub use examination::{Examination, MAX_STEP, MAX_TOTAL, NO_TIME, PATIENCE, Passed, Unmet};
pub use host::{clock, open_files, outgoing_ports, udp_buffers};
pub use occupant::{Occupant, occupants};
pub use outcome::{Fault, Outcome, Row, Sound, Verdict};
pub use report::{Report, UNREADABLE};
pub use show::{json, row};
