use super::*;
use crate::dataset::table::tests::truncated;

/// An array in a file.
pub(crate) fn encode(descr: &str, fortran: &str, shape: &str, elements: &[u8]) -> Vec<u8> {
    let header =
        format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(elements);
    bytes
}

fn read(features: &[u8], targets: Option<&[u8]>, target: Target) -> Result<Set, InvalidData> {
    let features = Array::open(features, "data.npy.features")?;
    let targets = targets
        .map(|bytes| Array::open(bytes, "data.npy.targets"))
        .transpose()?;
    samples(&features, targets.as_ref(), target, &mut Room::new(1 << 20))
}

fn floats(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

#[test]
fn both_orders_give_the_same_rows() {
    let rows = encode("<f4", "False", "(2, 3)", &floats(&[1., 2., 3., 4., 5., 6.]));
    let columns = encode("<f4", "True", "(2, 3)", &floats(&[1., 4., 2., 5., 3., 6.]));
    for bytes in [rows, columns] {
        let batch = read(&bytes, None, Target::Nothing)
            .unwrap()
            .batch(&[0, 1])
            .unwrap();
        assert_eq!(batch.pixels, [1., 2., 3., 4., 5., 6.]);
    }
    // Three axes, in both.
    let shape = [2, 3, 4];
    let mut seen = vec![false; 24];
    for at in 0..24 {
        let (i, j, k) = (at / 12, at / 4 % 3, at % 4);
        assert_eq!(column_major(at, &shape), i + 2 * (j + 3 * k));
        seen[column_major(at, &shape)] = true;
    }
    assert!(seen.into_iter().all(|seen| seen));
}

#[test]
fn targets_are_classes_or_numbers() {
    let features = encode("|u1", "False", "(2,)", &[7, 9]);
    let classes = encode(
        "<i8",
        "False",
        "(2,)",
        &[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    );
    let set = read(&features, Some(&classes), Target::Classes(2)).unwrap();
    assert_eq!(set.shape(), [1]);
    assert_eq!(set.batch(&[0]).unwrap().targets, Targets::Classes(vec![1]));
    let numbers = encode("<f4", "False", "(2, 2)", &floats(&[1., 2., 3., 4.]));
    let set = read(&features, Some(&numbers), Target::Numbers(2)).unwrap();
    assert_eq!(set.batch(&[1]).unwrap().pixels, [9.0]);
    assert_eq!(
        set.batch(&[1]).unwrap().targets,
        Targets::Numbers {
            values: vec![3., 4.],
            width: 2
        }
    );
    for (targets, target, expected) in [
        (&numbers, Target::Numbers(1), "found 2 numbers a sample"),
        (
            &classes,
            Target::Classes(1),
            "data.npy.targets, row 1: found 1, expected a class from 0 to 0",
        ),
        (&numbers, Target::Classes(5), "found 2 numbers a sample"),
    ] {
        let said = read(&features, Some(targets), target)
            .unwrap_err()
            .to_string();
        assert!(said.contains(expected), "{said}");
    }
    let three = encode("|u1", "False", "(3,)", &[0, 0, 0]);
    let said = read(&features, Some(&three), Target::Classes(2)).unwrap_err();
    assert!(
        said.to_string().contains("found 3 targets, expected 2"),
        "{said}"
    );
}

#[test]
fn headers_that_lie_or_ask_for_too_much_are_refused() {
    for (bytes, expected) in [
        (b"PK\x03\x04".to_vec(), "found another beginning"),
        (
            encode("<f4", "False", "(2, 3)", &[0; 20]),
            "found 20 bytes of elements, expected 24",
        ),
        (
            encode("<f8", "False", "(4294967296, 4294967296, 3)", &[]),
            "expected more than there can be",
        ),
        (
            encode("<f4", "False", "(99999999999,)", &[0; 4]),
            "expected 399999999996",
        ),
        (
            encode("|O", "False", "(1,)", &[0; 8]),
            "elements of type \"|O\"",
        ),
        (
            encode("<U3", "False", "(1,)", &[0; 12]),
            "elements of type \"<U3\"",
        ),
        (encode("<f4", "False", "()", &[0; 4]), "found 0 axes"),
        (
            encode("<f4", "False", "(1, 1, 1, 1, 1, 1, 1, 1, 1)", &[0; 4]),
            "found 9 axes",
        ),
        (encode("<f4", "maybe", "(1,)", &[0; 4]), "'fortran_order'"),
        (encode("<f4", "False", "(-1,)", &[0; 4]), "'shape'"),
        (
            encode("<f4", "False", "(2, 2)", &floats(&[0., 1., f32::NAN, 2.])),
            "data.npy.features, row 2, column 1: found NaN, expected a finite number",
        ),
        (
            encode("<f4", "False", "(0, 2)", &[]),
            "there are no samples in it",
        ),
    ] {
        let said = read(&bytes, None, Target::Nothing).unwrap_err().to_string();
        assert!(said.contains(expected), "{said}");
    }
    let big = encode("|u1", "False", "(2, 1000000)", &[0; 2_000_000]);
    assert!(matches!(
        read(&big, None, Target::Nothing),
        Err(InvalidData::NoRoom { .. })
    ));
    let mut long = b"\x93NUMPY\x02\x00".to_vec();
    long.extend(u32::MAX.to_le_bytes());
    assert!(
        read(&long, None, Target::Nothing)
            .unwrap_err()
            .to_string()
            .contains("a header of")
    );
}

#[test]
fn no_cut_makes_it_panic() {
    let bytes = encode("<f4", "True", "(2, 3)", &[0; 24]);
    truncated(&bytes, "data.npy.features", |bytes, room| {
        samples(
            &Array::open(bytes, "data.npy.features")?,
            None,
            Target::Nothing,
            room,
        )
    });
}
