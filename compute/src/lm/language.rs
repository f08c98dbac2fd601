//! A language model from the files that a job names: the network, the words,
//! and the template, whichever form they come in.

use embermesh_job::spec::LanguageModel;
use serde::Deserialize;
use serde_json::Value;

use super::gguf::Gguf;
use super::model::Model;
use super::tokens::Tokenizer;
use super::{MAX_GROWTH, chat, llama};
use crate::dataset::load;
use crate::dataset::room::Room;
use crate::failure::WorkFailed;
use crate::hub::tokenizer::HubTokenizer;
use crate::hub::weights::{self, Weights};
use crate::hub::{Folder, InvalidFolder};
use crate::pipe::WorkOrder;

/// The bytes of a model.
pub(crate) enum Files {
    /// A GGUF file.
    Gguf(Vec<u8>),
    /// A folder.
    Folder(Folder),
}

/// A model that is ready to be asked.
pub(crate) struct Language<'a> {
    pub(crate) model: Model<'a>,
    pub(crate) words: Words<'a>,
    /// What puts a chat into words.
    pub(crate) template: Option<String>,
    /// Bytes of its files and of what was built of them.
    pub(crate) held: u64,
}

/// Text to tokens and back.
#[allow(clippy::large_enum_variant, reason = "there is one of a model")]
pub(crate) enum Words<'a> {
    /// By the metadata of a GGUF file.
    Gguf(Tokenizer<'a>),
    /// By a folder's files.
    Hub(Box<HubWords>),
}

/// The tokenizer of a folder, with what other files say of it.
pub(crate) struct HubWords {
    tokenizer: HubTokenizer,
    begin: String,
    end: String,
    /// Tokens that end a text, sorted.
    ends: Vec<u32>,
    /// Bytes that cutting a text may take.
    left: u64,
}

impl Files {
    /// Reads files whose bytes are those that their digests name.
    pub(crate) fn read(model: &LanguageModel, order: &WorkOrder) -> Result<Self, WorkFailed> {
        Ok(match model {
            LanguageModel::File(file) => Self::Gguf(load::input(*file, order)?),
            LanguageModel::Files(files) => Self::Folder(Folder::read(files, order)?),
        })
    }

    /// Finds network, words and template in them. What is built of them is
    /// taken from the room.
    pub(crate) fn open(&self, room: &mut Room) -> Result<Language<'_>, WorkFailed> {
        match self {
            Self::Gguf(bytes) => open_gguf(bytes),
            Self::Folder(folder) => open_folder(folder, room),
        }
    }
}

fn open_gguf(bytes: &[u8]) -> Result<Language<'_>, WorkFailed> {
    let file = Gguf::parse(bytes)?;
    let model = Model::read(&file)?;
    let tokenizer = Tokenizer::read(&file, model.shape.vocabulary)?;
    let weights: u64 = file.tensors().iter().map(|at| at.bytes.len() as u64).sum();
    let size = bytes.len() as u64;
    let header = size.saturating_sub(weights);
    Ok(Language {
        model,
        words: Words::Gguf(tokenizer),
        template: file.text(chat::TEMPLATE)?.map(str::to_owned),
        held: size.saturating_add(header.saturating_mul(MAX_GROWTH)),
    })
}

fn open_folder<'a>(folder: &'a Folder, room: &mut Room) -> Result<Language<'a>, WorkFailed> {
    let before = room.left();
    let headers = weights::header_bytes(folder).saturating_mul(MAX_GROWTH);
    room.take(headers, "model.safetensors")?;
    let config = llama::Config::read(folder)?;
    let mut weights = Weights::read(folder)?;
    let model = llama::read(&config, &mut weights)?;
    let tokenizer = HubTokenizer::read(folder, model.shape.vocabulary, room)?;
    tokenizer.can_write()?;
    let said = TokenizerConfig::read(folder)?;
    let generation: Option<Value> = folder.settings("generation_config.json")?;
    let ends = ends(&config, generation.as_ref(), &said, &tokenizer);
    Ok(Language {
        words: Words::Hub(Box::new(HubWords {
            tokenizer,
            begin: said.begin,
            end: said.end,
            ends,
            left: room.left(),
        })),
        model,
        template: match folder.text("chat_template.jinja")? {
            Some(text) => Some(text.to_owned()),
            None => said.template,
        },
        held: folder.size().saturating_add(before - room.left()),
    })
}

