//! What a folder says of its embeddings: how many tokens are read, how their
//! vectors become one, and how long that is. The files are those of the
//! `sentence-transformers` library; without them a text is the mean of its
//! tokens.

use embermesh_job::spec::{Embed, Pooling};
use serde::Deserialize;
use serde_json::Value;

use crate::hub::{Folder, InvalidFolder};

/// The file that lists what follows the network.
const MODULES: &str = "modules.json";

/// How embeddings are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) pooling: Pooling,
    pub(super) normalise: bool,
    pub(super) max_tokens: usize,
    pub(super) lowercase: bool,
}

#[derive(Deserialize)]
struct Module {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    path: String,
}

#[derive(Default, Deserialize)]
struct Sentence {
    max_seq_length: Option<u64>,
    #[serde(default)]
    do_lower_case: bool,
}

impl Settings {
    /// Of a folder whose network reads `context` tokens and whose tokenizer cuts
    /// texts to `own` of them. What the spec says counts more.
    pub(super) fn read(
        embed: &Embed,
        folder: &Folder,
        context: usize,
        own: Option<u64>,
    ) -> Result<Self, InvalidFolder> {
        let modules: Option<Vec<Module>> = folder.settings(MODULES)?;
        let (mut pooling, mut normalise) = (Pooling::Mean, false);
        for module in modules.unwrap_or_default() {
            match module.kind.rsplit('.').next().unwrap_or_default() {
                "Transformer" => {}
                "Pooling" => pooling = read_pooling(folder, &module.path)?,
                "Normalize" => normalise = true,
                other => {
                    let shown: String = other.chars().take(64).collect();
                    let reason = format!(
                        "the module {shown:?} is not run: Transformer, Pooling and Normalize are"
                    );
                    return Err(InvalidFolder::new(MODULES, reason));
                }
            }
        }
        let sentence: Option<Sentence> = folder.settings("sentence_bert_config.json")?;
        let sentence = sentence.unwrap_or_default();
        let config: Option<Value> = folder.settings("tokenizer_config.json")?;
        let model_max = || config.as_ref()?["model_max_length"].as_u64();
        let said = embed.max_tokens.map(u64::from);
        let said = said.or(sentence.max_seq_length).or_else(model_max).or(own);
        let said = usize::try_from(said.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
        if let Some(asked) = embed.max_tokens
            && asked as usize > context
        {
            let reason = format!(
                "the network reads {context} tokens at most, and the spec's `max_tokens` is {asked}"
            );
            return Err(InvalidFolder::new("config.json", reason));
        }
        Ok(Self {
            pooling: embed.pooling.unwrap_or(pooling),
            normalise: embed.normalise.unwrap_or(normalise),
            max_tokens: said.clamp(3, context.max(3)),
            lowercase: sentence.do_lower_case,
        })
    }
}

/// The one way of pooling that a module's settings name.
fn read_pooling(folder: &Folder, path: &str) -> Result<Pooling, InvalidFolder> {
    let file = format!("{path}/config.json");
    let settings: Value = folder
        .settings(&file)?
        .ok_or_else(|| InvalidFolder::new(&file, "it is missing, and modules.json names it"))?;
    let wrong = |reason: String| Err(InvalidFolder::new(&file, reason));
    let by_flag = settings.as_object().into_iter().flatten();
    let mut modes: Vec<&str> = by_flag
        .filter(|(_, on)| on.as_bool() == Some(true))
        .filter_map(|(name, _)| name.strip_prefix("pooling_mode_"))
        .collect();
    modes.extend(settings["pooling_mode"].as_str());
    match modes[..] {
        ["mean_tokens" | "mean"] => Ok(Pooling::Mean),
        ["cls_token" | "cls"] => Ok(Pooling::Cls),
        ["max_tokens" | "max"] => Ok(Pooling::Max),
        [] => wrong("it names no way of pooling".to_owned()),
        [mode] => {
            let shown: String = mode.chars().take(64).collect();
            wrong(format!("{shown:?} is not run: mean, cls and max are"))
        }
        _ => wrong("it names several ways of pooling, of which one is run".to_owned()),
    }
}
