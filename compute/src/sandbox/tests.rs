//! The fences, tried from inside. They hold for the rest of a process's life,
//! so the trial runs in a process of its own: this test binary again.
#![allow(clippy::unwrap_used, reason = "what cannot be set up must fail")]

mod escapes;

use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rustix::process::{Resource, Rlimit, Signal, getppid, kill_process, setrlimit};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

use super::{Needs, enter};

/// Names the folder of the trial, and says that this is the inner process.
const FOLDER: &str = "EMBERMESH_TRIAL_FOLDER";

const MEBIBYTE: u64 = 1024 * 1024;

/// Runs an ignored test of this file in a process of its own.
fn apart(name: &str, folder: &Path) -> Output {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--ignored", "--nocapture"])
        .env(FOLDER, folder)
        .output()
        .unwrap()
}

#[test]
fn the_fences_hold() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("work")).unwrap();
    std::fs::write(folder.path().join("input"), "input").unwrap();
    std::fs::write(folder.path().join("secret"), "secret").unwrap();
    let output = apart("sandbox::tests::from_inside", folder.path());
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{complained}");
    assert!(said.contains("1 passed"), "the trial did not run: {said}");
}

/// The plan of a model is an estimate; what goes over it meets the kernel.
#[test]
fn a_process_that_takes_more_than_its_ceiling_dies_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let output = apart("sandbox::tests::too_much", folder.path());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(stderr.contains("memory allocation of"), "{stderr}");
}

#[test]
#[ignore = "a_process_that_takes_more_than_its_ceiling_dies_of_it runs it apart"]
fn too_much() {
    if std::env::var_os(FOLDER).is_some() {
        crate::sandbox::limits::memory(MEBIBYTE);
        let held = vec![1_u8; (256 * MEBIBYTE) as usize];
        std::hint::black_box(held);
    }
}

/// A kernel that lacks them is played by a filter that says so.
#[test]
fn a_kernel_that_lacks_a_fence_is_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let output = apart("sandbox::tests::without", folder.path());
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{complained}");
    assert!(said.contains("1 passed"), "the trial did not run: {said}");
}

#[test]
#[ignore = "a_kernel_that_lacks_a_fence_is_told_of runs it apart"]
fn without() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else {
        return;
    };
    let absent = [libc::SYS_landlock_create_ruleset, libc::SYS_seccomp];
    let filter = SeccompFilter::new(
        absent.map(|call| (call, Vec::new())).into(),
        SeccompAction::Allow,
        SeccompAction::Errno(libc::ENOSYS.unsigned_abs()),
        std::env::consts::ARCH.try_into().unwrap(),
    );
    let program: BpfProgram = filter.unwrap().try_into().unwrap();
    seccompiler::apply_filter(&program).unwrap();
    let report = enter(&Needs {
        read: Vec::new(),
        write: folder,
        memory_bytes: 256 * MEBIBYTE,
        output_bytes: MEBIBYTE,
        driver: false,
        watches: None,
    });
    let absent = report.absent();
    assert_eq!(absent.len(), 2, "{report:?}");
    assert_eq!(absent[0].0, "files");
    assert!(absent[0].1.contains("no landlock"), "{report:?}");
    assert_eq!(absent[1].0, "calls");
    assert!(report.memory.starts_with("limited"), "{report:?}");
}

#[test]
#[ignore = "the_fences_hold runs it in a process of its own"]
fn from_inside() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else {
        return;
    };
    let (input, secret, work) = (
        folder.join("input"),
        folder.join("secret"),
        folder.join("work"),
    );
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let report = enter(&Needs {
        read: vec![input.clone()],
        write: work.clone(),
        memory_bytes: 256 * MEBIBYTE,
        output_bytes: MEBIBYTE,
        driver: false,
        watches: None,
    });
    println!("{report:?}");
    assert!(report.memory.starts_with("limited"), "{report:?}");
    assert!(report.calls.starts_with("seccomp"), "{report:?}");

    let denied = ErrorKind::PermissionDenied;
    assert_eq!(TcpListener::bind("127.0.0.1:0").unwrap_err().kind(), denied);
    assert_eq!(TcpStream::connect(address).unwrap_err().kind(), denied);
    assert_eq!(UnixDatagram::unbound().unwrap_err().kind(), denied);
    assert!(listener.set_nonblocking(true).is_ok());
    assert_eq!(listener.accept().unwrap_err().kind(), denied);
    assert!(Command::new("/bin/true").spawn().is_err());
    let parent = getppid().unwrap();
    assert_eq!(
        kill_process(parent, Signal::USR1),
        Err(rustix::io::Errno::PERM)
    );
    let wide = Rlimit {
        current: None,
        maximum: None,
    };
    assert_eq!(
        setrlimit(Resource::Data, wide),
        Err(rustix::io::Errno::PERM)
    );

    if report.files.starts_with("absent") {
        println!("skipped what landlock fences: {}", report.files);
    } else {
        assert_eq!(std::fs::read(&secret).unwrap_err().kind(), denied);
        assert_eq!(std::fs::read("/etc/passwd").unwrap_err().kind(), denied);
        assert_eq!(std::fs::read_dir("/").unwrap_err().kind(), denied);
        assert_eq!(std::fs::write(&input, "x").unwrap_err().kind(), denied);
        assert_eq!(
            std::fs::write(folder.join("new"), "x").unwrap_err().kind(),
            denied
        );
        let moved = std::fs::rename(&input, work.join("stolen"));
        assert!(moved.is_err());
    }

    // What the work needs still works, in a thread that comes later too.
    std::thread::spawn(move || {
        assert_eq!(std::fs::read(&input).unwrap(), b"input");
        std::fs::write(work.join("part"), "weights").unwrap();
        std::fs::rename(work.join("part"), work.join("whole")).unwrap();
        assert_eq!(
            std::fs::read(&secret).is_err(),
            !report.files.starts_with("absent")
        );
        assert!(TcpListener::bind("127.0.0.1:0").is_err());
    })
    .join()
    .unwrap();

    let mut within: Vec<u8> = Vec::new();
    within.try_reserve_exact((128 * MEBIBYTE) as usize).unwrap();
    let mut beyond: Vec<u8> = Vec::new();
    assert!(beyond.try_reserve_exact((512 * MEBIBYTE) as usize).is_err());
}