/// Tokens that end a text, as all files that speak of it have them.
fn ends(
    config: &llama::Config,
    generation: Option<&Value>,
    said: &TokenizerConfig,
    tokenizer: &HubTokenizer,
) -> Vec<u32> {
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    let listed = |value: &Value| match value {
        Value::Array(ids) => ids.iter().take(64).filter_map(id).collect(),
        one => id(one).into_iter().collect::<Vec<u32>>(),
    };
    let mut ends = listed(&config.eos_token_id);
    ends.extend(
        generation
            .into_iter()
            .flat_map(|it| listed(&it["eos_token_id"])),
    );
    ends.extend(tokenizer.token(&said.end).filter(|_| !said.end.is_empty()));
    ends.sort_unstable();
    ends.dedup();
    ends
}

/// What `tokenizer_config.json` says.
#[derive(Default)]
struct TokenizerConfig {
    begin: String,
    end: String,
    template: Option<String>,
}

/// A special token, as a text or with more around it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Special {
    Text(String),
    Described { content: String },
}

/// One template, or several by name.
#[derive(Deserialize)]
#[serde(untagged)]
enum Templates {
    One(String),
    Several(Vec<Named>),
}

#[derive(Deserialize)]
struct Named {
    name: String,
    template: String,
}

impl TokenizerConfig {
    fn read(folder: &Folder) -> Result<Self, InvalidFolder> {
        #[derive(Default, Deserialize)]
        struct File {
            bos_token: Option<Special>,
            eos_token: Option<Special>,
            chat_template: Option<Templates>,
        }
        let file: Option<File> = folder.settings("tokenizer_config.json")?;
        let file = file.unwrap_or_default();
        let name = |special: Option<Special>| match special {
            Some(Special::Text(content) | Special::Described { content }) => content,
            None => String::new(),
        };
        let template = match file.chat_template {
            Some(Templates::One(text)) => Some(text),
            Some(Templates::Several(several)) => several
                .into_iter()
                .find(|named| named.name == "default")
                .map(|named| named.template),
            None => None,
        };
        Ok(Self {
            begin: name(file.bos_token),
            end: name(file.eos_token),
            template,
        })
    }
}

impl Words<'_> {
    /// The tokens of a text that a template has made, which has in it what
    /// begins it.
    pub(crate) fn encode_chat(&self, text: &str) -> Result<Vec<u32>, WorkFailed> {
        match self {
            Self::Gguf(tokenizer) => Ok(tokenizer.encode(text)),
            Self::Hub(hub) => Ok(hub.tokenizer.encode(text, false, hub.left)?.tokens),
        }
    }

    /// The tokens of a text, with the one that begins it where the model has it.
    pub(crate) fn encode(&self, text: &str) -> Result<Vec<u32>, WorkFailed> {
        match self {
            Self::Gguf(tokenizer) => Ok(tokenizer.encode(text)),
            Self::Hub(hub) => Ok(hub.tokenizer.encode(text, true, hub.left)?.tokens),
        }
    }

    /// The bytes of a token's text; none of a special token.
    pub(crate) fn bytes(&self, token: u32, to: &mut Vec<u8>) {
        match self {
            Self::Gguf(tokenizer) => tokenizer.bytes(token, to),
            Self::Hub(hub) => hub.tokenizer.bytes(token, to),
        }
    }

    /// Whether a text ends with this token.
    pub(crate) fn is_end(&self, token: u32) -> bool {
        match self {
            Self::Gguf(tokenizer) => tokenizer.is_end(token),
            Self::Hub(hub) => hub.ends.binary_search(&token).is_ok(),
        }
    }

    /// The names of the tokens that begin and end a text, for templates.
    pub(crate) fn names(&self) -> (&str, &str) {
        match self {
            Self::Gguf(tokenizer) => tokenizer.names(),
            Self::Hub(hub) => (&hub.begin, &hub.end),
        }
    }
}
