//! What is resident here, and the model files in the folders of the owner.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use embermesh_crypto::ids::JobId;
use embermesh_dialects::{
    ErrorCode, Failure,
    port::node::{
        Call,
        execution::Order,
        owner::models::{Deployed, ModelFile, OwnedModels},
    },
};
use embermesh_job::{
    spec::{
        Askers, Input, JobSpec, LanguageModel, Limits, MAX_NAME, Requirements, Serve, Served, Work,
    },
    units::{Bytes, Millis},
};

use super::{Foreign, Right, jobs};
use crate::{
    foreign::{asking, permit::Permit},
    origins::FoundModel,
    resident::Owned,
};

/// The word for the work that keeps a model resident.
pub(super) const KIND: &str = "serve";
/// How long a deployment of the owner's stays.
const STAY: Millis = Millis(30 * 86_400_000);
/// The least memory of a language model, in bytes; a larger one gets half as much again
/// as its file has.
const LANGUAGE_MEMORY: u64 = 2 << 30;
/// Files that a look remembers to have seen.
const MAX_SEEN: usize = 4096;

/// What the owner has looked at and deployed since the node started.
#[derive(Default)]
pub(super) struct Shelf(Mutex<Shelved>);

#[derive(Default)]
struct Shelved {
    seen: BTreeSet<PathBuf>,
    deployed: BTreeMap<JobId, PathBuf>,
}

impl Shelf {
    fn held(&self) -> MutexGuard<'_, Shelved> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[tonic::async_trait]
impl OwnedModels for Foreign {
    fn deployments(&self, call: &Call) -> Result<Vec<Deployed>, Failure> {
        self.entitled(call, Right::Look)?;
        let owned = self.inner.parts.site.residents.owned();
        let running = self.inner.parts.tasks.all();
        let running: BTreeSet<JobId> = running.iter().map(|task| task.key().job).collect();
        let mut shelf = self.inner.parts.owner.shelf.held();
        shelf.deployed.retain(|job, _| running.contains(job));
        Ok(owned
            .into_iter()
            .map(|owned| deployed(owned, &shelf.deployed))
            .collect())
    }

    async fn deploy(&self, call: &Call, path: &str, context: u32) -> Result<JobId, Failure> {
        self.entitled(call, Right::Command)?;
        let path = Path::new(path);
        let form = path.extension().and_then(|form| form.to_str());
        if form.is_none_or(|form| !form.eq_ignore_ascii_case("gguf")) {
            let message = "model_path: a GGUF file is deployed from here; weights as safetensors need a definition of their network: `embermesh deploy` takes one";
            return Err(Failure::invalid(message));
        }
        let site = &self.inner.parts.site;
        let file = site.origins.open_model(path).await;
        let file = file.map_err(|error| failed("model_path", path, &error))?;
        let stored = site.blobs.import_open(file, path.to_owned()).await;
        let stored = stored.map_err(|error| {
            let code = if error.is_full() {
                ErrorCode::Exhausted
            } else {
                ErrorCode::Unavailable
            };
            Failure::new(code, error.to_string())
        })?;
        let spec = spec(
            path,
            Input {
                digest: stored.digest,
                size: stored.size,
            },
            context,
        )?;
        let passed = self.leave(site.me(), &spec)?;
        let job = passed.assignment.claims().job;
        let permit = Permit {
            passed,
            stream: None,
        };
        let order = Order {
            spec,
            inputs: BTreeMap::new(),
        };
        self.begin(permit, order).await?;
        let mut shelf = self.inner.parts.owner.shelf.held();
        shelf.deployed.insert(job, path.to_owned());
        Ok(job)
    }

    async fn undeploy(&self, call: &Call) -> Result<(), Failure> {
        self.entitled(call, Right::Command)?;
        let (found, _) = self.named(&call.job).await?;
        match &found.running {
            Some(handle) if handle.about().kind == KIND => {
                jobs::end(handle).await;
                Ok(())
            }
            _ => {
                let message = format!("{:?} is no deployment that is resident here", call.job);
                Err(Failure::not_found(message))
            }
        }
    }

    async fn files(&self, call: &Call, folders: &[String]) -> Result<Vec<ModelFile>, Failure> {
        self.entitled(call, Right::Look)?;
        let folders: Vec<PathBuf> = folders.iter().map(PathBuf::from).collect();
        let found = self.inner.parts.site.origins.models(&folders).await;
        let found = found.map_err(|error| Failure::invalid(format!("directories: {error}")))?;
        let residents = self.inner.parts.site.residents.owned();
        let here: BTreeSet<JobId> = residents.iter().map(|owned| owned.model.job).collect();
        let mut shelf = self.inner.parts.owner.shelf.held();
        Ok(found
            .into_iter()
            .map(|found| file(found, &mut shelf, &here))
            .collect())
    }

    async fn remove_file(&self, call: &Call, path: &str) -> Result<(), Failure> {
        self.entitled(call, Right::Command)?;
        let path = Path::new(path);
        let removed = self.inner.parts.site.origins.remove_model(path).await;
        removed.map_err(|error| failed("model_path", path, &error))?;
        tracing::info!(path = %path.display(), "the owner has removed a model file");
        self.inner.parts.owner.shelf.held().seen.remove(path);
        Ok(())
    }
}

fn failed(field: &str, path: &Path, error: &std::io::Error) -> Failure {
    let message = format!("{field}: {}: {error}", path.display());
    match error.kind() {
        std::io::ErrorKind::NotFound => Failure::not_found(message),
        _ => Failure::invalid(message),
    }
}

/// The job that keeps a model file resident, for whoever the owner lets use the node.
fn spec(path: &Path, file: Input, context: u32) -> Result<JobSpec, Failure> {
    let mut serve = Serve::new(Served::Language(LanguageModel::File(file)));
    serve.askers = Askers::Anyone;
    if context != 0 {
        serve.context = context;
    }
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let spec = JobSpec {
        name: name.chars().take(MAX_NAME).collect(),
        work: Work::Serve(serve),
        requires: Requirements::default(),
        limits: Limits {
            memory: Bytes(LANGUAGE_MEMORY.max(file.size.saturating_mul(3) / 2)),
            wall: STAY,
            ..Limits::default()
        },
        attempts: 1,
    };
    spec.validate()
        .map_err(|error| Failure::invalid(error.to_string()))?;
    Ok(spec)
}

fn deployed(owned: Owned, paths: &BTreeMap<JobId, PathBuf>) -> Deployed {
    let path = paths.get(&owned.model.job);
    Deployed {
        digest: owned.model.model,
        format: owned.format,
        context: owned.context,
        path: path.map(|path| path.display().to_string()),
        model: asking::view(owned.model, owned.shapes),
    }
}

fn text(part: Option<&std::ffi::OsStr>) -> String {
    part.unwrap_or_default().to_string_lossy().into_owned()
}

fn file(found: FoundModel, shelf: &mut Shelved, here: &BTreeSet<JobId>) -> ModelFile {
    let mut deployed = shelf.deployed.iter();
    let deployed = deployed.any(|(job, path)| *path == found.path && here.contains(job));
    let known = shelf.seen.contains(&found.path);
    if !known && shelf.seen.len() < MAX_SEEN {
        shelf.seen.insert(found.path.clone());
    }
    ModelFile {
        name: text(found.path.file_stem()),
        format: text(found.path.extension()).to_ascii_lowercase(),
        path: found.path.display().to_string(),
        size: found.size,
        modified: found.modified,
        deployed,
        new: !known,
    }
}
