//! Programs that take all they can. Each is ended at its ceiling, in words that name
//! the limit, and nothing of it is left.

use std::time::Duration;

use embermesh_job::spec::Runtime;
use embermesh_job::units::Millis;

use crate::ran::{Ran, Started, nobody_has, order, python, script};
use crate::{needs_python, support::Bench};

/// A ceiling is seen within a second; a busy machine, and a start, take their time.
const SOON: Duration = Duration::from_secs(30);

fn ended(ran: &Ran, word: &str) {
    let message = ran.refused();
    assert!(message.contains(word), "{message}");
    assert!(ran.took < SOON, "{:?}", ran.took);
}

/// Each bomb here has an end of its own, of some thousand processes that sleep: walls
/// that do not hold are to fail a test, not the machine that it runs on.
const FORKS: &str = "\
import os, time\n\
for _ in range(11):\n\
\x20   try:\n\
\x20       os.fork()\n\
\x20   except OSError:\n\
\x20       pass\n\
time.sleep(60)\n";

#[test]
fn a_fork_bomb_is_ended_and_never_has_many_processes() {
    needs_python!();
    let mut bench = Bench::new();
    let mut it = script(&mut bench, Runtime::Python, FORKS.as_bytes());
    it.env
        .insert("MARK".to_owned(), "mark-bomb-4714".to_owned());
    let order = order(&mut bench, it);
    let ran = Started::new(order).end();
    // So many interpreters may be too much memory first.
    ended(&ran, "the program ");
    nobody_has("mark-bomb-4714");
    // The kernel stops at its own limit, whoever is watching.
    let ran = python(
        "import os, signal\n\
         forked = 0\n\
         for _ in range(1000):\n\
         \x20   try:\n\
         \x20       pid = os.fork()\n\
         \x20   except OSError as error:\n\
         \x20       print(forked, error.strerror, flush=True)\n\
         \x20       break\n\
         \x20   if pid == 0: signal.pause()\n\
         \x20   forked += 1\n\
         signal.pause()\n",
    );
    ended(&ran, "the program ");
    let forked: u32 = ran.stdout.split(' ').next().unwrap().parse().unwrap_or(0);
    assert!(forked < 160, "{}", ran.stdout);
}

#[test]
fn a_bomb_of_threads_is_ended() {
    needs_python!();
    let ran = python(
        "import threading, time\n\
         threading.stack_size(1 << 16)\n\
         for _ in range(1000):\n\
         \x20   try:\n\
         \x20       threading.Thread(target=time.sleep, args=(60,)).start()\n\
         \x20   except RuntimeError:\n\
         \x20       pass\n\
         time.sleep(60)\n",
    );
    ended(&ran, "threads and processes");
}

#[test]
fn a_process_that_takes_all_memory_is_refused_it() {
    needs_python!();
    let ran = python("held = []\nwhile True:\n    held.append(bytearray(1 << 20))\n");
    let message = ran.refused();
    assert!(
        message.contains("MemoryError") || message.contains("limits.memory"),
        "{message}"
    );
}

#[test]
fn processes_that_take_all_memory_together_are_ended() {
    needs_python!();
    let ran = python(
        "import os, time\n\
         for _ in range(8):\n\
         \x20   if os.fork() == 0:\n\
         \x20       held = bytearray(os.urandom(1 << 20)) * 64\n\
         \x20       time.sleep(3600)\n\
         time.sleep(3600)\n",
    );
    ended(&ran, "limits.memory");
    // What is shared is seen as well.
    let ran = python(
        "import mmap, time\n\
         held = mmap.mmap(-1, 1 << 30)\n\
         for at in range(0, 1 << 30, 4096): held[at] = 1\n\
         time.sleep(3600)\n",
    );
    ended(&ran, "limits.memory");
}

#[test]
fn files_in_memory_have_a_size() {
    needs_python!();
    let ran = python(
        "for path in ('/tmp/x', '/dev/shm/x'):\n\
         \x20   written = 0\n\
         \x20   try:\n\
         \x20       with open(path, 'wb', 0) as file:\n\
         \x20           while True: written += file.write(bytes(1 << 20))\n\
         \x20   except OSError as error:\n\
         \x20       print(error.strerror, written <= 32 << 20)\n\
         try:\n\
         \x20   open('/dev/x', 'wb')\n\
         except OSError as error:\n\
         \x20   print(error.strerror)\n",
    );
    assert_eq!(ran.failed, None);
    assert!(!ran.stdout.contains("False"), "{}", ran.stdout);
    assert!(
        ran.stdout.contains("Read-only file system"),
        "{}",
        ran.stdout
    );
}

#[test]
fn output_without_end_is_ended() {
    needs_python!();
    let ran = python("while True: print('and on and on' * 100)\n");
    ended(&ran, "limits.output");
    assert!(ran.stdout.len() <= 16 << 20);
    // In silence on the other stream, and in no characters at all.
    let ran = python("import os\nwhile True: os.write(2, b'\\xff' * 65536)\n");
    ended(&ran, "limits.output");
}

#[test]
fn a_loop_without_end_uses_up_its_time() {
    needs_python!();
    let mut bench = Bench::new();
    let source = b"import os\nos.fork(); os.fork()\nwhile True: pass\n";
    let mut it = script(&mut bench, Runtime::Python, source);
    // All four together.
    it.cpu = Some(Millis(700));
    let order = order(&mut bench, it);
    let ran = Started::new(order).end();
    ended(&ran, "script.cpu");
}

#[test]
fn one_huge_file_and_many_files_are_ended() {
    needs_python!();
    let ran = python("open('huge', 'wb').truncate(1 << 40)\n");
    assert!(
        ran.refused().contains("File too large"),
        "{}",
        ran.refused()
    );
    let ran = python(
        "import os\n\
         for number in range(1 << 30):\n\
         \x20   open(str(number), 'wb').write(os.urandom(1 << 20))\n",
    );
    ended(&ran, "limits.output");
    let ran = python("for number in range(1 << 30): open(str(number), 'wb')\n");
    // Making them takes the time that the disk takes.
    assert!(ran.refused().contains("files and folders"), "{ran:?}");
}

#[test]
fn folders_without_end_closed_folders_and_no_folder_are_borne() {
    needs_python!();
    let ran = python(
        "import os\n\
         for _ in range(5000):\n\
         \x20   os.mkdir('d'); os.chdir('d')\n",
    );
    ended(&ran, "in each other");
    let ran = python(
        "import os\nos.mkdir('closed')\nopen('closed/x', 'w')\nos.chmod('closed', 0)\nprint('closed')\n",
    );
    // Whether a folder that is closed to its owner can be read is the system's to say.
    match &ran.failed {
        None => assert!(ran.artifacts.contains_key("work.tar")),
        Some((_, message)) => assert!(message.contains("the working folder"), "{message}"),
    }
    let ran = python(
        "import os, shutil\n\
         shutil.rmtree('/work', ignore_errors=True)\n\
         try:\n\
         \x20   os.rmdir('/work')\n\
         except OSError as error:\n\
         \x20   print(error.strerror)\n\
         os.mkfifo('/work/fifo')\n",
    );
    assert_eq!(ran.failed, None);
    assert!(ran.artifacts.is_empty());
}
