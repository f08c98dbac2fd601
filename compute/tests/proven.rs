//! What is executed can be proven; a proof is verified with nothing but its file and the
//! job's inputs; and each way to cheat is found and named.
#![allow(clippy::unwrap_used, reason = "a test ends where what it needs fails")]

mod support;

use std::collections::BTreeMap;

use embermesh_compute::{
    WorkFailed,
    pipe::WorkOrder,
    proven::{
        Disproven, execute,
        offline::{Unproven, verify_file},
        recheck,
    },
    run_in_process,
};
use embermesh_job::{
    crypto::{Digest, Epoch, JobId, Keypair, UnixMillis},
    file::{Format, JobFile},
    program::Program,
    proof::{
        Attempt, Commitment, NoProof, Proof, Proven, Refused, Subject, Trace,
        claim::Numbers,
        form::{commitments, committed},
        verify,
    },
    spec::{Input, JobSpec, Part, Work},
};
use safetensors::{Dtype, tensor::TensorView};
use support::{Bench, attempt};

const JOB: &str = r#"
name = "proven"
[work.compute]
tensors = [
    { name = "x", shape = [2, 3], values = [1, 2, 3, 4, 5, 6] },
    { name = "w", shape = [3, 2], values = [0.5, -1, 0.25, 2, -0.75, 1] },
]
operations = [
    { name = "product", op = "matmul", from = ["x", "w"] },
    { name = "rectified", op = "relu", from = ["product"] },
    { name = "roots", op = "sqrt", from = ["rectified"] },
    { name = "twice", op = "add", from = ["roots", "rectified"] },
    { name = "likely", op = "softmax", axis = 1, from = ["twice"] },
]
results = ["likely", "roots"]
prove = { opened = 5 }
"#;

fn given() -> Vec<Vec<f32>> {
    vec![
        vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
        vec![0.5, -1.0, 0.25, 2.0, -0.75, 1.0],
    ]
}

fn spec(text: &str) -> JobSpec {
    let file = JobFile::parse(text, Format::Toml).unwrap();
    file.resolve(&BTreeMap::new()).unwrap()
}

fn program(spec: &JobSpec) -> Program {
    let Work::Compute(compute) = &spec.work else {
        panic!("it is a computation")
    };
    compute.plan().unwrap().program
}

/// The proof of a worker who says that these were the numbers of every tensor.
fn proof(spec: &JobSpec, values: &[Vec<f32>], attempt: Attempt) -> Proof {
    let program = program(spec);
    let trace = Trace::new(spec.digest(), &program, values, attempt).unwrap();
    trace.prove(&[trace.commitment()], 0, 5).unwrap()
}

/// The file of one.
fn file(spec: &JobSpec, proof: Proof) -> Vec<u8> {
    let spec = String::from_utf8(spec.canonical()).unwrap();
    let proofs = vec![proof];
    Proven { spec, proofs }.to_bytes().unwrap()
}

fn refused(file: &[u8]) -> Unproven {
    verify_file(file, |_| None).unwrap_err()
}

/// Runs an order and gives its proof and its results.
fn made(order: &WorkOrder) -> (Vec<u8>, Vec<u8>) {
    run_in_process(order, &mut |_| ()).unwrap();
    let read = |name: &str| std::fs::read(order.workdir.join(name)).unwrap();
    (read("proof.bin"), read("results.safetensors"))
}

#[test]
fn an_execution_is_proven_and_a_changed_step_is_found() {
    let spec = spec(JOB);
    let program = program(&spec);
    let digests = given()
        .into_iter()
        .map(|values| Numbers::of(&values).digest());
    let subject = Subject::new(spec.digest(), &program, digests.collect()).unwrap();
    let honest = execute(&program, given()).unwrap();
    let honest_proof = proof(&spec, &honest, attempt());
    let checked = verify(&honest_proof, &subject, 5).unwrap();
    assert_eq!(checked.again.len(), program.steps.len());
    recheck(&program, &checked).unwrap();
    // The same again, to the last bit.
    assert_eq!(execute(&program, given()).unwrap(), honest);

    for changed in 0..program.steps.len() {
        // One number of one step, and everything after it computed from that.
        let mut cheat = honest.clone();
        let place = program.steps[changed].gives[0].place();
        cheat[place][1] += 0.01;
        let cheat = proof(&spec, &cheat, attempt());
        let checked = verify(&cheat, &subject, 5).unwrap();
        match recheck(&program, &checked).unwrap_err() {
            Disproven::Wrong(step) => assert_eq!(step, changed),
            other => panic!("{other}"),
        }
        let told = refused(&file(&spec, cheat)).to_string();
        assert!(told.contains(&format!("step {changed} does not")), "{told}");
    }
}

