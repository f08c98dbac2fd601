//! Files that others made give what others make of them; files of strangers do no
//! harm.

mod hostile;
mod operators;
mod real;
mod samples;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::Device;

use super::{Bound, Imported, Literal, OnnxFile};
use crate::program;

/// Runs a program on the CPU.
fn run(imported: Imported, inputs: &BTreeMap<String, Vec<f32>>) -> Result<Vec<Vec<f32>>, String> {
    let device = Device::flex();
    let mut constants = Vec::new();
    for literal in imported.constants {
        constants.push(program::on(&device, literal.into_floats()?));
    }
    let given = imported
        .inputs
        .iter()
        .map(|name| program::on(&device, inputs[name].clone()))
        .collect();
    let results = program::run(&imported.program, &constants, given, &device)
        .map_err(|error| error.to_string())?;
    Ok(results
        .into_iter()
        .map(|x| x.try_into_vec_as::<f32>().unwrap())
        .collect())
}

/// The first place where two differ.
fn differs(found: &[f32], expected: &[f32], tolerance: f32) -> Option<String> {
    if found.len() != expected.len() {
        return Some(format!("{} numbers of {}", found.len(), expected.len()));
    }
    let pairs = found.iter().zip(expected);
    pairs.enumerate().find_map(|(at, (&found, &expected))| {
        let same = found == expected
            || (found.is_nan() && expected.is_nan())
            || (found - expected).abs() <= tolerance + 1e-3 * expected.abs();
        (!same).then(|| format!("at {at}: {found} and not {expected}"))
    })
}

fn given(shape: &[usize]) -> Bound {
    Bound::Given(shape.to_vec())
}

/// Where `scripts/onnx-models` puts what it fetches; none if it is not there.
fn fetched(name: &str) -> Option<PathBuf> {
    let folder = |name| std::env::var_os(name).map(PathBuf::from);
    let home = || folder("HOME").map(|home| home.join(".cache"));
    let cache = || folder("XDG_CACHE_HOME").or_else(home);
    let models = folder("EMBERMESH_MODELS").or_else(|| Some(cache()?.join("embermesh/models")))?;
    let path = models.join("onnx").join(name);
    if !path.exists() {
        println!("skipped: {name} is not there; run scripts/onnx-models");
        return None;
    }
    Some(path)
}

fn read(path: &Path) -> OnnxFile {
    OnnxFile::read(std::fs::read(path).unwrap().into()).unwrap()
}

fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../data")
        .join(name)
}

fn single(value: f64, kind: embermesh_job::program::Kind, shape: &[usize]) -> Bound {
    Bound::Fixed(Literal::filled(kind, shape, value))
}
