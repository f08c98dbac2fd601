//! A proof of an honest execution is believed; one with any bit changed is not.
#![allow(clippy::unwrap_used, reason = "a test ends where what it needs fails")]

use embermesh_crypto::{Digest, Epoch, JobId, Keypair, UnixMillis};
use proptest::prelude::*;
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{RngCore as _, SeedableRng as _},
};

use super::{
    Attempt, Commitment, NoProof, Proof, Proven, Refused, Subject, Trace, caught, challenge,
    claim::Numbers, form, merkle, most_bytes, verify,
};
use crate::program::{Bare, Builder, Kind, Op, Program, TensorType};

const SPEC: &str = "a spec";

/// The first try at a job on a node.
fn attempt(job: u8) -> Attempt {
    Attempt {
        job: JobId::v7(UnixMillis(1), [job; 10]),
        node: Keypair::from_seed(&[7; 32]).peer_id(),
        epoch: Epoch::FIRST,
    }
}

/// A proof as a file.
fn proven(proof: Proof) -> Proven {
    Proven {
        spec: SPEC.to_owned(),
        proofs: vec![proof],
    }
}

/// x, then so many times: the last but one plus the last.
fn program(steps: usize) -> Program {
    let mut builder = Builder::default();
    let of = || TensorType {
        kind: Kind::Float,
        shape: vec![2],
    };
    let x = builder.input("x", of()).unwrap();
    let y = builder.constant("y", of()).unwrap();
    let mut last = [x, y];
    for step in 0..steps {
        let name = format!("s{step}");
        let sum = builder.apply(&name, Op::Add(Bare {}), &last).unwrap();
        last = [last[1], sum[0]];
    }
    builder.finish(&[last[1]])
}

/// What the program computes, without a device.
fn executed(program: &Program) -> Vec<Vec<f32>> {
    let mut values = vec![vec![1.0, 2.0], vec![0.5, -1.0]];
    for step in &program.steps {
        let [a, b] = &step.reads[..] else {
            panic!("{step:?}");
        };
        let pairs = values[a.place()].iter().zip(&values[b.place()]);
        let sum = pairs.map(|(a, b)| a + b).collect();
        values.push(sum);
    }
    values
}

fn subject(program: &Program) -> Subject<'_> {
    let given = [vec![1.0, 2.0], vec![0.5, -1.0]];
    let given = given.iter().map(|values| Numbers::of(values).digest());
    Subject::new(Digest::of(SPEC.as_bytes()), program, given.collect()).unwrap()
}

fn trace<'a>(program: &'a Program, values: &[Vec<f32>]) -> Trace<'a> {
    Trace::new(Digest::of(SPEC.as_bytes()), program, values, attempt(1)).unwrap()
}

/// An honest proof, beside the commitments of two others.
fn proof(program: &Program, opened: u32) -> Proof {
    let trace = trace(program, &executed(program));
    let other = |word: &[u8]| Commitment {
        root: Digest::of(word),
        ..trace.commitment()
    };
    let gang = [other(b"a"), trace.commitment(), other(b"b")];
    trace.prove(&gang, 1, opened).unwrap()
}

#[test]
fn every_leaf_of_every_tree_leads_to_its_root_and_from_no_other_place() {
    for count in 1..40_usize {
        let leaves: Vec<Digest> = (0..count)
            .map(|at| merkle::leaf(&at.to_le_bytes()))
            .collect();
        let root = merkle::root(&leaves);
        for place in 0..count {
            let path = merkle::path(&leaves, place);
            assert_eq!(
                merkle::climb(leaves[place], place, count, &path),
                Some(root)
            );
            for other in (0..count + 2).filter(|other| *other != place) {
                let led = merkle::climb(leaves[place], other, count, &path);
                assert_ne!(led, Some(root), "{place} as {other} of {count}");
            }
            let mut longer = path.clone();
            longer.push(root);
            assert_ne!(
                merkle::climb(leaves[place], place, count, &longer),
                Some(root)
            );
            if let Some((_, shorter)) = path.split_last() {
                assert_ne!(
                    merkle::climb(leaves[place], place, count, shorter),
                    Some(root)
                );
            }
        }
    }
    // A leaf cannot pass for the node over two.
    let [a, b] = [merkle::leaf(b"a"), merkle::leaf(b"b")];
    let glued = [a.as_bytes().as_slice(), b.as_bytes()].concat();
    assert_ne!(merkle::leaf(&glued), merkle::root(&[a, b]));
}

