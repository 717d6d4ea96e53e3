//! Arguments in, one call, exit code out.

use std::process::ExitCode;

/// Small blocks of many threads are what a relay allocates; mimalloc is made for that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    offpush::cli::run(std::env::args_os())
}
