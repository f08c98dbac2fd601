//! WebAssembly: what a module is given and leaves, its ceilings, and its walls.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use embermesh_compute::pipe::{ToWorker, WorkOrder};
use embermesh_job::spec::{Runtime, Script};
use embermesh_job::units::Millis;

use crate::ran::{GONE_WITHIN, Ran, Started, fault, order, script};
use crate::support::Bench;

const TRIALS: &[u8] = include_bytes!("../data/scripts/trials.wasm");

fn trial(words: &[&str], change: impl FnOnce(&mut Script)) -> (Bench, WorkOrder) {
    let mut bench = Bench::new();
    let mut it = script(&mut bench, Runtime::Wasm, TRIALS);
    it.args = words.iter().map(|&word| word.to_owned()).collect();
    it.inputs = BTreeMap::from([("data/a.txt".to_owned(), bench.input(b"text"))]);
    change(&mut it);
    let order = order(&mut bench, it);
    (bench, order)
}

fn run(words: &[&str], change: impl FnOnce(&mut Script)) -> Ran {
    let (_bench, order) = trial(words, change);
    Started::new(order).end()
}

#[test]
fn compiled_code_runs_here() {
    assert_eq!(fault(Runtime::Wasm), None);
}

#[test]
fn a_module_is_given_what_the_spec_says_and_its_folder_comes_back() {
    let (_bench, order) = trial(&["echo", "two words"], |it| {
        it.env = BTreeMap::from([("DEPTH".to_owned(), "3".to_owned())]);
        it.stdin = Some("a line".to_owned());
        it.outputs = vec!["out.txt".to_owned()];
    });
    let ran = Started::new(order).end();
    assert_eq!(ran.failed, None);
    assert_eq!(
        ran.stdout,
        "args [\"echo\", \"two words\"], DEPTH Ok(\"3\")\nvars 1\n"
    );
    assert_eq!(ran.stderr, "stdin \"a line\", input \"text\"\n");
    assert_eq!(
        std::fs::read_to_string(&ran.artifacts["out.txt"]).unwrap(),
        "text"
    );
    let archive = std::fs::File::open(&ran.artifacts["work.tar"]).unwrap();
    let names: Vec<String> = tar::Archive::new(archive)
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().display().to_string())
        .collect();
    assert_eq!(names, ["more/", "more/of-it.txt"]);
}

#[test]
fn exits_panics_and_traps_fail_with_the_last_lines() {
    let ran = run(&["exit", "7"], |_| ());
    assert_eq!(
        ran.refused(),
        "the program ended with exit code 7; its last lines:\nas I was told"
    );
    assert_eq!(run(&["exit", "0"], |_| ()).failed, None);
    let ran = run(&["panic"], |_| ());
    assert!(
        ran.refused()
            .starts_with("the program trapped: wasm `unreachable`")
    );
    assert!(ran.refused().contains("on purpose"), "{}", ran.refused());
    let ran = run(&["recurse"], |_| ());
    assert!(
        ran.refused().starts_with("the program trapped"),
        "{}",
        ran.refused()
    );
}

#[test]
fn what_is_no_module_is_refused_in_words() {
    for bytes in [&b"\0asm\x01\0\0"[..], b"print(1)", b"\0asm\x01\0\0\0"] {
        let mut bench = Bench::new();
        let it = script(&mut bench, Runtime::Wasm, bytes);
        let order = order(&mut bench, it);
        let ran = Started::new(order).end();
        let message = ran.refused();
        assert!(message.starts_with("the module cannot be run"), "{message}");
    }
}

#[test]
fn a_module_has_two_folders_and_nothing_else() {
    let ran = run(&["escape"], |_| ());
    assert_eq!(ran.failed, None);
    assert!(!ran.stdout.contains("true"), "{}", ran.stdout);
    assert_eq!(ran.stdout.matches("false").count(), 11);
}

#[test]
fn memory_has_a_ceiling_that_the_module_can_see() {
    let ran = run(&["memory"], |_| ());
    assert_eq!(ran.failed, None);
    let held: u64 = ran.stdout.split(' ').nth(2).unwrap().parse().unwrap();
    assert!((100..256).contains(&held), "{held} MiB of 256");
}

#[test]
fn fuel_ends_at_the_same_place_each_time() {
    let limited = |it: &mut Script| it.fuel = Some(5_000_000);
    let one = run(&["loop"], limited);
    assert!(one.refused().contains("script.fuel"), "{}", one.refused());
    assert_eq!(one.stdout, "looping\n");
    let little = run(&["loop"], |it| it.fuel = Some(10));
    assert!(little.refused().contains("script.fuel") && little.stdout.is_empty());
}

#[test]
fn a_loop_without_end_uses_up_its_time() {
    let ran = run(&["loop"], |it| it.cpu = Some(Millis(500)));
    assert!(ran.refused().contains("script.cpu"), "{}", ran.refused());
    assert!(ran.took < Duration::from_secs(10));
}

#[test]
fn a_cancel_ends_a_loop_and_a_sleep() {
    for word in ["loop", "sleep"] {
        let (_bench, order) = trial(&[word], |_| ());
        let mut started = Started::new(order);
        started.until_it_says("ing");
        let since = Instant::now();
        started.say(&ToWorker::Cancel);
        let ran = started.end();
        assert!(ran.cancelled && since.elapsed() < GONE_WITHIN, "{ran:?}");
    }
}

#[test]
fn a_loop_can_be_paused() {
    let (_bench, order) = trial(&["loop"], |_| ());
    let mut started = Started::new(order);
    started.until_it_says("looping");
    started.say(&ToWorker::Pause);
    started.until_paused(true);
    started.say(&ToWorker::Resume);
    started.until_paused(false);
    started.say(&ToWorker::Cancel);
    assert!(started.end().cancelled);
}

#[test]
fn output_files_and_folders_without_end_are_ended() {
    let ran = run(&["say"], |_| ());
    assert!(ran.refused().contains("limits.output"), "{}", ran.refused());
    let ran = run(&["fill"], |_| ());
    assert!(ran.refused().contains("limits.output"), "{}", ran.refused());
    let ran = run(&["folders"], |_| ());
    assert!(ran.refused().contains("in each other"), "{}", ran.refused());
}

#[test]
fn its_clock_goes_on() {
    assert_eq!(run(&["nap"], |_| ()).stdout, "true\n");
}
