//! Tensors of the wire as what a model is asked, and its answers as tensors.
//!
//! | a model of | is asked | answers |
//! |---|---|---|
//! | texts | `prompt`, UTF-8 as `UINT8`; and `max_tokens`, `temperature`, `seed` of one number each, where they are given | `text`, UTF-8 as `UINT8` |
//! | classes | one tensor of numbers, a row a sample | `probabilities`, and `classes`: the likeliest of each row |
//! | labels | the same | `probabilities` |
//! | numbers | the same | `outputs` |
//!
//! Bytes are little-endian, row-major.

use bytes::{BufMut as _, Bytes, BytesMut};
use embermesh_job::{
    ask::{Ask, Part, RowAnswer},
    spec::Request,
};

use crate::{
    Failure,
    port::deployments::{Answers, Signature},
};

/// A tensor, as either form of the wire has it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tensor {
    pub(super) name: String,
    pub(super) shape: Vec<i64>,
    pub(super) dtype: i32,
    pub(super) data: Bytes,
}

/// What a tensor is like. A length of -1 is any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spec {
    pub(super) name: &'static str,
    pub(super) shape: Vec<i64>,
    pub(super) dtype: Dtype,
}

/// What the numbers of a tensor are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dtype {
    F32,
    F64,
    I32,
    I64,
    U8,
}

impl Dtype {
    const ALL: [Self; 5] = [Self::F32, Self::F64, Self::I32, Self::I64, Self::U8];

    /// The number of it.
    pub(super) const fn number(self) -> i32 {
        match self {
            Self::F32 => 1,
            Self::F64 => 2,
            Self::I32 => 3,
            Self::I64 => 4,
            Self::U8 => 5,
        }
    }

    /// The word for it.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::F64 => "float64",
            Self::I32 => "int32",
            Self::I64 => "int64",
            Self::U8 => "uint8",
        }
    }

    /// What a word says, if it says anything.
    pub(super) fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dtype| dtype.word() == word)
    }

    /// Its bytes.
    pub(super) const fn size(self) -> usize {
        match self {
            Self::F64 | Self::I64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::U8 => 1,
        }
    }

    /// The number that some bytes of its size are.
    #[allow(
        clippy::cast_precision_loss,
        reason = "a model computes with single precision"
    )]
    fn read(self, bytes: &[u8]) -> Option<f64> {
        Some(match self {
            Self::F32 => f32::from_le_bytes(bytes.try_into().ok()?).into(),
            Self::F64 => f64::from_le_bytes(bytes.try_into().ok()?),
            Self::I32 => i32::from_le_bytes(bytes.try_into().ok()?).into(),
            Self::I64 => i64::from_le_bytes(bytes.try_into().ok()?) as f64,
            Self::U8 => f64::from(*bytes.first()?),
        })
    }
}

impl Tensor {
    fn refuse(&self, reason: impl std::fmt::Display) -> Failure {
        Failure::invalid(format!("inputs: {:?}: {reason}", self.name))
    }

    /// What its numbers are, and its shape, which is of as many as there are.
    pub(super) fn layout(&self) -> Result<(Dtype, Vec<usize>), Failure> {
        let mut dtypes = Dtype::ALL.into_iter();
        let dtype = dtypes.find(|dtype| dtype.number() == self.dtype);
        let dtype = dtype.ok_or_else(|| self.refuse(format_args!("{} is no dtype", self.dtype)))?;
        let lengths = self
            .shape
            .iter()
            .map(|length| usize::try_from(*length).ok());
        let shape = lengths.collect::<Option<Vec<_>>>();
        let shape = shape.ok_or_else(|| self.refuse("a length is less than nothing"))?;
        let bytes = shape
            .iter()
            .try_fold(dtype.size(), |bytes, length| bytes.checked_mul(*length));
        if bytes != Some(self.data.len()) {
            return Err(self.refuse(format_args!(
                "{shape:?} of {} has other than {} bytes",
                dtype.word(),
                self.data.len()
            )));
        }
        Ok((dtype, shape))
    }

    /// Its shape and its numbers.
    fn numbers(&self) -> Result<(Vec<usize>, Vec<f64>), Failure> {
        let (dtype, shape) = self.layout()?;
        let numbers = self.data.chunks_exact(dtype.size());
        let numbers = numbers.filter_map(|bytes| dtype.read(bytes)).collect();
        Ok((shape, numbers))
    }

