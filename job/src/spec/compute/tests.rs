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
