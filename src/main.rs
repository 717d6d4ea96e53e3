//! Arguments in, one call, exit code out.

use std::process::ExitCode;

/// Small blocks of many threads are what a relay allocates; mimalloc is made for that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Freed memory goes back to the system after this long, in milliseconds. The allocator's own
/// 10 ms returns what the next batch needs again; getting it back zeroed took a tenth of the time.
const PURGE_AFTER_MS: std::ffi::c_long = 2_000;

/// `mi_option_purge_delay` of mimalloc's options; its Rust binding does not name it.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// Tells the allocator not to ask for huge pages: they are zeroed whole and kept after few blocks,
/// which cost 20 % more memory and saved no measurable time.
fn stay_with_small_pages() {
    #[cfg(target_os = "linux")]
    // An error leaves things as they are.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}

#[expect(unsafe_code, reason = "the binding has no safe way to set an option")]
fn main() -> ExitCode {
    stay_with_small_pages();
    // SAFETY: sets a number, before there is a second thread.
    unsafe { libmimalloc_sys::mi_option_set_default(PURGE_DELAY, PURGE_AFTER_MS) };
    offpush::cli::run(std::env::args_os())
}
