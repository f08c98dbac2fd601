//! Gives a job to a server of the system, in this form of the wire.
//!
//! A job whose data came with it is assigned as one whose data a client brings, and then
//! this end is that client: it connects with the token and sends the data.

use bytes::Bytes;
use prost::Message as _;

use super::super::wire;
use crate::{
    ErrorCode, Failure,
    cyxwiz::{
        MAX_MESSAGE, code,
        server::{Job, Server},
    },
    port::servers::Package,
};

/// Where the data of a job is that is sent after it: with a client that will connect.
const BROUGHT: &str = "remote://initial_data";
/// What this end calls itself.
const ENGINE: &str = concat!("embermesh ", env!("CARGO_PKG_VERSION"));

/// A job as a server takes it; nothing for one that names what only the mesh has. What it
/// is paid from is of no concern to a server.
pub(super) fn package(config: &wire::JobConfig, data: &Bytes) -> Option<Package> {
    let mut config = config.clone();
    let is_at_hand = |uri: &str| {
        let places = ["http://", "https://", "s3://", "remote://"];
        places.iter().any(|place| uri.starts_with(place))
    };
    if config.hyperparameters.contains_key("weights")
        || (data.is_empty() && !is_at_hand(&config.dataset_uri))
    {
        return None;
    }
    config.job_id.clear();
    config.payment_address.clear();
    config.escrow_tx_hash.clear();
    config.payment_amount = 0.0;
    // What stands behind it tells a node of the mesh what it will find there.
    if let Some((place, _)) = config.dataset_uri.split_once('#') {
        config.dataset_uri = place.to_owned();
    }
    Some(Package {
        config: config.encode_to_vec().into(),
        data: (!data.is_empty()).then(|| embermesh_crypto::Digest::of(data)),
    })
}

/// Gives a job to a server.
pub(in crate::cyxwiz) async fn assign(server: &Server, job: Job) -> Result<(), Failure> {
    let config = wire::JobConfig::decode(job.config).map_err(|error| {
        let message = format!("a job's config cannot be read: {error}");
        Failure::new(ErrorCode::Internal, message)
    })?;
    let config = wire::JobConfig {
        job_id: job.name.clone(),
        ..config
    };
    let mut assigned = config.clone();
    if job.data.is_some() {
        BROUGHT.clone_into(&mut assigned.dataset_uri);
    }
    let channel = server.connect(server.assign, 0).await?;
    let mut client = wire::node_service_client::NodeServiceClient::new(channel)
        .max_encoding_message_size(MAX_MESSAGE);
    let request = wire::AssignJobRequest {
        node_id: server.id.clone(),
        job: Some(assigned),
        authorization_token: job.token.clone(),
    };
    let answer = client.assign_job(request).await;
    let answer = answer
        .map_err(|status| server.unreached(status))?
        .into_inner();
    let words = answer.error.map(|error| error.message).unwrap_or_default();
    server.taken(answer.accepted, &words)?;
    match job.data {
        None => Ok(()),
        Some(data) => bring(server, config, job.token, data).await,
    }
}

/// Brings the data of a job that a server has taken.
async fn bring(
    server: &Server,
    config: wire::JobConfig,
    token: String,
    data: Bytes,
) -> Result<(), Failure> {
    let channel = server.connect(server.entry, data.len()).await?;
    let mut client = wire::job_execution_service_client::JobExecutionServiceClient::new(channel)
        .max_encoding_message_size(MAX_MESSAGE);
    let hello = wire::ConnectRequest {
        auth_token: token,
        job_id: config.job_id.clone(),
        engine_version: ENGINE.to_owned(),
    };
    let answer = client.connect_to_node(hello).await;
    let answer = answer
        .map_err(|status| server.unreached(status))?
        .into_inner();
    let words = answer.error.map(|error| error.message).unwrap_or_default();
    server.taken(answer.status == code::SUCCESS, &words)?;
    let request = wire::SendJobRequest {
        job_id: config.job_id.clone(),
        config: Some(config),
        initial_dataset: data,
        dataset_uri: String::new(),
    };
    let answer = client.send_job(request).await;
    let answer = answer
        .map_err(|status| server.unreached(status))?
        .into_inner();
    server.taken(answer.accepted, &answer.rejection_reason)
}
