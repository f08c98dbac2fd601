//! Generation: a language model, and what it is to go on from.

use embermesh_crypto::statement::DeviceKind;
use serde::{Deserialize, Serialize};

use super::{
    Input, InvalidSpec, LanguageModel, Limits, Requirements,
    invalid::{field, within},
};

/// The most requests of one job.
pub const MAX_REQUESTS: usize = 64;
/// The most messages of one chat.
pub const MAX_MESSAGES: usize = 256;
/// The most tokens that one request may make.
pub const MAX_NEW_TOKENS: u32 = 65_536;
/// The most tokens that the requests of a job may make together.
pub const MAX_TOTAL_TOKENS: u64 = 1 << 20;
/// The most stop strings of one request.
pub const MAX_STOPS: usize = 16;
/// The longest stop string, in bytes.
pub const MAX_STOP: usize = 256;

/// Text from a language model. The same spec gives the same text on the same
/// kind of device, whichever requests stand beside each other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generate<I = Input> {
    /// The model with its tokenizer: a GGUF file, or the files of a folder.
    pub model: LanguageModel<I>,
    /// What to go on from; they are computed together.
    pub requests: Vec<Request>,
    /// Tokens between two events of a request, from 1: an event holds the text
    /// that has come since the last.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub report_every: u32,
}

/// One text to go on from, and how. It has either `prompt` or `messages`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Text as the model is to read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// A chat that the model is to answer, put into words by the template in
    /// its file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub messages: Vec<Message>,
    /// Tokens to make at most.
    #[serde(default = "usual_tokens")]
    pub max_tokens: u32,
    /// How far the draw strays from the likeliest token: 0 always takes that
    /// one, 1 draws by the model's own probabilities.
    #[serde(default = "usual_temperature")]
    pub temperature: f64,
    /// Only this many of the likeliest tokens are drawn from; 0 means all.
    #[serde(default = "usual_top_k")]
    pub top_k: u32,
    /// Only the likeliest tokens that have this probability together are drawn
    /// from; 1 means all.
    #[serde(default = "usual_top_p")]
    pub top_p: f64,
    /// Makes tokens that are in the text already less likely; 1 does nothing.
    #[serde(default = "usual_penalty")]
    pub repetition_penalty: f64,
    /// Makes the draws the same each time.
    #[serde(default)]
    pub seed: u32,
    /// Texts that end the answer and are not part of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<String>,
}

/// One turn of a chat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// Who says it.
    pub role: Role,
    /// What is said.
    pub content: String,
}

/// Who speaks in a chat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Whoever sets the model up.
    System,
    /// Whoever asks.
    User,
    /// The model.
    Assistant,
}

impl Role {
    /// Its name in a chat template.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

fn one() -> u32 {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_one(value: &u32) -> bool {
    *value == 1
}

fn usual_tokens() -> u32 {
    256
}

fn usual_temperature() -> f64 {
    0.7
}

fn usual_top_k() -> u32 {
    40
}

fn usual_top_p() -> f64 {
    0.95
}

fn usual_penalty() -> f64 {
    1.0
}

impl Default for Request {
    fn default() -> Self {
        Self {
            prompt: None,
            messages: Vec::new(),
            max_tokens: usual_tokens(),
            temperature: usual_temperature(),
            top_k: usual_top_k(),
            top_p: usual_top_p(),
            repetition_penalty: usual_penalty(),
            seed: 0,
            stop: Vec::new(),
        }
    }
}

impl Request {
    /// A text to go on from, with the usual for the rest.
    #[must_use]
    pub fn prompt(text: impl Into<String>) -> Self {
        Self {
            prompt: Some(text.into()),
            ..Self::default()
        }
    }

    /// A chat of one question, with the usual for the rest.
    #[must_use]
    pub fn question(text: impl Into<String>) -> Self {
        let message = Message {
            role: Role::User,
            content: text.into(),
        };
        Self {
            messages: vec![message],
            ..Self::default()
        }
    }

    /// Checks bounds.
    ///
    /// # Errors
    /// [`InvalidSpec`] for the first thing that is wrong.
    pub fn validate(&self) -> Result<(), InvalidSpec> {
        match (&self.prompt, self.messages.len()) {
            (None, 0) => return Err(field("requests", "give each a `prompt` or `messages`")),
            (Some(_), 1..) => {
                return Err(field("requests", "give `prompt` or `messages`, not both"));
            }
            (Some(text), 0) if text.is_empty() => {
                return Err(field("requests.prompt", "it is empty"));
            }
            (None, count) if count > MAX_MESSAGES => {
                let reason = format!("{count} are more than the {MAX_MESSAGES} allowed");
                return Err(field("requests.messages", reason));
            }
            _ => {}
        }
        let most = MAX_NEW_TOKENS.into();
        within("requests.max_tokens", self.max_tokens.into(), 1, most)?;
        between("requests.temperature", self.temperature, 0.0, 10.0)?;
        within("requests.top_k", self.top_k.into(), 0, 1 << 20)?;
        if self.top_p <= 0.0 {
            return Err(field("requests.top_p", "it is not above 0"));
        }
        between("requests.top_p", self.top_p, 0.0, 1.0)?;
        between(
            "requests.repetition_penalty",
            self.repetition_penalty,
            0.1,
            10.0,
        )?;
        if self.stop.len() > MAX_STOPS {
            let reason = format!("give {MAX_STOPS} texts at most");
            return Err(field("requests.stop", reason));
        }
        if self
            .stop
            .iter()
            .any(|stop| !(1..=MAX_STOP).contains(&stop.len()))
        {
            let reason = format!("give texts of 1 to {MAX_STOP} bytes");
            return Err(field("requests.stop", reason));
        }
        Ok(())
    }
}

/// Refuses what is outside of the bounds, and what is no number.
fn between(name: &'static str, value: f64, least: f64, most: f64) -> Result<(), InvalidSpec> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(field(
        name,
        format!("{value} is not from {least} to {most}"),
    ))
}

