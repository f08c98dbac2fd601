//! One attempt at a task: a model is found and asked, and its answer is the result.

use embermesh_client::{Found, bounds::ANSWER_TIME};
use embermesh_dialects::port::{
    Principal,
    models::{ModelView, Models as _},
    plans::{Question, Want},
};
use embermesh_job::{
    ask::{Ask, Part, RowAnswer},
    plan::{NodeName, Value, run::Input},
};
use serde_json::{Value as Json, json};
use tokio::sync::mpsc;

use super::super::Gateway;
use crate::failure::failure;

/// One attempt.
pub(super) struct Attempt {
    pub(super) who: Principal,
    pub(super) question: Question,
    /// What the task reads.
    pub(super) reads: Vec<Value>,
    pub(super) node: Option<NodeName>,
    pub(super) avoid: Vec<NodeName>,
    pub(super) task: embermesh_crypto::TaskIndex,
    pub(super) epoch: embermesh_crypto::Epoch,
    pub(super) inputs: mpsc::Sender<Input>,
}

/// Why an attempt came to nothing, and whether another may do better.
struct Lost {
    reason: String,
    transient: bool,
}

impl Lost {
    fn for_good(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            transient: false,
        }
    }

    fn for_now(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            transient: true,
        }
    }
}

impl Attempt {
    /// Asks, and tells the plan what came of it.
    pub(super) async fn run(self, gateway: Gateway) {
        let (task, epoch) = (self.task, self.epoch);
        let word = match self.ask(&gateway).await {
            Ok((value, samples)) => Input::Done {
                task,
                epoch,
                value,
                samples: Some(samples),
            },
            Err(lost) => Input::Failed {
                task,
                epoch,
                reason: lost.reason,
                transient: lost.transient,
            },
        };
        // A plan that has ended needs no word.
        let _ = self.inputs.send(word).await;
    }

    async fn ask(&self, gateway: &Gateway) -> Result<(Value, u64), Lost> {
        let ask = match &self.question.data {
            Some(data) => asked(data)?,
            None => fed(&self.reads)?,
        };
        let models = gateway.models(&self.who).await;
        let models = models.map_err(|error| Lost::for_now(error.message))?;
        let model = self.choose(models)?;
        let node = NodeName::new(model.node.peer.to_string());
        let node = node.map_err(|error| Lost::for_good(error.to_string()))?;
        let (task, epoch) = (self.task, self.epoch);
        let _ = self.inputs.send(Input::Started { task, epoch, node }).await;
        let client = gateway.inner.clients.of(&self.who).await;
        let client = client.map_err(|error| Lost::for_now(error.message))?;
        let found = Found {
            model: model.job,
            node: model.node,
        };
        let answer = client.ask(&found, &ask, ANSWER_TIME).await;
        let mut answer = answer.map_err(|error| Lost::for_now(failure(&error).message))?;
        let (mut text, mut rows) = (String::new(), Vec::new());
        loop {
            match answer.next().await {
                Ok(Some(Part::Text(piece))) => text.push_str(&piece.text),
                Ok(Some(Part::Rows { answers, .. })) => rows.extend(answers),
                Ok(Some(Part::Refused(reason))) => return Err(Lost::for_good(reason)),
                Ok(None) => break,
                Err(error) => return Err(Lost::for_now(failure(&error).message)),
            }
            let _ = self.inputs.send(Input::Progress { task, epoch }).await;
        }
        Ok(match ask {
            Ask::Text(_) => (Value::Json(Json::String(text.trim().to_owned())), 1),
            Ask::Rows(_) => {
                let samples = rows.len() as u64;
                (result(&rows, self.question.want), samples)
            }
        })
    }

