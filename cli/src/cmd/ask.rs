//! `embermesh ask`: a question to a resident model, answered as it is made.

use std::{
    io::{Read as _, stdin},
    time::Duration,
};

use clap::Args;
use embermesh_client::{Answer, Options, ask_at, bounds::ANSWER_TIME};
use embermesh_job::{
    ask::{Ask, MAX_ASK_LEN, Part, RowAnswer},
    event::Generated,
    spec::{Message, Request, Role},
    units::Millis,
};
use serde_json::{Value, json};

use crate::{
    args::{ClientFlags, Global},
    cmd::{blob::target, connect},
    config::Settings,
    exit::{Exit, WrongInput},
    identity,
    output::Output,
    runtime,
};

/// Flags of `ask`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  embermesh ask chat \"Why is the sky blue?\"\n  embermesh ask chat --system \"You are a poet.\" --temperature 1.1 < question.txt\n  embermesh ask flowers --rows '[[5.1, 3.5, 1.4, 0.2]]'\n  embermesh ask chat \"Who are you?\" --node 192.0.2.7:7421\n\nThe text goes to stdout as it is made. Ctrl-C ends the answer."
)]
pub(crate) struct Flags {
    /// The deployment's name, or the id of its job
    model: String,
    /// The question [default: stdin]
    #[arg(conflicts_with = "rows")]
    prompt: Option<String>,
    /// Rows of numbers for a network, as JSON; `-` reads them from stdin
    #[arg(long, value_name = "JSON", conflicts_with_all = ["system", "raw"])]
    rows: Option<String>,
    /// What the model is told before the question
    #[arg(long, value_name = "TEXT", conflicts_with = "raw")]
    system: Option<String>,
    /// Give the model the text as it is, without its chat template
    #[arg(long)]
    raw: bool,
    /// Tokens to make at most
    #[arg(long, value_name = "NUMBER")]
    max_tokens: Option<u32>,
    /// How far the draw strays from the likeliest token; 0: not at all
    #[arg(long, value_name = "NUMBER")]
    temperature: Option<f64>,
    /// Draw from this many of the likeliest tokens; 0: from all
    #[arg(long, value_name = "NUMBER")]
    top_k: Option<u32>,
    /// Draw from the likeliest tokens that have this probability together
    #[arg(long, value_name = "SHARE")]
    top_p: Option<f64>,
    /// Make tokens that are there already less likely; 1: do not
    #[arg(long, value_name = "NUMBER")]
    repetition_penalty: Option<f64>,
    /// The same seed makes the same draws
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u32>,
    /// A text that ends the answer; may be repeated
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    /// How long the answer may take [default: 5m]
    #[arg(long, value_name = "TIME")]
    within: Option<Millis>,
    /// The node, as HOST:PORT or HOST:PORT/p2p/PEER, without asking an index
    #[arg(long, value_name = "ADDRESS")]
    node: Option<String>,
    #[command(flatten)]
    client: ClientFlags,
}

impl Flags {
    /// Does it.
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<Exit> {
        let settings = global.resolve(self.client.settings())?;
        let output = global.output(&settings);
        let quiet = global.quiet;
        let ask = self.ask()?;
        // Judged here, so that what is wrong costs no connection.
        ask.validate()
            .map_err(|error| WrongInput(error.to_string()))?;
        let within = self
            .within
            .map_or(ANSWER_TIME, |within| Duration::from_millis(within.0));
        runtime::run(async move {
            let cancel = runtime::stop_token()?;
            let answering = Box::pin(async {
                let answer = self.begin(&settings, &ask, within).await?;
                show(answer, output, quiet).await
            });
            runtime::unless_stopped(&cancel, ": the answer was ended", answering).await
        })
    }

    async fn begin(
        &self,
        settings: &Settings,
        ask: &Ask,
        within: Duration,
    ) -> anyhow::Result<Answer> {
        if let Some(node) = &self.node {
            let identity = identity::of_user(settings)?;
            let options = Options::default();
            let node = target(node)?;
            return Ok(ask_at(&identity, &node, &options, &self.model, ask, within).await?);
        }
        let client = connect(settings).await?;
        let found = client.find_model(&self.model).await?;
        Ok(client.ask(&found, ask, within).await?)
    }

