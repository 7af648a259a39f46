//! Recycled buffers for reading, without `unsafe`.
//!
//! A slab is one large buffer that is filled from the front; what was filled is split off as
//! [`Bytes`] slices that travel through the program. When all slices of a slab are gone,
//! `BytesMut::try_reclaim` makes it whole again. So bytes move without an allocation per read,
//! and a connection that is idle owns no buffer: slabs belong to the thread ([`with_local`]).

use std::cell::Cell;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use crate::frame::HEADER_LEN;

/// Size of the slabs of [`with_local`]: what one read can return at most. With a frame's header before it, that fills four records
/// of TLS.
pub const LOCAL_SLAB_SIZE: usize = 64 * 1024 - HEADER_LEN;

/// Slabs that [`with_local`] keeps per thread while slices of them are in use (2 MiB).
const LOCAL_MAX_KEPT: usize = 32;

/// Kept slabs that are looked at for one that is free again.
const MAX_LOOKED_AT: usize = 4;

/// After so many turns in which the first slab sufficed, one kept slab is let go.
const TURNS_TO_SHRINK: u32 = 256;

/// When the first slab has sufficed for this long, all kept slabs are let go: what a rush needed is not kept for the few turns that
/// come after it.
const CALM: Duration = Duration::from_secs(1);

/// A few buffers that are used again and again.
#[derive(Debug)]
pub struct Slabs {
    slab_size: usize,
    max_kept: usize,
    /// `None` before the first use.
    current: Option<BytesMut>,
    /// Used-up slabs, oldest first, that wait for their slices to go.
    kept: VecDeque<BytesMut>,
    turns: u32,
    /// When a slab was used up last, as long as any is kept.
    used_up_at: Option<Instant>,
}

impl Slabs {
    /// Slabs of `slab_size` bytes, of which at most `max_kept` wait for being used again. Takes
    /// no memory yet.
    pub fn new(slab_size: usize, max_kept: usize) -> Self {
        Self {
            slab_size,
            max_kept,
            current: None,
            kept: VecDeque::new(),
            turns: 0,
            used_up_at: None,
        }
    }

    /// Calls `f` with an empty buffer that has room for at least `min_spare` bytes; if that is
    /// more than a slab, with a buffer of its own. `f` takes what it filled with `split`; what it
    /// leaves is lost.
    pub fn read_with<R>(&mut self, min_spare: usize, f: impl FnOnce(&mut BytesMut) -> R) -> R {
        if min_spare > self.slab_size {
            return f(&mut BytesMut::with_capacity(min_spare));
        }
        let mut slab = self.take(min_spare);
        let result = f(&mut slab);
        slab.clear();
        self.current = Some(slab);
        result
    }

    /// Copies `data` into a slab; larger data than a slab gets a buffer of its own.
    pub fn copy(&mut self, data: &[u8]) -> Bytes {
        self.read_with(data.len(), |buffer| {
            buffer.extend_from_slice(data);
            buffer.split().freeze()
        })
    }

    /// A slab with room for `min_spare` bytes.
    fn take(&mut self, min_spare: usize) -> BytesMut {
        let Some(mut current) = self.current.take() else {
            return BytesMut::with_capacity(self.slab_size);
        };
        // Reclaiming early keeps small traffic at the front of one slab, which stays in cache.
        if current.capacity() >= self.slab_size || current.try_reclaim(self.slab_size) {
            self.turns += 1;
            if self.turns >= TURNS_TO_SHRINK {
                self.turns = 0;
                self.kept.pop_front();
            }
            if self.used_up_at.is_some_and(|at| at.elapsed() >= CALM) {
                self.used_up_at = None;
                self.kept = VecDeque::new();
            }
            return current;
        }
        if current.capacity() >= min_spare {
            return current;
        }
        self.turns = 0;
        let next = self.reclaim();
        if self.kept.len() >= self.max_kept {
            self.kept.pop_front();
        }
        self.kept.push_back(current);
        self.used_up_at = Some(Instant::now());
        next.unwrap_or_else(|| BytesMut::with_capacity(self.slab_size))
    }