#[test]
fn an_honest_proof_says_which_steps_to_execute_again_and_what_came_out() {
    let program = program(20);
    let proof = proof(&program, 6);
    let checked = verify(&proof, &subject(&program), 6).unwrap();
    assert_eq!(checked.again.len(), 6);
    for again in &checked.again {
        let sum = again.reads[0]
            .iter()
            .zip(&again.reads[1])
            .map(|(a, b)| a + b);
        assert_eq!(sum.collect::<Vec<_>>(), again.gives[0]);
    }
    let last = executed(&program).pop().unwrap();
    assert_eq!(checked.outputs, [Numbers::of(&last).digest()]);
    let proven = proven(proof);
    let bytes = proven.to_bytes().unwrap();
    let text = Proven::text(&bytes);
    assert_eq!(Proven::bytes_of(&text).unwrap(), bytes);
    assert_eq!(Proven::from_bytes(&bytes).unwrap(), proven);
    assert!(
        text.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    );
    // All steps, where there are not as many as are asked for.
    let all = self::proof(&program, 1000);
    let checked = verify(&all, &subject(&program), 1000).unwrap();
    assert_eq!(checked.again.len(), 20);
}

#[test]
fn each_refusal_has_its_name() {
    let program = program(20);
    let subject = subject(&program);
    let honest = proof(&program, 6);
    let refused = |change: &dyn Fn(&mut Proof)| {
        let mut proof = honest.clone();
        change(&mut proof);
        verify(&proof, &subject, 6).unwrap_err()
    };
    assert_eq!(refused(&|proof| proof.version = 9), Refused::Version(9));
    let gang = |gang| Refused::Gang { rank: 7, gang };
    assert_eq!(refused(&|proof| proof.rank = 7), gang(3));
    let few = Refused::TooFewOpened { has: 5, wants: 6 };
    assert_eq!(refused(&|proof| proof.opened = 5), few);
    assert_eq!(
        refused(&|proof| proof.gang[1].spec = Digest::of(b"other")),
        Refused::Spec
    );
    assert_eq!(
        refused(&|proof| proof.gang[1].input = Digest::of(b"other")),
        Refused::Input
    );
    let steps = Refused::Steps { has: 21, wants: 20 };
    assert_eq!(refused(&|proof| proof.gang[1].steps = 21), steps);
    // Another root gives another draw too, but the steps that are shown go first.
    let first = honest.openings[0].leaf.step;
    assert_eq!(
        refused(&|proof| proof.gang[1].root = Digest::of(b"other")),
        Refused::NotInTree(first)
    );
    // What another committed to decides which steps are opened.
    assert!(matches!(
        refused(&|proof| proof.gang[0].root = Digest::of(b"later")),
        Refused::Missing(_) | Refused::Unasked(_) | Refused::Numbers(_) | Refused::Spare(_)
    ));
    assert!(matches!(
        refused(&|proof| drop(proof.openings.remove(1))),
        Refused::Missing(_)
    ));
    assert!(matches!(
        refused(&|proof| proof.openings.swap(0, 1)),
        Refused::Unasked(_)
    ));
    assert!(matches!(
        refused(&|proof| proof.openings[0].path.truncate(1)),
        Refused::NotInTree(_)
    ));
    assert!(matches!(
        refused(&|proof| proof.openings[0].leaf.reads.truncate(1)),
        Refused::Shape(_)
    ));
    assert!(matches!(
        refused(&|proof| drop(proof.tensors.remove(0))),
        Refused::Numbers(_)
    ));
    assert!(matches!(
        refused(&|proof| {
            proof.tensors.push(Numbers::of(&[77.0, 78.0]));
            proof.tensors.sort_by_key(Numbers::digest);
        }),
        Refused::Spare(1)
    ));
    // One who shows a step that nobody asked for.
    let more = proof(&program, 1000);
    let spare = more.openings.iter();
    let mut spare = spare.filter(|opening| !honest.openings.contains(opening));
    let spare = spare.next_back().cloned().unwrap();
    let step = spare.leaf.step;
    assert_eq!(
        refused(&|proof| {
            proof.openings.push(spare.clone());
            proof.openings.sort_by_key(|opening| opening.leaf.step);
        }),
        Refused::Unasked(step)
    );
    let other = Subject::new(
        Digest::of(SPEC.as_bytes()),
        &program,
        vec![Digest::of(b"x"); 2],
    )
    .unwrap();
    assert_eq!(verify(&honest, &other, 6).unwrap_err(), Refused::Input);
}

