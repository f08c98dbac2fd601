use super::*;

#[test]
fn a_batch_follows_the_order_and_is_normalised() {
    let images = Set::images(
        [1, 1, 2],
        16,
        vec![0, 16, 8, 4, 16, 0],
        Some(vec![2, 0, 1]),
        3,
    )
    .unwrap();
    let batch = images.batch(&[2, 0]).unwrap();
    assert_eq!(batch.pixels, [1.0, 0.0, 0.0, 1.0]);
    assert_eq!(batch.targets, Targets::Classes(vec![1, 2]));
}

#[test]
fn numbers_follow_their_samples() {
    let targets = Targets::Numbers {
        values: vec![1.0, 2.0, 3.0, 4.0],
        width: 2,
    };
    let set = Set::new(vec![1], Features::Floats(vec![7.0, 8.0]), targets).unwrap();
    let batch = set.batch(&[1]).unwrap();
    assert_eq!((batch.len(), &batch.pixels[..]), (1, &[8.0][..]));
    assert_eq!(
        batch.targets,
        Targets::Numbers {
            values: vec![3.0, 4.0],
            width: 2
        }
    );
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let refused = Set::images([1, 1, 2], 16, vec![0; 5], Some(vec![0, 0]), 2).unwrap_err();
    assert!(matches!(
        refused,
        InvalidData::Counts {
            images: 2,
            labels: 2
        }
    ));
    let refused = Set::images([1, 1, 1], 16, vec![0; 2], Some(vec![0, 2]), 2).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "sample 1 is of class 2, but the task has 2 classes (0 to 1)"
    );
    assert!(matches!(
        Set::images([1, 1, 1], 16, Vec::new(), Some(Vec::new()), 2),
        Err(InvalidData::Empty)
    ));
}
