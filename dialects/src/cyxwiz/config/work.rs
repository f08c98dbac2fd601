//! The four types of jobs.

use embermesh_crypto::Digest;
use embermesh_job::{
    model::{Model, forms},
    spec::{
        ClientData, Dataset, Element, Evaluate, Input, JobSpec, Limits, Loss, Missing, Network,
        Outputs, Predict, Requirements, Split, Target, Train, Work, prepare::Prepare,
    },
};
use serde_json::{Value, json};

use super::{
    Config, Gathered, InvalidConfig, Kind, compute,
    format::Format,
    hyper::{Hyper, refuse},
    place, recipe, remote,
    samples::{self, Data},
    wrong,
};

/// Samples a step, where nothing is said.
const BATCH: u32 = 32;

/// Where the samples of a job are.
enum Source {
    /// In a file.
    File(Data),
    /// With the client, who gives them while the job runs.
    Client,
}

impl Source {
    fn file(&self) -> Result<&Data, InvalidConfig> {
        match self {
            Self::File(data) => Ok(data),
            Self::Client => Err(wrong(
                "config.dataset_uri",
                "rows that are to be prepared are in a file: send it in initial_data, or name it",
            )),
        }
    }

    fn dataset(
        &self,
        config: &Config,
        model: &Model,
        target: Target,
        hyper: &mut Hyper,
        gathered: &mut Gathered,
    ) -> Result<Dataset, InvalidConfig> {
        match self {
            Self::File(data) => samples::dataset(data, target, hyper, gathered),
            Self::Client => remote::dataset(config, model, target, hyper),
        }
    }
}

/// What a config asks for.
pub(super) fn read(
    kind: Kind,
    config: &Config,
    hyper: &mut Hyper,
    weights: Option<Input>,
    gathered: &mut Gathered,
) -> Result<Work, InvalidConfig> {
    if kind == Kind::Inference
        && let Some(fields) = compute::definition(config)
    {
        return compute::read(fields, config, hyper, gathered);
    }
    compute::none_else(hyper)?;
    let data = if remote::is_remote(&config.dataset_uri) {
        Source::Client
    } else {
        Source::File(samples::data(config, hyper, gathered)?)
    };
    if kind == Kind::Preprocessing {
        return prepare(config, data.file()?, hyper, gathered);
    }
    let (model, loss) = model(&config.model_definition, hyper)?;
    let batch = match config.batch_size {
        0 => BATCH,
        size => u32::try_from(size).map_err(|_| {
            wrong(
                "config.batch_size",
                format!("{size} is no number of samples"),
            )
        })?,
    };
    if kind == Kind::Training {
        return train(config, model, loss, &data, batch, hyper, gathered);
    }
    if config.epochs > 1 {
        return Err(wrong("config.epochs", "only a training has more than one"));
    }
    let weights = match (hyper.text(&["weights", "model_weights_uri"]), weights) {
        (Some(_), Some(input)) => input,
        (Some(uri), None) => place::read("config.hyperparameters.weights", &uri, gathered)?.input,
        (None, _) => {
            return Err(refuse(
                "weights",
                "name trained weights: job:ID for those of a job of yours, or a place".to_owned(),
            ));
        }
    };
    let network = Network::Layers(model.clone());
    if kind == Kind::Evaluation {
        let target = target(&model, loss.as_ref(), hyper)?;
        return Ok(Work::Evaluate(Evaluate {
            model: network,
            weights: Some(weights),
            data: data.dataset(config, &model, target, hyper, gathered)?,
            loss,
            split: split(hyper)?,
            batch,
        }));
    }
    let data = data.dataset(config, &model, Target::Nothing, hyper, gathered)?;
    Ok(Work::Predict(Predict {
        model: network,
        weights: Some(weights),
        outputs: (data.target() == Target::Nothing)
            .then(|| outputs(&model, loss.as_ref(), hyper))
            .transpose()?,
        data,
        out: hyper.json("output_format")?.unwrap_or_default(),
        batch,
    }))
}

