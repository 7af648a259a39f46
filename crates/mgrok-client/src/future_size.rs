//! How large futures are, for tests that keep them small.
//!
//! A future has room for the most that it ever holds across a wait, and its task keeps that room for as long as it lives.

/// The size of what `make` returns. It is not called.
pub(crate) fn future_size<A, F: Future>(_make: fn(A) -> F) -> usize {
    size_of::<F>()
}
