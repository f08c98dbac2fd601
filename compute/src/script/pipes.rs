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

/// What has come. The channel ends when every pipe has.
pub(crate) struct Pipes {
    pub(crate) heard: Receiver<(LogStream, Vec<u8>)>,
}

impl Pipes {
    /// Reads two streams, and the pipe that ends with the last process, where there
    /// is one: nothing is written there.
    pub(crate) fn read(
        stdout: impl Read + Send + 'static,
        stderr: impl Read + Send + 'static,
        life: Option<std::io::PipeReader>,
    ) -> std::io::Result<Self> {
        let (to, heard) = sync_channel(WAITING);
        listen("stdout", LogStream::Stdout, stdout, to.clone())?;
        listen("stderr", LogStream::Stderr, stderr, to.clone())?;
        if let Some(mut life) = life {
            let wait = move || {
                // Whatever comes is nobody's; the end is what counts.
                let _ = std::io::copy(&mut life, &mut std::io::sink());
                drop(to);
            };
            thread("life").spawn(wait)?;
        }
        Ok(Self { heard })
    }
}

fn thread(name: &str) -> std::thread::Builder {
    std::thread::Builder::new()
        .name(format!("script-{name}"))
        .stack_size(64 * 1024)
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
    thread(name).spawn(read).map(drop)
}
