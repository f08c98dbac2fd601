//! Python: what a program is given and leaves, and what its walls keep from it.

use std::collections::BTreeMap;
use std::io::Write as _;

use embermesh_compute::{FailureClass, pipe::ToWorker};
use embermesh_job::spec::Runtime;

use crate::ran::{GONE_WITHIN, Started, nobody_has, order, processes_with, python, script};
use crate::{needs_python, support::Bench};

const GIVEN: &str = r#"
import os, sys, pathlib
print("args", sys.argv[1:], "DEPTH", os.environ["DEPTH"], "cwd", os.getcwd())
print("stdin", sys.stdin.read())
print("user", os.getuid(), "names", sorted(os.listdir("/")))
print("inputs", sorted(os.listdir("/inputs")), open("/inputs/data/a.txt").read())
print("é", file=sys.stderr)
pathlib.Path("out.json").write_text("{}")
pathlib.Path("more").mkdir()
pathlib.Path("more/b.txt").write_text("b")
pathlib.Path("more/a.txt").write_text("a")
os.symlink("/etc/passwd", "link")
"#;

fn given(bench: &mut Bench) -> embermesh_compute::pipe::WorkOrder {
    let mut it = script(bench, Runtime::Python, GIVEN.as_bytes());
    it.args = vec!["one".to_owned(), "two words".to_owned()];
    it.env = BTreeMap::from([("DEPTH".to_owned(), "3".to_owned())]);
    it.stdin = Some("a line".to_owned());
    it.inputs = BTreeMap::from([("data/a.txt".to_owned(), bench.input(b"text"))]);
    it.outputs = vec!["out.json".to_owned()];
    order(bench, it)
}

#[test]
fn a_program_is_given_what_the_spec_says_and_its_folder_comes_back() {
    needs_python!();
    let mut archives = Vec::new();
    for _ in 0..2 {
        let mut bench = Bench::new();
        let order = given(&mut bench);
        let ran = Started::new(order).end();
        assert_eq!(ran.failed, None);
        let says = |text: &str| assert!(ran.stdout.contains(text), "{text}: {}", ran.stdout);
        says("args ['one', 'two words'] DEPTH 3 cwd /work");
        says("stdin a line");
        says("user 65534");
        says("inputs ['data'] text");
        assert!(!ran.stdout.contains("home") && !ran.stdout.contains("root'"));
        assert_eq!(ran.stderr, "é\n");
        assert_eq!(
            std::fs::read_to_string(&ran.artifacts["out.json"]).unwrap(),
            "{}"
        );
        let archive = std::fs::read(&ran.artifacts["work.tar"]).unwrap();
        let mut names = Vec::new();
        for entry in tar::Archive::new(archive.as_slice()).entries().unwrap() {
            names.push(entry.unwrap().path().unwrap().display().to_string());
        }
        assert_eq!(names, ["more/", "more/a.txt", "more/b.txt"]);
        archives.push(archive);
    }
    assert_eq!(
        archives[0], archives[1],
        "the same folder gives the same bytes"
    );
}

