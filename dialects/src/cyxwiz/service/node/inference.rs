//! `InferenceService`: the models that are resident on a node, by the name of their
//! deployment or its job's id.
//!
//! A network takes one tensor of 32-bit floats, a sample a row. A language model takes
//! the bytes of a prompt.

use std::time::Duration;

use bytes::Bytes;
use embermesh_crypto::UnixMillis;
use embermesh_job::{
    ask::{Ask, AskKind, Part},
    spec::Request as Text,
};
use futures::StreamExt as _;
use tonic::{Request, Response, Status};

use super::{
    super::{
        super::{tensor_info, wire},
        error,
    },
    Node,
};
use crate::{
    ErrorCode, Failure, caller,
    cyxwiz::{
        code,
        tensor::{Dtype, Spec},
    },
    port::node::asking::{Asking, ResidentView},
};

/// How long an answer may take.
const WITHIN: Duration = Duration::from_secs(300);
/// Bytes of a number.
const NUMBER: usize = 4;

#[tonic::async_trait]
impl<P: Asking> wire::inference_service_server::InferenceService for Node<P> {
    async fn infer(
        &self,
        request: Request<wire::InferRequest>,
    ) -> Result<Response<wire::InferResponse>, Status> {
        let line = caller::line(&request);
        let said = request.into_inner();
        let since = self.0.clock();
        let asked = async {
            let model = resident(self.0.residents(&line)?, &said.deployment_id)?;
            let ask = ask(&model, &said.inputs)?;
            let id = model.job.to_string();
            let mut parts = self.0.ask(&line, &id, ask, WITHIN).await?;
            let mut answer = Vec::new();
            while let Some(part) = parts.next().await {
                answer.push(part?);
            }
            outputs(&answer)
        };
        let answer = match asked.await {
            Ok(outputs) => wire::InferResponse {
                status: code::SUCCESS,
                outputs,
                latency_ms: took(since, self.0.clock()),
                error: None,
            },
            Err(failure) if code::is_answer(failure.code) => wire::InferResponse {
                status: code::failed(super::super::super::PROFILE),
                error: Some(error(
                    code::error(failure.code),
                    failure.message,
                    String::new(),
                )),
                ..Default::default()
            },
            Err(failure) => return Err(failure.into()),
        };
        Ok(Response::new(answer))
    }

    async fn get_model_info(
        &self,
        request: Request<wire::GetModelInfoRequest>,
    ) -> Result<Response<wire::GetModelInfoResponse>, Status> {
        let line = caller::line(&request);
        let model = resident(self.0.residents(&line)?, &request.get_ref().deployment_id)?;
        let (inputs, outputs) = match model.kind {
            AskKind::Rows => (
                tensor_info(&floats("input", &model.input)),
                tensor_info(&floats("output", &model.output)),
            ),
            // A text is as long as it is.
            AskKind::Text => (tensor_info(&bytes("prompt")), tensor_info(&bytes("text"))),
        };
        Ok(Response::new(wire::GetModelInfoResponse {
            status: code::SUCCESS,
            input_specs: vec![inputs],
            output_specs: vec![outputs],
            error: None,
        }))
    }
}

/// A tensor of floats.
fn floats(name: &'static str, shape: &[usize]) -> Spec {
    let length = |axis: &usize| i64::try_from(*axis).unwrap_or(i64::MAX);
    Spec {
        name,
        shape: shape.iter().map(length).collect(),
        dtype: Dtype::F32,
    }
}

/// The bytes of a text, as many as there are.
fn bytes(name: &'static str) -> Spec {
    Spec {
        name,
        shape: vec![-1],
        dtype: Dtype::U8,
    }
}

#[allow(clippy::cast_precision_loss, reason = "the wire has doubles")]
fn took(since: UnixMillis, until: UnixMillis) -> f64 {
    until.0.saturating_sub(since.0) as f64
}

/// The one model that is meant.
fn resident(models: Vec<ResidentView>, what: &str) -> Result<ResidentView, Failure> {
    let mut meant = models
        .into_iter()
        .filter(|model| model.name == what || model.job.to_string() == what);
    let first = meant.next().ok_or_else(|| {
        Failure::not_found(format!("no deployment {what:?} is here that you may ask"))
    })?;
    if meant.next().is_some() {
        let message = format!("{what:?} is the name of several: give the id of one");
        return Err(Failure::new(ErrorCode::Precondition, message));
    }
    Ok(first)
}

