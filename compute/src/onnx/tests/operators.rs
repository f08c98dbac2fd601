//! The tests of operators that the `onnx` package has: every case whose operators
//! are read.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use prost::Message as _;

use super::super::operators::OPERATORS;
use super::super::wire::TensorProto;
use super::super::{Bound, Literal, OnnxFile};
use super::{differs, fetched, run};

/// The least number of cases that must pass, of those whose operators are read.
const LEAST: usize = 725;

enum Outcome {
    Passed,
    /// An operator that is not read, or numbers that are none.
    Left,
    /// Refused, and why.
    Refused(String),
    /// Other numbers.
    Wrong(String),
}

#[test]
fn the_operators_do_what_their_tests_say() {
    let Some(folder) = fetched("node") else {
        return;
    };
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    names.sort();
    let (mut passed, mut left, mut refused, mut wrong) = (0, 0, Vec::new(), Vec::new());
    for path in &names {
        let name = path.file_name().unwrap().to_string_lossy();
        match case(path) {
            Outcome::Passed => passed += 1,
            Outcome::Left => left += 1,
            Outcome::Refused(reason) => refused.push(format!("{name}: {reason}")),
            Outcome::Wrong(reason) => wrong.push(format!("{name}: {reason}")),
        }
    }
    println!(
        "{passed} cases pass, {} are refused, {} are wrong; {left} of {} have operators or types that are not read",
        refused.len(),
        wrong.len(),
        names.len()
    );
    for line in refused.iter().chain(&wrong) {
        println!("  {line}");
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(passed >= LEAST, "{passed}");
}

fn case(folder: &Path) -> Outcome {
    let bytes = std::fs::read(folder.join("model.onnx")).unwrap();
    let Ok(file) = OnnxFile::read(bytes.into()) else {
        return Outcome::Left;
    };
    let graph = file.model.graph.as_ref().unwrap();
    let is_read = |domain: &str, name: &str| domain.is_empty() && OPERATORS.contains(&name);
    if !graph
        .node
        .iter()
        .all(|node| is_read(&node.domain, &node.op_type))
    {
        return Outcome::Left;
    }
    let data = folder.join("test_data_set_0");
    let (Some(inputs), Some(outputs)) = (tensors(&data, "input"), tensors(&data, "output")) else {
        return Outcome::Left;
    };
    let named = |ports: Vec<super::super::Port>, values: Vec<Literal>| {
        ports
            .into_iter()
            .map(|port| port.name)
            .zip(values)
            .collect::<Vec<_>>()
    };
    let ports = file.inputs();
    if ports.iter().any(|port| port.kind.is_none()) {
        return Outcome::Left;
    }
    // Older wheels have bfloat16 as the whole numbers of its bits.
    let all_ports = ports.iter().cloned().chain(file.outputs());
    let is_said = |(port, tensor): (super::super::Port, &Literal)| port.kind == Some(tensor.kind);
    if !all_ports.zip(inputs.iter().chain(&outputs)).all(is_said) {
        return Outcome::Left;
    }
    let (inputs, outputs) = (named(ports, inputs), named(file.outputs(), outputs));
    let mut last = Outcome::Left;
    // All given; whole numbers known; all known but the first; all known.
    for mode in 0..4 {
        last = attempt(&file, &inputs, &outputs, mode);
        if matches!(last, Outcome::Passed | Outcome::Wrong(_)) {
            break;
        }
    }
    last
}

fn attempt(
    file: &OnnxFile,
    inputs: &[(String, Literal)],
    outputs: &[(String, Literal)],
    mode: usize,
) -> Outcome {
    let mut bound = BTreeMap::new();
    let mut numbers = BTreeMap::new();
    for (at, (name, literal)) in inputs.iter().enumerate() {
        let fixed = match mode {
            0 => false,
            1 => literal.as_ints().is_some(),
            2 => at > 0,
            _ => true,
        };
        if fixed {
            bound.insert(name.clone(), Bound::Fixed(literal.clone()));
            continue;
        }
        bound.insert(name.clone(), Bound::Given(literal.shape.clone()));
        match literal.clone().into_floats() {
            Ok(values) => numbers.insert(name.clone(), values),
            Err(reason) => return Outcome::Refused(reason),
        };
    }
    let names: Vec<String> = outputs.iter().map(|(name, _)| name.clone()).collect();
    let imported = match file.import(&bound, &names) {
        Ok(imported) => imported,
        Err(error) => return Outcome::Refused(error.to_string()),
    };
    for (value, (name, expected)) in imported.program.outputs.iter().zip(outputs) {
        let of = imported.program.type_of(*value);
        if *of != expected.of() {
            return Outcome::Wrong(format!("{name} is {of} and not {}", expected.of()));
        }
    }
    let results = match run(imported, &numbers) {
        Ok(results) => results,
        Err(reason) => return Outcome::Refused(reason),
    };
    for (result, (name, expected)) in results.iter().zip(outputs) {
        let Ok(expected) = expected.clone().into_floats() else {
            return Outcome::Left;
        };
        if let Some(reason) = differs(result, &expected, 1e-5) {
            return Outcome::Wrong(format!("{name} {reason}"));
        }
    }
    Outcome::Passed
}

/// The tensors of a case; none where one is not of numbers.
fn tensors(folder: &Path, kind: &str) -> Option<Vec<Literal>> {
    let mut all = Vec::new();
    loop {
        let path = folder.join(format!("{kind}_{}.pb", all.len()));
        let Ok(bytes) = std::fs::read(path) else {
            return Some(all);
        };
        let tensor = TensorProto::decode(Bytes::from(bytes)).ok()?;
        all.push(Literal::read(&tensor).ok()?);
    }
}
