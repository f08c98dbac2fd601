//! The worker by itself, so that the tests of the daemon have one to start.
//! `embermesh worker` is the same.

use std::process::ExitCode;

fn main() -> ExitCode {
    embermesh_compute::worker::main(std::env::args().skip(1))
}
