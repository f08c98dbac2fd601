//! A client of TitanCompute asks the coordinator which agent answers, and streams the
//! tokens of a real model.

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use embermesh_proto::titancompute::{
    AgentRegistration, AgentStatusRequest, HealthUpdate, InferenceRequest, PublicKeyRequest,
    StatusRequest, StreamRequest, agent_service_client::AgentServiceClient,
    coordinator_service_client::CoordinatorServiceClient,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tonic::{Code, Status, transport::Channel};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

use crate::support::{Mesh, eventually, stdout, tiny};

/// Clients without a token are believed.
pub(crate) const LEGACY: &str = r#"
[gateway]
legacy = ["titancompute"]
rest = "127.0.0.1:0"
"#;

/// A mesh in which everybody may ask a tiny model.
pub(crate) async fn with_model(settings: &str) -> Mesh {
    let mesh = Mesh::start_with(1, settings).await;
    deploy_chat(&mesh).await;
    mesh
}

/// Puts a tiny model on a node, under the name of `chat`, for everybody.
pub(crate) async fn deploy_chat(mesh: &Mesh) {
    let path = mesh.path().join("tiny.gguf");
    std::fs::write(&path, tiny::endless(100_000).bytes()).unwrap();
    let mut words = vec!["deploy", path.to_str().unwrap(), "--name", "chat"];
    words.extend(["--memory", "512 MiB", "--context", "100000", "--anyone"]);
    mesh.json(&words).await;
}

/// A connection in plaintext to an address, with or without a peer behind it.
pub(crate) async fn channel(endpoint: &str) -> Channel {
    let address = endpoint.split("/p2p/").next().unwrap();
    let channel = Channel::from_shared(format!("http://{address}")).unwrap();
    channel.connect().await.unwrap()
}

fn asked(prompt: &str) -> InferenceRequest {
    InferenceRequest {
        client_id: "client-1".to_owned(),
        model: "chat".to_owned(),
        prompt: prompt.to_owned(),
        ..InferenceRequest::default()
    }
}

/// A question under a session.
pub(crate) fn streamed(token: &str, prompt: &str) -> StreamRequest {
    let options = [("seed", "7"), ("temperature", "1")];
    let options = options.map(|(name, value)| (name.to_owned(), value.to_owned()));
    StreamRequest {
        session_token: token.to_owned(),
        prompt: prompt.to_owned(),
        max_tokens: 12,
        stream: true,
        options: options.into(),
        ..StreamRequest::default()
    }
}

/// The text of an answer, and how many pieces it came in.
pub(crate) async fn answer(
    endpoint: &str,
    request: StreamRequest,
) -> Result<(String, usize), Status> {
    let mut agent = AgentServiceClient::new(channel(endpoint).await);
    let mut stream = agent.stream_inference(request).await?.into_inner();
    let (mut text, mut pieces, mut done) = (String::new(), 0, false);
    while let Some(piece) = stream.message().await? {
        assert!(!done, "a piece after the last");
        assert!(piece.created_at > 0);
        text.push_str(&piece.content);
        pieces += 1;
        done = piece.done;
    }
    assert!(done, "the last piece says so");
    Ok((text, pieces))
}

async fn get(address: &str, method: &str, path: &str, body: &str) -> (u16, Value) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let code = head.split(' ').nth(1).unwrap().parse().unwrap();
    (code, serde_json::from_str(body).unwrap())
}