    /// Its one number.
    fn number(&self) -> Result<f64, Failure> {
        match self.numbers()?.1[..] {
            [number] => Ok(number),
            _ => Err(self.refuse("give one number")),
        }
    }

    /// Its one number, which is whole.
    fn whole(&self) -> Result<u32, Failure> {
        let number = self.number()?;
        let is_whole = number >= 0.0 && number <= f64::from(u32::MAX) && number.fract() == 0.0;
        if !is_whole {
            return Err(self.refuse(format_args!("{number} is no whole number of 32 bits")));
        }
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "whole, and in the range"
        )]
        Ok(number as u32)
    }

    fn text(&self) -> Result<String, Failure> {
        if self.dtype != Dtype::U8.number() {
            return Err(self.refuse("give UTF-8 as UINT8"));
        }
        self.numbers()?;
        String::from_utf8(self.data.to_vec()).map_err(|_| self.refuse("it is no UTF-8"))
    }
}

/// What a model of a signature is asked by some tensors.
pub(super) fn ask(signature: &Signature, inputs: &[Tensor]) -> Result<Ask, Failure> {
    let ask = match signature {
        Signature::Text => Ask::Text(Box::new(request(inputs)?)),
        Signature::Rows { input, .. } => {
            let [tensor] = inputs else {
                let message = "inputs: the model takes one tensor, a row a sample";
                return Err(Failure::invalid(message));
            };
            Ask::Rows(rows(tensor, input.as_deref())?)
        }
    };
    ask.validate()
        .map_err(|error| Failure::invalid(format!("inputs: {error}")))?;
    Ok(ask)
}

fn request(inputs: &[Tensor]) -> Result<Request, Failure> {
    let mut request = Request::prompt("");
    let mut prompt = None;
    for tensor in inputs {
        match tensor.name.as_str() {
            "prompt" => prompt = Some(tensor.text()?),
            "max_tokens" => request.max_tokens = tensor.whole()?,
            "temperature" => request.temperature = tensor.number()?,
            "seed" => request.seed = tensor.whole()?,
            _ => {
                let known = "the model takes prompt, max_tokens, temperature and seed";
                return Err(tensor.refuse(known));
            }
        }
    }
    if prompt.is_none() {
        let message = "inputs: the model takes a \"prompt\": UTF-8 as UINT8";
        return Err(Failure::invalid(message));
    }
    request.prompt = prompt;
    Ok(request)
}

/// The rows of a tensor: one sample, or samples of the shape that the model takes.
fn rows(tensor: &Tensor, input: Option<&[usize]>) -> Result<Vec<Vec<f64>>, Failure> {
    let (shape, numbers) = tensor.numbers()?;
    let width = match (input, shape.as_slice()) {
        (Some(input), shape) if shape == input => numbers.len(),
        (Some(input), [_, sample @ ..]) if sample == input => sample.iter().product(),
        (Some(input), _) => {
            return Err(tensor.refuse(format_args!(
                "the shape is {shape:?}, and the model takes {input:?}, or any number of these"
            )));
        }
        (None, [_]) => numbers.len(),
        (None, [_, sample @ ..]) => sample.iter().product(),
        (None, []) => return Err(tensor.refuse("give a row a sample")),
    };
    if width == 0 {
        return Err(tensor.refuse("there is nothing in it"));
    }
    Ok(numbers.chunks(width).map(<[f64]>::to_vec).collect())
}

/// An answer as tensors.
pub(super) fn answer(signature: &Signature, parts: &[Part]) -> Vec<Tensor> {
    match signature {
        Signature::Text => {
            let pieces = parts.iter().filter_map(|part| match part {
                Part::Text(piece) => Some(piece.text.as_str()),
                _ => None,
            });
            let text: String = pieces.collect();
            vec![Tensor {
                name: "text".to_owned(),
                shape: vec![length(text.len())],
                dtype: Dtype::U8.number(),
                data: text.into(),
            }]
        }
        Signature::Rows { output, .. } => {
            let answers: Vec<&RowAnswer> = parts
                .iter()
                .filter_map(|part| match part {
                    Part::Rows { answers, .. } => Some(answers),
                    _ => None,
                })
                .flatten()
                .collect();
            of_rows(*output, &answers)
        }
    }
}