#[test]
fn one_who_reads_another_tensor_than_was_made_is_refused() {
    let program = program(4);
    let values = executed(&program);
    let honest = trace(&program, &values);
    // The tree of an execution whose last step read something else.
    let mut proof = honest.prove(&[honest.commitment()], 0, 4).unwrap();
    let lie = Numbers::of(&[9.0, 9.0]);
    proof.openings[3].leaf.reads[0] = lie.digest();
    let hashes: Vec<Digest> = proof
        .openings
        .iter()
        .map(|it| it.leaf.hash(&attempt(1)))
        .collect();
    proof.gang[0].root = merkle::root(&hashes);
    for (place, opening) in proof.openings.iter_mut().enumerate() {
        opening.path = merkle::path(&hashes, place);
    }
    proof.tensors.push(lie);
    proof.tensors.sort_by_key(Numbers::digest);
    let refused = verify(&proof, &subject(&program), 4).unwrap_err();
    let link = Refused::Link {
        step: 3,
        operand: 0,
    };
    assert_eq!(refused, link);
}

#[test]
fn only_the_one_form_is_read_and_what_is_wrong_is_named() {
    let program = program(5);
    let honest = proven(proof(&program, 2));
    let bytes = honest.to_bytes().unwrap();
    for cut in [1, form::MARK.len(), bytes.len() / 2, bytes.len() - 1] {
        let refused = Proven::from_bytes(&bytes[..cut]).unwrap_err();
        assert_eq!(refused, NoProof::Cut, "{cut}");
    }
    let more = [&bytes[..], &[0]].concat();
    let refused = |bytes: &[u8]| Proven::from_bytes(bytes).unwrap_err();
    assert_eq!(refused(&more), NoProof::NotCanonical);
    assert_eq!(refused(b""), NoProof::NotOne);
    assert_eq!(refused(b"a receipt, perhaps"), NoProof::NotOne);
    assert_eq!(refused(b"embermesh proof v2\nx"), NoProof::Version);
    let other = [form::MARK, b"\x01"].concat();
    assert!(matches!(refused(&other), NoProof::Malformed(_)));
    assert_eq!(Proven::bytes_of("a b").unwrap_err(), NoProof::Text);
    let large = vec![0; super::MAX_PROOF + 1];
    assert_eq!(refused(&large), NoProof::TooLarge);
    let nobody = Proven {
        proofs: Vec::new(),
        ..honest
    };
    let refused = refused(&nobody.to_bytes().unwrap());
    assert_eq!(refused, NoProof::Members(0));
}

#[test]
fn no_proof_is_larger_than_was_said_before() {
    for steps in [1, 2, 3, 7, 20, 64] {
        let program = program(steps);
        for opened in [1, 3, 64] {
            let proof = proof(&program, opened);
            let bytes = minicbor::to_vec(&proof).unwrap().len() as u64;
            let most = most_bytes(&program, opened, 3);
            assert!(bytes <= most, "{steps} {opened}: {bytes} of {most}");
        }
    }
}

#[test]
fn a_proof_of_one_attempt_is_none_of_another() {
    let program = program(40);
    let values = executed(&program);
    let spec = Digest::of(SPEC.as_bytes());
    let prove = |attempt| {
        let trace = Trace::new(spec, &program, &values, attempt).unwrap();
        let proof = trace.prove(&[trace.commitment()], 0, 5).unwrap();
        assert!(verify(&proof, &subject(&program), 5).is_ok());
        proof
    };
    let mine = prove(attempt(1));
    let next = Attempt {
        epoch: Epoch(2),
        ..attempt(1)
    };
    let elsewhere = Attempt {
        node: Keypair::from_seed(&[8; 32]).peer_id(),
        ..attempt(1)
    };
    for other in [attempt(2), next, elsewhere] {
        let mut stolen = prove(other);
        assert_ne!(stolen.gang[0].root, mine.gang[0].root);
        assert_ne!(stolen.openings, mine.openings);
        stolen.gang[0].attempt = attempt(1);
        let refused = verify(&stolen, &subject(&program), 5).unwrap_err();
        assert!(matches!(refused, Refused::NotInTree(_)), "{refused}");
    }
}