#[test]
fn a_worker_proves_what_it_executed_and_its_results_are_those() {
    let mut bench = Bench::new();
    let spec = spec(JOB);
    let (proof, results) = made(&bench.order_of(&spec));
    let verified = verify_file(&proof, |_| panic!("it has no inputs")).unwrap();
    assert_eq!(verified.spec, spec);
    assert_eq!(verified.members, [attempt()]);
    assert_eq!((verified.steps, verified.opened), (5, 5));
    let names: Vec<_> = verified.results.iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["likely", "roots"]);
    verified.check_results(&results).unwrap();
    // Nothing in it is by chance: another try at the same attempt is the same proof.
    assert_eq!(made(&bench.order_of(&spec)).0, proof);
    // As text, as foreign systems carry it, and with the newline of an editor.
    let text = format!("{}\n", Proven::text(&proof));
    assert_eq!(verify_file(text.as_bytes(), |_| None).unwrap().spec, spec);

    // Other results, fewer, and no results.
    let mut other = results.clone();
    let last = other.len() - 1;
    other[last] ^= 1;
    let refused = verified.check_results(&other).unwrap_err();
    assert!(matches!(refused, Unproven::OtherResult(_)), "{refused}");
    let plain = self::spec(&JOB.replace("results = [\"likely\", \"roots\"]", ""));
    let (_, fewer) = made(&bench.order_of(&plain));
    let refused = verified.check_results(&fewer).unwrap_err().to_string();
    assert!(refused.contains("roots"), "{refused}");
    assert!(verified.check_results(b"none").is_err());
}

#[test]
fn each_way_to_cheat_is_found_and_named() {
    let spec = spec(JOB);
    let program = program(&spec);
    let honest = execute(&program, given()).unwrap();
    let good = proof(&spec, &honest, attempt());
    let refused_of = |change: &dyn Fn(&mut Proof)| {
        let mut proof = good.clone();
        change(&mut proof);
        match refused(&file(&spec, proof)) {
            Unproven::Refused { refused, .. } => refused,
            other => panic!("{other}"),
        }
    };
    // A changed commitment.
    let other = Digest::of(b"other");
    let root = refused_of(&|proof| proof.gang[0].root = other);
    assert_eq!(root, Refused::NotInTree(0));
    let input = refused_of(&|proof| proof.gang[0].input = other);
    assert_eq!(input, Refused::Input);
    // Passed off as the proof of another job, and an opened step of another job's.
    let another = Attempt {
        job: JobId::v7(UnixMillis(2), [9; 10]),
        epoch: Epoch(2),
        ..attempt()
    };
    let stolen = refused_of(&|proof| proof.gang[0].attempt = another);
    assert_eq!(stolen, Refused::NotInTree(0));
    let theirs = proof(&spec, &honest, another);
    let mixed = refused_of(&|proof| proof.openings[3] = theirs.openings[3].clone());
    assert_eq!(mixed, Refused::NotInTree(3));
    // Fewer steps than the job asks for.
    let few = refused_of(&|proof| proof.opened = 1);
    assert_eq!(few, Refused::TooFewOpened { has: 1, wants: 5 });
    // Begun with other numbers than the spec has.
    let mut lie = given();
    lie[0][0] = 1.5;
    let lie = execute(&program, lie).unwrap();
    let lie = refused(&file(&spec, proof(&spec, &lie, attempt())));
    let is_input = matches!(
        lie,
        Unproven::Refused {
            refused: Refused::Input,
            ..
        }
    );
    assert!(is_input, "{lie}");
    // Under the spec of another job.
    let renamed = self::spec(&JOB.replace("name = \"proven\"", "name = \"other\""));
    let other = refused(&file(&renamed, good.clone())).to_string();
    assert!(other.contains("of another spec"), "{other}");
    let bare = self::spec(&JOB.replace("prove = { opened = 5 }", ""));
    let unasked = refused(&file(&bare, good.clone()));
    assert!(matches!(unasked, Unproven::NotAsked), "{unasked}");
    // The proof of one of two, as if he had been alone.
    let members = Proven {
        spec: String::from_utf8(spec.canonical()).unwrap(),
        proofs: vec![Proof {
            gang: vec![good.gang[0]; 2],
            ..good.clone()
        }],
    };
    let members = refused(&members.to_bytes().unwrap());
    let counts = matches!(members, Unproven::Members { has: 1, wants: 2 });
    assert!(counts, "{members}");

    // What is no proof, and what is only a part of one.
    let whole = file(&spec, good.clone());
    let cut = refused(&whole[..whole.len() / 2]);
    assert!(matches!(cut, Unproven::NoProof(NoProof::Cut)), "{cut}");
    let other = refused(b"a receipt");
    assert!(matches!(other, Unproven::NoProof(NoProof::NotOne)));
}

