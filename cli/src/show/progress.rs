//! Shows a followed job while it runs: results on stdout, everything else on
//! stderr, with a bar where stderr is a terminal.

use std::{
    io::{self, IsTerminal as _},
    time::{Duration, Instant},
};

use embermesh_client::Update;
use embermesh_job::event::{EventKind, Generated, LogStream, Progress};
use embermesh_mesh::blob;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::watch;

use super::answer::{Answers, Shown};
use super::{amount, answer, update};
use crate::output::Output;

/// The least time between two lines of progress where there is no bar.
const PLAIN_EVERY: Duration = Duration::from_secs(1);

/// Shows updates as they come.
#[derive(Debug)]
pub(crate) struct Progressing {
    output: Output,
    quiet: bool,
    bar: Option<ProgressBar>,
    last_line: Option<Instant>,
    answers: Answers,
}

impl Progressing {
    /// Shows in the form of `output`; says only what is asked for if `quiet`.
    pub(crate) fn new(output: Output, quiet: bool) -> Self {
        Self {
            output,
            quiet,
            bar: (output.is_table() && !quiet && has_bar()).then(bar),
            last_line: None,
            answers: Answers::default(),
        }
    }

    /// Shows one update.
    pub(crate) fn show(&mut self, shown: &Update) -> io::Result<()> {
        if !self.output.is_table() {
            return self.output.item("", &update::value(shown));
        }
        let Some(text) = update::text(shown) else {
            return Ok(());
        };
        if let Update::Ended(_) = shown {
            let rest = self.answers.rest();
            self.answers_shown(rest)?;
        }
        match shown {
            Update::Event(event) => match &event.kind {
                EventKind::Progress(progress) => self.advance(progress, &text),
                EventKind::Generated(piece) => self.answer(piece)?,
                EventKind::Logged { stream, text } => self.logged(*stream, text)?,
                _ => self.on_stdout(&text)?,
            },
            // The last event has said it, unless there was none.
            Update::Ended(ended) if ended.job.is_none() => self.clear(),
            Update::Ended(_) => {
                self.clear();
                self.aside(&text);
            }
            _ => self.aside(&text),
        }
        Ok(())
    }

    /// Text of a model, as it comes.
    fn answer(&mut self, piece: &Generated) -> io::Result<()> {
        // A bar would be drawn into lines that are not at their end.
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        let shown = self.answers.take(piece);
        self.answers_shown(shown)
    }

    /// What a script has written, where it wrote it.
    fn logged(&mut self, stream: LogStream, text: &str) -> io::Result<()> {
        // A bar would be drawn into lines that are not at their end.
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        let text = answer::printable(text);
        match stream {
            LogStream::Stdout => self.output.piece(&text),
            LogStream::Stderr => {
                eprint!("{text}");
                Ok(())
            }
        }
    }

    fn answers_shown(&self, shown: Vec<Shown>) -> io::Result<()> {
        for shown in shown {
            match shown {
                Shown::Text(text) => self.output.piece(&text)?,
                Shown::Remark(text) => self.aside(&text),
            }
        }
        Ok(())
    }

    /// A remark on stderr.
    pub(crate) fn aside(&self, text: &str) {
        if self.quiet {
            return;
        }
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{text}")),
            None => eprintln!("{text}"),
        }
    }

    /// Takes the bar away.
    pub(crate) fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn on_stdout(&self, text: &str) -> io::Result<()> {
        match &self.bar {
            Some(bar) => bar.suspend(|| self.output.line(text)),
            None => self.output.line(text),
        }
    }

    fn advance(&mut self, progress: &Progress, text: &str) {
        if let Some(bar) = &self.bar {
            bar.set_length(progress.total_steps);
            bar.set_position(progress.step);
            bar.set_message(message(progress));
            return;
        }
        let due = self
            .last_line
            .is_none_or(|last| last.elapsed() >= PLAIN_EVERY);
        if due && !self.quiet {
            self.last_line = Some(Instant::now());
            eprintln!("{text}");
        }
    }
}

fn has_bar() -> bool {
    io::stderr().is_terminal()
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{bar:24.cyan/blue} {pos}/{len} {msg}") {
        bar.set_style(style.progress_chars("━━─"));
    }
    bar
}

fn message(progress: &Progress) -> String {
    format!(
        "epoch {}/{}  loss {}  accuracy {}  {:.0} samples/s  {} left",
        progress.pass,
        progress.total_passes,
        amount::loss(progress.loss),
        amount::maybe_share(progress.accuracy),
        progress.samples_per_second,
        amount::span(Duration::from_millis(progress.remaining_ms)),
    )
}

/// A bar for a download; it ends when the sender is gone.
pub(crate) fn download_bar(name: &str, quiet: bool, mut progress: watch::Receiver<blob::Progress>) {
    if quiet || !has_bar() {
        return;
    }
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template(
        "{msg} {bar:24.cyan/blue} {bytes}/{total_bytes} {bytes_per_sec}",
    ) {
        bar.set_style(style.progress_chars("━━─"));
    }
    bar.set_message(name.to_owned());
    tokio::spawn(async move {
        while progress.changed().await.is_ok() {
            let now = *progress.borrow_and_update();
            bar.set_length(now.size);
            bar.set_position(now.received);
        }
        bar.finish_and_clear();
    });
}