    fn reclaim(&mut self) -> Option<BytesMut> {
        for _ in 0..self.kept.len().min(MAX_LOOKED_AT) {
            let mut slab = self.kept.pop_front()?;
            if slab.try_reclaim(self.slab_size) {
                return Some(slab);
            }
            self.kept.push_back(slab);
        }
        None
    }
}

thread_local! {
    static LOCAL: Cell<Option<Slabs>> = const { Cell::new(None) };
}

/// Calls `f` with this thread's slabs, of [`LOCAL_SLAB_SIZE`] bytes each.
///
/// A call within `f` is allowed (a connection may lie on top of another) and gets slabs of its
/// own that do not last.
pub fn with_local<R>(f: impl FnOnce(&mut Slabs) -> R) -> R {
    LOCAL.with(|local| {
        let mut slabs = local
            .take()
            .unwrap_or_else(|| Slabs::new(LOCAL_SLAB_SIZE, LOCAL_MAX_KEPT));
        let result = f(&mut slabs);
        local.set(Some(slabs));
        result
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(slabs: &mut Slabs, length: usize) -> Bytes {
        slabs.read_with(length, |buffer| {
            assert!(buffer.is_empty() && buffer.capacity() >= length);
            buffer.resize(length, 7);
            buffer.split().freeze()
        })
    }

    #[test]
    fn a_slab_whose_slices_are_gone_is_filled_from_the_front_again() {
        let mut slabs = Slabs::new(1000, 4);
        let first = fill(&mut slabs, 600).as_ptr();
        for _ in 0..10 {
            assert_eq!(fill(&mut slabs, 600).as_ptr(), first);
        }
        assert!(slabs.kept.is_empty());
    }

    #[test]
    fn slabs_in_use_are_kept_up_to_the_limit_and_used_again() {
        let mut slabs = Slabs::new(1000, 2);
        let slices: Vec<_> = (0..5).map(|_| fill(&mut slabs, 1000)).collect();
        assert_eq!(slabs.kept.len(), 2);
        let kept: Vec<_> = slices[2..].iter().map(|slice| slice.as_ptr()).collect();
        drop(slices);
        let again = [
            fill(&mut slabs, 1000),
            fill(&mut slabs, 1000),
            fill(&mut slabs, 1000),
        ];
        assert!(again.iter().all(|slice| kept.contains(&slice.as_ptr())));
    }

    #[test]
    fn slabs_that_are_not_needed_are_let_go() {
        let mut slabs = Slabs::new(1000, 4);
        drop((0..3).map(|_| fill(&mut slabs, 1000)).collect::<Vec<_>>());
        assert_eq!(slabs.kept.len(), 2);
        for _ in 0..3 * TURNS_TO_SHRINK {
            fill(&mut slabs, 10);
        }
        assert!(slabs.kept.is_empty());
    }

    #[test]
    fn slabs_of_a_rush_are_let_go_once_it_is_calm() {
        let mut slabs = Slabs::new(1000, 4);
        drop((0..3).map(|_| fill(&mut slabs, 1000)).collect::<Vec<_>>());
        fill(&mut slabs, 10);
        assert_eq!(slabs.kept.len(), 2);
        slabs.used_up_at = Instant::now().checked_sub(CALM);
        fill(&mut slabs, 10);
        assert!(slabs.kept.is_empty());
    }

    #[test]
    fn what_is_left_in_the_buffer_is_lost() {
        let mut slabs = Slabs::new(1000, 4);
        slabs.read_with(10, |buffer| buffer.extend_from_slice(b"left"));
        assert_eq!(slabs.copy(b"taken"), "taken");
        assert_eq!(slabs.copy(&[1; 2000]).len(), 2000);
    }

    #[test]
    fn local_slabs_may_be_used_within_their_use() {
        let (inner, outer) = with_local(|slabs| {
            let inner = with_local(|slabs| slabs.copy(b"inner"));
            (inner, slabs.copy(b"outer"))
        });
        assert_eq!((&inner[..], &outer[..]), (&b"inner"[..], &b"outer"[..]));
    }
}
