//! Jobs on the digits.

use std::path::{Path, PathBuf};

/// Passes of a job that would run for many minutes.
const ENDLESS: u32 = 100_000;

/// How often a job says how far it is, and keeps what it has, in steps. A pass over
/// the digits has 45.
struct Pace {
    report: u32,
    checkpoint: u32,
}

/// A job of some passes that says much.
pub(crate) fn digits_job(folder: &Path, name: &str, passes: u32) -> PathBuf {
    let pace = Pace {
        report: 5,
        checkpoint: 15,
    };
    write(folder, name, passes, pace)
}

/// A job that runs until it is told to end. Its checkpoints are far apart: each waits
/// for the disk, and nothing that a test asks of the job should wait behind many.
pub(crate) fn endless_job(folder: &Path, name: &str) -> PathBuf {
    let pace = Pace {
        report: 15,
        checkpoint: 450,
    };
    write(folder, name, ENDLESS, pace)
}

fn write(folder: &Path, name: &str, passes: u32, pace: Pace) -> PathBuf {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/digits.csv");
    let Pace { report, checkpoint } = pace;
    let text = format!(
        r#"
name = "{name}"
[work.train]
passes = {passes}
batch = 32
seed = 7
holdout = 0.2
report_every = {report}
checkpoint_every = {checkpoint}
[work.train.model]
input = [1, 8, 8]
layers = [
    {{ op = "conv2d", channels = 8, kernel = 3, padding = 1 }},
    {{ op = "relu" }},
    {{ op = "max_pool2d", kernel = 2 }},
    {{ op = "flatten" }},
    {{ op = "dense", units = 10 }},
]
[work.train.data.digits_csv]
file = {{ path = "{}" }}
classes = 10
[limits]
memory = "1 GiB"
wall = "5m"
"#,
        data.display()
    );
    let path = folder.join(format!("{name}.toml"));
    std::fs::write(&path, text).unwrap();
    path
}
