//! Why a script did not get to its end.

use std::time::Duration;

use embermesh_job::units::{Bytes, Millis};

use crate::failure::FailureClass;

/// What a script did, or what was done to it.
#[derive(Debug, thiserror::Error)]
pub enum ScriptFailed {
    /// It said so itself.
    #[error("the program ended with exit code {code}{words}")]
    Exit {
        /// Its exit code, not 0.
        code: i32,
        /// Its last lines.
        words: String,
    },
    /// A signal ended it.
    #[error("the program was ended by signal {signal}{words}")]
    Signal {
        /// Which.
        signal: i32,
        /// Its last lines.
        words: String,
    },
    /// WebAssembly that did what it may not.
    #[error("the program trapped: {reason}{words}")]
    Trap {
        /// How.
        reason: String,
        /// Its last lines.
        words: String,
    },
    /// A file that is no module, or asks for what there is not.
    #[error("the module cannot be run: {0}")]
    Module(String),
    /// Memory of all its processes.
    #[error("the program took {used} of memory and may take {allowed}: raise `limits.memory`")]
    Memory {
        /// What it took.
        used: Bytes,
        /// What its processes may take, beside its temporary files.
        allowed: Bytes,
    },
    /// Threads and processes.
    #[error("the program had {count} threads and processes, of {most} allowed")]
    Tasks {
        /// How many there were when it was seen.
        count: u64,
        /// How many there may be.
        most: u64,
    },
    /// Processor time.
    #[error("the program used the {allowed} of processor time that it may: raise `script.cpu`")]
    Cpu {
        /// What it may use.
        allowed: Millis,
    },
    /// Operations of WebAssembly.
    #[error("the program did the {fuel} operations that it may: raise `script.fuel`")]
    Fuel {
        /// What it may do.
        fuel: u64,
    },
    /// What it wrote to its working folder.
    #[error(
        "the program wrote {used} to its working folder and may write {allowed}: raise `limits.output`"
    )]
    Disk {
        /// What it wrote.
        used: Bytes,
        /// What it may write.
        allowed: Bytes,
    },
    /// A working folder that cannot be walked within bounds.
    #[error("the working folder {0}")]
    Folder(String),
    /// What it wrote to its output.
    #[error(
        "the program wrote more than {allowed} to its output: write to a file in its working folder, or raise `limits.output`"
    )]
    Said {
        /// What it may write.
        allowed: Bytes,
    },
    /// A result that it did not make.
    #[error(
        "the program made no file {0:?} in its working folder, which `script.outputs` asks for"
    )]
    OutputMissing(String),
    /// The runtime does not work here.
    #[error("the program cannot be run on this node: {0}")]
    NoRuntime(String),
    /// What ends with the sandbox did not end with it.
    #[error("the program was not gone {} s after its end", .0.as_secs())]
    NotGone(Duration),
}

impl ScriptFailed {
    /// Whose fault it is.
    pub(crate) fn class(&self) -> FailureClass {
        match self {
            Self::NoRuntime(_) | Self::NotGone(_) => FailureClass::Internal,
            // A script has one attempt, and would do the same again.
            _ => FailureClass::Invalid,
        }
    }

    /// The same, with the program's last lines where they explain it.
    pub(crate) fn with_words(mut self, last: &str) -> Self {
        if let Self::Exit { words, .. } | Self::Signal { words, .. } | Self::Trap { words, .. } =
            &mut self
            && !last.is_empty()
        {
            *words = format!("; its last lines:\n{last}");
        }
        self
    }
}
