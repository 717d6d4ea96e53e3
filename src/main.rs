//! Arguments in, one call, exit code out.

fn main() {}
