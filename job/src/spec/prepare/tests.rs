use super::*;

fn prepare(json: &str) -> Prepare {
    serde_json::from_str(json).unwrap()
}

fn input() -> String {
    format!(r#"{{"digest":"{}","size":9}}"#, "ab".repeat(32))
}

fn refused(data: &str, steps: &str) -> String {
    let json = format!(r#"{{"data":{data},"steps":[{steps}]}}"#);
    match prepare(&json).validate() {
        Ok(()) => panic!("{steps} was not refused"),
        Err(error) => error.to_string(),
    }
}

fn taken(data: &str, steps: &str) {
    let json = format!(r#"{{"data":{data},"steps":[{steps}]}}"#);
    prepare(&json).validate().unwrap();
}

fn csv(more: &str) -> String {
    format!(r#"{{"csv":{{"file":{}{more}}}}}"#, input())
}

const INLINE: &str = r#"{"inline":{"columns":["age","city"],"rows":[[1,"a"],["","b"],[3,""]]}}"#;

#[test]
fn steps_that_do_not_fit_are_refused_by_their_number() {
    for (steps, expected) in [
        (
            r#"{"select":{"columns":["age"]}},{"drop":{"columns":["city"]}}"#,
            "`steps`: step 2 (drop): there is no column \"city\", only \"age\"",
        ),
        (
            r#"{"standardise":{"columns":["city"]}}"#,
            "step 1 (standardise): column \"city\" has texts, and it takes numbers",
        ),
        (
            r#"{"filter":{"compare":{"column":"age","is":"less","value":"x"}}}"#,
            "step 1 (filter): column \"age\" has numbers, and it takes texts",
        ),
        (
            r#"{"filter":{"one_of":{"column":"age","values":[]}}}"#,
            "`one_of` without values",
        ),
        (
            r#"{"standardise":{"columns":["age"]}},{"split":{"test":0.2}}"#,
            "step 2 (split): a `standardise` before it has learnt",
        ),
        (
            r#"{"split":{"test":0.2}},{"split":{"test":0.2}}"#,
            "step 2 (split): the rows are split already",
        ),
        (
            r#"{"split":{"test":0.6,"validation":0.5}}"#,
            "together above 0 and below 1",
        ),
        (r#"{"split":{}}"#, "together above 0 and below 1"),
        (
            r#"{"rename":{"from":"age","to":"city"}}"#,
            "there is a column \"city\" already",
        ),
        (
            r#"{"one_hot":{"columns":["city"],"classes":["a","a"]}}"#,
            "named twice",
        ),
        (
            r#"{"one_hot":{"columns":["city"],"classes":["a",2]}}"#,
            "column \"city\" has texts, and it takes numbers",
        ),
        (
            r#"{"resize":{"column":"age","height":4,"width":4}}"#,
            "column \"age\" has numbers, and only bytes",
        ),
        (r#"{"limit":{"rows":0}}"#, "it would leave no row"),
        (r#"{"sample":{"rows":{"share":1.5}}}"#, "a share of 1.5"),
        (
            r#"{"fill":{"columns":["city"],"with":"mean"}}"#,
            "has texts, and it takes numbers",
        ),
        (
            r#"{"drop":{"columns":["age","city"]}}"#,
            "no column is left",
        ),
    ] {
        let said = refused(INLINE, steps);
        assert!(said.contains(expected), "{steps}: {said}");
    }
}

#[test]
fn a_file_that_names_no_columns_is_judged_as_far_as_the_steps_say() {
    let open = csv("");
    taken(&open, r#"{"standardise":{"columns":["anything"]}}"#);
    let said = refused(
        &open,
        r#"{"drop":{"columns":["a"]}},{"label_encode":{"column":"a"}}"#,
    );
    assert!(
        said.contains("step 2 (label_encode): column \"a\" is no longer there"),
        "{said}"
    );
    let said = refused(
        &open,
        r#"{"one_hot":{"columns":["a"]}},{"label_encode":{"column":"a"}}"#,
    );
    assert!(said.contains("several numbers a row"), "{said}");
    let said = refused(
        &csv(r#","columns":["a"]"#),
        r#"{"filter":{"missing":{"column":"b"}}}"#,
    );
    assert!(
        said.contains("there is no column \"b\", only \"a\""),
        "{said}"
    );
}

#[test]
fn pictures_must_come_to_one_size_and_texts_are_not_for_safetensors() {
    let images = format!(r#"{{"images":{{"archive":{}}}}}"#, input());
    let said = refused(&images, "");
    assert!(said.contains("`resize` or `crop`"), "{said}");
    taken(
        &images,
        r#"{"resize":{"column":"image","height":8,"width":8}}"#,
    );
    let said = refused(
        &images,
        r#"{"resize":{"column":"image","height":8,"width":8}},{"crop":{"column":"image","height":9,"width":8}}"#,
    );
    assert!(said.contains("step 2 (crop): 9x8"), "{said}");
    let said = refused(
        &images,
        r#"{"resize":{"column":"image","height":5000,"width":8}}"#,
    );
    assert!(said.contains("5000x8"), "{said}");
    let said = refused(
        &images,
        r#"{"resize":{"column":"image","height":8,"width":8}},{"pixels":{"column":"image","mean":[0.5,0.5]}}"#,
    );
    assert!(said.contains("one a channel"), "{said}");
    let json = format!(r#"{{"data":{INLINE},"format":"safetensors"}}"#);
    let said = prepare(&json).validate().unwrap_err().to_string();
    assert!(said.contains("safetensors has none"), "{said}");
}

#[test]
fn data_is_checked_before_any_file_is_read() {
    for (data, expected) in [
        (
            r#"{"inline":{"columns":["a"],"rows":[[1],["x"]]}}"#.to_owned(),
            "row 1, column \"a\": a number among texts",
        ),
        (
            r#"{"inline":{"columns":["a"],"rows":[[1,2]]}}"#.to_owned(),
            "row 1 has 2 cells of 1",
        ),
        (
            format!(r#"{{"jsonl":{{"file":{}}}}}"#, input()),
            "name the fields",
        ),
        (csv(r#","columns":["a","a"]"#), "named twice"),
        (
            csv(r#","columns":["a"],"texts":["b"]"#),
            "not among the `columns`",
        ),
        (r#"{"npy":{}}"#.to_owned(), "data.npy"),
    ] {
        let said = refused(&data, "");
        assert!(said.contains(expected), "{data}: {said}");
    }
}

#[test]
fn nested_conditions_have_a_bound() {
    let mut condition = r#"{"missing":{"column":"age"}}"#.to_owned();
    for _ in 0..15 {
        condition = format!(r#"{{"not":{condition}}}"#);
    }
    taken(INLINE, &format!(r#"{{"filter":{condition}}}"#));
    let said = refused(INLINE, &format!(r#"{{"filter":{{"not":{condition}}}}}"#));
    assert!(said.contains("nested more than 16 deep"), "{said}");
}

#[test]
fn tokenisers_are_inputs_and_have_bounds() {
    let tokenise = |more: &str| {
        format!(
            r#"{{"tokenise":{{"column":"city","tokenizer":{},{more}}}}}"#,
            input()
        )
    };
    taken(INLINE, &tokenise(r#""max_length":8,"mask":"mask""#));
    for (more, expected) in [
        (r#""max_length":0"#, "`max_length` 0"),
        (r#""max_length":70000"#, "`max_length` 70000"),
        (r#""max_length":8,"mask":"age""#, "already"),
        (r#""max_length":8,"pad_id":4294967295"#, "`pad_id`"),
    ] {
        let said = refused(INLINE, &tokenise(more));
        assert!(said.contains(expected), "{more}: {said}");
    }
    let json = format!(
        r#"{{"data":{},"steps":[{}],"learnt":{}}}"#,
        csv(""),
        tokenise(r#""max_length":8"#),
        input()
    );
    assert_eq!(prepare(&json).input_refs().len(), 3);
    let counted = prepare(&json).try_map(&mut |_| Ok::<_, ()>(1_u8)).unwrap();
    assert_eq!(counted.input_refs(), [&1, &1, &1]);
}
