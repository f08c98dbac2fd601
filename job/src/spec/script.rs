//! Scripts: a program of the client's, run beside the node's own work.
//!
//! What a script writes is not a function of the work as a training's events are:
//! where its text is cut, and how its two streams are woven, depends on time. So a
//! script has one attempt, and its events have one numbering. One whose node is
//! lost has failed, and is submitted again to begin from the start.

use std::collections::{BTreeMap, BTreeSet};

use embermesh_crypto::statement::DeviceKind;
pub use embermesh_crypto::statement::Runtime;
use serde::{Deserialize, Serialize};

use super::{
    Input, InvalidSpec, Limits, Requirements,
    invalid::{field, within},
};
use crate::units::{Bytes, MAX_EXACT, Millis};

/// The largest program, in bytes.
pub const MAX_PROGRAM: u64 = 64 << 20;
/// The most arguments.
pub const MAX_ARGS: usize = 256;
/// The longest argument or value of a variable, in bytes.
pub const MAX_ARG: usize = 4096;
/// The most variables of the environment.
pub const MAX_VARIABLES: usize = 64;
/// The most bytes that arguments and variables may have together.
const MAX_WORDS: usize = 64 << 10;
/// The longest text on the standard input, in bytes; more comes as an input file.
pub const MAX_STDIN: usize = 64 << 10;
/// The most input files.
pub const MAX_FILES: usize = 256;
/// The longest name of an input file, with its folders, in bytes.
pub const MAX_FILE_NAME: usize = 255;
/// The most result files that are named.
pub const MAX_OUTPUTS: usize = 32;
/// The longest name of a result, in bytes.
const MAX_OUTPUT_NAME: usize = 128;
/// The least memory: what an interpreter, or a compiler of modules, takes itself.
pub const MIN_SCRIPT_MEMORY: u64 = 64 << 20;
/// The name of the archive of the working folder.
pub const ARCHIVE: &str = "work.tar";

/// A program, what it is given, and what of its working folder is a result.
///
/// It finds its input files under `/inputs`, which it can only read, and begins in
/// its working folder, `/work`, which is empty. There is no network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script<I = Input> {
    /// What runs it. Only nodes whose owners allow this will do.
    pub runtime: Runtime,
    /// A WebAssembly module for WASI preview 1 with a `_start`; or Python, as a
    /// source file or as a zip archive with a `__main__` or an `entry`.
    pub program: I,
    /// The module of a zip archive that is run as the program, such as "app.main".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<String>,
    /// Its arguments, without its own name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Variables of its environment.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// What it reads on its standard input; nothing without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdin: Option<String>,
    /// Files to read, by their names below `/inputs`.
    #[serde(default = "BTreeMap::new", skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<String, I>,
    /// Files at the top of the working folder that are results under their own
    /// names. One that is not there at the end fails the job.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<String>,
    /// Whether the rest of the working folder is a result too, as [`ARCHIVE`].
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub archive: bool,
    /// Processor time of all its threads and processes together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Millis>,
    /// Operations of WebAssembly that it may do, roughly one an instruction: a
    /// ceiling that is reached at the same place each time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fuel: Option<u64>,
}

