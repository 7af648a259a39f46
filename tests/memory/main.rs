//! What users cost each end of a tunnel, counted by the allocator and in place of the system: what a quiet one holds, what one holds who
//! does not read, and what each thing that users do takes.
//!
//! One test at a time, since everything counts. Each end has threads of its own, which tell what is whose.

#![allow(clippy::unwrap_used, reason = "a panic is how tests fail")]

mod calls;
mod costs;
mod ends;
mod quiet;
mod stalled;

use mgrok_allocations::Counting;
use tokio::sync::Mutex;

#[global_allocator]
static ALLOCATOR: Counting = Counting::new();

/// Held by the test that counts.
static ALONE: Mutex<()> = Mutex::const_new(());
