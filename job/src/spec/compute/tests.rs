//! What a computation may ask, and how it is refused.

use crate::file::{Format, JobFile};

const GOOD: &str = r#"
name = "one step"

[work.compute]
tensors = [
    { name = "x", shape = [2, 3], values = [1, 2, 3, 4, 5, 6] },
    { name = "w", shape = [2, 3], values = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6] },
    { name = "class", kind = "int", values = [0, 1] },
]
operations = [
    { op = "gemm", name = "y", from = ["x", "w"], transpose_b = true },
    { op = "cross_entropy_loss", name = "loss", from = ["y", "class"] },
    { op = "gradient", name = "d", from = ["loss", "w"] },
    { op = "sgd", name = "step", from = ["w", "d.w"], learning_rate = 0.1 },
]
results = ["loss", "step.parameter"]
"#;

fn refused(text: &str) -> String {
    JobFile::parse(text, Format::Toml).unwrap_err().to_string()
}

#[test]
fn a_computation_has_one_canonical_form() {
    let spec = JobFile::parse(GOOD, Format::Toml)
        .unwrap()
        .resolve(&Default::default())
        .unwrap();
    let bytes = spec.canonical();
    let again = crate::spec::JobSpec::from_canonical(&bytes).unwrap();
    assert_eq!(again, spec);
    assert_eq!(again.digest(), spec.digest());
    assert!(spec.inputs().is_empty());
}

#[test]
fn what_cannot_be_computed_is_refused_with_its_name() {
    for (from, to, words) in [
        (
            "[\"x\", \"w\"]",
            "[\"x\", \"ww\"]",
            &["gemm 1 \"y\"", "did you mean \"w\""][..],
        ),
        (
            "transpose_b = true",
            "transpose_b = false",
            &["gemm 1 \"y\"", "multiplied"],
        ),
        (
            "values = [0, 1]",
            "values = [0, 1.5]",
            &["3 \"class\"", "whole number"],
        ),
        (
            "values = [0, 1]",
            "values = [0, 1, 1]",
            &["cross_entropy_loss 2", "shape"],
        ),
        ("[1, 2, 3, 4, 5, 6]", "[1, 2]", &["1 \"x\"", "2 numbers"]),
        (
            "shape = [2, 3], values = [1,",
            "shape = [4611686018427387904, 4], values = [1,",
            &["1 \"x\"", "do not have the shape"],
        ),
        (
            "[\"loss\", \"w\"]",
            "[\"loss\", \"y\"]",
            &["gradient 3", "tensors of the spec"],
        ),
        ("[\"loss\", \"w\"]", "[\"y\", \"w\"]", &["single number"]),
        (
            "results = [\"loss\"",
            "results = [\"lost\"",
            &["`results`", "did you mean \"loss\""],
        ),
        (
            "name = \"d\"",
            "name = \"x\"",
            &["something else has this name"],
        ),
        ("name = \"d\"", "name = \"a/b\"", &["letters"]),
        (
            "learning_rate = 0.1",
            "learning_rate = -1",
            &["learning_rate"],
        ),
        (
            "learning_rate = 0.1",
            "learning_rat = 0.1",
            &["learning_rat"],
        ),
        ("op = \"gemm\"", "op = \"gem\"", &["gem"]),
        (
            "{ name = \"x\", shape = [2, 3], values = [1, 2, 3, 4, 5, 6] }",
            "{ name = \"x\", file = { path = \"x\" } }",
            &["say its `shape`"],
        ),
        (
            "{ name = \"x\", shape = [2, 3], values = [1, 2, 3, 4, 5, 6] }",
            "{ name = \"x\" }",
            &["either `values` or a `file`"],
        ),
    ] {
        assert!(GOOD.contains(from), "{from}");
        let text = refused(&GOOD.replace(from, to));
        for word in words {
            assert!(text.contains(word), "{to}: {text}");
        }
    }
}

