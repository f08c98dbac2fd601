//! Loss, optimizer and the rest of how a training goes, from hyperparameters.

use embermesh_job::spec::{
    Clip, EarlyStopping, Loss, Optimizer, Precision, Schedule, Span, Train, Watch,
};
use serde_json::{Map, Value, json};

use super::{
    InvalidConfig,
    hyper::{Hyper, refuse},
};

/// The loss that is named, in the words of the frameworks.
pub(super) fn loss(hyper: &mut Hyper) -> Result<Option<Loss>, InvalidConfig> {
    let smoothing = hyper.number(&["label_smoothing"])?;
    let delta = hyper.number(&["huber_delta", "delta"])?;
    let Some(word) = hyper.text(&["loss", "loss_function", "criterion"]) else {
        return match smoothing.or(delta) {
            None => Ok(None),
            Some(_) => Err(refuse(
                "loss",
                "name the loss that label_smoothing or huber_delta belongs to".to_owned(),
            )),
        };
    };
    let plain: String = word
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .collect::<String>()
        .to_ascii_lowercase();
    let loss = match plain.as_str() {
        "crossentropy"
        | "crossentropyloss"
        | "categoricalcrossentropy"
        | "sparsecategoricalcrossentropy" => Loss::CrossEntropy {
            label_smoothing: smoothing.unwrap_or(0.0),
            class_weights: Vec::new(),
        },
        "bce" | "bceloss" | "bcewithlogits" | "bcewithlogitsloss" | "binarycrossentropy" => {
            Loss::Bce
        }
        "mse" | "mseloss" | "meansquarederror" => Loss::Mse,
        "mae" | "maeloss" | "l1" | "l1loss" | "meanabsoluteerror" => Loss::Mae,
        "huber" | "huberloss" => Loss::Huber {
            delta: delta.unwrap_or(1.0),
        },
        _ => {
            return Err(refuse(
                "loss",
                format!("{word:?} is none of cross_entropy, bce, mse, mae and huber"),
            ));
        }
    };
    if smoothing.is_some() && !matches!(loss, Loss::CrossEntropy { .. }) {
        return Err(refuse(
            "label_smoothing",
            "only cross_entropy has it".to_owned(),
        ));
    }
    if delta.is_some() && !matches!(loss, Loss::Huber { .. }) {
        return Err(refuse("huber_delta", "only huber has it".to_owned()));
    }
    Ok(Some(loss))
}

/// How weights follow gradients. An option that the optimizer has not is refused by the
/// name that it has there.
pub(super) fn optimizer(hyper: &mut Hyper) -> Result<Optimizer, InvalidConfig> {
    let word = hyper
        .text(&["optimizer"])
        .unwrap_or_else(|| "adam".to_owned());
    let mut options = Map::new();
    for names in [
        &["lr", "learning_rate"][..],
        &["momentum"],
        &["weight_decay"],
        &["beta1"],
        &["beta2"],
        &["epsilon", "eps"],
        &["alpha"],
        &["lr_decay"],
    ] {
        if let Some(number) = hyper.number(names)? {
            options.insert(names[0].to_owned(), json!(number));
        }
    }
    for name in ["nesterov", "centered"] {
        if let Some(truth) = hyper.truth(&[name])? {
            options.insert(name.to_owned(), Value::Bool(truth));
        }
    }
    serde_json::from_value(json!({ word.to_ascii_lowercase(): options }))
        .map_err(|error| refuse("optimizer", error.to_string()))
}

/// Everything else that a training can be given.
pub(super) fn rest(train: &mut Train, hyper: &mut Hyper) -> Result<(), InvalidConfig> {
    train.seed = hyper.whole(&["seed", "random_seed"])?.unwrap_or(0);
    train.shuffle = hyper.truth(&["shuffle", "shuffle_data"])?.unwrap_or(true);
    train.holdout = hyper
        .number(&["validation_split", "holdout"])?
        .unwrap_or(0.0);
    train.accumulate = hyper
        .whole(&["accumulate", "gradient_accumulation_steps"])?
        .unwrap_or(1);
    train.checkpoint_every = hyper
        .whole(&["checkpoint_every", "checkpoint_frequency"])?
        .unwrap_or(0);
    train.report_every = hyper.whole(&["report_every", "log_every"])?.unwrap_or(0);
    train.warmup = match hyper.whole(&["warmup_steps"])? {
        Some(steps) => Some(Span::Steps(steps)),
        None => hyper.whole(&["warmup_epochs"])?.map(Span::Passes),
    };
    train.schedule = hyper
        .text(&["schedule", "lr_schedule"])
        .map(|text| schedule(&text))
        .transpose()?;
    train.clip = match hyper.number(&["clip_norm", "max_grad_norm"])? {
        Some(norm) => Some(Clip::Norm(norm)),
        None => hyper.number(&["clip_value"])?.map(Clip::Value),
    };
    if hyper.truth(&["mixed_precision", "use_mixed_precision"])? == Some(true) {
        train.precision = Precision::Mixed;
    }
    if let Some(patience) = hyper.whole(&["early_stopping_patience", "patience"])? {
        train.early_stopping = Some(EarlyStopping {
            watch: Watch::Loss,
            patience,
            min_delta: hyper.number(&["min_delta"])?.unwrap_or(0.0),
            restore_best: true,
        });
    }
    Ok(())
}

/// A schedule by its word, or with its options as JSON.
fn schedule(text: &str) -> Result<Schedule, InvalidConfig> {
    let value = match text {
        "constant" => json!("constant"),
        word if word
            .chars()
            .all(|letter| letter.is_ascii_alphabetic() || letter == '_') =>
        {
            json!({ word: {} })
        }
        text => {
            serde_json::from_str(text).map_err(|error| refuse("schedule", error.to_string()))?
        }
    };
    serde_json::from_value(value).map_err(|error| refuse("schedule", error.to_string()))
}
