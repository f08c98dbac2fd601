//! The configuration and the log, for the owner of the node.

use embermesh_crypto::time::UnixMillis;
use embermesh_dialects::{
    ErrorCode, Failure,
    port::node::{
        Call,
        owner::records::{Earned, LogLine, Records, Settings, Wallet},
    },
};
use futures::{StreamExt as _, future::ready, stream::BoxStream};
use tokio_stream::wrappers::BroadcastStream;
use tracing_subscriber::filter::LevelFilter;

use super::{Foreign, Right};
use crate::{config::NodeConfig, logs::Logs};

/// Tokens of a prompt and its answer together, where a deployment does not say.
const USUAL_CONTEXT: u32 = 2048;

/// What of a configuration can be seen. The name and the level are of the node that runs.
pub(super) fn settings(config: &NodeConfig) -> Settings {
    let folders = config.shared.values();
    Settings {
        name: String::new(),
        indexes: config.indexes.join(","),
        folders: folders.map(|path| path.display().to_string()).collect(),
        slots: config.slots,
        context: USUAL_CONTEXT,
        log_level: String::new(),
    }
}

#[tonic::async_trait]
impl Records for Foreign {
    fn settings(&self, call: &Call) -> Result<Settings, Failure> {
        self.entitled(call, Right::Look)?;
        Ok(self.settled())
    }

    fn change(&self, call: &Call, asked: Settings) -> Result<(), Failure> {
        self.entitled(call, Right::Command)?;
        let now = self.settled();
        let fixed = |field: &str, why: &str| {
            let message = format!("{field}: {why}, and the node started again");
            Err(Failure::new(ErrorCode::Precondition, message))
        };
        if asked.name != now.name {
            return fixed(
                "node_name",
                "a node is called by its key: it needs another key file",
            );
        }
        if asked.indexes != now.indexes {
            return fixed(
                "central_server_address",
                "it is changed as `indexes` in the configuration",
            );
        }
        if asked.folders != now.folders {
            return fixed(
                "model_directories",
                "it is changed as `shared` in the configuration",
            );
        }
        if asked.slots != now.slots {
            return fixed(
                "max_concurrent_jobs",
                "it is changed as `slots` in the configuration",
            );
        }
        if asked.context != now.context {
            let message = "default_context_size: each deployment says its own";
            return Err(Failure::new(ErrorCode::Precondition, message));
        }
        if asked.log_level == now.log_level {
            return Ok(());
        }
        let level = level("log_level", &asked.log_level)?;
        if !self.logs()?.keep(level) {
            let message = "log_level: the level could not be changed";
            return Err(Failure::new(ErrorCode::Internal, message));
        }
        tracing::info!(%level, "the owner has changed what the log keeps");
        Ok(())
    }

    async fn earned(&self, call: &Call, since: UnixMillis) -> Result<Earned, Failure> {
        self.entitled(call, Right::Look)?;
        self.paid(since).await
    }

    async fn wallet(&self, call: &Call) -> Result<Wallet, Failure> {
        self.entitled(call, Right::Look)?;
        self.purse().await
    }

    fn log(
        &self,
        call: &Call,
        least: &str,
        since: UnixMillis,
        most: usize,
    ) -> Result<Vec<LogLine>, Failure> {
        self.entitled(call, Right::Look)?;
        let least = filter(least)?;
        Ok(self.logs()?.newest(since, most, |line| fits(line, least)))
    }

    fn follow_log(
        &self,
        call: &Call,
        least: &str,
    ) -> Result<BoxStream<'static, Result<LogLine, Failure>>, Failure> {
        let until = self.entitled(call, Right::Look)?;
        let least = filter(least)?;
        let lines = BroadcastStream::new(self.logs()?.follow());
        // Lines that a slow reader has missed are gone.
        let lines = lines.filter_map(move |line| {
            let line = line.ok().filter(|line| fits(line, least));
            ready(line.map(Ok))
        });
        self.streamed(until, lines)
    }
}

impl Foreign {
    fn settled(&self) -> Settings {
        let parts = &self.inner.parts;
        Settings {
            name: parts.site.me().to_string(),
            log_level: parts.owner.reins.logs.level().to_string(),
            ..parts.owner.settings.clone()
        }
    }

    fn logs(&self) -> Result<&Logs, Failure> {
        let logs = &self.inner.parts.owner.reins.logs;
        if logs.hears() {
            return Ok(logs);
        }
        let message = "whoever runs this node keeps no log for it";
        Err(Failure::new(ErrorCode::Unavailable, message))
    }
}

/// The level of a word.
fn level(field: &str, word: &str) -> Result<LevelFilter, Failure> {
    match word.to_ascii_lowercase().as_str() {
        "error" => Ok(LevelFilter::ERROR),
        "warn" | "warning" => Ok(LevelFilter::WARN),
        "info" => Ok(LevelFilter::INFO),
        "debug" => Ok(LevelFilter::DEBUG),
        "trace" => Ok(LevelFilter::TRACE),
        _ => {
            let message = format!("{field}: give error, warn, info, debug or trace");
            Err(Failure::invalid(message))
        }
    }
}

/// The least level that is wanted; any where none is said.
fn filter(word: &str) -> Result<LevelFilter, Failure> {
    if word.is_empty() {
        return Ok(LevelFilter::TRACE);
    }
    level("level_filter", word)
}

/// Whether a line is as grave as that.
fn fits(line: &LogLine, least: LevelFilter) -> bool {
    level("", line.level).is_ok_and(|level| level <= least)
}