    /// The model to ask: where the task wants to run, and else where it has not failed.
    fn choose(&self, models: Vec<ModelView>) -> Result<ModelView, Lost> {
        let wanted = &self.question.model;
        let mut there: Vec<ModelView> = models
            .into_iter()
            .filter(|model| model.name == *wanted || model.job == *wanted)
            .filter(|model| {
                let node = self.node.as_ref();
                node.is_none_or(|node| node.as_str() == model.node.peer.to_string())
            })
            .collect();
        there.sort_by_key(|model| {
            let peer = model.node.peer.to_string();
            self.avoid.iter().any(|avoided| avoided.as_str() == peer)
        });
        there.into_iter().next().ok_or_else(|| {
            let place = self
                .node
                .as_ref()
                .map_or_else(String::new, |node| format!(" at node {}", node.as_str()));
            Lost::for_now(format!(
                "no model {wanted:?} is loaded{place} that this user may ask"
            ))
        })
    }
}

/// What a configuration's data asks of a model.
fn asked(data: &Json) -> Result<Ask, Lost> {
    embermesh_dialects::dim::ask(data).map_err(|failure| Lost::for_good(failure.message))
}

/// Of a job that brings no data, to nodes that have none of their own.
const NOTHING_ASKED: &str = "the job came without input_data, and the nodes of this mesh keep no data of their own: say what the model is asked";

/// What a task is asked that is fed with what others gave.
fn fed(reads: &[Value]) -> Result<Ask, Lost> {
    match reads {
        [Value::Json(json)] => asked(json),
        [Value::Numbers(numbers)] => Ok(Ask::Rows(vec![numbers.clone()])),
        [] => Err(Lost::for_good(NOTHING_ASKED)),
        _ => Err(Lost::for_good("there is nothing that it could be fed with")),
    }
}

/// What of the answers to rows counts.
fn result(rows: &[RowAnswer], want: Want) -> Value {
    let numbers = |row: &RowAnswer| {
        let numbers = if row.probabilities.is_empty() {
            &row.numbers
        } else {
            &row.probabilities
        };
        json!(numbers)
    };
    let rows = rows.iter().map(|row| match (want, &row.class) {
        (Want::Verdict, Some(class)) => json!(class),
        _ => numbers(row),
    });
    Value::Json(rows.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_a_text_an_object_or_rows_and_else_refused() {
        let ask = |data: Json| asked(&data);
        assert!(matches!(ask(json!("Why?")), Ok(Ask::Text(_))));
        let Ok(Ask::Text(text)) = ask(json!({"prompt": "Once", "max_tokens": 3})) else {
            panic!("a prompt with options");
        };
        assert_eq!(text.max_tokens, 3);
        for rows in [
            json!([1, 2]),
            json!([[1, 2]]),
            json!({"rows": [[1.0, 2.0]]}),
        ] {
            assert!(matches!(ask(rows), Ok(Ask::Rows(rows)) if rows == [[1.0, 2.0]]));
        }
        let wrong = [
            json!(7),
            json!([]),
            json!([["a"]]),
            json!([[1], [1, 2]]),
            json!({"promt": "x"}),
            json!({"prompt": "x", "top_p": 7}),
        ];
        for data in wrong {
            let lost = ask(data.clone()).err().unwrap_or_else(|| panic!("{data}"));
            assert!(!lost.transient, "{data}");
        }
    }

    #[test]
    fn a_task_without_data_has_failed_for_good_and_says_what_is_missing() {
        let lost = fed(&[]).err().unwrap();
        assert!(!lost.transient && lost.reason.contains("input_data"));
        let two = [Value::Json(json!("a")), Value::Json(json!("b"))];
        assert!(!fed(&two).err().unwrap().transient);
    }

    #[test]
    fn a_verdict_is_the_class_and_an_average_needs_numbers() {
        let row = RowAnswer {
            class: Some("cat".to_owned()),
            probabilities: vec![0.25, 0.75],
            numbers: Vec::new(),
        };
        let rows = [row];
        assert_eq!(result(&rows, Want::Verdict), Value::Json(json!(["cat"])));
        assert_eq!(
            result(&rows, Want::Numbers),
            Value::Json(json!([[0.25, 0.75]]))
        );
    }
}