fn yes() -> bool {
    true
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_yes(value: &bool) -> bool {
    *value
}

impl Script {
    pub(super) fn validate(
        &self,
        attempts: u32,
        requires: &Requirements,
        limits: &Limits,
    ) -> Result<(), InvalidSpec> {
        if attempts != 1 {
            let reason = "a script cannot go on elsewhere: say `attempts = 1`, and submit it again if its node is lost";
            return Err(field("attempts", reason));
        }
        if requires
            .device
            .is_some_and(|device| device != DeviceKind::Cpu)
        {
            let reason = "scripts run on the processor: say \"cpu\", or nothing";
            return Err(field("requires.device", reason));
        }
        if limits.memory.0 < MIN_SCRIPT_MEMORY {
            let reason = format!(
                "a script needs {} at least, for what runs it",
                Bytes(MIN_SCRIPT_MEMORY)
            );
            return Err(field("limits.memory", reason));
        }
        within("script.program", self.program.size, 1, MAX_PROGRAM)?;
        self.validate_runtime()?;
        self.validate_words()?;
        self.validate_inputs()?;
        self.validate_outputs()
    }

    fn validate_runtime(&self) -> Result<(), InvalidSpec> {
        if let Some(entry) = &self.entry {
            if self.runtime != Runtime::Python {
                let reason = "a WebAssembly module begins at its `_start`: leave it out";
                return Err(field("script.entry", reason));
            }
            if entry.len() > MAX_OUTPUT_NAME || !entry.split('.').all(is_identifier) {
                let reason = format!("{entry:?} is not the name of a module, such as \"app.main\"");
                return Err(field("script.entry", reason));
            }
        }
        if let Some(fuel) = self.fuel {
            if self.runtime != Runtime::Wasm {
                let reason = "only WebAssembly counts operations: use `cpu`";
                return Err(field("script.fuel", reason));
            }
            within("script.fuel", fuel, 1, MAX_EXACT)?;
        }
        self.cpu
            .map_or(Ok(()), |cpu| within("script.cpu", cpu.0, 100, MAX_EXACT))
    }

    fn validate_words(&self) -> Result<(), InvalidSpec> {
        within("script.args", self.args.len() as u64, 0, MAX_ARGS as u64)?;
        within("script.env", self.env.len() as u64, 0, MAX_VARIABLES as u64)?;
        let words = self.args.iter().map(|arg| ("script.args", arg));
        let values = self.env.values().map(|value| ("script.env", value));
        let mut sum = 0;
        for (name, word) in words.chain(values) {
            if word.len() > MAX_ARG || word.contains('\0') {
                let reason = format!("give texts of {MAX_ARG} bytes at most, without NUL");
                return Err(field(name, reason));
            }
            sum += word.len();
        }
        for name in self.env.keys() {
            if name.len() > MAX_OUTPUT_NAME || !is_identifier(name) {
                let reason = format!(
                    "{name:?} is not the name of a variable: use letters, digits and underscores"
                );
                return Err(field("script.env", reason));
            }
            sum += name.len();
        }
        if sum > MAX_WORDS {
            let reason = format!(
                "arguments and variables have {sum} bytes together, of {MAX_WORDS} allowed: give an input file"
            );
            return Err(field("script.args", reason));
        }
        if self
            .stdin
            .as_ref()
            .is_some_and(|text| text.len() > MAX_STDIN)
        {
            let reason = format!("it is longer than {MAX_STDIN} bytes: give an input file");
            return Err(field("script.stdin", reason));
        }
        Ok(())
    }

    fn validate_inputs(&self) -> Result<(), InvalidSpec> {
        within(
            "script.inputs",
            self.inputs.len() as u64,
            0,
            MAX_FILES as u64,
        )?;
        for name in self.inputs.keys() {
            let fits = name.len() <= MAX_FILE_NAME && name.split('/').all(is_file_name);
            if !fits {
                let reason = format!(
                    "{name:?} is not a name below the folder of inputs: use letters, digits, spaces and ._-+=@, with / between folders"
                );
                return Err(field("script.inputs", reason));
            }
            let mut folder = name.as_str();
            while let Some((above, _)) = folder.rsplit_once('/') {
                if self.inputs.contains_key(above) {
                    let reason = format!("{above:?} is a file and a folder at once");
                    return Err(field("script.inputs", reason));
                }
                folder = above;
            }
        }
        Ok(())
    }

    fn validate_outputs(&self) -> Result<(), InvalidSpec> {
        within(
            "script.outputs",
            self.outputs.len() as u64,
            0,
            MAX_OUTPUTS as u64,
        )?;
        let mut seen = BTreeSet::new();
        for name in &self.outputs {
            if name.len() > MAX_OUTPUT_NAME || !is_file_name(name) || name == ARCHIVE {
                let reason = format!(
                    "{name:?} is not the name of a file at the top of the working folder: use letters, digits, spaces and ._-+=@, and not {ARCHIVE:?}"
                );
                return Err(field("script.outputs", reason));
            }
            if !seen.insert(name) {
                return Err(field("script.outputs", format!("{name:?} is there twice")));
            }
        }
        Ok(())
    }
}

/// Letters, digits and underscores, not beginning with a digit.
fn is_identifier(text: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !text.is_empty() && text.chars().all(word) && !text.starts_with(|c: char| c.is_ascii_digit())
}

/// A name that means one file in its folder, in every system.
fn is_file_name(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || " ._-+=@,".contains(c);
    !text.is_empty() && text.chars().all(allowed) && text.chars().any(|c| c != '.' && c != ' ')
}

impl<I> Script<I> {
    pub(super) fn input_refs(&self) -> Vec<&I> {
        std::iter::once(&self.program)
            .chain(self.inputs.values())
            .collect()
    }

    pub(super) fn try_map<J, E>(
        self,
        name: &mut impl FnMut(I) -> Result<J, E>,
    ) -> Result<Script<J>, E> {
        Ok(Script {
            runtime: self.runtime,
            program: name(self.program)?,
            entry: self.entry,
            args: self.args,
            env: self.env,
            stdin: self.stdin,
            inputs: self
                .inputs
                .into_iter()
                .map(|(file, input)| Ok((file, name(input)?)))
                .collect::<Result<_, E>>()?,
            outputs: self.outputs,
            archive: self.archive,
            cpu: self.cpu,
            fuel: self.fuel,
        })
    }
}

#[cfg(test)]
mod tests;