fn of_rows(output: Option<Answers>, answers: &[&RowAnswer]) -> Vec<Tensor> {
    let is_named = answers.iter().any(|answer| answer.class.is_some());
    let has_probabilities = answers
        .iter()
        .any(|answer| !answer.probabilities.is_empty());
    let probabilities = || table("probabilities", answers, |answer| &answer.probabilities);
    match output {
        Some(Answers::Numbers(_)) => vec![table("outputs", answers, |answer| &answer.numbers)],
        Some(Answers::Labels(_)) => vec![probabilities()],
        Some(Answers::Classes(_)) => vec![probabilities(), classes(answers)],
        // What the model gives is what it is made for.
        None if is_named => vec![probabilities(), classes(answers)],
        None if has_probabilities => vec![probabilities()],
        None => vec![table("outputs", answers, |answer| &answer.numbers)],
    }
}

fn table(name: &str, answers: &[&RowAnswer], of: fn(&RowAnswer) -> &Vec<f32>) -> Tensor {
    let width = answers.first().map_or(0, |answer| of(answer).len());
    let mut data = BytesMut::with_capacity(answers.len() * width * Dtype::F32.size());
    for number in answers.iter().flat_map(|answer| of(answer)) {
        data.put_f32_le(*number);
    }
    Tensor {
        name: name.to_owned(),
        shape: vec![length(answers.len()), length(width)],
        dtype: Dtype::F32.number(),
        data: data.freeze(),
    }
}

/// The likeliest class of each row, by its number from 0.
fn classes(answers: &[&RowAnswer]) -> Tensor {
    let mut data = BytesMut::with_capacity(answers.len() * Dtype::I64.size());
    for answer in answers {
        let likeliest = answer
            .probabilities
            .iter()
            .enumerate()
            .max_by(|(a, p), (b, q)| p.total_cmp(q).then(b.cmp(a)));
        data.put_i64_le(length(likeliest.map_or(0, |(class, _)| class)));
    }
    Tensor {
        name: "classes".to_owned(),
        shape: vec![length(answers.len())],
        dtype: Dtype::I64.number(),
        data: data.freeze(),
    }
}

