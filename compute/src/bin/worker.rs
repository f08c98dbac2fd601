//! The worker by itself. `embermesh worker` is the same.

use std::process::ExitCode;

fn main() -> ExitCode {
    embermesh_compute::worker::main(std::env::args().skip(1))
}
