//! `AgentService`: a session is taken, and the model's tokens are streamed.

use std::{collections::HashMap, pin::Pin, sync::Arc};

use embermesh_crypto::{Digest, UnixMillis};
use embermesh_job::{
    ask::{Ask, Part},
    spec::Request as Text,
};
use embermesh_proto::titancompute as wire;
use futures::{Stream, StreamExt as _, stream};
use tonic::{Request, Response, Status};
use wire::agent_service_server::AgentService;

use super::coordinator::free_mb;
use crate::{
    Dialect, Failure,
    port::{agents::Agents, models::Models, nodes::Nodes, sessions::Sessions},
};

/// Tokens of an answer, where the call does not say.
const USUAL_TOKENS: u32 = 100;
/// How freely they are drawn, where the call does not say.
const USUAL_TEMPERATURE: f64 = 0.7;

/// Serves `titancompute.v1.AgentService`.
#[derive(Debug)]
pub struct Agent<P> {
    port: Arc<P>,
}

impl<P> Agent<P> {
    /// Over a port.
    pub const fn new(port: Arc<P>) -> Self {
        Self { port }
    }
}

/// An option of a call: its text as the type that the sampler has.
fn option<T: std::str::FromStr>(
    options: &HashMap<String, String>,
    name: &str,
) -> Result<Option<T>, Failure> {
    let Some(text) = options.get(name) else {
        return Ok(None);
    };
    let wrong = |_| Failure::invalid(format!("options.{name}: {text:?} is no number of its kind"));
    text.parse().map(Some).map_err(wrong)
}

/// What a call asks of the model.
fn ask(said: &wire::StreamRequest) -> Result<Ask, Failure> {
    if said.prompt.is_empty() {
        return Err(Failure::invalid("prompt is required"));
    }
    let options = &said.options;
    let mut text = Text::question(&said.prompt);
    text.max_tokens = match said.max_tokens {
        0 => USUAL_TOKENS,
        tokens => u32::try_from(tokens)
            .map_err(|_| Failure::invalid("max_tokens: give a positive number"))?,
    };
    text.temperature = if said.temperature == 0.0 {
        USUAL_TEMPERATURE
    } else {
        f64::from(said.temperature)
    };
    // Zero on this wire is "not said"; the option says it.
    if let Some(temperature) = option(options, "temperature")? {
        text.temperature = temperature;
    }
    if let Some(top_k) = option(options, "top_k")? {
        text.top_k = top_k;
    }
    if let Some(top_p) = option(options, "top_p")? {
        text.top_p = top_p;
    }
    if let Some(penalty) = option(options, "repeat_penalty")? {
        text.repetition_penalty = penalty;
    }
    if let Some(seed) = option(options, "seed")? {
        text.seed = seed;
    }
    if let Some(stop) = options.get("stop") {
        text.stop = vec![stop.clone()];
    }
    text.validate()
        .map_err(|error| Failure::invalid(error.to_string()))?;
    Ok(Ask::Text(Box::new(text)))
}

fn response(session: &str, content: String, done: bool, now: UnixMillis) -> wire::StreamResponse {
    wire::StreamResponse {
        session_token: session.to_owned(),
        token: content.clone(),
        content,
        done,
        created_at: i64::try_from(now.0).unwrap_or(i64::MAX),
        metadata: HashMap::new(),
    }
}

/// A part of the answer as this wire has it.
fn render(session: &str, part: Part, now: UnixMillis) -> Result<wire::StreamResponse, Status> {
    match part {
        Part::Text(piece) => {
            let done = piece.finish.is_some();
            let mut said = response(session, piece.text, done, now);
            let metadata = &mut said.metadata;
            metadata.insert("tokens".to_owned(), piece.tokens.to_string());
            if let Some(finish) = piece.finish {
                metadata.insert("finish_reason".to_owned(), finish.word().to_owned());
                metadata.insert("prompt_tokens".to_owned(), piece.prompt_tokens.to_string());
            }
            Ok(said)
        }
        Part::Refused(reason) => Err(Status::internal(format!("Inference failed: {reason}"))),
        Part::Rows { .. } => Err(Status::internal(
            "Inference failed: the model makes no text",
        )),
    }
}

type Responses = Pin<Box<dyn Stream<Item = Result<wire::StreamResponse, Status>> + Send>>;

#[tonic::async_trait]
impl<P: Models + Nodes + Sessions + Agents> AgentService for Agent<P> {
    type StreamInferenceStream = Responses;

    async fn stream_inference(
        &self,
        request: Request<wire::StreamRequest>,
    ) -> Result<Response<Responses>, Status> {
        let said = request.into_inner();
        let ask = ask(&said)?;
        let prompt = Digest::of(said.prompt.as_bytes());
        let grant = self.port.redeem(&said.session_token, prompt).await?;
        let session = said.session_token;
        let parts = self.port.ask(&grant.client, &grant.model, ask).await?;
        let port = Arc::clone(&self.port);
        let parts = parts.map(move |part| render(&session, part?, port.now()));
        if said.stream {
            return Ok(Response::new(Box::pin(parts)));
        }
        // In one piece: what came, and the last word's metadata.
        let whole = parts.collect::<Vec<_>>().await;
        let mut content = String::new();
        let mut last = None;
        for part in whole {
            let part = part?;
            content.push_str(&part.content);
            last = Some(part);
        }
        let mut last = last.ok_or_else(|| Status::internal("Inference failed: no answer"))?;
        last.content = content;
        Ok(Response::new(Box::pin(stream::iter([Ok(last)]))))
    }

    async fn get_status(
        &self,
        request: Request<wire::AgentStatusRequest>,
    ) -> Result<Response<wire::AgentStatusResponse>, Status> {
        let id = &request.get_ref().agent_id;
        let agents = self.port.agents(Dialect::TitanCompute).await?;
        if let Some(agent) = agents.iter().find(|agent| agent.offer.id == *id) {
            let mb = |mb| i64::try_from(mb).unwrap_or(i64::MAX);
            return Ok(Response::new(wire::AgentStatusResponse {
                agent_id: id.clone(),
                status: agent.standing.as_str().to_owned(),
                free_vram_mb: mb(agent.health.free_vram_mb),
                free_ram_mb: mb(agent.health.free_ram_mb),
                active_sessions: i32::try_from(agent.health.running).unwrap_or(i32::MAX),
                // It answers its clients by itself and tells nobody how often.
                total_requests_processed: 0,
                model_loaded: agent.offer.models.join(","),
            }));
        }
        let nodes = self.port.nodes().await?;
        let node = nodes
            .iter()
            .find(|node| node.address.peer.to_string() == *id)
            .ok_or_else(|| Failure::not_found(format!("no agent {id:?} is known")))?;
        let load = self.port.load(id);
        let models = node.advert.iter().flat_map(|advert| &advert.models);
        let models: Vec<&str> = models.map(|model| model.name.as_str()).collect();
        Ok(Response::new(wire::AgentStatusResponse {
            agent_id: id.clone(),
            status: if node.live { "healthy" } else { "offline" }.to_owned(),
            free_vram_mb: free_mb(node),
            free_ram_mb: free_mb(node),
            active_sessions: i32::try_from(load.answering).unwrap_or(i32::MAX),
            total_requests_processed: i64::try_from(load.answered).unwrap_or(i64::MAX),
            model_loaded: models.join(","),
        }))
    }
}
