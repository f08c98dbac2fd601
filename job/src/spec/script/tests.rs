//! What a script may ask for, and how it is told what it may not.

use embermesh_crypto::Digest;

use super::*;
use crate::spec::{JobSpec, Work};

fn input() -> Input {
    Input {
        digest: Digest::of(b"print(1)"),
        size: 8,
    }
}

fn script(runtime: Runtime) -> Script {
    Script {
        runtime,
        program: input(),
        entry: None,
        args: vec!["--words".to_owned()],
        env: BTreeMap::from([("DEPTH".to_owned(), "3".to_owned())]),
        stdin: None,
        inputs: BTreeMap::from([("data/words.txt".to_owned(), input())]),
        outputs: vec!["counts.json".to_owned()],
        archive: true,
        cpu: None,
        fuel: None,
    }
}

fn job(script: Script) -> JobSpec {
    JobSpec {
        name: "count".to_owned(),
        work: Work::Script(script),
        requires: Requirements::default(),
        limits: Limits::default(),
        attempts: 1,
    }
}

fn refused(runtime: Runtime, change: impl FnOnce(&mut Script)) -> String {
    let mut script = script(runtime);
    change(&mut script);
    job(script).validate().unwrap_err().to_string()
}

#[test]
fn a_script_reads_back_as_it_was_and_says_its_runtime() {
    for runtime in Runtime::ALL {
        let spec = job(script(runtime));
        let bytes = spec.canonical();
        assert_eq!(JobSpec::from_canonical(&bytes).unwrap(), spec);
        let text = String::from_utf8(bytes).unwrap();
        assert!(
            !text.contains("archive") && !text.contains("fuel"),
            "{text}"
        );
        assert_eq!(spec.runtime(), Some(runtime));
        // The program and a file of the same bytes are one blob.
        assert_eq!(spec.inputs().len(), 1);
        assert!(spec.plan().unwrap().is_none());
    }
}

#[test]
fn names_of_files_lead_nowhere_else() {
    for bad in [
        "",
        "/etc/passwd",
        "..",
        "../x",
        "a/../b",
        "a//b",
        "a/",
        "./a",
        ".",
        "a\\b",
        "a\0b",
        "ü",
        "a\n",
        "C:x",
        " ",
    ] {
        let text = refused(Runtime::Python, |s| {
            s.inputs.insert(bad.to_owned(), input());
        });
        assert!(text.contains("`script.inputs`"), "{bad:?}: {text}");
        let text = refused(Runtime::Python, |s| s.outputs.push(bad.to_owned()));
        assert!(text.contains("`script.outputs`"), "{bad:?}: {text}");
    }
    let text = refused(Runtime::Wasm, |s| {
        s.inputs.insert("data".to_owned(), input());
    });
    assert!(text.contains("a file and a folder"), "{text}");
    for bad in ["a/b", "counts.json", ARCHIVE] {
        let text = refused(Runtime::Wasm, |s| s.outputs.push(bad.to_owned()));
        assert!(text.contains("`script.outputs`"), "{text}");
    }
    let mut good = script(Runtime::Python);
    for name in ["a b.txt", "x/y/z.bin", "..a", "-n", "v1.0+x@2"] {
        good.inputs.insert(name.to_owned(), input());
    }
    job(good).validate().unwrap();
}

#[test]
fn words_have_bounds() {
    let is = |text: String, field: &str| assert!(text.contains(field), "{text}");
    let python = |change: fn(&mut Script)| refused(Runtime::Python, change);
    is(
        python(|s| s.args = vec![String::new(); MAX_ARGS + 1]),
        "`script.args`",
    );
    is(
        python(|s| s.args.push("x".repeat(MAX_ARG + 1))),
        "`script.args`",
    );
    is(python(|s| s.args.push("a\0".to_owned())), "`script.args`");
    is(
        python(|s| s.args = vec!["x".repeat(MAX_ARG); 17]),
        "together",
    );
    is(
        python(|s| s.stdin = Some("x".repeat(MAX_STDIN + 1))),
        "`script.stdin`",
    );
    for bad in ["", "A=B", "1A", "A B", "Ä"] {
        let text = refused(Runtime::Python, |s| {
            s.env.insert(bad.to_owned(), String::new());
        });
        is(text, "`script.env`");
    }
    for bad in ["", ".", "a..b", "a/b", "1a", "a-b", "a b"] {
        let text = refused(Runtime::Python, |s| s.entry = Some(bad.to_owned()));
        is(text, "`script.entry`");
    }
    is(python(|s| s.fuel = Some(1)), "`script.fuel`");
    is(python(|s| s.cpu = Some(Millis(1))), "`script.cpu`");
    is(
        refused(Runtime::Wasm, |s| s.entry = Some("main".to_owned())),
        "`script.entry`",
    );
    is(
        refused(Runtime::Wasm, |s| s.fuel = Some(0)),
        "`script.fuel`",
    );
    is(
        refused(Runtime::Wasm, |s| s.program.size = MAX_PROGRAM + 1),
        "`script.program`",
    );
}

#[test]
fn a_script_has_one_attempt_on_a_processor_with_memory_for_what_runs_it() {
    let mut spec = job(script(Runtime::Python));
    spec.attempts = 5;
    let text = spec.validate().unwrap_err().to_string();
    assert!(text.contains("say `attempts = 1`"), "{text}");
    let mut spec = job(script(Runtime::Python));
    spec.requires.device = Some(DeviceKind::Wgpu);
    let text = spec.validate().unwrap_err().to_string();
    assert!(text.contains("`requires.device`"), "{text}");
    let mut spec = job(script(Runtime::Wasm));
    spec.limits.memory = Bytes(MIN_SCRIPT_MEMORY - 1);
    let text = spec.validate().unwrap_err().to_string();
    assert!(text.contains("`limits.memory`"), "{text}");
    assert!(serde_json::from_str::<Runtime>("\"ruby\"").is_err());
}
