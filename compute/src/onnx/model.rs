//! A file fitted to a job: which input samples go to, how many at a time, and
//! whether what comes out is what the job takes.

use std::collections::BTreeMap;

use embermesh_job::program::{Kind, Program};
use embermesh_job::spec::{Feeds, Input, JobSpec, Onnx, Work};
use embermesh_job::units;

use super::{Axis, Bound, Imported, InvalidOnnx, Literal, OnnxFile, Port};

/// The most numbers of an input that is filled.
const MAX_FILLED: usize = 1 << 24;

/// A file as the program of one batch.
#[derive(Debug)]
pub struct Fitted {
    /// What is done with a batch. Its inputs are those that samples go to.
    pub program: Program,
    /// The numbers of its constants, in their order.
    pub constants: Vec<Literal>,
    /// How many samples a batch has: as many as was asked, unless the file has a
    /// number of its own.
    pub batch: usize,
    /// Where the numbers for each input of the program start within a sample, and how
    /// many there are.
    pub parts: Vec<(usize, usize)>,
    /// The shape of what comes out, without the batch.
    pub output_shape: Vec<usize>,
}

/// Where samples go.
struct Fed {
    name: String,
    shape: Vec<usize>,
    start: usize,
}

/// Fits a file to what a job says of it, for batches of so many samples.
///
/// # Errors
/// [`InvalidOnnx`], which names the input, the node or the output.
pub fn fit<I>(file: &OnnxFile, onnx: &Onnx<I>, batch: usize) -> Result<Fitted, InvalidOnnx> {
    let ports = file.inputs();
    let fed = fed(&ports, onnx)?;
    let own = own_batch(&ports, &fed)?;
    let batch = own.unwrap_or(batch).max(1);
    let output = output(file, onnx)?;
    let outputs = [output.clone()];
    let refuse = |reason: String| InvalidOnnx::Output {
        name: output.clone(),
        reason,
    };
    if own.is_none() {
        // What is no batch shows in a batch of another size.
        let other = batch + 1;
        let imported = file.import(&bind(&ports, &fed, onnx, other)?, &outputs)?;
        by_sample(&imported, other).map_err(refuse)?;
    }
    let imported = file.import(&bind(&ports, &fed, onnx, batch)?, &outputs)?;
    let output_shape = by_sample(&imported, batch).map_err(refuse)?;
    let parts = imported
        .inputs
        .iter()
        .filter_map(|name| fed.iter().find(|fed| fed.name == *name))
        .map(|fed| (fed.start, fed.shape.iter().product()))
        .collect();
    Ok(Fitted {
        program: imported.program,
        constants: imported.constants,
        batch,
        parts,
        output_shape,
    })
}

fn input_refused(name: &str, reason: impl Into<String>) -> InvalidOnnx {
    InvalidOnnx::Input {
        name: super::invalid::short(name),
        reason: reason.into(),
    }
}

/// The inputs that samples go to, in the order of a sample's numbers.
fn fed<I>(ports: &[Port], onnx: &Onnx<I>) -> Result<Vec<Fed>, InvalidOnnx> {
    let known = |name: &str| ports.iter().any(|port| port.name == name);
    if let Some(name) = onnx.fixed.keys().find(|name| !known(name)) {
        return Err(input_refused(
            name,
            "`fixed` names it, and the file has no such input",
        ));
    }
    let open: Vec<&str> = ports
        .iter()
        .map(|port| port.name.as_str())
        .filter(|name| !onnx.fixed.contains_key(*name))
        .collect();
    let feeds: Vec<(String, Vec<usize>)> = match &onnx.feeds {
        Feeds::One(shape) => match open[..] {
            [name] => vec![(name.to_owned(), shape.clone())],
            _ => {
                return Err(InvalidOnnx::Job(format!(
                    "the file has the inputs {open:?}, and samples go to one: fix the others with `fixed`, or name several with `inputs`"
                )));
            }
        },
        Feeds::Named(feeds) => feeds
            .iter()
            .map(|feed| (feed.name.clone(), feed.shape.clone()))
            .collect(),
    };
    let mut start = 0;
    let mut out = Vec::with_capacity(feeds.len());
    for (name, shape) in feeds {
        if !open.contains(&name.as_str()) || out.iter().any(|fed: &Fed| fed.name == name) {
            return Err(input_refused(
                &name,
                format!("samples go to the inputs {open:?}, to each once"),
            ));
        }
        let size: usize = shape.iter().product();
        out.push(Fed { name, shape, start });
        start += size;
    }
    match open
        .iter()
        .find(|name| !out.iter().any(|fed| fed.name == **name))
    {
        Some(name) => Err(input_refused(name, "nothing is said to go there")),
        None => Ok(out),
    }
}

