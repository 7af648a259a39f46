//! An allocator that counts, for tests of what connections hold and what requests cost.
//!
//! A test program that wants it makes it its global allocator. All threads of the program count, so tests that read the counts must not
//! run beside others.

#![expect(unsafe_code, reason = "an allocator is unsafe")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering};

/// How many groups of threads are told apart.
pub const GROUPS: usize = 3;

thread_local! {
    static GROUP: Cell<usize> = const { Cell::new(0) };
}

/// Has what the current thread allocates and frees from now on counted in a group of its own; until then it is group 0. What one
/// group allocates and another frees counts in both.
///
/// # Panics
/// If there is no such group.
pub fn count_this_thread_in(group: usize) {
    assert!(group < GROUPS, "there is no group {group}");
    GROUP.set(group);
}

/// The group of the current thread.
pub fn group_of_this_thread() -> usize {
    GROUP.get()
}

/// The allocator of the system, which counts what is asked of it.
#[derive(Debug, Default)]
pub struct Counting {
    /// By groups of threads, as the next.
    bytes: [AtomicIsize; GROUPS],
    calls: [AtomicUsize; GROUPS],
}

impl Counting {
    /// An allocator that has counted nothing yet.
    pub const fn new() -> Self {
        Self {
            bytes: [const { AtomicIsize::new(0) }; GROUPS],
            calls: [const { AtomicUsize::new(0) }; GROUPS],
        }
    }

    /// The bytes that are allocated now.
    pub fn bytes(&self) -> isize {
        (0..GROUPS).map(|it| self.bytes_of(it)).sum()
    }

    /// The bytes that the threads of `group` have allocated and not freed.
    ///
    /// # Panics
    /// If there is no such group.
    pub fn bytes_of(&self, group: usize) -> isize {
        self.bytes[group].load(Ordering::Relaxed)
    }

    /// How many allocations there have been. One that grows counts as one more.
    pub fn calls(&self) -> usize {
        (0..GROUPS).map(|it| self.calls_of(it)).sum()
    }

    /// The same of the threads of `group`.
    ///
    /// # Panics
    /// If there is no such group.
    pub fn calls_of(&self, group: usize) -> usize {
        self.calls[group].load(Ordering::Relaxed)
    }
}

// SAFETY: everything is passed on to the allocator of the system. What is not written here comes to these two.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let group = GROUP.get();
        self.calls[group].fetch_add(1, Ordering::Relaxed);
        self.bytes[group].fetch_add(layout.size().cast_signed(), Ordering::Relaxed);
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        self.bytes[GROUP.get()].fetch_sub(layout.size().cast_signed(), Ordering::Relaxed);
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(pointer, layout) }
    }
}