/// The model, and the loss that it or a hyperparameter names.
fn model(definition: &str, hyper: &mut Hyper) -> Result<(Model, Option<Loss>), InvalidConfig> {
    if definition.trim().is_empty() {
        return Err(wrong(
            "config.model_definition",
            "there is none: give layers, nodes and links, or sizes, as JSON",
        ));
    }
    let shape: Vec<usize> = hyper
        .list(&["input_shape"])
        .iter()
        .map(|axis| axis.trim_matches(['[', ']', ' ']).parse())
        .collect::<Result<_, _>>()
        .map_err(|_| refuse("input_shape", "write whole numbers: 1,28,28".to_owned()))?;
    let shape = (!shape.is_empty()).then_some(shape);
    let read = forms::read(definition, shape.as_deref())
        .map_err(|error| wrong("config.model_definition", error.to_string()))?;
    let named = recipe::loss(hyper)?;
    if let (Some(named), Some(said)) = (&named, &read.loss)
        && named.word() != said.word()
    {
        return Err(refuse(
            "loss",
            format!("it is {}, and the model says {}", named.word(), said.word()),
        ));
    }
    Ok((read.model, named.or(read.loss)))
}

/// What samples should give: with a loss for numbers, as many as the model makes, else
/// as many classes.
fn target(model: &Model, loss: Option<&Loss>, hyper: &mut Hyper) -> Result<Target, InvalidConfig> {
    let plan = model
        .plan()
        .map_err(|error| wrong("config.model_definition", error.to_string()))?;
    let [made] = plan.output_shape[..] else {
        return Err(wrong(
            "config.model_definition",
            format!(
                "its output has the shape {:?}: end with a dense layer",
                plan.output_shape
            ),
        ));
    };
    let made = u32::try_from(made).unwrap_or(u32::MAX);
    let classes = hyper.whole(&["classes", "num_classes"])?;
    let is_numbers = match loss {
        Some(loss) => !loss.has_accuracy(),
        None => made == 1 && classes.is_none(),
    };
    if is_numbers {
        return Ok(Target::Numbers(made));
    }
    Ok(Target::Classes(classes.unwrap_or(made.max(2))))
}

fn train(
    config: &Config,
    model: Model,
    loss: Option<Loss>,
    data: &Source,
    batch: u32,
    hyper: &mut Hyper,
    gathered: &mut Gathered,
) -> Result<Work, InvalidConfig> {
    let passes = u32::try_from(config.epochs)
        .ok()
        .filter(|passes| *passes > 0)
        .ok_or_else(|| wrong("config.epochs", "a training has 1 at least"))?;
    let target = target(&model, loss.as_ref(), hyper)?;
    let data = data.dataset(config, &model, target, hyper, gathered)?;
    let mut train = Train::new(model, data);
    train.passes = passes;
    train.batch = batch;
    train.loss = loss;
    train.optimizer = recipe::optimizer(hyper)?;
    recipe::rest(&mut train, hyper)?;
    Ok(Work::Train(train))
}

/// Which samples judge: all, or those that a training kept out.
fn split(hyper: &mut Hyper) -> Result<Split, InvalidConfig> {
    Ok(match hyper.number(&["validation_split", "holdout"])? {
        None => Split::All,
        Some(share) => Split::Holdout {
            share,
            seed: hyper.whole(&["seed", "random_seed"])?.unwrap_or(0),
        },
    })
}

/// What the outputs of a model mean.
fn outputs(
    model: &Model,
    loss: Option<&Loss>,
    hyper: &mut Hyper,
) -> Result<Outputs, InvalidConfig> {
    if let Some(outputs) = hyper.json("outputs")? {
        return Ok(outputs);
    }
    Ok(match target(model, loss, hyper)? {
        Target::Numbers(_) => Outputs::Numbers,
        _ => Outputs::Classes,
    })
}