/// What tensors ask.
fn ask(model: &ResidentView, inputs: &[wire::TensorData]) -> Result<Ask, Failure> {
    let [input] = inputs else {
        let message = format!("inputs: give one tensor, not {}", inputs.len());
        return Err(Failure::invalid(message));
    };
    let ask = match model.kind {
        AskKind::Text => {
            let text = std::str::from_utf8(&input.data)
                .map_err(|_| Failure::invalid("inputs: the prompt is no text in UTF-8"))?;
            Ask::Text(Box::new(Text::question(text)))
        }
        AskKind::Rows => Ask::Rows(rows(input)?),
    };
    ask.validate()
        .map_err(|error| Failure::invalid(format!("inputs: {error}")))?;
    Ok(ask)
}

/// A tensor as rows: its first axis counts them, unless it has no other.
fn rows(tensor: &wire::TensorData) -> Result<Vec<Vec<f64>>, Failure> {
    let float = wire::DataType::Float32;
    if tensor.dtype != i32::from(float) && tensor.dtype != 0 {
        return Err(Failure::invalid("inputs: give 32-bit floats"));
    }
    let (count, rest) = match tensor.shape.split_first() {
        Some((count, rest)) if !rest.is_empty() => (*count, rest),
        _ => (1, tensor.shape.as_slice()),
    };
    let size = |axis: &i64| usize::try_from(*axis).ok().filter(|axis| *axis > 0);
    let width = rest
        .iter()
        .map(size)
        .try_fold(1_usize, |product, axis| product.checked_mul(axis?));
    let fits = size(&count)
        .zip(width)
        .filter(|(count, width)| {
            let bytes = count
                .checked_mul(*width)
                .and_then(|all| all.checked_mul(NUMBER));
            bytes == Some(tensor.data.len())
        })
        .ok_or_else(|| {
            Failure::invalid(format!(
                "inputs: {} bytes are no tensor of {:?}",
                tensor.data.len(),
                tensor.shape
            ))
        })?;
    let numbers = tensor.data.as_chunks::<NUMBER>().0;
    let rows = numbers.chunks_exact(fits.1);
    Ok(rows
        .map(|row| {
            row.iter()
                .map(|word| f32::from_le_bytes(*word).into())
                .collect()
        })
        .collect())
}

/// An answer as tensors.
fn outputs(answer: &[Part]) -> Result<Vec<wire::TensorData>, Failure> {
    let mut text = String::new();
    let (mut numbers, mut classes) = (Vec::<Vec<f32>>::new(), Vec::new());
    let mut is_text = false;
    for part in answer {
        match part {
            Part::Text(piece) => {
                is_text = true;
                text.push_str(&piece.text);
            }
            Part::Rows { answers, .. } => {
                for row in answers {
                    let of = if row.probabilities.is_empty() {
                        &row.numbers
                    } else {
                        &row.probabilities
                    };
                    numbers.push(of.clone());
                    classes.extend(row.class.clone());
                }
            }
            Part::Refused(reason) => return Err(Failure::invalid(reason)),
        }
    }
    if is_text {
        return Ok(vec![letters("text", &text)]);
    }
    let width = numbers.first().map_or(0, Vec::len);
    let bytes: Bytes = numbers
        .iter()
        .flatten()
        .flat_map(|number| number.to_le_bytes())
        .collect();
    let mut outputs = vec![wire::TensorData {
        name: "output".to_owned(),
        shape: vec![code::int64(numbers.len() as u64), code::int64(width as u64)],
        dtype: wire::DataType::Float32.into(),
        data: bytes,
    }];
    if !classes.is_empty() {
        outputs.push(letters("class", &classes.join("\n")));
    }
    Ok(outputs)
}

/// Letters as a tensor of bytes.
fn letters(name: &str, text: &str) -> wire::TensorData {
    wire::TensorData {
        name: name.to_owned(),
        shape: vec![code::int64(text.len() as u64)],
        dtype: wire::DataType::Uint8.into(),
        data: Bytes::copy_from_slice(text.as_bytes()),
    }
}
