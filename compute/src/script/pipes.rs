//! The pipes of a script, read by a thread each into one bounded channel.
//!
//! A script that writes faster than its log is told waits in its own pipe.

use std::io::{ErrorKind, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use embermesh_job::event::LogStream;

/// Reads that wait to be told.
const WAITING: usize = 16;

/// Bytes of one read.
const READ: usize = 8192;

/// What has come. The channel ends when both pipes have.
pub(crate) struct Pipes {
    pub(crate) heard: Receiver<(LogStream, Vec<u8>)>,
}

impl Pipes {
    /// Reads two streams.
    pub(crate) fn read(
        stdout: impl Read + Send + 'static,
        stderr: impl Read + Send + 'static,
    ) -> std::io::Result<Self> {
        let (to, heard) = sync_channel(WAITING);
        listen("stdout", LogStream::Stdout, stdout, to.clone())?;
        listen("stderr", LogStream::Stderr, stderr, to)?;
        Ok(Self { heard })
    }
}

fn listen(
    name: &str,
    stream: LogStream,
    mut from: impl Read + Send + 'static,
    to: SyncSender<(LogStream, Vec<u8>)>,
) -> std::io::Result<()> {
    let read = move || {
        let mut buffer = vec![0; READ];
        loop {
            match from.read(&mut buffer) {
                Ok(0) => return,
                Ok(count) => {
                    if to.send((stream, buffer[..count].to_vec())).is_err() {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    };
    // It ends with its pipe, or with whoever hears it.
    std::thread::Builder::new()
        .name(format!("script-{name}"))
        .stack_size(64 * 1024)
        .spawn(read)
        .map(drop)
}
