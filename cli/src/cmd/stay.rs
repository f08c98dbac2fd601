//! Data that stays here: a dataset of a job file, read as a worker would read it, so
//! that its samples can be given one by one.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use embermesh_client::{Samples, Sources, Staying};
use embermesh_compute::away::LocalData;
use embermesh_job::{
    file::{JobFile, Source},
    spec::{ClientData, Dataset, Input, JobSpec},
};

use crate::{cmd::submit, exit::WrongInput};

/// The most memory that a dataset may take here, in bytes.
const MAX_ROOM: u64 = 16 << 30;

/// A dataset in memory.
struct Kept(LocalData);

impl Samples for Kept {
    fn records(&self, numbers: &[u32]) -> Option<Vec<u8>> {
        self.0.records(numbers)
    }
}

/// The data of a job file that stays, and what its spec says of it; `None` where all
/// of it travels.
pub(crate) fn read(file: &JobFile, folder: &Path) -> anyhow::Result<Option<(Staying, ClientData)>> {
    let Some((data, model, paths)) = file.staying() else {
        return Ok(None);
    };
    let mut named: BTreeMap<PathBuf, Input> = BTreeMap::new();
    let mut files = BTreeMap::new();
    let mut hashed = Sources::default();
    for path in paths {
        let whole = folder.join(path);
        let input = hashed.add_file(&whole)?;
        named.insert(path.to_owned(), input);
        files.insert(input.digest, whole);
    }
    let absent = || WrongInput("data stays as a whole or not at all".to_owned());
    let data: Dataset = data.clone().try_map_inputs(|source| match source {
        Source::File(file) => named.get(&file.path).copied().ok_or_else(absent),
        _ => Err(absent()),
    })?;
    let local = LocalData::load(&data, model, files, MAX_ROOM)
        .map_err(|error| WrongInput(error.to_string()))?;
    let said = local.description().clone();
    Ok(Some((Staying::new(Kept(local)), said)))
}

/// The data of a job file, which must stay.
pub(crate) fn feed(path: &Path) -> anyhow::Result<(Staying, ClientData)> {
    let submit::Parsed { file, folder, .. } = submit::parse(path)?;
    read(&file, &folder)?.ok_or_else(|| {
        WrongInput(format!(
            "{}: its data travels: `stay = true` is beside no file",
            path.display()
        ))
        .into()
    })
}

/// Whether the data is what a job was submitted with.
pub(crate) fn belongs(spec: &[u8], said: &ClientData) -> anyhow::Result<()> {
    let spec = JobSpec::from_canonical(spec)?;
    if spec.client_data() == Some(said) {
        return Ok(());
    }
    let reason = match spec.client_data() {
        Some(_) => "the data is not what the job was submitted with: it was changed meanwhile",
        None => "the data of the job travels: it needs no feeding",
    };
    Err(WrongInput(reason.to_owned()).into())
}