#[test]
fn what_would_not_fit_into_memory_is_refused_before_it_is_there() {
    let bomb = |operations: &str, limits: &str| {
        refused(&format!(
            "name = \"bomb\"\n[work.compute]\ntensors = [{{ name = \"x\", shape = [1, 1], values = [1] }}]\noperations = [{operations}]\n{limits}"
        ))
    };
    let wide = "{ op = \"expand\", name = \"a\", from = [\"x\"], shape = [40000, 40000] }";
    let text = bomb(wide, "[limits]\nmemory = \"1 GiB\"");
    assert!(text.contains("limits.memory"), "{text}");
    let text = bomb(
        "{ op = \"expand\", from = [\"x\"], shape = [4000000000, 4000000000] }",
        "",
    );
    assert!(text.contains("too large"), "{text}");
    let squares = "{ op = \"expand\", name = \"a\", from = [\"x\"], shape = [20000, 20000] },{ op = \"matmul\", from = [\"a\", \"a\"] }";
    let text = bomb(squares, "[limits]\noutput = \"1 MiB\"\nmemory = \"64 GiB\"");
    assert!(text.contains("limits.output"), "{text}");
    // Operations without end.
    let many: String = "{ op = \"neg\", from = [\"x\"] },".repeat(1025);
    assert!(bomb(&many, "").contains("operations"));
}

/// A computation that asks for a proof, with `more` behind it.
fn proven(opened: &str, operations: &str, more: &str) -> String {
    format!(
        "name = \"proven\"\n[work.compute]\ntensors = [{{ name = \"x\", shape = [2, 2], values = [1, 2, 3, 4] }}]\noperations = [{operations}]\nprove = {{ opened = {opened} }}\n{more}"
    )
}

const PRODUCT: &str = "{ op = \"matmul\", name = \"p\", from = [\"x\", \"x\"] }, { op = \"sum\", name = \"s\", from = [\"p\"] }";

#[test]
fn a_proof_is_asked_for_in_the_spec_and_changes_no_other_spec() {
    let read = |text: &str| {
        let file = JobFile::parse(text, Format::Toml).unwrap();
        file.resolve(&Default::default()).unwrap()
    };
    let plain = read(GOOD);
    assert!(
        !String::from_utf8(plain.canonical())
            .unwrap()
            .contains("prove")
    );
    let spec = read(&proven("2", PRODUCT, ""));
    let text = String::from_utf8(spec.canonical()).unwrap();
    assert!(text.contains(r#""prove":{"opened":2}"#), "{text}");
    let again = crate::spec::JobSpec::from_canonical(&spec.canonical()).unwrap();
    assert_eq!(again, spec);
    // The processor may be named.
    read(&proven("2", PRODUCT, "[requires]\ndevice = \"cpu\""));
}

#[test]
fn what_cannot_be_proven_is_refused_with_its_name() {
    let gradient = GOOD.replace("results = [", "prove = { opened = 4 }\nresults = [");
    let text = refused(&gradient);
    for word in ["`prove`", "gradient \"d\"", "single steps"] {
        assert!(text.contains(word), "{text}");
    }
    for (opened, more, words) in [
        ("0", "", &["`prove.opened`", "from 1 to"][..]),
        ("1025", "", &["`prove.opened`", "from 1 to"]),
        (
            "1",
            "[requires]\ndevice = \"cuda\"",
            &["`requires.device`", "processor"],
        ),
        (
            "1",
            "[limits]\noutput = \"1 KiB\"",
            &["`limits.output`", "proof"],
        ),
    ] {
        let text = refused(&proven(opened, PRODUCT, more));
        for word in words {
            assert!(text.contains(word), "{text}");
        }
    }
    // Larger than a proof may be, and than memory allows.
    let wide = "{ op = \"expand\", name = \"a\", from = [\"one\"], shape = [4096, 4096] }, { op = \"neg\", name = \"b\", from = [\"a\"] }";
    let wide = proven("2", wide, "[limits]\nmemory = \"64 GiB\"").replace(
        "name = \"x\", shape = [2, 2], values = [1, 2, 3, 4]",
        "name = \"one\", shape = [1, 1], values = [1]",
    );
    let text = refused(&wide);
    assert!(text.contains("open fewer steps"), "{text}");
    let tight = "{ op = \"expand\", name = \"a\", from = [\"one\"], shape = [1024, 1024] }, { op = \"neg\", name = \"b\", from = [\"a\"] }";
    let tight = |limit: &str, ask: &str| {
        proven("1", tight, &format!("[limits]\nmemory = \"{limit}\""))
            .replace(
                "name = \"x\", shape = [2, 2], values = [1, 2, 3, 4]",
                "name = \"one\", shape = [1, 1], values = [1]",
            )
            .replace("prove = { opened = 1 }", ask)
    };
    // It fits into so much, and its proof does not.
    assert!(JobFile::parse(&tight("32 MiB", ""), Format::Toml).is_ok());
    let text = refused(&tight("32 MiB", "prove = { opened = 1 }"));
    assert!(text.contains("`limits.memory`"), "{text}");
}
