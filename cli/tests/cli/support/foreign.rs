//! Clients of foreign systems in their own languages (`clients/`), as processes. What they
//! run with is what `scripts/clients` installs.

use std::{
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use serde_json::Value;
use tokio::{process::Command, time::timeout};

use super::{PATIENCE, stderr};

/// Set where a test that would be skipped has to fail.
const SKIP_NOTHING: &str = "SKIP_NOTHING";

/// Python and Node, with the packages of the clients.
pub(crate) struct Foreign {
    installed: PathBuf,
    clients: PathBuf,
}

impl Foreign {
    /// What is installed; `None`, and the reason on stdout, where it is not and tests may
    /// be skipped.
    pub(crate) fn installed() -> Option<Self> {
        let folder = |name: &str| std::env::var_os(name).map(PathBuf::from);
        let cache = folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join(".cache")));
        let installed = cache.unwrap_or_default().join("embermesh/clients");
        if !installed.join("ready").is_file() {
            assert!(
                std::env::var_os(SKIP_NOTHING).is_none(),
                "what foreign clients run with is missing: run scripts/clients"
            );
            println!("skipped: what foreign clients run with is missing: run scripts/clients");
            return None;
        }
        Some(Self {
            installed,
            clients: Path::new(env!("CARGO_MANIFEST_DIR")).join("../clients"),
        })
    }

    /// What a client in Python saw.
    pub(crate) async fn python(&self, name: &str, words: &[&str]) -> Value {
        seen(self.run_python(name, words).await)
    }

    /// What a client in TypeScript saw.
    pub(crate) async fn typescript(&self, name: &str, words: &[&str]) -> Value {
        seen(self.run_typescript(name, words).await)
    }

    /// Runs a client in Python to its end.
    pub(crate) async fn run_python(&self, name: &str, words: &[&str]) -> Output {
        let mut command = Command::new(self.python_program());
        command.arg(self.clients.join("python").join(name));
        ended(command.args(words)).await
    }

    /// Runs a client in TypeScript to its end.
    pub(crate) async fn run_typescript(&self, name: &str, words: &[&str]) -> Output {
        let packages = self.installed.join("node/node_modules");
        let mut command = Command::new(packages.join(".bin/tsx"));
        command
            .env("NODE_PATH", &packages)
            .arg(self.clients.join("typescript").join(name));
        ended(command.args(words)).await
    }

    /// Runs a line of a shell to its end, in which `grpcurl` is the client of that name.
    pub(crate) async fn shell(&self, line: &str) -> Output {
        let program = self.clients.join("python/grpcurl.py");
        let script = format!(
            "grpcurl() {{ '{}' '{}' \"$@\"; }}\n{line}",
            self.python_program().display(),
            program.display()
        );
        ended(Command::new("bash").args(["-c", &script])).await
    }

    fn python_program(&self) -> PathBuf {
        self.installed.join("venv/bin/python")
    }
}

async fn ended(command: &mut Command) -> Output {
    command
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = timeout(2 * PATIENCE, command.output()).await;
    output.expect("it ends in time").unwrap()
}

fn seen(output: Output) -> Value {
    assert!(output.status.success(), "{}", stderr(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}