fn zipped(files: &[(&str, &str)]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, text) in files {
        zip.start_file(*name, zip::write::SimpleFileOptions::default())
            .unwrap();
        zip.write_all(text.as_bytes()).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

#[test]
fn an_archive_is_run_by_its_entry_or_its_main() {
    needs_python!();
    let files = [
        ("app/__init__.py", ""),
        ("app/words.py", "WORD = 'from the archive'\n"),
        (
            "app/main.py",
            "from app.words import WORD\nimport sys\nprint(WORD, sys.argv[1:])\n",
        ),
        ("__main__.py", "import app.main\n"),
    ];
    for entry in [Some("app.main".to_owned()), None] {
        let mut bench = Bench::new();
        let mut it = script(&mut bench, Runtime::Python, &zipped(&files));
        it.entry = entry;
        it.args = vec!["x".to_owned()];
        let order = order(&mut bench, it);
        let ran = Started::new(order).end();
        assert_eq!(ran.failed, None);
        assert_eq!(ran.stdout, "from the archive ['x']\n");
        assert!(ran.artifacts.is_empty(), "nothing was made");
    }
}

#[test]
fn an_exit_code_fails_the_job_with_the_last_lines() {
    needs_python!();
    let ran = python("print('begins')\nraise SystemExit(3)\n");
    assert_eq!(
        ran.refused(),
        "the program ended with exit code 3; its last lines:\nbegins"
    );
    let ran = python("def f():\n    return 1 / 0\nf()\n");
    let message = ran.refused();
    assert!(
        message.contains("exit code 1") && message.ends_with("ZeroDivisionError: division by zero")
    );
    let ran = python("import os\nos.abort()\n");
    assert!(ran.refused().contains("signal 6"), "{}", ran.refused());
    let ran = python("this is no python\n");
    assert!(ran.refused().contains("SyntaxError"));
}

#[test]
fn a_result_that_was_not_made_is_named_and_a_link_is_none() {
    needs_python!();
    for source in ["", "import os\nos.symlink('/etc/passwd', 'out.json')\n"] {
        let mut bench = Bench::new();
        let mut it = script(
            &mut bench,
            Runtime::Python,
            format!("{source}\n").as_bytes(),
        );
        it.outputs = vec!["out.json".to_owned()];
        let order = order(&mut bench, it);
        let ran = Started::new(order).end();
        assert!(ran.refused().contains("\"out.json\""), "{}", ran.refused());
        assert!(ran.artifacts.is_empty());
    }
}

#[test]
fn an_input_that_is_not_what_the_spec_names_is_not_run() {
    needs_python!();
    let mut bench = Bench::new();
    let it = script(&mut bench, Runtime::Python, b"print(1)\n");
    let order = order(&mut bench, it);
    let path = order.inputs.values().next().unwrap();
    std::fs::write(path, "print(2)\n").unwrap();
    let ran = Started::new(order).end();
    let (class, message) = ran.failed.unwrap();
    assert_eq!(class, FailureClass::Internal);
    assert!(message.contains("corrupt"), "{message}");
    assert_eq!(ran.stdout, "");
}

/// Everything a program might try; each line of the answer says that it failed.
const ESCAPES: &str = r#"
import ctypes, os, socket, subprocess, sys
def tried(what, attempt):
    try:
        attempt()
        print("ESCAPED", what)
    except (OSError, ValueError) as error:
        print("refused", what)
def call(number, *args):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(number, *args) < 0:
        raise OSError(ctypes.get_errno(), "refused")
def connect(family, address):
    socket.socket(family, socket.SOCK_STREAM).connect(address)
HOST_PID = int(os.environ["HOST_PID"])
for path in ("/etc/shadow", "/etc/passwd", os.environ["SECRET"], "/root", "/home", "/var/lib", "/sys/kernel"):
    tried("read " + path, lambda: os.stat(path))
for path in ("/usr/x", "/inputs/x", "/program/x", "/x", "/proc/sys/kernel/hostname", "/proc/self/oom_score_adj", "/dev/x"):
    tried("write " + path, lambda: open(path, "w").write("x"))
tried("inet", lambda: connect(socket.AF_INET, ("127.0.0.1", 80)))
tried("inet6", lambda: connect(socket.AF_INET6, ("::1", 80)))
tried("netlink", lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0))
tried("packet", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
tried("abstract socket", lambda: connect(socket.AF_UNIX, "\0" + os.environ["ABSTRACT"]))
tried("signal the worker", lambda: os.kill(HOST_PID, 0))
tried("ptrace", lambda: call(101, 16, 1, 0, 0))
tried("ptrace traceme", lambda: call(101, 0, 0, 0, 0))
tried("process_vm_readv", lambda: call(310, 1, 0, 0, 0, 0, 0))
tried("unshare user", lambda: call(272, 0x10000000))
tried("clone user", lambda: call(56, 0x10000000 | 17, 0, 0, 0, 0))
tried("clone3", lambda: call(435, 0, 0))
tried("setns", lambda: call(308, os.open("/proc/self/ns/net", os.O_RDONLY), 0))
tried("mount", lambda: call(165, b"none", b"/tmp", b"tmpfs", 0, 0))
tried("chroot", lambda: os.chroot("/tmp"))
tried("bpf", lambda: call(321, 0, 0, 0))
tried("io_uring", lambda: call(425, 1, 0))
tried("userfaultfd", lambda: call(323, 0))
tried("perf", lambda: call(298, 0, 0, -1, -1, 0))
tried("keyctl", lambda: call(250, 0, -3, 0))
tried("memfd", lambda: os.memfd_create("x"))
tried("shm segment", lambda: call(29, 0, 4096, 0o1600))
tried("mknod", lambda: os.mknod("/work/disk", 0o60600, os.makedev(8, 0)))
tried("setuid", lambda: os.setuid(0))
tried("nice", lambda: os.setpriority(os.PRIO_PROCESS, 0, -20))
import resource
tried("raise limits", lambda: resource.setrlimit(resource.RLIMIT_DATA, (-1, -1)))
print("descriptors", sorted(os.listdir("/proc/self/fd")))
print("processes", sorted(int(p) for p in os.listdir("/proc") if p.isdigit()))
print("powers", [l for l in open("/proc/self/status") if l.startswith(("CapEff", "NoNewPrivs", "Seccomp:"))])
print("secrets", [n for n in os.environ if "SECRET_OF_THE_NODE" in n])
"#;

#[test]
fn the_walls_hold() {
    needs_python!();
    let mut bench = Bench::new();
    let secret = bench.path().join("secret");
    std::fs::write(&secret, "secret").unwrap();
    let mut it = script(&mut bench, Runtime::Python, ESCAPES.as_bytes());
    use std::os::linux::net::SocketAddrExt as _;
    let name = format!("embermesh-{}", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    let _listening = std::os::unix::net::UnixListener::bind_addr(&address).unwrap();
    for (name, value) in [
        ("SECRET", secret.display().to_string()),
        ("ABSTRACT", name),
        ("HOST_PID", std::process::id().to_string()),
    ] {
        it.env.insert(name.to_owned(), value);
    }
    let order = order(&mut bench, it);
    let ran = Started::new(order).end();
    assert_eq!(ran.failed, None);
    assert!(!ran.stdout.contains("ESCAPED"), "{}", ran.stdout);
    assert_eq!(ran.stdout.matches("refused").count(), 40, "{}", ran.stdout);
    assert!(
        ran.stdout.contains("CapEff:\\t0000000000000000"),
        "{}",
        ran.stdout
    );
    assert!(ran.stdout.contains("NoNewPrivs:\\t1") && ran.stdout.contains("Seccomp:\\t2"));
    // The listing itself and a namespace of its own are two of them; those of bubblewrap
    // and of the worker are not there.
    assert!(
        ran.stdout.contains("descriptors ['0', '1', '2', '3', '4']"),
        "{}",
        ran.stdout
    );
    assert!(ran.stdout.contains("processes [1, 2]"), "{}", ran.stdout);
}

#[test]
fn its_own_processes_threads_and_local_sockets_work() {
    needs_python!();
    let ran = python(
        "import multiprocessing, subprocess, threading, socket, tempfile\n\
         if __name__ == '__main__':\n\
         \x20   with multiprocessing.Pool(2) as pool:\n\
         \x20       print(pool.map(abs, [-1, 2]))\n\
         \x20   print(subprocess.run(['/bin/echo', 'hello'], capture_output=True).stdout)\n\
         \x20   t = threading.Thread(target=print, args=('thread',)); t.start(); t.join()\n\
         \x20   a, b = socket.socketpair(); a.send(b'x'); print(b.recv(1))\n\
         \x20   print(tempfile.mkdtemp().startswith('/tmp/'))\n",
    );
    assert_eq!(ran.failed, None);
    assert_eq!(ran.stdout, "[1, 2]\nb'hello\\n'\nthread\nb'x'\nTrue\n");
}

/// A program that carries a word by which its processes are found.
fn marked(bench: &mut Bench, word: &str, source: &str) -> embermesh_compute::pipe::WorkOrder {
    let mut it = script(bench, Runtime::Python, source.as_bytes());
    it.env.insert("MARK".to_owned(), word.to_owned());
    order(bench, it)
}

/// Three processes of sessions of their own, of which the last is nobody's child.
const DAEMONS: &str = "\
import os, time\n\
for _ in range(3):\n\
\x20   if os.fork() == 0:\n\
\x20       os.setsid()\n\
\x20       if os.fork() == 0:\n\
\x20           null = os.open('/dev/null', os.O_RDWR)\n\
\x20           for fd in (0, 1, 2): os.dup2(null, fd)\n\
\x20           time.sleep(3600)\n\
\x20       os._exit(0)\n\
\x20   os.wait()\n\
print('daemons', flush=True)\n";

#[test]
fn what_a_program_leaves_running_ends_with_it() {
    needs_python!();
    let mut bench = Bench::new();
    let order = marked(&mut bench, "mark-daemons-4711", DAEMONS);
    let ran = Started::new(order).end();
    assert_eq!(
        (ran.failed.as_ref(), ran.stdout.as_str()),
        (None, "daemons\n")
    );
    assert!(
        processes_with("mark-daemons-4711").is_empty(),
        "gone before the results are taken"
    );
}

#[test]
fn a_cancel_ends_all_of_it() {
    needs_python!();
    let mut bench = Bench::new();
    let source = format!("{DAEMONS}\nwhile True: pass\n");
    let order = marked(&mut bench, "mark-cancel-4712", &source);
    let mut started = Started::new(order);
    started.until_it_says("daemons");
    assert!(processes_with("mark-cancel-4712").len() >= 4);
    let since = std::time::Instant::now();
    started.say(&ToWorker::Cancel);
    let ran = started.end();
    assert!(ran.cancelled && since.elapsed() < GONE_WITHIN, "{ran:?}");
    nobody_has("mark-cancel-4712");
}

#[test]
fn a_worker_that_is_killed_takes_its_program_along() {
    needs_python!();
    let mut bench = Bench::new();
    let source = format!("{DAEMONS}\nimport time\ntime.sleep(3600)\n");
    let order = marked(&mut bench, "mark-killed-4713", &source);
    let mut started = Started::new(order);
    started.until_it_says("daemons");
    let pid = rustix::process::Pid::from_raw(started.pid().try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    started.end();
    nobody_has("mark-killed-4713");
}
