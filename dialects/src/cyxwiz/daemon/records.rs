//! The configuration of the node, its log, and its account.

use embermesh_crypto::UnixMillis;
use futures::StreamExt as _;
use tonic::{Request, Response};

use super::{Answer, Stream, call, obeyed, wire};
use crate::{
    Failure,
    cyxwiz::code,
    port::node::owner::records::{LogLine, Records, Settings},
};

/// Lines of a log, where the call does not say.
const USUAL_LINES: usize = 100;
/// Lines of a log at most.
const MAX_LINES: usize = 1000;

pub(super) fn settings<P: Records>(
    port: &P,
    request: &Request<wire::GetConfigRequest>,
) -> Answer<wire::GetConfigResponse> {
    let settings = port.settings(&call(request, ""))?;
    Ok(Response::new(wire::GetConfigResponse {
        node_name: settings.name,
        central_server_address: settings.indexes,
        model_directories: settings.folders,
        max_concurrent_jobs: code::int32(settings.slots.into()),
        default_gpu_layers: 0,
        default_context_size: code::int32(settings.context.into()),
        auto_start_deployments: false,
        log_level: settings.log_level,
    }))
}

pub(super) fn change<P: Records>(
    port: &P,
    request: &Request<wire::SetConfigRequest>,
) -> Answer<wire::SetConfigResponse> {
    let changed = asked(request.get_ref().clone())
        .and_then(|settings| port.change(&call(request, ""), settings));
    let (success, error_message) = obeyed(changed)?;
    Ok(Response::new(wire::SetConfigResponse {
        success,
        error_message,
        restart_required: false,
    }))
}

fn asked(said: wire::SetConfigRequest) -> Result<Settings, Failure> {
    let whole = |field: &str, value: i32| {
        u32::try_from(value)
            .map_err(|_| Failure::invalid(format!("{field}: it is less than nothing")))
    };
    if said.default_gpu_layers != 0 {
        let message =
            "default_gpu_layers: such models are computed on the processor: leave it at 0";
        return Err(Failure::invalid(message));
    }
    if said.auto_start_deployments {
        let message =
            "auto_start_deployments: a node starts no deployment by itself: an index does";
        return Err(Failure::invalid(message));
    }
    Ok(Settings {
        name: said.node_name,
        indexes: said.central_server_address,
        folders: said.model_directories,
        slots: whole("max_concurrent_jobs", said.max_concurrent_jobs)?,
        context: whole("default_context_size", said.default_context_size)?,
        log_level: said.log_level,
    })
}

/// `pending_payout` is 0: what a job costs is paid when it ends.
pub(super) async fn earnings<P: Records>(
    port: &P,
    request: &Request<wire::GetEarningsRequest>,
) -> Answer<wire::GetEarningsResponse> {
    let since = moment("since_timestamp", request.get_ref().since_timestamp)?;
    // It is in seconds.
    let since = UnixMillis(since.saturating_mul(1000));
    let earned = port.earned(&call(request, ""), since).await?;
    Ok(Response::new(wire::GetEarningsResponse {
        earnings: Some(wire::EarningsInfo {
            today: code::units(earned.today),
            this_week: code::units(earned.week),
            this_month: code::units(earned.month),
            all_time: code::units(earned.all),
            pending_payout: 0.0,
            jobs_completed: code::int64(earned.completed),
            tokens_served: code::int64(earned.made),
        }),
    }))
}

pub(super) async fn wallet<P: Records>(
    port: &P,
    request: &Request<wire::GetWalletInfoRequest>,
) -> Answer<wire::GetWalletInfoResponse> {
    let wallet = port.wallet(&call(request, "")).await?;
    Ok(Response::new(wire::GetWalletInfoResponse {
        wallet_address: wallet.account,
        balance: code::units(wallet.available),
        pending_earnings: 0.0,
        is_connected: wallet.reached,
    }))
}

pub(super) fn log<P: Records>(
    port: &P,
    request: &Request<wire::GetLogsRequest>,
) -> Answer<wire::GetLogsResponse> {
    let said = request.get_ref();
    let most = match usize::try_from(said.limit) {
        Ok(0) => USUAL_LINES,
        Ok(most) => most.min(MAX_LINES),
        Err(_) => return Err(Failure::invalid("limit: it is less than nothing").into()),
    };
    let since = UnixMillis(moment("since_timestamp", said.since_timestamp)?);
    let lines = port.log(&call(request, ""), &said.level_filter, since, most)?;
    Ok(Response::new(wire::GetLogsResponse {
        entries: lines.into_iter().map(entry).collect(),
    }))
}

pub(super) fn follow_log<P: Records>(
    port: &P,
    request: &Request<wire::StreamLogsRequest>,
) -> Answer<Stream<wire::LogEntry>> {
    let lines = port.follow_log(&call(request, ""), &request.get_ref().level_filter)?;
    let entries = lines.map(|line| Ok(entry(line?)));
    Ok(Response::new(entries.boxed()))
}

fn moment(field: &str, value: i64) -> Result<u64, Failure> {
    u64::try_from(value).map_err(|_| Failure::invalid(format!("{field}: it is before 1970")))
}

/// A line, with its time in milliseconds.
fn entry(line: LogLine) -> wire::LogEntry {
    wire::LogEntry {
        timestamp: code::int64(line.at.0),
        level: line.level.to_owned(),
        message: line.message,
        source: line.source,
    }
}
