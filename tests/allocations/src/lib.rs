//! An allocator that counts, for tests of what connections hold and what requests cost.
//!
//! A test program that wants it makes it its global allocator. All threads of the program count, so tests that read the counts must not
//! run beside others.

#![expect(unsafe_code, reason = "an allocator is unsafe")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering};

/// The allocator of the system, which counts what is asked of it.
#[derive(Debug, Default)]
pub struct Counting {
    bytes: AtomicIsize,
    calls: AtomicUsize,
}

impl Counting {
    /// An allocator that has counted nothing yet.
    pub const fn new() -> Self {
        Self {
            bytes: AtomicIsize::new(0),
            calls: AtomicUsize::new(0),
        }
    }

    /// The bytes that are allocated now.
    pub fn bytes(&self) -> isize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// How many allocations there have been. One that grows counts as one more.
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }
}

// SAFETY: everything is passed on to the allocator of the system. What is not written here comes to these two.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.bytes
            .fetch_add(layout.size().cast_signed(), Ordering::Relaxed);
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        self.bytes
            .fetch_sub(layout.size().cast_signed(), Ordering::Relaxed);
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(pointer, layout) }
    }
}
