use super::*;
use crate::model::{Layer, Op};

fn model(input: &[usize]) -> Model {
    Model {
        input: input.to_vec(),
        layers: vec![Layer::new(Op::flatten())],
    }
}

fn read(json: &str) -> Dataset<u32> {
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"))
}

fn target(json: &str, input: &[usize]) -> Target {
    read(json).validate(&model(input)).unwrap()
}

fn said(json: &str, input: &[usize]) -> String {
    read(json).validate(&model(input)).unwrap_err().to_string()
}

#[test]
fn each_format_says_what_its_samples_should_give() {
    for (json, input, expected) in [
        (
            r#"{"csv":{"file":1,"target":{"classes":{"column":"kind","labels":["a","b","c"]}}}}"#,
            &[4][..],
            Target::Classes(3),
        ),
        (
            r#"{"csv":{"file":1,"dialect":{"delimiter":";","header":false},"features":[1,2],"target":{"numbers":{"columns":[3]}}}}"#,
            &[2],
            Target::Numbers(1),
        ),
        (
            r#"{"jsonl":{"file":1,"features":["x"],"missing":{"fill":0},"normalise":"standardise"}}"#,
            &[2],
            Target::Nothing,
        ),
        (
            r#"{"parquet":{"file":1,"holdout":2,"target":{"classes":{"column":1,"count":2}},"missing":"mean"}}"#,
            &[2],
            Target::Classes(2),
        ),
        (
            r#"{"npy":{"features":1,"targets":2,"target":{"numbers":3}}}"#,
            &[2],
            Target::Numbers(3),
        ),
        (
            r#"{"npz":{"file":1,"features":"x","targets":"y","target":{"classes":5},"normalise":{"scale":{"from":0,"to":255}}}}"#,
            &[2],
            Target::Classes(5),
        ),
        (
            r#"{"images":{"archive":1,"classes":["cats","dogs"]}}"#,
            &[3, 8, 8],
            Target::Classes(2),
        ),
        (
            r#"{"inline":{"rows":[[0,1],[1,0]],"targets":{"classes":{"count":2,"of":[0,1]}}}}"#,
            &[2],
            Target::Classes(2),
        ),
        (
            r#"{"idx":{"images":1,"classes":10}}"#,
            &[2],
            Target::Nothing,
        ),
    ] {
        assert_eq!(target(json, input), expected, "{json}");
        // What is the default is not written: old specs keep their form.
        let again = serde_json::to_string(&read(json)).unwrap();
        assert_eq!(read(&again), read(json));
    }
}

#[test]
fn every_input_is_named_and_renamed() {
    let all = [
        r#"{"csv":{"file":1,"holdout":2}}"#,
        r#"{"npy":{"features":1,"targets":2,"holdout_features":3,"holdout_targets":4}}"#,
        r#"{"npz":{"file":1,"features":"x","holdout":2}}"#,
        r#"{"images":{"archive":1,"holdout":2}}"#,
        r#"{"idx":{"images":1,"labels":2,"holdout_images":3,"holdout_labels":4,"classes":2}}"#,
    ];
    for json in all {
        let data = read(json);
        let count = data.input_refs().len() as u32;
        assert!(data.input_refs().into_iter().copied().eq(1..=count));
        let renamed = data.try_map(&mut |input| Ok::<_, ()>(input + 10)).unwrap();
        assert!(
            renamed
                .input_refs()
                .into_iter()
                .copied()
                .eq(11..=10 + count)
        );
    }
}

