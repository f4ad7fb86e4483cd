//! What libFuzzer calls, and an allocator that refuses to be led astray.

use std::alloc::{GlobalAlloc, Layout, System};

pub mod targets;

/// A single allocation of more is a failure: nothing that a small input says may ask for so much memory.
const LARGEST: usize = 256 << 20;

/// libFuzzer's `-malloc_limit_mb` works with a sanitizer's allocator only; this one does the same without.
struct Limited;

#[global_allocator]
static ALLOCATOR: Limited = Limited;

// Safety: all is left to the system's allocator; a larger request ends the process before it gets there.
unsafe impl GlobalAlloc for Limited {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        check(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        check(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        check(size);
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        unsafe { System.dealloc(memory, layout) }
    }
}

fn check(size: usize) {
    if size > LARGEST {
        eprintln!("an allocation of {size} bytes");
        std::process::abort();
    }
}