fn length(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// What goes into a model of a signature, and what comes out.
pub(super) fn specs(signature: &Signature) -> (Vec<Spec>, Vec<Spec>) {
    let spec = |name, shape: &[i64], dtype| Spec {
        name,
        shape: shape.to_vec(),
        dtype,
    };
    match signature {
        Signature::Text => (
            vec![spec("prompt", &[-1], Dtype::U8)],
            vec![spec("text", &[-1], Dtype::U8)],
        ),
        Signature::Rows { input, output } => {
            let mut shape = vec![-1];
            match input {
                Some(input) => shape.extend(input.iter().map(|each| length(*each))),
                None => shape.push(-1),
            }
            let outputs = match output {
                Some(Answers::Classes(width)) => vec![
                    spec("probabilities", &[-1, length(*width)], Dtype::F32),
                    spec("classes", &[-1], Dtype::I64),
                ],
                Some(Answers::Labels(width)) => {
                    vec![spec("probabilities", &[-1, length(*width)], Dtype::F32)]
                }
                Some(Answers::Numbers(width)) => {
                    vec![spec("outputs", &[-1, length(*width)], Dtype::F32)]
                }
                None => Vec::new(),
            };
            (vec![spec("input", &shape, Dtype::F32)], outputs)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(name: &str, shape: &[i64], dtype: Dtype, data: Vec<u8>) -> Tensor {
        Tensor {
            name: name.to_owned(),
            shape: shape.to_vec(),
            dtype: dtype.number(),
            data: data.into(),
        }
    }

    fn floats(shape: &[i64], numbers: &[f32]) -> Tensor {
        let data = numbers.iter().flat_map(|number| number.to_le_bytes());
        tensor("x", shape, Dtype::F32, data.collect())
    }

    fn network(input: Option<&[usize]>, output: Option<Answers>) -> Signature {
        Signature::Rows {
            input: input.map(<[usize]>::to_vec),
            output,
        }
    }

    #[test]
    fn rows_have_the_shape_that_the_model_takes() {
        let takes = network(Some(&[2]), None);
        let expected = Ask::Rows(vec![vec![1.0, 2.0], vec![3.0, 4.0]]);
        let two = [floats(&[2, 2], &[1.0, 2.0, 3.0, 4.0])];
        assert_eq!(ask(&takes, &two).unwrap(), expected);
        let one = [floats(&[2], &[1.0, 2.0])];
        assert_eq!(ask(&takes, &one).unwrap(), Ask::Rows(vec![vec![1.0, 2.0]]));
        let image = network(Some(&[1, 2]), None);
        let image = ask(&image, &[floats(&[2, 1, 2], &[1.0, 2.0, 3.0, 4.0])]);
        assert_eq!(image.unwrap(), expected);
        for (dtype, data) in [
            (Dtype::F64, [1.0_f64, 2.0].map(f64::to_le_bytes).concat()),
            (Dtype::I32, [1_i32, 2].map(i32::to_le_bytes).concat()),
            (Dtype::I64, [1_i64, 2].map(i64::to_le_bytes).concat()),
            (Dtype::U8, vec![1, 2]),
        ] {
            let asked = ask(&takes, &[tensor("x", &[1, 2], dtype, data)]);
            assert_eq!(asked.unwrap(), Ask::Rows(vec![vec![1.0, 2.0]]), "{dtype:?}");
        }
    }

    #[test]
    fn tensors_that_are_not_what_they_say_are_refused() {
        let takes = network(Some(&[2]), None);
        let mut unknown = floats(&[1, 2], &[1.0, 2.0]);
        unknown.dtype = 9;
        for inputs in [
            vec![],
            vec![floats(&[2], &[1.0, 2.0]); 2],
            vec![floats(&[1, 3], &[1.0, 2.0, 3.0])],
            vec![floats(&[2, 2], &[1.0, 2.0])],
            vec![floats(&[-1, 2], &[1.0, 2.0])],
            vec![floats(&[0, 2], &[])],
            vec![floats(&[i64::MAX, 2], &[1.0, 2.0])],
            vec![floats(&[1, 2], &[f32::NAN, 2.0])],
            vec![unknown],
        ] {
            assert!(ask(&takes, &inputs).is_err(), "{inputs:?}");
        }
    }

    #[test]
    fn a_prompt_is_asked_with_its_options() {
        let prompt = || tensor("prompt", &[3], Dtype::U8, b"why".to_vec());
        let seed = tensor("seed", &[1], Dtype::I32, 7_i32.to_le_bytes().to_vec());
        let Ask::Text(request) = ask(&Signature::Text, &[prompt(), seed]).unwrap() else {
            panic!("a text");
        };
        assert_eq!((request.prompt.as_deref(), request.seed), (Some("why"), 7));
        let half = tensor("seed", &[1], Dtype::F32, 0.5_f32.to_le_bytes().to_vec());
        for inputs in [
            vec![],
            vec![half.clone()],
            vec![prompt(), half],
            vec![prompt(), floats(&[1], &[1.0])],
            vec![tensor("prompt", &[1], Dtype::U8, vec![0xff])],
            vec![tensor("prompt", &[2], Dtype::U8, b"why".to_vec())],
        ] {
            assert!(ask(&Signature::Text, &inputs).is_err(), "{inputs:?}");
        }
    }

    #[test]
    fn answers_have_the_shapes_that_were_told() {
        let row = |probabilities: &[f32]| RowAnswer {
            class: Some("a".to_owned()),
            probabilities: probabilities.to_vec(),
            numbers: Vec::new(),
        };
        let parts = [
            Part::Rows {
                answers: vec![row(&[0.1, 0.7, 0.2])],
                last: false,
            },
            Part::Rows {
                answers: vec![row(&[0.5, 0.5, 0.0])],
                last: true,
            },
        ];
        for output in [Some(Answers::Classes(3)), None] {
            let signature = network(Some(&[2]), output);
            let [probabilities, classes] = &answer(&signature, &parts)[..] else {
                panic!("two tensors");
            };
            assert_eq!(probabilities.shape, [2, 3]);
            assert_eq!(probabilities.numbers().unwrap().1.len(), 6);
            assert_eq!(classes.numbers().unwrap(), (vec![2], vec![1.0, 0.0]));
            let told = specs(&signature).1;
            assert!(output.is_none() || told.len() == 2);
        }
    }
}
