use safetensors::tensor::TensorView;

use super::*;
use crate::dataset::Targets;

const FILE: &str = "data.safetensors.file";

fn file() -> Vec<u8> {
    let floats: Vec<u8> = [1.0_f32, 2.0, 3.0, 4.0]
        .iter()
        .flat_map(|x| x.to_le_bytes())
        .collect();
    let doubles: Vec<u8> = [5.0_f64, 6.0]
        .iter()
        .flat_map(|x| x.to_le_bytes())
        .collect();
    let bad: Vec<u8> = [5.0_f64, f64::NAN]
        .iter()
        .flat_map(|x| x.to_le_bytes())
        .collect();
    let views = [
        (
            "x",
            TensorView::new(Dtype::F32, vec![2, 2], &floats).unwrap(),
        ),
        ("z", TensorView::new(Dtype::F64, vec![2], &doubles).unwrap()),
        ("bad", TensorView::new(Dtype::F64, vec![2], &bad).unwrap()),
        ("y", TensorView::new(Dtype::U8, vec![2], &[1, 0]).unwrap()),
        ("one", TensorView::new(Dtype::U8, vec![1], &[1]).unwrap()),
        (
            "half",
            TensorView::new(Dtype::F16, vec![2], &[0; 4]).unwrap(),
        ),
    ];
    safetensors::serialize(views, None).unwrap()
}

fn spec(features: &[&str]) -> Tensors<()> {
    Tensors {
        file: (),
        holdout: None,
        features: features.iter().map(|name| (*name).to_owned()).collect(),
        targets: Some("y".to_owned()),
        target: Target::Classes(2),
        normalise: None,
    }
}

#[test]
fn tensors_become_samples_alone_and_side_by_side() {
    let room = &mut Room::new(1 << 20);
    let set = parse(&file(), &spec(&["x"]), FILE, room).unwrap();
    assert_eq!(set.shape(), [2]);
    let batch = set.batch(&[1, 0]).unwrap();
    assert_eq!(batch.pixels, [3.0, 4.0, 1.0, 2.0]);
    assert_eq!(batch.targets, Targets::Classes(vec![0, 1]));
    let set = parse(&file(), &spec(&["z", "x"]), FILE, room).unwrap();
    assert_eq!(
        set.batch(&[0, 1]).unwrap().pixels,
        [5.0, 1.0, 2.0, 6.0, 3.0, 4.0]
    );
}

#[test]
fn what_does_not_belong_there_is_named() {
    for (features, expected) in [
        (
            &["w"][..],
            "found tensors \"bad\", \"half\", \"one\", \"x\"",
        ),
        (&["half"][..], "elements of type F16"),
        (&["bad"][..], "tensor \"bad\", row 2: found NaN"),
        (&["x", "bad"][..], "tensor \"bad\", row 2: found NaN"),
        (
            &["x", "one"][..],
            "tensor \"one\": found 1 rows, expected 2",
        ),
        (&["one"][..], "tensor \"y\": found 2 targets, expected 1"),
    ] {
        let failed = parse(&file(), &spec(features), FILE, &mut Room::new(1 << 20));
        let said = failed.unwrap_err().to_string();
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn a_cut_file_and_a_header_that_lies_are_refused() {
    let whole = file();
    for end in 0..whole.len() {
        let failed = parse(&whole[..end], &spec(&["x"]), FILE, &mut Room::new(1 << 20));
        let said = failed.unwrap_err().to_string();
        assert!(said.starts_with(FILE), "{end}: {said}");
    }
    let mut lies = whole.clone();
    lies[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    let failed = parse(&lies, &spec(&["x"]), FILE, &mut Room::new(1 << 20));
    assert!(failed.unwrap_err().to_string().contains("a header of"));
    let failed = parse(&whole, &spec(&["x"]), FILE, &mut Room::new(8));
    assert!(matches!(failed, Err(InvalidData::NoRoom { .. })));
}
