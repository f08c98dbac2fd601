//! What is executed can be proven, and a step that was changed is found.
#![allow(clippy::unwrap_used, reason = "a test ends where what it needs fails")]

use embermesh_compute::proven::{Disproven, execute, recheck};
use embermesh_job::{
    crypto::Digest,
    proof::{Subject, Trace, claim::Numbers, verify},
    spec::{Compute, Input},
};

const COMPUTE: &str = r#"{
    "tensors": [
        {"name": "x", "shape": [2, 3], "values": [1, 2, 3, 4, 5, 6]},
        {"name": "w", "shape": [3, 2], "values": [0.5, -1, 0.25, 2, -0.75, 1]}
    ],
    "operations": [
        {"name": "product", "op": "matmul", "from": ["x", "w"]},
        {"name": "rectified", "op": "relu", "from": ["product"]},
        {"name": "roots", "op": "sqrt", "from": ["rectified"]},
        {"name": "twice", "op": "add", "from": ["roots", "rectified"]},
        {"name": "likely", "op": "softmax", "axis": 1, "from": ["twice"]}
    ]
}"#;

fn given() -> Vec<Vec<f32>> {
    vec![
        vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
        vec![0.5, -1.0, 0.25, 2.0, -0.75, 1.0],
    ]
}

#[test]
fn an_execution_is_proven_and_a_changed_step_is_found() {
    let compute: Compute<Input> = serde_json::from_str(COMPUTE).unwrap();
    let program = compute.plan().unwrap().program;
    let spec = Digest::of(COMPUTE.as_bytes());
    let digests = given()
        .into_iter()
        .map(|values| Numbers::of(&values).digest());
    let subject = Subject::new(spec, &program, digests.collect()).unwrap();
    let steps = u32::try_from(program.steps.len()).unwrap();

    let honest = execute(&program, given()).unwrap();
    let trace = Trace::new(spec, &program, &honest).unwrap();
    let proof = trace.prove(&[trace.commitment()], 0, steps).unwrap();
    let checked = verify(&proof, &subject, steps).unwrap();
    assert_eq!(checked.again.len(), program.steps.len());
    recheck(&program, &checked).unwrap();
    // The same again, to the last bit.
    assert_eq!(execute(&program, given()).unwrap(), honest);

    for changed in 0..program.steps.len() {
        // One number of one step, and everything after it computed from that.
        let mut cheat = honest.clone();
        let place = program.steps[changed].gives[0].place();
        cheat[place][1] += 0.01;
        let trace = Trace::new(spec, &program, &cheat).unwrap();
        let proof = trace.prove(&[trace.commitment()], 0, steps).unwrap();
        let checked = verify(&proof, &subject, steps).unwrap();
        match recheck(&program, &checked).unwrap_err() {
            Disproven::Wrong(step) => assert_eq!(step, changed),
            other => panic!("{other}"),
        }
    }
}