#[test]
fn what_was_read_from_a_file_is_verified_with_that_file() {
    let mut bench = Bench::new();
    let numbers = |values: &[f32]| -> Vec<u8> {
        values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect()
    };
    let weights = |values: &[f32]| {
        let bytes = numbers(values);
        let view = TensorView::new(Dtype::F32, vec![3, 2], &bytes).unwrap();
        safetensors::serialize([("w", view)], None).unwrap()
    };
    let file = weights(&[0.5, -1.0, 0.25, 2.0, -0.75, 1.0]);
    let input = bench.input(&file);
    let inline = "values = [0.5, -1, 0.25, 2, -0.75, 1]";
    let named = format!(
        "file = {{ digest = \"{}\", size = {} }}",
        input.digest, input.size
    );
    let spec = spec(&JOB.replace(inline, &named));
    let (proof, _) = made(&bench.order_of(&spec));
    let with = |bytes: Option<&[u8]>| {
        verify_file(&proof, |wanted| {
            assert_eq!(wanted, input.digest);
            bytes.map(<[u8]>::to_vec)
        })
    };
    assert!(with(Some(&file)).is_ok());
    let absent = with(None).unwrap_err();
    assert!(matches!(absent, Unproven::InputAbsent(digest) if digest == input.digest));
    let other = with(Some(&weights(&[0.0; 6]))).unwrap_err().to_string();
    assert!(other.contains("other tensors"), "{other}");
    assert!(with(Some(b"no tensors")).is_err());
}

#[test]
fn without_an_attempt_there_is_no_proof() {
    let mut bench = Bench::new();
    let order = WorkOrder {
        attempt: None,
        ..bench.order_of(&spec(JOB))
    };
    let failed = run_in_process(&order, &mut |_| ()).unwrap_err();
    assert!(matches!(failed, WorkFailed::Internal(_)), "{failed}");
    assert!(!order.workdir.join("proof.bin").exists());
}

/// A member of a gang: a node, and the job that it had for a part.
fn member(number: u8) -> Attempt {
    Attempt {
        job: JobId::v7(UnixMillis(3), [number; 10]),
        node: Keypair::from_seed(&[number; 32]).peer_id(),
        epoch: Epoch::FIRST,
    }
}

/// Has a node do a part, and gives the file of that name that it made, or why not.
fn part(bench: &mut Bench, part: Part, node: Attempt, name: &str) -> Result<Vec<u8>, WorkFailed> {
    let mut spec = spec(&JOB.replace("opened = 5", "opened = 2"));
    let Work::Compute(compute) = &mut spec.work else {
        panic!("it is a computation")
    };
    compute.prove.as_mut().unwrap().part = Some(part);
    // A part is for one node; what it is a part of is not.
    spec.requires.nodes = vec![node.node];
    let order = WorkOrder {
        attempt: Some(node),
        ..bench.order_of(&spec)
    };
    run_in_process(&order, &mut |_| ())?;
    Ok(std::fs::read(order.workdir.join(name)).unwrap())
}

