//! The job that a deployment is: what is said of the deployment, and of its model, as a
//! spec.

use std::collections::BTreeMap;

use embermesh_dialects::{
    Failure,
    port::{
        deployments::{Answers, Deploy, Signature},
        registry::ModelFormat,
    },
};
use embermesh_job::{
    model::Model,
    spec::{
        Askers, Input, JobSpec, Limits, MAX_ATTEMPTS, MAX_NAME, Normalise, Outputs, Serve, Served,
        ServedNetwork, Work,
    },
    units::{Bytes, Millis},
};
use serde_json::json;

/// How long a deployment stays that does not say it.
const USUAL_STAY: Millis = Millis(30 * 86_400_000);
/// The least memory of a language model that does not say it, in bytes; a larger one gets
/// half as much again as its file has, for what is built of it, and for caches.
const LANGUAGE_MEMORY: u64 = 2 << 30;
/// The same of a network.
const NETWORK_MEMORY: u64 = 512 << 20;

/// What is said, of the deployment first and then of its model.
struct Said<'a>(&'a BTreeMap<String, String>, &'a BTreeMap<String, String>);

impl<'a> Said<'a> {
    fn of(&self, key: &str) -> Option<&'a str> {
        let said = self.0.get(key).or_else(|| self.1.get(key));
        said.map(String::as_str).filter(|text| !text.is_empty())
    }

    fn seconds(&self, key: &str) -> Result<Option<Millis>, Failure> {
        let Some(text) = self.of(key) else {
            return Ok(None);
        };
        let seconds: Option<u64> = text.parse().ok();
        let millis = seconds.and_then(|seconds| seconds.checked_mul(1000));
        millis
            .map(|millis| Some(Millis(millis)))
            .ok_or_else(|| Failure::invalid(format!("{key}: {text:?} is no number of seconds")))
    }
}

/// The spec of a deployment of some weights, with what their registry has of them.
pub(super) fn spec(
    deploy: &Deploy,
    weights: Input,
    format: ModelFormat,
    metadata: &BTreeMap<String, String>,
) -> Result<JobSpec, Failure> {
    let said = Said(&deploy.options, metadata);
    let (model, least) = match format {
        ModelFormat::Gguf => (Served::Language(weights.into()), LANGUAGE_MEMORY),
        ModelFormat::Safetensors => {
            let network = network(&said, weights)?;
            (Served::Network(Box::new(network)), NETWORK_MEMORY)
        }
        other => return Err(no_format(other)),
    };
    let mut serve = Serve::new(model);
    serve.context = deploy.context.unwrap_or(serve.context);
    serve.concurrency = deploy.concurrency.unwrap_or(serve.concurrency);
    serve.idle = said.seconds("idle")?;
    serve.askers = match said.of("askers") {
        None | Some("owner") => Askers::Owner,
        Some("anyone") => Askers::Anyone,
        Some(other) => {
            let message = format!("askers: {other:?} is neither `owner` nor `anyone`");
            return Err(Failure::invalid(message));
        }
    };
    let memory = deploy.memory;
    let spec = JobSpec {
        name: deploy.name.chars().take(MAX_NAME).collect(),
        work: Work::Serve(serve),
        requires: deploy.requires.clone(),
        limits: Limits {
            memory: Bytes(memory.unwrap_or(least.max(weights.size.saturating_mul(3) / 2))),
            wall: said.seconds("stay")?.unwrap_or(USUAL_STAY),
            ..Limits::default()
        },
        attempts: MAX_ATTEMPTS,
    };
    spec.validate()
        .map_err(|error| Failure::invalid(error.to_string()))?;
    Ok(spec)
}

fn no_format(format: ModelFormat) -> Failure {
    let why = match format {
        ModelFormat::Onnx => {
            "an ONNX file is run over samples by a job of type inference, and does not stay in memory: deploy its weights as safetensors, with a `definition`"
        }
        ModelFormat::PyTorch | ModelFormat::TorchScript => {
            "a pickle is a program, which no node runs: save the weights as safetensors"
        }
        ModelFormat::Unknown => "say which format the model has",
        _ => "no node reads this format: GGUF and safetensors can be deployed",
    };
    Failure::invalid(format!("format: {}: {why}", format.as_str()))
}

fn network(said: &Said<'_>, weights: Input) -> Result<ServedNetwork, Failure> {
    let labels = said.of("labels").map(|text| {
        let labels = text.split(',').map(|label| label.trim().to_owned());
        labels.collect()
    });
    let word = |key: &str, text: &str, words: &str| {
        Failure::invalid(format!("{key}: {text:?} is none of {words}"))
    };
    Ok(ServedNetwork {
        model: model(said)?,
        weights,
        outputs: match said.of("outputs") {
            None | Some("numbers") => Outputs::Numbers,
            Some("classes") => Outputs::Classes,
            Some("labels") => Outputs::Labels,
            Some(other) => return Err(word("outputs", other, "classes, labels, numbers")),
        },
        labels: labels.unwrap_or_default(),
        normalise: match said.of("normalise") {
            None => None,
            Some("standardise") => Some(Normalise::Standardise),
            Some(other) => return Err(word("normalise", other, "standardise")),
        },
    })
}

