//! The entry point of libFuzzer, and an allocator with a limit.

use std::alloc::{GlobalAlloc, Layout, System};

pub mod targets;

/// A larger single allocation is a failure: a small input must not cause it.
const LARGEST: usize = 256 << 20;

/// Does what libFuzzer's `-malloc_limit_mb` does with a sanitizer only.
struct Limited;

#[global_allocator]
static ALLOCATOR: Limited = Limited;

// Safety: every call is the system allocator's; a request above the limit ends the process before it.
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