#[test]
fn what_cannot_be_is_refused_before_a_file_is_read() {
    for (json, input, hint) in [
        (
            r#"{"csv":{"file":1,"features":["a","b"]}}"#,
            &[3][..],
            "2 numbers each",
        ),
        (r#"{"csv":{"file":1,"features":["a","a"]}}"#, &[2], "twice"),
        (
            r#"{"csv":{"file":1,"dialect":{"header":false},"features":["a"]}}"#,
            &[1],
            "without a header",
        ),
        (
            r#"{"csv":{"file":1,"dialect":{"delimiter":"é"}}}"#,
            &[1],
            "ASCII",
        ),
        (
            r#"{"csv":{"file":1,"target":{"classes":{"column":"a"}}}}"#,
            &[1],
            "`count`",
        ),
        (
            r#"{"csv":{"file":1,"target":{"classes":{"column":"a","labels":["x","x"]}}}}"#,
            &[1],
            "two classes",
        ),
        (r#"{"csv":{"file":1,"features":[0]}}"#, &[1], "0 is not"),
        (r#"{"jsonl":{"file":1}}"#, &[1], "name the fields"),
        (r#"{"jsonl":{"file":1,"features":[1]}}"#, &[1], "names"),
        (
            r#"{"parquet":{"file":1,"dialect":{"header":false}}}"#,
            &[1],
            "no dialects",
        ),
        (r#"{"npy":{"features":1,"targets":2}}"#, &[1], "data.target"),
        (
            r#"{"npy":{"features":1,"targets":2,"holdout_features":3,"target":{"classes":2}}}"#,
            &[1],
            "holdout_targets",
        ),
        (
            r#"{"npz":{"file":1,"features":"x","normalise":{"scale":{"from":1,"to":1}}}}"#,
            &[1],
            "two different numbers",
        ),
        (
            r#"{"images":{"archive":1,"classes":["a","b"]}}"#,
            &[64],
            "resized",
        ),
        (
            r#"{"images":{"archive":1,"classes":["a","../b"]}}"#,
            &[1, 8, 8],
            "../b",
        ),
        (r#"{"inline":{"rows":[[1,2],[3]]}}"#, &[2], "row 2 has 1"),
        (r#"{"inline":{"rows":[[1,1e39]]}}"#, &[2], "row 1, column 2"),
        (
            r#"{"inline":{"rows":[[1,2]],"targets":{"numbers":[]}}}"#,
            &[2],
            "0 targets",
        ),
        (
            r#"{"inline":{"rows":[[1,2]],"targets":{"classes":{"count":2,"of":[2]}}}}"#,
            &[2],
            "2 is not a class",
        ),
    ] {
        let said = said(json, input);
        assert!(said.contains(hint), "{json}: {said}");
    }
}

/// What a spec says of data that stays, with some fields more.
fn stays(more: &str) -> String {
    let digest = "0".repeat(64);
    format!(r#"{{"client":{{"digest":"{digest}","samples":5,"shape":[1,2],{more}}}}}"#)
}

#[test]
fn data_that_stays_says_how_it_travels() {
    let json = stays(r#""element":{"byte":{"white":255}},"holdout":2,"target":{"classes":3}"#);
    assert_eq!(target(&json, &[2]), Target::Classes(3));
    let Dataset::Client(data) = read(&json) else {
        panic!("it stays");
    };
    assert_eq!((data.total(), data.record_bytes()), (7, 6));
    assert!(read(&json).input_refs().is_empty());
    let json =
        stays(r#""element":"float","target":{"numbers":2},"labels":["a","b"],"missing":"mean""#);
    assert_eq!(target(&json, &[1, 2]), Target::Numbers(2));
    assert!(read(&json).labels().is_empty(), "they name no classes");
}

#[test]
fn data_that_stays_is_refused_in_words() {
    let float = r#""element":"float""#;
    for (more, input, word) in [
        (
            r#""element":{"byte":{"white":0}}"#.to_owned(),
            &[2][..],
            "white",
        ),
        (float.to_owned(), &[3], "the model's input is [3]"),
        (
            format!(r#"{float},"missing":"drop""#),
            &[2],
            "before it travels",
        ),
        (
            format!(r#"{float},"missing":{{"fill":1}}"#),
            &[2],
            "before it travels",
        ),
        (format!(r#"{float},"labels":["a"]"#), &[2], "1 names for 0"),
        (format!(r#"{float},"holdout":4294967295"#), &[2], "holdout"),
        (
            format!(r#"{float},"target":{{"classes":1}}"#),
            &[2],
            "data.classes",
        ),
    ] {
        let text = said(&stays(&more), input);
        assert!(text.contains(word), "{more}: {text}");
    }
    let many = stays(float).replace("[1,2]", "[4000000]");
    assert!(said(&many, &[4_000_000]).contains("shape"));
    let none = stays(float).replace("\"samples\":5", "\"samples\":0");
    assert!(said(&none, &[2]).contains("samples"));
}