/// The network, in our own form or in one that another system has.
fn model(said: &Said<'_>) -> Result<Model, Failure> {
    let text = said.of("definition").ok_or_else(|| {
        let message = "definition: weights as safetensors do not say which network they are of: give it with the model or the deployment, as JSON";
        Failure::invalid(message)
    })?;
    let ours = match serde_json::from_str(text) {
        Ok(model) => return Ok(model),
        Err(error) => error,
    };
    let input = said
        .of("input")
        .map(serde_json::from_str::<Vec<usize>>)
        .transpose()
        .map_err(|_| Failure::invalid("input: give the shape of a sample as a JSON list"))?;
    let mut foreign = json!({ "definition": text });
    if let Some(input) = input {
        foreign["input"] = json!(input);
    }
    serde_json::from_value(foreign).map_err(|error| {
        let message = format!("definition: neither ours ({ours}) nor a known one ({error})");
        Failure::invalid(message)
    })
}

/// What a deployment is asked and answers; nothing where the spec is no deployment's.
pub(super) fn signature(spec: &JobSpec) -> Option<Signature> {
    let Work::Serve(serve) = &spec.work else {
        return None;
    };
    let network = match &serve.model {
        Served::Language(_) => return Some(Signature::Text),
        Served::Network(network) => network,
    };
    let plan = network.model.plan().ok()?;
    let width: usize = plan.output_shape.iter().product();
    Some(Signature::Rows {
        input: Some(network.model.input.clone()),
        output: Some(match network.outputs {
            // One logit tells two classes apart.
            Outputs::Classes => Answers::Classes(width.max(2)),
            Outputs::Labels => Answers::Labels(width),
            Outputs::Numbers => Answers::Numbers(width),
        }),
    })
}

#[cfg(test)]
mod tests {
    use embermesh_crypto::Digest;
    use embermesh_dialects::port::deployments::Weights;

    use super::*;

    const OURS: &str = r#"{"input":[4],"layers":[{"op":"dense","units":8},{"op":"relu"},{"op":"dense","units":3}]}"#;
    const FOREIGN: &str =
        r#"{"type":"mlp","input_size":4,"hidden_layers":[8],"output_size":3,"activation":"relu"}"#;

    fn deploy(options: &[(&str, &str)]) -> Deploy {
        Deploy {
            id: None,
            name: "flowers".to_owned(),
            weights: Weights::Kept("m".to_owned()),
            options: map(options),
            requires: embermesh_job::spec::Requirements::default(),
            memory: None,
            context: None,
            concurrency: None,
        }
    }

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let pairs = pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        pairs.collect()
    }

    fn made(
        options: &[(&str, &str)],
        format: ModelFormat,
        metadata: &[(&str, &str)],
    ) -> Result<JobSpec, String> {
        let weights = Input {
            digest: Digest::of(b"weights"),
            size: 1 << 20,
        };
        spec(&deploy(options), weights, format, &map(metadata)).map_err(|failure| failure.message)
    }

    #[test]
    fn a_network_is_the_one_that_is_defined_with_its_model_or_its_deployment() {
        let rows = |spec: &JobSpec| signature(spec).unwrap();
        for definition in [OURS, FOREIGN] {
            let spec = made(
                &[("outputs", "classes"), ("labels", "a, b,c")],
                ModelFormat::Safetensors,
                &[("definition", definition)],
            )
            .unwrap();
            let expected = Signature::Rows {
                input: Some(vec![4]),
                output: Some(Answers::Classes(3)),
            };
            assert_eq!(rows(&spec), expected, "{definition}");
            assert_eq!(spec.limits.memory.0, NETWORK_MEMORY);
        }
        // The deployment has the last word.
        let options = [("definition", OURS), ("askers", "anyone"), ("idle", "60")];
        let spec = made(&options, ModelFormat::Safetensors, &[("definition", "{}")]).unwrap();
        let Work::Serve(serve) = &spec.work else {
            panic!("a deployment");
        };
        assert_eq!(serve.askers, Askers::Anyone);
        assert_eq!(serve.idle, Some(Millis(60_000)));
        let Signature::Rows { output, .. } = rows(&spec) else {
            panic!("rows");
        };
        assert_eq!(output, Some(Answers::Numbers(3)));
    }

    #[test]
    fn a_language_model_is_asked_texts() {
        let spec = made(&[], ModelFormat::Gguf, &[]).unwrap();
        assert_eq!(signature(&spec), Some(Signature::Text));
        assert_eq!(spec.limits.memory.0, LANGUAGE_MEMORY);
    }

    #[test]
    fn what_cannot_be_deployed_is_refused_by_the_name_of_what_is_wrong() {
        let of = ModelFormat::Safetensors;
        let defined = ("definition", OURS);
        for (options, format, word) in [
            (&[][..], of, "definition"),
            (&[("definition", "{}")], of, "neither ours"),
            (&[("definition", FOREIGN), ("input", "4")], of, "input"),
            (&[defined, ("outputs", "logits")], of, "outputs"),
            (&[defined, ("normalise", "minmax")], of, "normalise"),
            (&[defined, ("askers", "bob")], of, "askers"),
            (&[defined, ("idle", "soon")], of, "idle"),
            (
                &[defined, ("outputs", "classes"), ("labels", "a")],
                of,
                "labels",
            ),
            (&[], ModelFormat::Onnx, "job of type inference"),
            (&[], ModelFormat::PyTorch, "pickle"),
            (&[], ModelFormat::Unknown, "say which format"),
            (&[], ModelFormat::TfLite, "GGUF and safetensors"),
        ] {
            let refused = made(options, format, &[]).unwrap_err();
            assert!(refused.contains(word), "{options:?}: {refused}");
        }
    }
}