/// What three nodes commit to, as one file.
fn contributed(bench: &mut Bench) -> Vec<Commitment> {
    let all = (1..=3).map(|number| {
        let file = part(bench, Part::Contribute, member(number), "commitment.bin");
        let mine = committed(&file.unwrap()).unwrap();
        assert_eq!(mine.len(), 1);
        assert_eq!(mine[0].attempt, member(number));
        mine[0]
    });
    all.collect()
}

#[test]
fn a_gang_commits_opens_what_all_draw_and_makes_one_proof() {
    let mut bench = Bench::new();
    let all = contributed(&mut bench);
    let gang = bench.input(&commitments(&all).unwrap());
    let mut proofs = Vec::new();
    for rank in 0..3 {
        // A later job of the same node.
        let node = Attempt {
            job: JobId::v7(UnixMillis(4), [7; 10]),
            ..all[rank as usize].attempt
        };
        let file = part(&mut bench, Part::Prove { gang, rank }, node, "proof.bin").unwrap();
        proofs.push(file);
    }
    let inputs: Vec<Input> = proofs.iter().map(|file| bench.input(file)).collect();
    let aggregate = |bench: &mut Bench, proofs: &[Input]| {
        let proofs = proofs.to_vec();
        part(bench, Part::Aggregate { proofs }, member(2), "proof.bin")
    };
    let file = aggregate(&mut bench, &inputs).unwrap();
    let verified = verify_file(&file, |_| None).unwrap();
    assert_eq!(verified.members, [1, 2, 3].map(member));
    assert_eq!((verified.steps, verified.opened), (5, 2));
    let whole = spec(&JOB.replace("opened = 5", "opened = 2"));
    assert_eq!(verified.spec, whole);
    // Each opens steps of its own.
    let Proven { proofs: opened, .. } = Proven::from_bytes(&file).unwrap();
    assert!(opened.iter().any(|one| one.openings != opened[0].openings));

    // Out of order, one missing, and one of a gang of other members.
    let swapped = [inputs[1], inputs[0], inputs[2]];
    let words = [
        (aggregate(&mut bench, &swapped), "not one of this gang"),
        (aggregate(&mut bench, &inputs[..2]), "of 2 members"),
    ];
    for (refused, words) in words {
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains(words), "{refused}");
    }
}

#[test]
fn one_of_a_gang_who_cheats_is_named() {
    let mut bench = Bench::new();
    let spec = spec(&JOB.replace("opened = 5", "opened = 2"));
    let program = program(&spec);
    let honest = execute(&program, given()).unwrap();
    let mut all = contributed(&mut bench);
    // The second commits to an execution in which every step but the first is false.
    let mut lie = honest.clone();
    for step in &program.steps[1..] {
        lie[step.gives[0].place()][0] += 0.5;
    }
    let cheat = Trace::new(spec.digest(), &program, &lie, member(2)).unwrap();
    all[1] = cheat.commitment();
    let gang = bench.input(&commitments(&all).unwrap());
    // One who has committed to something else than he executes cannot prove it.
    let refused = part(
        &mut bench,
        Part::Prove { gang, rank: 1 },
        member(2),
        "proof.bin",
    );
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("committed to something else"), "{refused}");
    let stranger = part(
        &mut bench,
        Part::Prove { gang, rank: 1 },
        member(3),
        "proof.bin",
    );
    let stranger = stranger.unwrap_err().to_string();
    assert!(stranger.contains("another node"), "{stranger}");
    // One who does not execute, but says so, is found by whoever aggregates.
    let mut proofs = Vec::new();
    for rank in [0, 2] {
        let node = all[rank as usize].attempt;
        let file = part(&mut bench, Part::Prove { gang, rank }, node, "proof.bin");
        proofs.push(bench.input(&file.unwrap()));
    }
    let false_proof = file(&spec, cheat.prove(&all, 1, 2).unwrap());
    proofs.insert(1, bench.input(&false_proof));
    let found = part(
        &mut bench,
        Part::Aggregate { proofs },
        member(1),
        "proof.bin",
    );
    let found = found.unwrap_err().to_string();
    assert!(found.contains("member 1: step"), "{found}");
}