/// The number of samples that the file is made for, where it is made for one, and
/// whether samples have the shape that it takes.
fn own_batch(ports: &[Port], fed: &[Fed]) -> Result<Option<usize>, InvalidOnnx> {
    let mut own = None;
    for fed in fed {
        let port = ports.iter().find(|port| port.name == fed.name);
        let Some(axes) = port.and_then(|port| port.axes.as_ref()) else {
            continue;
        };
        let shown: Vec<String> = axes
            .iter()
            .map(|axis| match axis {
                Axis::Length(length) => length.to_string(),
                Axis::Named(name) if name.is_empty() => "?".to_owned(),
                Axis::Named(name) => name.clone(),
            })
            .collect();
        let fits = axes.len() == fed.shape.len() + 1
            && axes[1..].iter().zip(&fed.shape).all(|(axis, &length)| {
                *axis == Axis::Length(length) || matches!(axis, Axis::Named(_))
            });
        if !fits {
            return Err(input_refused(
                &fed.name,
                format!(
                    "the file takes [{}], the first of which is the batch, and samples have {:?}",
                    shown.join(", "),
                    fed.shape
                ),
            ));
        }
        if let Axis::Length(length) = axes[0]
            && *own.get_or_insert(length) != length
        {
            return Err(input_refused(
                &fed.name,
                "inputs have batches of different sizes",
            ));
        }
    }
    Ok(own)
}

fn output<I>(file: &OnnxFile, onnx: &Onnx<I>) -> Result<String, InvalidOnnx> {
    let names: Vec<String> = file.outputs().into_iter().map(|port| port.name).collect();
    match &onnx.output {
        Some(name) if names.contains(name) => Ok(name.clone()),
        Some(name) => Err(InvalidOnnx::Output {
            name: super::invalid::short(name),
            reason: format!("the file gives {names:?}"),
        }),
        None => names
            .into_iter()
            .next()
            .ok_or_else(|| InvalidOnnx::Format("it gives nothing".to_owned())),
    }
}

/// What each input is bound to in batches of so many.
fn bind<I>(
    ports: &[Port],
    fed: &[Fed],
    onnx: &Onnx<I>,
    batch: usize,
) -> Result<BTreeMap<String, Bound>, InvalidOnnx> {
    let mut bound = BTreeMap::new();
    let mut batch_names = Vec::new();
    for fed in fed {
        let port = ports.iter().find(|port| port.name == fed.name);
        if let Some([Axis::Named(name), ..]) = port.and_then(|port| port.axes.as_deref()) {
            batch_names.push(name.as_str());
        }
        let shape = [&[batch][..], &fed.shape].concat();
        bound.insert(fed.name.clone(), Bound::Given(shape));
    }
    for (name, &value) in &onnx.fixed {
        let Some(port) = ports.iter().find(|port| port.name == *name) else {
            continue;
        };
        let (Some(axes), Some(kind)) = (&port.axes, port.kind) else {
            return Err(input_refused(
                name,
                "the file does not say its shape, so that it cannot be filled",
            ));
        };
        let mut shape = Vec::with_capacity(axes.len());
        for axis in axes {
            shape.push(match axis {
                Axis::Length(length) => *length,
                Axis::Named(axis) => match onnx.sizes.get(axis) {
                    Some(size) => *size,
                    // What has no name, or that of the batch.
                    None if axis.is_empty() || batch_names.contains(&axis.as_str()) => batch,
                    None => {
                        return Err(input_refused(
                            name,
                            format!(
                                "say how long its axis {axis:?} is: `sizes = {{ {axis:?} = 1 }}`"
                            ),
                        ));
                    }
                },
            });
        }
        let count = shape
            .iter()
            .try_fold(1_usize, |count, &axis| count.checked_mul(axis));
        if count.is_none_or(|count| count > MAX_FILLED) {
            return Err(input_refused(
                name,
                format!("{shape:?} is too large to be filled"),
            ));
        }
        bound.insert(
            name.clone(),
            Bound::Fixed(Literal::filled(kind, &shape, value)),
        );
    }
    Ok(bound)
}

