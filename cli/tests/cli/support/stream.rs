//! A client command whose lines are read as they come.

use serde_json::Value;
use tokio::{
    io::{BufReader, Lines},
    process::{Child, ChildStdout},
    time::timeout,
};

use super::PATIENCE;

/// The lines of a client command.
pub(crate) struct Stream {
    pub(crate) child: Child,
    pub(super) lines: Lines<BufReader<ChildStdout>>,
}

impl Stream {
    /// The lines of a command that runs.
    pub(crate) const fn new(child: Child, lines: Lines<BufReader<ChildStdout>>) -> Self {
        Self { child, lines }
    }

    /// The next line, which must come.
    pub(crate) async fn next(&mut self) -> Value {
        self.maybe_next().await.expect("another line")
    }

    /// The next line; `None` at the end.
    pub(crate) async fn maybe_next(&mut self) -> Option<Value> {
        let line = timeout(PATIENCE, self.lines.next_line())
            .await
            .expect("a line in time")
            .unwrap()?;
        Some(serde_json::from_str(&line).unwrap())
    }

    /// Waits for a line of a kind, gathering event numbers on the way.
    pub(crate) async fn until(
        &mut self,
        seen: &mut Numbers,
        mut is: impl FnMut(&Value) -> bool,
    ) -> Value {
        loop {
            let line = self.next().await;
            seen.hear(&line);
            if is(&line) {
                return line;
            }
        }
    }

    /// Reads to the end. The last line, and the exit code.
    pub(crate) async fn finish(mut self, seen: &mut Numbers) -> (Vec<Value>, i32) {
        let mut rest = Vec::new();
        while let Some(line) = self.maybe_next().await {
            seen.hear(&line);
            rest.push(line);
        }
        let status = timeout(PATIENCE, self.child.wait()).await.unwrap().unwrap();
        (rest, status.code().unwrap_or(-1))
    }
}

/// The events, whose numbers must come once each, in order.
#[derive(Default)]
pub(crate) struct Numbers {
    pub(crate) last: u64,
    pub(crate) events: Vec<Value>,
}

impl Numbers {
    pub(crate) fn hear(&mut self, line: &Value) {
        assert_ne!(line["update"], "missed", "{line}");
        if line["update"] == "event" {
            let seq = line["event"]["seq"].as_u64().unwrap();
            assert_eq!(seq, self.last + 1, "a gap or a repeat: {line}");
            self.last = seq;
            self.events.push(line["event"].clone());
        }
    }
}

/// Whether a line is an event of this kind.
pub(crate) fn is_event(line: &Value, kind: &str) -> bool {
    line["event"]["kind"].get(kind).is_some()
}
