//! Whether a runtime works on this machine, found out by running a small program in
//! it: `embermesh worker --probe-runtime python` prints one line of JSON.

use std::{
    io::{IsTerminal as _, Read as _},
    process::ExitCode,
};

use embermesh_job::spec::Runtime;
use serde::{Deserialize, Serialize};

use super::ScriptFailed;

/// The flag.
pub const FLAG: &str = "--probe-runtime";

/// What a probe of a runtime prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuntimeReport {
    /// It works; what it calls itself.
    Works(String),
    /// It does not, and why.
    Fault(String),
}

/// Probes a runtime in this process and prints what came of it. It begins when its input
/// ends: who starts it may have to put it somewhere first.
pub(crate) fn main(runtime: Runtime) -> ExitCode {
    let mut input = std::io::stdin();
    if !input.is_terminal() {
        // Whatever comes of it, there is nothing more to wait for.
        let _ = input.read(&mut [0]);
    }
    let report = match probe(runtime) {
        Ok(name) => RuntimeReport::Works(name),
        Err(ScriptFailed::NoRuntime(reason)) => RuntimeReport::Fault(reason),
        Err(failed) => RuntimeReport::Fault(failed.to_string()),
    };
    match serde_json::to_string(&report) {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn probe(runtime: Runtime) -> Result<String, ScriptFailed> {
    match runtime {
        Runtime::Wasm => wasm(),
        #[cfg(target_os = "linux")]
        Runtime::Python => python::probe(),
        #[cfg(not(target_os = "linux"))]
        Runtime::Python => Err(ScriptFailed::NoRuntime(
            "Python programs run on Linux only".to_owned(),
        )),
    }
}

/// A module that is compiled and run: whether this processor and this system let
/// compiled code run.
fn wasm() -> Result<String, ScriptFailed> {
    /// `(module (func (export "f") (result i32) i32.const 42))`
    const MODULE: &[u8] = b"\0asm\x01\0\0\0\x01\x05\x01\x60\0\x01\x7f\x03\x02\x01\0\
        \x07\x05\x01\x01f\0\0\x0a\x06\x01\x04\0\x41\x2a\x0b";
    let run = || -> wasmtime::Result<i32> {
        let engine = wasmtime::Engine::default();
        let module = wasmtime::Module::new(&engine, MODULE)?;
        let mut store = wasmtime::Store::new(&engine, ());
        let instance = wasmtime::Instance::new(&mut store, &module, &[])?;
        instance
            .get_typed_func::<(), i32>(&mut store, "f")?
            .call(&mut store, ())
    };
    match run() {
        Ok(42) => Ok("wasmtime, WASI preview 1".to_owned()),
        Ok(other) => Err(ScriptFailed::NoRuntime(format!("42 came out as {other}"))),
        Err(error) => Err(ScriptFailed::NoRuntime(format!("{error:#}"))),
    }
}

#[cfg(target_os = "linux")]
mod python {
    //! A program under the same walls, filter and limits as a client's.

    use std::collections::BTreeMap;
    use std::io::{ErrorKind, Read};
    use std::path::{Path, PathBuf};

    use embermesh_job::crypto::Digest;
    use embermesh_job::spec::{Input, Runtime, Script};

    use super::super::layout::Layout;
    use super::super::python::{BWRAP, PYTHON, Running, missing, start};
    use super::super::watch::Running as _;
    use super::ScriptFailed;
    use crate::device::DeviceChoice;
    use crate::pipe::{Ceilings, WorkOrder};

    /// It says its version, and tells of what it should not have.
    const PROGRAM: &str = "\
import os, platform, socket\n\
bad = [p for p in ('/home', '/root', '/etc/passwd') if os.path.exists(p)]\n\
try:\n    socket.socket(socket.AF_INET)\n    bad.append('a socket')\n\
except OSError:\n    pass\n\
print('sees ' + ', '.join(bad) if bad else 'Python ' + platform.python_version())\n";

    const ENOUGH: u64 = 256 << 20;

    /// Bytes of an answer that are read.
    const MAX_ANSWER: u64 = 1024;

    pub(super) fn probe() -> Result<String, ScriptFailed> {
        for program in [BWRAP, PYTHON] {
            if !Path::new(program).exists() {
                return Err(missing(program));
            }
        }
        let children = "/proc/self/task";
        let counts = std::fs::read_dir(children).is_ok_and(|threads| {
            threads
                .flatten()
                .all(|thread| thread.path().join("children").exists())
        });
        if !counts {
            return Err(ScriptFailed::NoRuntime(
                "the system does not list a process's children: it needs CONFIG_PROC_CHILDREN"
                    .to_owned(),
            ));
        }
        let folder = Folder::make().map_err(|error| ScriptFailed::NoRuntime(error.to_string()))?;
        run(&folder.0).map_err(ScriptFailed::NoRuntime)
    }

    fn run(folder: &Path) -> Result<String, String> {
        let program = folder.join("source");
        std::fs::write(&program, PROGRAM).map_err(|error| error.to_string())?;
        let input = Input {
            digest: Digest::of(PROGRAM.as_bytes()),
            size: PROGRAM.len() as u64,
        };
        let script = Script {
            runtime: Runtime::Python,
            program: input,
            entry: None,
            args: Vec::new(),
            env: BTreeMap::new(),
            stdin: None,
            inputs: BTreeMap::new(),
            outputs: Vec::new(),
            archive: false,
            cpu: None,
            fuel: None,
        };
        let order = WorkOrder {
            spec: String::new(),
            attempt: None,
            device: DeviceChoice::Cpu,
            inputs: BTreeMap::from([(input.digest, program)]),
            resume: None,
            workdir: folder.to_owned(),
            ceilings: Ceilings {
                memory_bytes: ENOUGH,
                output_bytes: ENOUGH,
            },
            threads: 1,
        };
        let layout = Layout::make(&script, &order).map_err(|error| error.to_string())?;
        let mut running = start(&script, &layout, &order).map_err(|error| error.to_string())?;
        answer(&mut running)
    }

    /// What it said, once it has ended well.
    fn answer(running: &mut Running) -> Result<String, String> {
        let (mut said, mut complained) = (String::new(), String::new());
        let (stdout, stderr) = running.outputs().ok_or("it has no pipes")?;
        let read = |from: &mut dyn Read, to: &mut String| {
            let mut bytes = Vec::new();
            let _ = from.take(MAX_ANSWER).read_to_end(&mut bytes);
            *to = String::from_utf8_lossy(&bytes).trim().to_owned();
        };
        read(stdout, &mut said);
        read(stderr, &mut complained);
        let ended = loop {
            match running.ended() {
                Some(ended) => break ended,
                // It has closed its pipes.
                None => std::thread::sleep(std::time::Duration::from_millis(5)),
            }
        };
        match ended {
            Ok(()) if said.starts_with("Python ") => Ok(said),
            Ok(()) => Err(format!("its sandbox does not hold: it {said}")),
            Err(failed) if complained.is_empty() => Err(failed.to_string()),
            Err(_) => Err(complained),
        }
    }

    /// A folder that is removed with its value.
    struct Folder(PathBuf);

    impl Folder {
        fn make() -> std::io::Result<Self> {
            use std::os::unix::fs::DirBuilderExt as _;
            let mut tries = 0;
            loop {
                let name = format!("embermesh-probe-{}-{tries}", std::process::id());
                let path = std::env::temp_dir().join(name);
                match std::fs::DirBuilder::new().mode(0o700).create(&path) {
                    Ok(()) => return Ok(Self(path)),
                    // Of a probe that was killed, with the same number.
                    Err(error) if error.kind() == ErrorKind::AlreadyExists && tries < 16 => {
                        tries += 1;
                    }
                    Err(error) => return Err(error),
                }
            }
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}