/// The shape of what comes out for each of so many samples.
fn by_sample(imported: &Imported, batch: usize) -> Result<Vec<usize>, String> {
    let Some(&value) = imported.program.outputs.first() else {
        return Err("it is not there".to_owned());
    };
    let of = imported.program.type_of(value);
    if of.kind == Kind::Bool {
        return Err("it holds truths, and numbers are taken".to_owned());
    }
    match of.shape.split_first() {
        Some((&first, rest)) if first == batch => {
            // A row of them: what comes with one number only is a row of one.
            Ok(if rest.is_empty() {
                vec![1]
            } else {
                vec![rest.iter().product()]
            })
        }
        _ => Err(format!(
            "it has the shape {:?} for {batch} samples, and its first axis should be theirs",
            of.shape
        )),
    }
}

/// What a job's ONNX file comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Numbers that it brings along.
    pub parameters: u64,
    /// Floating-point operations a sample.
    pub flops_per_sample: u64,
    /// The shape of what comes out, without the batch.
    pub output_shape: Vec<usize>,
}

/// Checks a job whose model is an ONNX file against the file. `open` gives the bytes
/// of an input, where it has them; a file that nobody here has is checked where it is
/// run.
///
/// # Errors
/// [`InvalidOnnx`] when the file cannot be run as the job asks.
pub fn check(
    spec: &JobSpec,
    open: impl FnOnce(Input) -> Option<Vec<u8>>,
) -> Result<Option<Checked>, InvalidOnnx> {
    let (network, batch) = match &spec.work {
        Work::Evaluate(evaluate) => (&evaluate.model, evaluate.batch),
        Work::Predict(predict) => (&predict.model, predict.batch),
        _ => return Ok(None),
    };
    let Some((onnx, bytes)) = network
        .onnx()
        .and_then(|onnx| Some((onnx, open(onnx.file)?)))
    else {
        return Ok(None);
    };
    let fitted = fit(&OnnxFile::read(bytes.into())?, onnx, batch as usize)?;
    let fits = match &spec.work {
        Work::Evaluate(evaluate) => evaluate.fits(&fitted.output_shape),
        Work::Predict(predict) => predict.fits(&fitted.output_shape),
        _ => Ok(()),
    };
    fits.map_err(|invalid| InvalidOnnx::Job(invalid.to_string()))?;
    let cost = fitted.program.cost;
    let needed = cost.peak_bytes();
    if needed > spec.limits.memory.0 {
        return Err(InvalidOnnx::Job(format!(
            "`limits.memory`: the model needs about {} with a batch of {}, and the limit is {}",
            units::Bytes(needed),
            fitted.batch,
            spec.limits.memory
        )));
    }
    Ok(Some(Checked {
        parameters: cost.parameters,
        flops_per_sample: cost.flops / fitted.batch as u64,
        output_shape: fitted.output_shape,
    }))
}