/// What reflection lists.
pub(crate) async fn services(endpoint: &str) -> Vec<String> {
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut client = ServerReflectionClient::new(channel(endpoint).await);
    let stream = client.server_reflection_info(futures::stream::iter([request]));
    let answer = stream.await.unwrap().into_inner().message().await.unwrap();
    let Some(MessageResponse::ListServicesResponse(list)) = answer.unwrap().message_response else {
        panic!("a list of services");
    };
    list.service
        .into_iter()
        .map(|service| service.name)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_sent_to_an_agent_and_streams_its_tokens() {
    let mesh = with_model(LEGACY).await;
    let mut coordinator = CoordinatorServiceClient::new(channel(&mesh.index.address()).await);
    let session = coordinator.request_inference(asked("her the")).await;
    let session = session.unwrap().into_inner();
    assert_eq!(session.agent_id, mesh.nodes[0].peer());
    assert!(session.expires_at > 0 && !session.job_id.is_empty());

    // Another prompt than the session was given for.
    let other = answer(
        &session.agent_endpoint,
        streamed(&session.session_token, "another"),
    );
    assert_eq!(other.await.unwrap_err().code(), Code::Unauthenticated);
    // A wrong try has not used the session up.
    let request = streamed(&session.session_token, "her the");
    let (text, pieces) = answer(&session.agent_endpoint, request.clone())
        .await
        .unwrap();
    assert!(pieces > 1, "it streams");
    let replayed = answer(&session.agent_endpoint, request).await.unwrap_err();
    assert_eq!(replayed.code(), Code::Unauthenticated);
    assert!(replayed.message().contains("used before"), "{replayed}");
    // The native client gets the same text for the same seed.
    let words = ["ask", "chat", "her the", "--max-tokens", "12"];
    let more = ["--temperature", "1", "--seed", "7"];
    let native = mesh.run(&[&words[..], &more[..]].concat()).await;
    assert_eq!(
        stdout(&native).trim_end_matches('\n'),
        text.trim_end_matches('\n')
    );

    // Garbage, a model that nobody has, and what is missing.
    let garbage = answer(&session.agent_endpoint, streamed("a.b.c", "x")).await;
    assert_eq!(garbage.unwrap_err().code(), Code::Unauthenticated);
    let nobody = InferenceRequest {
        model: "llama3.1:8b".to_owned(),
        ..asked("x")
    };
    let nobody = coordinator.request_inference(nobody).await.unwrap_err();
    assert_eq!(nobody.code(), Code::Unavailable);
    assert!(nobody.message().contains("no agents available"), "{nobody}");
    let nameless = InferenceRequest::default();
    let nameless = coordinator.request_inference(nameless).await.unwrap_err();
    assert_eq!(nameless.code(), Code::InvalidArgument);

    // What it says of itself is counted.
    let mut agent = AgentServiceClient::new(channel(&session.agent_endpoint).await);
    let status = AgentStatusRequest {
        agent_id: session.agent_id.clone(),
        include_jobs: true,
    };
    eventually("the answer is counted and the model is named", async || {
        let status = agent.clone().get_status(status.clone()).await.unwrap();
        let status = status.into_inner();
        status.total_requests_processed == 1
            && status.active_sessions == 0
            && status.model_loaded == "chat"
    })
    .await;
    let unknown = AgentStatusRequest {
        agent_id: "nobody".to_owned(),
        include_jobs: false,
    };
    let unknown = agent.get_status(unknown).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    let request = StatusRequest {
        include_agents: true,
        include_metrics: false,
    };
    let overview = coordinator.query_system_status(request).await.unwrap();
    let overview = overview.into_inner();
    assert_eq!((overview.total_agents, overview.healthy_agents), (1, 1));
    assert_eq!(overview.agents[0].agent_id, session.agent_id);
    let key = coordinator.get_public_key(PublicKeyRequest {}).await;
    let key = key.unwrap().into_inner();
    assert_eq!(key.algorithm, "RS256");
    assert!(
        key.public_key_pem
            .starts_with("-----BEGIN PUBLIC KEY-----\n")
    );

    // Reflection knows the services, so that a client can be made of what it says.
    let listed = services(&mesh.index.address()).await;
    for name in ["CoordinatorService", "AgentService"] {
        let name = format!("titancompute.v1.{name}");
        assert!(listed.contains(&name), "{listed:?}");
    }

    // The same over HTTP.
    let rest = mesh.index.ready["rest"].as_str().unwrap();
    let (code, health) = get(rest, "GET", "/api/v1/health", "").await;
    assert_eq!((code, &health["status"]), (200, &json!("healthy")));
    let (code, overview) = get(rest, "GET", "/api/v1/status?include_agents=true", "").await;
    assert_eq!((code, &overview["total_agents"]), (200, &json!(1)));
    assert_eq!(overview["agents"][0]["agent_id"], session.agent_id);
    let path = "/api/v1/inference/request";
    let body = json!({ "client_id": "client-1", "model": "chat", "prompt": "her the" });
    let (code, session) = get(rest, "POST", path, &body.to_string()).await;
    assert_eq!(code, 200, "{session}");
    let token = session["session_token"].as_str().unwrap();
    let endpoint = session["agent_endpoint"].as_str().unwrap();
    let again = answer(endpoint, streamed(token, "her the")).await.unwrap();
    assert_eq!(again.0, text);
    let (code, refused) = get(rest, "POST", path, "{").await;
    assert_eq!((code, &refused["code"]), (400, &json!(400)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_ends_when_its_client_goes_or_has_no_more_time() {
    let mesh = with_model(LEGACY).await;
    let mut coordinator = CoordinatorServiceClient::new(channel(&mesh.index.address()).await);
    let agent = AgentServiceClient::new(channel(&mesh.index.address()).await);
    let status = AgentStatusRequest {
        agent_id: mesh.nodes[0].peer(),
        include_jobs: false,
    };
    let active = async |many: i32| {
        eventually(&format!("{many} are answered"), async || {
            let mut agent = agent.clone();
            let status = agent.get_status(status.clone()).await.unwrap();
            status.into_inner().active_sessions == many
        })
        .await;
    };
    for within in [None, Some(Duration::from_secs(3))] {
        let session = coordinator.request_inference(asked("her the")).await;
        let session = session.unwrap().into_inner();
        let mut request = streamed(&session.session_token, "her the");
        request.max_tokens = 65_536;
        let mut request = tonic::Request::new(request);
        if let Some(within) = within {
            request.set_timeout(within);
        }
        let stream = agent.clone().stream_inference(request).await;
        let mut stream = stream.unwrap().into_inner();
        assert!(stream.message().await.unwrap().is_some());
        active(1).await;
        if within.is_some() {
            let end = loop {
                match stream.message().await {
                    Ok(Some(piece)) => assert!(!piece.done),
                    Ok(None) => panic!("it ended well"),
                    Err(end) => break end,
                }
            };
            assert_eq!(end.code(), Code::DeadlineExceeded, "{end}");
        }
        drop(stream);
        active(0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_nobody_is_believed_unless_the_operator_says_so() {
    let mesh = with_model("").await;
    let mut coordinator = CoordinatorServiceClient::new(channel(&mesh.index.address()).await);
    let refused = coordinator.request_inference(asked("x")).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
}

/// A call by whom a pass was given to.
async fn by<T>(mesh: &Mesh, name: &str, message: T) -> tonic::Request<T> {
    let pass = mesh.pass("titancompute", name).await;
    let mut request = tonic::Request::new(message);
    let bearer = format!("Bearer {}", pass["token"].as_str().unwrap());
    request
        .metadata_mut()
        .insert("authorization", bearer.parse().unwrap());
    request
}

/// An agent that is no node joins, is sent clients with sessions that name it, is nobody
/// else's, and need not join again when the index was killed.
#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_agent_joins_and_is_sent_clients() {
    let mut mesh = Mesh::start(0).await;
    let offer = |id: &str, endpoint: &str| AgentRegistration {
        agent_id: id.to_owned(),
        endpoint: endpoint.to_owned(),
        total_ram_mb: 16_000,
        max_jobs: 2,
        supported_models: vec!["llama3.1:8b".to_owned()],
        ..AgentRegistration::default()
    };
    let health = |running: i32| HealthUpdate {
        agent_id: "agent-1".to_owned(),
        free_ram_mb: 8_000,
        running_jobs: running,
        rtt_ms: 12.5,
        ..HealthUpdate::default()
    };
    let asked = || InferenceRequest {
        client_id: "alice".to_owned(),
        model: "llama3.1:8b".to_owned(),
        prompt: "Why?".to_owned(),
        ..InferenceRequest::default()
    };
    let mut stub = CoordinatorServiceClient::new(channel(&mesh.index.address()).await);
    let agent = offer("agent-1", "10.0.0.7:50052");
    let nobody = stub.register_agent(agent.clone()).await.unwrap_err();
    assert_eq!(nobody.code(), Code::Unauthenticated);
    let early = by(&mesh, "ops", futures::stream::iter([health(0)])).await;
    let mut acks = stub.report_health(early).await.unwrap().into_inner();
    let ack = acks.message().await.unwrap().unwrap();
    assert_eq!(ack.status, "error");
    assert!(ack.message.contains("agent-1 not registered"), "{ack:?}");

    let joined = stub.register_agent(by(&mesh, "ops", agent.clone()).await);
    let joined = joined.await.unwrap().into_inner();
    assert_eq!(joined.status, "success");
    assert!(joined.heartbeat_interval_seconds > 0);
    let stolen = by(&mesh, "thief", offer("agent-1", "10.6.6.6:1")).await;
    let stolen = stub.register_agent(stolen).await.unwrap_err();
    assert_eq!(stolen.code(), Code::PermissionDenied);
    for (endpoint, models) in [
        ("nowhere", 1),
        ("a b:1", 1),
        ("http://x:1", 1),
        ("a:1", 300),
    ] {
        let mut wrong = offer("agent-2", endpoint);
        wrong.supported_models = vec!["m".to_owned(); models];
        let wrong = by(&mesh, "ops", wrong).await;
        let refused = stub.register_agent(wrong).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{endpoint}");
    }

    // The index is killed; the agent only goes on saying how it is.
    mesh.restart_index(Duration::ZERO).await;
    let mut stub = CoordinatorServiceClient::new(channel(&mesh.index.address()).await);
    let alive = by(&mesh, "ops", futures::stream::iter([health(1)])).await;
    let mut acks = stub.report_health(alive).await.unwrap().into_inner();
    let ack = acks.message().await.unwrap().unwrap();
    assert_eq!(
        (ack.status.as_str(), ack.agent_id.as_str()),
        ("ok", "agent-1")
    );
    let session = stub.request_inference(by(&mesh, "alice", asked()).await);
    let session = session.await.unwrap().into_inner();
    assert_eq!(session.agent_endpoint, "10.0.0.7:50052");
    assert_eq!(session.agent_id, "agent-1");
    assert!((session.estimated_rtt_ms - 12.5).abs() < 1e-9);
    let claims = session.session_token.split('.').nth(1).unwrap();
    let claims = BASE64_URL_SAFE_NO_PAD.decode(claims).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    for (name, value) in [
        ("agent_id", "agent-1"),
        ("client_id", "alice"),
        ("model", "llama3.1:8b"),
    ] {
        assert_eq!(claims[name], value);
    }
    for name in ["jti", "iat", "exp", "nbf", "iss"] {
        assert!(!claims[name].is_null(), "{name}");
    }
    let status = StatusRequest {
        include_agents: true,
        ..StatusRequest::default()
    };
    let status = stub.query_system_status(status).await.unwrap().into_inner();
    assert_eq!((status.total_agents, status.healthy_agents), (1, 1));
    assert_eq!((status.total_jobs, status.agents[0].running_jobs), (1, 1));

    // One that is full is sent nobody.
    let full = by(&mesh, "ops", futures::stream::iter([health(2)])).await;
    let mut acks = stub.report_health(full).await.unwrap().into_inner();
    acks.message().await.unwrap().unwrap();
    let nobody = stub.request_inference(by(&mesh, "alice", asked()).await);
    let nobody = nobody.await.unwrap_err();
    assert_eq!(nobody.code(), Code::Unavailable);
    assert!(nobody.message().contains("no agents available"), "{nobody}");
}