impl Generate {
    pub(super) fn validate(
        &self,
        requires: &Requirements,
        limits: &Limits,
    ) -> Result<(), InvalidSpec> {
        if requires
            .device
            .is_some_and(|device| device != DeviceKind::Cpu)
        {
            let reason = "language models run on the processor: say \"cpu\", or nothing";
            return Err(field("requires.device", reason));
        }
        within(
            "requests",
            self.requests.len() as u64,
            1,
            MAX_REQUESTS as u64,
        )?;
        within("report_every", self.report_every.into(), 1, 1024)?;
        for request in &self.requests {
            request.validate()?;
        }
        let total = self.total_tokens();
        if total > MAX_TOTAL_TOKENS {
            return Err(field(
                "requests.max_tokens",
                format!("together they ask for {total} tokens, of {MAX_TOTAL_TOKENS} allowed"),
            ));
        }
        self.model.validate(limits)
    }
}

impl<I> Generate<I> {
    /// The most tokens that all of it can make.
    #[must_use]
    pub fn total_tokens(&self) -> u64 {
        self.requests
            .iter()
            .map(|request| u64::from(request.max_tokens))
            .sum()
    }

    pub(super) fn input_refs(&self) -> Vec<&I> {
        self.model.input_refs()
    }

    pub(super) fn try_map<J, E>(
        self,
        name: &mut impl FnMut(I) -> Result<J, E>,
    ) -> Result<Generate<J>, E> {
        Ok(Generate {
            model: self.model.try_map(name)?,
            requests: self.requests,
            report_every: self.report_every,
        })
    }
}

#[cfg(test)]
mod tests {
    use embermesh_crypto::Digest;

    use super::*;
    use crate::spec::{JobSpec, Work};

    fn job(request: Request) -> JobSpec {
        JobSpec {
            name: "chat".to_owned(),
            work: Work::Generate(Generate {
                model: LanguageModel::File(Input {
                    digest: Digest::of(b"model"),
                    size: 5,
                }),
                requests: vec![request],
                report_every: 1,
            }),
            requires: Requirements::default(),
            limits: Limits::default(),
            attempts: 1,
        }
    }

    #[test]
    fn a_request_has_the_usual_for_what_is_not_said() {
        let spec = job(Request::question("Why?"));
        let bytes = spec.canonical();
        assert_eq!(JobSpec::from_canonical(&bytes).unwrap(), spec);
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.contains(r#""temperature":0.7"#), "{text}");
        assert!(
            !text.contains("prompt") && !text.contains("report_every"),
            "{text}"
        );
        assert!(spec.plan().unwrap().is_none());
    }

    #[test]
    fn what_is_out_of_bounds_is_refused_by_name() {
        let refused = |change: fn(&mut Request)| {
            let mut request = Request::prompt("Once");
            change(&mut request);
            job(request).validate().unwrap_err().to_string()
        };
        assert!(refused(|r| r.prompt = None).contains("`requests`"));
        assert!(refused(|r| r.prompt = Some(String::new())).contains("`requests.prompt`"));
        assert!(refused(|r| r.messages = Request::question("x").messages).contains("not both"));
        assert!(refused(|r| r.max_tokens = 0).contains("max_tokens"));
        assert!(refused(|r| r.max_tokens = MAX_NEW_TOKENS + 1).contains("max_tokens"));
        for value in [-0.1, 11.0, f64::NAN, f64::INFINITY] {
            let mut request = Request::prompt("Once");
            request.temperature = value;
            assert!(job(request).validate().is_err(), "{value}");
        }
        assert!(refused(|r| r.top_p = 0.0).contains("top_p"));
        assert!(refused(|r| r.top_p = f64::NAN).contains("top_p"));
        assert!(refused(|r| r.repetition_penalty = 0.0).contains("repetition_penalty"));
        assert!(refused(|r| r.stop = vec![String::new()]).contains("stop"));
        assert!(refused(|r| r.stop = vec!["x".into(); MAX_STOPS + 1]).contains("stop"));
    }

    #[test]
    fn a_job_asks_for_no_more_than_it_may() {
        let mut spec = job(Request::prompt("Once"));
        let Work::Generate(generate) = &mut spec.work else {
            unreachable!()
        };
        generate.requests = vec![
            Request {
                max_tokens: MAX_NEW_TOKENS,
                ..Request::prompt("Once")
            };
            17
        ];
        assert!(
            spec.validate()
                .unwrap_err()
                .to_string()
                .contains("together")
        );
        let mut spec = job(Request::prompt("Once"));
        spec.requires.device = Some(DeviceKind::Cuda);
        assert!(
            spec.validate()
                .unwrap_err()
                .to_string()
                .contains("processor")
        );
        let mut spec = job(Request::prompt("Once"));
        if let Work::Generate(generate) = &mut spec.work {
            generate.model = LanguageModel::File(Input {
                digest: Digest::of(b"model"),
                size: spec.limits.memory.0 + 1,
            });
        }
        assert!(
            spec.validate()
                .unwrap_err()
                .to_string()
                .contains("limits.memory")
        );
        assert!(serde_json::from_str::<Role>("\"tool\"").is_err());
    }
}