    fn ask(&self) -> anyhow::Result<Ask> {
        if let Some(rows) = &self.rows {
            let text = if rows == "-" {
                from_stdin()?
            } else {
                rows.clone()
            };
            let rows = serde_json::from_str(&text).map_err(|error| {
                WrongInput(format!(
                    "--rows is not a list of rows such as [[1, 2], [3, 4]]: {error}"
                ))
            })?;
            return Ok(Ask::Rows(rows));
        }
        let text = match self.prompt.as_deref() {
            None | Some("-") => from_stdin()?,
            Some(text) => text.to_owned(),
        };
        let mut request = if self.raw {
            Request::prompt(text)
        } else {
            Request::question(text)
        };
        if let Some(system) = &self.system {
            let message = Message {
                role: Role::System,
                content: system.clone(),
            };
            request.messages.insert(0, message);
        }
        request.max_tokens = self.max_tokens.unwrap_or(request.max_tokens);
        request.temperature = self.temperature.unwrap_or(request.temperature);
        request.top_k = self.top_k.unwrap_or(request.top_k);
        request.top_p = self.top_p.unwrap_or(request.top_p);
        request.repetition_penalty = self
            .repetition_penalty
            .unwrap_or(request.repetition_penalty);
        request.seed = self.seed.unwrap_or(request.seed);
        request.stop.clone_from(&self.stop);
        Ok(Ask::Text(Box::new(request)))
    }
}

/// What is typed or piped in, as much as an ask may have.
fn from_stdin() -> anyhow::Result<String> {
    let mut text = String::new();
    let most = MAX_ASK_LEN as u64 + 1;
    stdin()
        .take(most)
        .read_to_string(&mut text)
        .map_err(|error| WrongInput(format!("stdin is not text: {error}")))?;
    if text.len() > MAX_ASK_LEN {
        return Err(WrongInput(format!(
            "stdin has more than the {MAX_ASK_LEN} bytes allowed"
        ))
        .into());
    }
    // The end of the line is the shell's.
    text.truncate(text.trim_end_matches(['\n', '\r']).len());
    Ok(text)
}

/// Shows an answer as it comes.
async fn show(mut answer: Answer, output: Output, quiet: bool) -> anyhow::Result<Exit> {
    let mut whole = String::new();
    let mut rows: Vec<RowAnswer> = Vec::new();
    while let Some(part) = answer.next().await? {
        match part {
            Part::Text(piece) => {
                if output.is_table() {
                    output.piece(&piece.text)?;
                } else {
                    whole.push_str(&piece.text);
                }
                if output.format == crate::output::Format::Jsonl {
                    output.item("", &text_value(&piece.text, &piece))?;
                } else if piece.finish.is_some() {
                    text_ended(&whole, &piece, output, quiet)?;
                }
            }
            Part::Rows { answers, .. } => {
                for answer in answers {
                    match output.format {
                        crate::output::Format::Json => rows.push(answer),
                        _ => output.item(&row_text(&answer), &json!(answer))?,
                    }
                }
            }
            // It came as an error.
            Part::Refused(_) => {}
        }
    }
    if !rows.is_empty() {
        output.one(&[], &json!(rows))?;
    }
    Ok(Exit::Ok)
}

fn text_ended(whole: &str, last: &Generated, output: Output, quiet: bool) -> anyhow::Result<()> {
    if !output.is_table() {
        output.one(&[], &text_value(whole, last))?;
        return Ok(());
    }
    output.piece("\n")?;
    if !quiet {
        let why = last.finish.map_or("", |finish| finish.word());
        eprintln!(
            "{} tokens after {} of the prompt, ended by {why}, {:.1} tokens/s",
            last.tokens, last.prompt_tokens, last.tokens_per_second
        );
    }
    Ok(())
}

fn text_value(text: &str, piece: &Generated) -> Value {
    json!({
        "text": text,
        "tokens": piece.tokens,
        "prompt_tokens": piece.prompt_tokens,
        "finish": piece.finish.map(|finish| finish.word()),
    })
}

fn row_text(answer: &RowAnswer) -> String {
    let numbers = |numbers: &[f32]| {
        let texts: Vec<String> = numbers.iter().map(|x| format!("{x:.4}")).collect();
        texts.join(" ")
    };
    match &answer.class {
        Some(class) => format!("{class}  {}", numbers(&answer.probabilities)),
        None if answer.numbers.is_empty() => numbers(&answer.probabilities),
        None => numbers(&answer.numbers),
    }
}
