//! A worker in a few lines of shell, for what a real one does too seldom.
#![allow(clippy::unwrap_used, reason = "a test ends where what it needs fails")]

use std::path::{Path, PathBuf};

use embermesh_compute::{
    DeviceChoice, frame,
    pipe::{FromWorker, Ready, SandboxReport},
    probe::DeviceReport,
    software::Software,
};
use embermesh_crypto::statement::DeviceKind;

/// It comes up, takes one order, and then does what it is told.
const SCRIPT: &str = r#"
dir=$1
case "$2" in
--probe) cat "$dir/probe" ;;
--fences) cat "$dir/fences" ;;
--device)
    cat "$dir/ready"
    [ "$(head -c 4 | wc -c)" -eq 4 ] || exit 0
"#;

/// What a worker says, as files that its script gives out.
pub(crate) struct FakeWorker {
    dir: PathBuf,
}

impl FakeWorker {
    /// A worker whose work is these lines of shell. `$dir` is its folder.
    pub(crate) fn new(dir: &Path, work: &str) -> Self {
        let dir = dir.join("worker");
        std::fs::create_dir(&dir).unwrap();
        let report = DeviceReport {
            name: "shell".to_owned(),
            kind: DeviceKind::Cpu,
            memory_bytes: 4 << 30,
            mflops: 1,
        };
        let probe = serde_json::json!({ "report": report }).to_string();
        std::fs::write(dir.join("probe"), probe).unwrap();
        std::fs::write(dir.join("work.sh"), format!("{SCRIPT}{work}\n;;\nesac\n")).unwrap();
        let worker = Self { dir };
        let ready = FromWorker::Ready(Ready {
            device: DeviceChoice::Cpu,
            name: "shell".to_owned(),
            software: Software::default(),
        });
        worker.says("ready", &[ready]);
        let fence = || "raised by a test".to_owned();
        worker.has_fences(&SandboxReport {
            memory: fence(),
            files: fence(),
            calls: fence(),
        });
        worker
    }

    /// Puts messages into a file of its folder.
    pub(crate) fn says(&self, file: &str, messages: &[FromWorker]) {
        let frames = messages
            .iter()
            .flat_map(|message| frame::encode(message).unwrap());
        std::fs::write(self.path(file), frames.collect::<Vec<u8>>()).unwrap();
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.dir.join(file)
    }

    /// What it says of its fences.
    pub(crate) fn has_fences(&self, report: &SandboxReport) {
        let line = serde_json::to_string(report).unwrap();
        std::fs::write(self.path("fences"), line).unwrap();
    }

    /// For `worker_command`.
    pub(crate) fn command(&self) -> Vec<String> {
        let path = |path: &Path| path.to_str().unwrap().to_owned();
        vec![
            "/bin/sh".to_owned(),
            path(&self.path("work.sh")),
            path(&self.dir),
        ]
    }
}