#[test]
fn a_draw_is_even_and_of_distinct_steps() {
    let commitment = |root: u32| Commitment {
        root: Digest::of(&root.to_le_bytes()),
        steps: 10,
        spec: Digest::of(b"s"),
        input: Digest::of(b"i"),
        attempt: attempt(1),
    };
    let mut times = [0_u32; 10];
    for seed in 0..2000 {
        let drawn = challenge::draw(&[commitment(seed)], 0, 10, 3);
        assert_eq!(drawn.len(), 3);
        for step in drawn {
            times[usize::try_from(step).unwrap()] += 1;
        }
    }
    // 600 of each, and five standard deviations.
    assert!(
        times.iter().all(|times| (500..700).contains(times)),
        "{times:?}"
    );
    let gang = [commitment(1), commitment(2)];
    let of = |rank| challenge::draw(&gang, rank, 10, 3);
    assert_ne!(of(0), of(1));
    assert_ne!(
        challenge::challenge(&gang),
        challenge::challenge(&gang[..1])
    );
}

#[test]
fn one_who_changes_a_step_is_caught_as_often_as_is_said() {
    let program = program(12);
    let honest = executed(&program);
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let (turns, opened) = (600, 3);
    let mut found = 0;
    for _ in 0..turns {
        // He changes what one step gives, and all that follows is computed from it.
        let changed = usize::try_from(rng.next_u32()).unwrap() % program.steps.len();
        let mut values = honest.clone();
        for (place, step) in program.steps.iter().enumerate().skip(changed) {
            let [a, b] = [step.reads[0].place(), step.reads[1].place()];
            let pairs = values[a].iter().zip(&values[b]);
            let mut sum: Vec<f32> = pairs.map(|(a, b)| a + b).collect();
            if place == changed {
                sum[0] += 1.0 + f32::from(u16::try_from(rng.next_u32() >> 20).unwrap());
            }
            values[step.gives[0].place()] = sum;
        }
        let cheat = trace(&program, &values);
        let nonce = Commitment {
            root: Digest::of(&rng.next_u64().to_le_bytes()),
            ..cheat.commitment()
        };
        let proof = cheat
            .prove(&[cheat.commitment(), nonce], 0, opened)
            .unwrap();
        // Everything fits, until a step is executed again.
        let checked = verify(&proof, &subject(&program), opened).unwrap();
        let wrong = checked.again.iter().any(|again| {
            let sum = again.reads[0]
                .iter()
                .zip(&again.reads[1])
                .map(|(a, b)| a + b);
            sum.collect::<Vec<_>>() != again.gives[0]
        });
        found += u32::from(wrong);
    }
    let share = f64::from(found) / f64::from(turns);
    let expected = caught(12, 1, opened);
    assert!((expected - 0.25).abs() < 1e-12);
    // Five standard deviations of 600 turns.
    assert!((share - expected).abs() < 0.09, "{share}");
    assert!((caught(100, 10, 20) - 0.904_8).abs() < 1e-3);
    assert!((caught(8, 1, 8) - 1.0).abs() < 1e-12);
    assert!(caught(8, 0, 8).abs() < 1e-12);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_bit_of_a_proof_can_be_changed(steps in 1_usize..20, opened in 1_u32..20, at: u64) {
        let program = program(steps);
        let honest = proof(&program, opened);
        let mut bytes = proven(honest.clone()).to_bytes().unwrap();
        let bits = bytes.len() as u64 * 8;
        let bit = at % bits;
        bytes[usize::try_from(bit / 8).unwrap()] ^= 1 << (bit % 8);
        let Ok(Proven { spec, mut proofs }) = Proven::from_bytes(&bytes) else {
            return Ok(());
        };
        // Another spec has another digest, which the proof has not.
        prop_assume!(spec == SPEC);
        let changed = proofs.remove(0);
        let least = opened.min(u32::try_from(steps).unwrap());
        match verify(&changed, &subject(&program), least) {
            Err(_) => {}
            // What others committed to is not about this execution, and more steps may be
            // said to be opened than had to be, if they are all shown: nothing else can
            // be changed, and what is shown is still what was executed.
            Ok(checked) => {
                prop_assert_eq!(&changed.openings, &honest.openings);
                prop_assert_eq!(&changed.tensors, &honest.tensors);
                prop_assert_eq!(changed.gang[1], honest.gang[1]);
                prop_assert_eq!(changed.rank, honest.rank);
                let values = executed(&program);
                for again in &checked.again {
                    let gives = program.steps[again.step].gives[0].place();
                    prop_assert_eq!(&again.gives[0], &values[gives]);
                }
            }
        }
    }
}
