//! The coordinator's three paths over HTTP: the same answers as JSON.
//!
//! An error is `{"error", "code", "message"}` with the HTTP status that goes with its
//! gRPC code.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Router,
    body::Bytes,
    extract::{ConnectInfo, DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use embermesh_proto::titancompute as wire;
use serde::{Deserialize, Serialize};
use tonic::{Code, Request, Status};
use wire::coordinator_service_server::CoordinatorService;

use super::{Coordinator, ISSUER};
use crate::{
    caller::Remote,
    port::{agents::Agents, models::Models, nodes::Nodes, sessions::Sessions, users::Users},
};

/// The largest body of a request, in bytes.
const MAX_BODY: usize = 1 << 20;

/// The paths, over a port. Served with `into_make_service_with_connect_info`, so that
/// it is known where a call comes from.
pub fn router<P: Users + Models + Nodes + Sessions + Agents>(port: Arc<P>) -> Router {
    Router::new()
        .route("/api/v1/health", get(health))
        .route("/api/v1/status", get(status::<P>))
        .route("/api/v1/inference/request", post(inference::<P>))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(Arc::new(Coordinator::new(port)))
}

/// A request for inference, as JSON has it.
#[derive(Deserialize)]
struct Asked {
    #[serde(default)]
    client_id: String,
    #[serde(default)]
    model: String,
    #[serde(default)]
    prompt: String,
    #[serde(default)]
    max_tokens: i32,
    #[serde(default)]
    temperature: f32,
    #[serde(default)]
    parameters: std::collections::HashMap<String, String>,
}

#[derive(Serialize)]
struct Assigned {
    agent_endpoint: String,
    session_token: String,
    expires_at: i64,
    job_id: String,
    estimated_rtt_ms: f64,
    agent_id: String,
}

#[derive(Serialize)]
struct Overview {
    total_agents: i32,
    healthy_agents: i32,
    total_jobs: i32,
    uptime: String,
    agents: Vec<Agent>,
}

#[derive(Serialize)]
struct Agent {
    agent_id: String,
    status: String,
    free_vram_mb: i64,
    running_jobs: i32,
    last_heartbeat: i64,
}

fn json(code: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => (code, [(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn refused(status: &Status) -> Response {
    let (http, error) = match status.code() {
        Code::InvalidArgument => (StatusCode::BAD_REQUEST, "invalid_request"),
        Code::Unauthenticated => (StatusCode::UNAUTHORIZED, "unauthenticated"),
        Code::PermissionDenied => (StatusCode::FORBIDDEN, "permission_denied"),
        Code::NotFound => (StatusCode::NOT_FOUND, "not_found"),
        Code::ResourceExhausted => (StatusCode::TOO_MANY_REQUESTS, "resource_exhausted"),
        Code::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        Code::Unimplemented => (StatusCode::NOT_IMPLEMENTED, "unimplemented"),
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
    };
    json(
        http,
        &serde_json::json!({
            "error": error,
            "code": http.as_u16(),
            "message": status.message(),
        }),
    )
}

/// The call as gRPC would have brought it: the same header, the same address.
fn call<T>(message: T, headers: &HeaderMap, remote: SocketAddr) -> Request<T> {
    let mut request = Request::new(message);
    let header = headers.get(header::AUTHORIZATION);
    let value = header.and_then(|value| value.to_str().ok()?.parse().ok());
    if let Some(value) = value {
        request.metadata_mut().insert("authorization", value);
    }
    request.extensions_mut().insert(Remote(remote.ip()));
    request
}

async fn health() -> Response {
    json(
        StatusCode::OK,
        &serde_json::json!({ "service": ISSUER, "status": "healthy" }),
    )
}

async fn status<P: Users + Models + Nodes + Sessions + Agents>(
    State(coordinator): State<Arc<Coordinator<P>>>,
    ConnectInfo(remote): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    let mut words = uri.query().unwrap_or_default().split('&');
    let message = wire::StatusRequest {
        include_agents: words
            .any(|word| matches!(word, "include_agents=true" | "include_agents=1")),
        include_metrics: false,
    };
    let answer = coordinator.query_system_status(call(message, &headers, remote));
    match answer.await {
        Ok(answer) => {
            let said = answer.into_inner();
            let agents = said.agents.into_iter().map(|agent| Agent {
                agent_id: agent.agent_id,
                status: agent.status,
                free_vram_mb: agent.free_vram_mb,
                running_jobs: agent.running_jobs,
                last_heartbeat: agent.last_heartbeat,
            });
            json(
                StatusCode::OK,
                &Overview {
                    total_agents: said.total_agents,
                    healthy_agents: said.healthy_agents,
                    total_jobs: said.total_jobs,
                    uptime: said.uptime,
                    agents: agents.collect(),
                },
            )
        }
        Err(status) => refused(&status),
    }
}

async fn inference<P: Users + Models + Nodes + Sessions + Agents>(
    State(coordinator): State<Arc<Coordinator<P>>>,
    ConnectInfo(remote): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let asked: Asked = match serde_json::from_slice(&body) {
        Ok(asked) => asked,
        Err(error) => {
            let message = format!("the body is no request: {error}");
            return refused(&Status::invalid_argument(message));
        }
    };
    let message = wire::InferenceRequest {
        client_id: asked.client_id,
        model: asked.model,
        prompt: asked.prompt,
        max_tokens: asked.max_tokens,
        temperature: asked.temperature,
        parameters: asked.parameters,
    };
    let answer = coordinator.request_inference(call(message, &headers, remote));
    match answer.await {
        Ok(answer) => {
            let said = answer.into_inner();
            json(
                StatusCode::OK,
                &Assigned {
                    agent_endpoint: said.agent_endpoint,
                    session_token: said.session_token,
                    expires_at: said.expires_at,
                    job_id: said.job_id,
                    estimated_rtt_ms: said.estimated_rtt_ms,
                    agent_id: said.agent_id,
                },
            )
        }
        Err(status) => refused(&status),
    }
}
