//! What gets out of the fences: every way that we could think of, tried as a raw call
//! by a process that has fenced itself in as a worker does.
//!
//! A fenced process starts no other program, and this one has no unsafe code. So the
//! calls are in C (`escapes.c`), in a library that is loaded before the test program
//! and answers in place of `readlink`: to read the link "/escape/12" is to try case 12.

use std::fmt::Write as _;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::symlink;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::{FOLDER, MEBIBYTE, Needs, enter};

const SOURCE: &str = include_str!("escapes.c");

/// What the inner process is to do: "cpu", "driver", "calls", or a case by number
/// after one of the first two.
const TRIAL: &str = "EMBERMESH_TRIAL";

/// An abstract socket at which somebody listens outside.
const SOCKET: &str = "EMBERMESH_TRIAL_SOCKET";

/// Numbers of calls that are tried one after another: more than there are.
const CALLS: i64 = 512;

/// The number of a call under the x32 ABI.
const X32: i64 = 0x4000_0000;

struct Trial {
    folder: tempfile::TempDir,
    library: PathBuf,
    socket: String,
    _listener: UnixListener,
}

impl Trial {
    /// A folder as a worker finds it, with a secret beside it and links that were there.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("work")).unwrap();
        std::fs::write(at("input"), "input").unwrap();
        std::fs::write(at("secret"), "secret").unwrap();
        symlink("../secret", at("work/link")).unwrap();
        symlink("..", at("work/up")).unwrap();
        let (source, library) = (at("escapes.c"), at("escapes.so"));
        std::fs::write(&source, SOURCE).unwrap();
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
            .args([&library, &source])
            .output()
            .expect("a C compiler");
        assert!(
            compiled.status.success(),
            "{}",
            String::from_utf8_lossy(&compiled.stderr)
        );
        let socket = format!("embermesh-escape-{}", folder.path().display());
        let address = SocketAddr::from_abstract_name(&socket).unwrap();
        let listener = UnixListener::bind_addr(&address).unwrap();
        Self {
            folder,
            library,
            socket,
            _listener: listener,
        }
    }

    /// Runs a trial in a process of its own.
    fn run(&self, what: &str) -> Output {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "sandbox::tests::escapes::inside"])
            .args(["--ignored", "--nocapture"])
            .env(FOLDER, self.folder.path())
            .env(TRIAL, what)
            .env(SOCKET, &self.socket)
            .env("LD_PRELOAD", &self.library)
            .output()
            .unwrap()
    }
}

/// What the inner process says of each case: its name, what it must get, what it got.
struct Tried {
    name: String,
    expected: String,
    got: String,
}

/// Runs all cases of a kind of worker and gives those that got something else.
fn table(kind: &str) -> Vec<Tried> {
    let trial = Trial::new();
    let output = trial.run(kind);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let mut tried = Vec::new();
    let lines = said.lines().filter_map(|line| line.strip_prefix("case;"));
    for line in lines {
        let [number, name, expected, got] = line.split(';').collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        let mut got = got.to_owned();
        if expected == "killed" {
            // Each in a process of its own, because it is its last.
            let ended = trial.run(&format!("{kind} {number}")).status;
            got = match ended.signal() {
                Some(_) => "killed".to_owned(),
                None => format!("{ended}"),
            };
        }
        tried.push(Tried {
            name: name.to_owned(),
            expected: expected.to_owned(),
            got,
        });
    }
    for case in &tried {
        println!("{:<46} {:<22} {}", case.name, case.expected, case.got);
    }
    println!("{} cases, {kind}", tried.len());
    assert!(tried.len() > 150, "the trial did not run: {said}");
    let skips_files = said.contains("files: \"absent");
    tried.retain(|case| {
        let fine = case.expected.split('|').any(|one| one == case.got);
        let skipped = skips_files && case.expected.contains("EACCES");
        if skipped {
            println!("skipped {:?}: this kernel has no landlock", case.name);
        }
        !fine && !skipped
    });
    // What is left outside is as it was.
    let secret = std::fs::read(trial.folder.path().join("secret")).unwrap();
    let input = std::fs::read(trial.folder.path().join("input")).unwrap();
    assert_eq!((&*secret, &*input), (&b"secret"[..], &b"input"[..]));
    tried
}

fn none(wrong: &[Tried]) {
    let mut text = String::new();
    for case in wrong {
        let _ = writeln!(text, "{}: {} where {}", case.name, case.got, case.expected);
    }
    assert!(wrong.is_empty(), "{text}");
}

#[test]
fn nothing_gets_out_of_the_fence_around_a_computation() {
    none(&table("cpu"));
}

#[test]
fn nothing_gets_out_of_the_fence_around_a_driver() {
    none(&table("driver"));
}

/// Not the calls that somebody thought of, but all that are not on the list.
#[test]
fn every_call_that_is_not_on_the_list_is_refused_by_either_number() {
    let trial = Trial::new();
    let output = trial.run("calls");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let answers: Vec<&str> = said
        .lines()
        .filter_map(|line| line.strip_prefix("call;"))
        .collect();
    let got_through: Vec<&&str> = answers
        .iter()
        .filter(|answer| !answer.ends_with(";EPERM") && !answer.ends_with(";ENOSYS"))
        .collect();
    println!("{} calls", answers.len());
    assert!(answers.len() > 700, "the trial did not run: {said}");
    assert!(got_through.is_empty(), "{got_through:?}");
}

fn escape(path: &str) -> String {
    let said = std::fs::read_link(path).expect("the library answers");
    said.to_string_lossy().into_owned()
}

#[test]
#[ignore = "the trials of this file run it in a process of its own"]
fn inside() {
    let (Some(folder), Ok(trial)) = (std::env::var_os(FOLDER), std::env::var(TRIAL)) else {
        return;
    };
    let folder = Path::new(&folder);
    let (kind, case) = trial.split_once(' ').unwrap_or((&trial, ""));
    // As a worker does from its first moment, and when it has read its order.
    crate::worker::raise_guards().unwrap();
    let report = enter(&Needs {
        read: vec![folder.join("input")],
        write: folder.join("work"),
        memory_bytes: 64 * MEBIBYTE,
        output_bytes: MEBIBYTE,
        driver: kind == "driver",
        watches: None,
    });
    println!("{report:?}");
    assert!(report.calls.starts_with("seccomp"), "{report:?}");
    if kind == "calls" {
        for call in (0..CALLS).flat_map(|call| [call, call | X32]) {
            // The kernel's own way back out of a probe goes by every filter, and kills
            // whoever calls it from anywhere else.
            let probes = matches!(call & !X32, 335 | 336);
            if !probes && !super::super::calls::allows(call) {
                println!("call;{call};{}", escape(&format!("/call/{call}")));
            }
        }
        return;
    }
    if !case.is_empty() {
        panic!("it went on with {}", escape(&format!("/escape/{case}")));
    }
    for number in 0.. {
        let what = escape(&format!("/escape-what/{number}"));
        if what == "end" {
            break;
        }
        let mut tried = what;
        let expected = |tried: &str| {
            let column = if kind == "driver" { 2 } else { 1 };
            tried.split(';').nth(column).unwrap().to_owned()
        };
        match expected(&tried).as_str() {
            "-" => continue,
            "killed" => {}
            _ => tried = escape(&format!("/escape/{number}")),
        }
        let name = tried.split(';').next().unwrap();
        let got = tried.rsplit(';').next().unwrap();
        println!("case;{number};{name};{};{got}", expected(&tried));
    }
}