/// A preparation: `steps`, and `format` where it is said, are in the model's place.
fn prepare(
    config: &Config,
    data: &Data,
    hyper: &mut Hyper,
    gathered: &mut Gathered,
) -> Result<Work, InvalidConfig> {
    const FIELD: &str = "config.model_definition";
    if config.batch_size != 0 || config.epochs > 1 {
        return Err(wrong(
            "config.batch_size",
            "a preparation has no batches and no epochs",
        ));
    }
    let mut told: Value = match config.model_definition.trim() {
        "" => json!({}),
        text => serde_json::from_str(text).map_err(|error| wrong(FIELD, error.to_string()))?,
    };
    let Some(fields) = told.as_object_mut() else {
        return Err(wrong(FIELD, "a preparation is an object with `steps`"));
    };
    if fields.contains_key("data") {
        return Err(wrong(
            FIELD,
            "the data is named by dataset_uri or initial_data",
        ));
    }
    fields.insert("data".to_owned(), raw(data, hyper, gathered)?);
    let prepare: Prepare =
        serde_json::from_value(told).map_err(|error| wrong(FIELD, error.to_string()))?;
    Ok(Work::Prepare(prepare))
}

/// Data as it comes, in the form that a spec has it.
fn raw(data: &Data, hyper: &mut Hyper, gathered: &mut Gathered) -> Result<Value, InvalidConfig> {
    let file = data.input;
    let columns = hyper.list(&["columns"]);
    let table = json!({ "file": file, "columns": columns });
    let arrays = json!({ "file": file, "arrays": columns });
    Ok(match data.format {
        Format::Csv => json!({ "csv": table }),
        Format::Jsonl => json!({ "jsonl": table }),
        Format::Parquet => json!({ "parquet": table }),
        Format::Npy => json!({ "npy": { "x": file } }),
        Format::Npz => json!({ "npz": arrays }),
        Format::Safetensors => json!({ "safetensors": arrays }),
        Format::DigitsCsv => json!({ "digits_csv": { "file": file } }),
        Format::Images => json!({ "images": { "archive": file } }),
        Format::Idx => {
            let labels = hyper
                .text(&["targets_uri", "labels_uri"])
                .map(|uri| place::read("config.hyperparameters.targets_uri", &uri, gathered))
                .transpose()?;
            match labels {
                Some(labels) => json!({ "idx": { "images": file, "labels": labels.input } }),
                None => json!({ "idx": { "images": file } }),
            }
        }
    })
}

/// A training of so many samples that stay where they are: what a quote is asked of.
pub(in crate::cyxwiz) fn estimate(
    definition: &str,
    epochs: i32,
    samples: i32,
) -> Result<JobSpec, InvalidConfig> {
    let mut hyper = Hyper::new(std::collections::BTreeMap::new())?;
    let (model, loss) = model(definition, &mut hyper).map_err(|mut error| {
        "model_type".clone_into(&mut error.field);
        error
    })?;
    let target = target(&model, loss.as_ref(), &mut hyper)?;
    let positive = |field: &str, value: i32| {
        u32::try_from(value)
            .ok()
            .filter(|value| *value > 0)
            .ok_or_else(|| wrong(field, "give 1 at least"))
    };
    let data = Dataset::Client(ClientData {
        digest: Digest::of(b""),
        samples: positive("dataset_size", samples)?,
        holdout: 0,
        shape: model.input.clone(),
        element: Element::Float,
        target,
        labels: Vec::new(),
        missing: Missing::Refuse,
        normalise: None,
    });
    let mut train = Train::new(model, data);
    train.passes = positive("epochs", epochs)?;
    train.loss = loss;
    let spec = JobSpec {
        name: super::UNNAMED.to_owned(),
        work: Work::Train(train),
        requires: Requirements::default(),
        limits: Limits::default(),
        attempts: 1,
    };
    spec.validate()
        .map_err(|error| wrong("model_type", error.to_string()))?;
    Ok(spec)
}
