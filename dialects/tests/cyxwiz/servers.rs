//! Server nodes of the system: what they say arrives as it was said, and what they may not
//! say is refused in a form that they act upon.

use bytes::Bytes;
use embermesh_crypto::{Digest, UnixMillis};
use embermesh_dialects::{
    ErrorCode, Failure, Profile,
    port::{
        Principal,
        jobs::{JobView, Jobs as _, Submission},
        servers::{
            Advance, Enrolled, Entry, OfServed, Package, Served, ServerBeat, ServerOffer,
            ServerReports, ServerView, Servers, Weights,
        },
    },
};
use embermesh_job::lifecycle::JobState;
use embermesh_proto::cyxwiz::{
    protocol::{self as wire, node_service_client::NodeServiceClient},
    shipped,
};
use prost::Message as _;
use tonic::Code;

use crate::{
    configs::{FORMS, training, with},
    nodes::{four, id},
    port::{Memory, by, serve},
};

/// What the port has been told of servers.
#[derive(Default)]
pub(crate) struct Rack {
    enrolled: Vec<(Principal, ServerOffer)>,
    beats: Vec<(String, ServerBeat)>,
    advances: Vec<(OfServed, Advance)>,
    served: Vec<(OfServed, Served)>,
    packages: Vec<Option<Package>>,
    servers: Vec<ServerView>,
    entry: Option<Entry>,
    refusal: Option<Failure>,
}

impl Rack {
    fn refused(&mut self) -> Result<(), Failure> {
        self.refusal.take().map_or(Ok(()), Err)
    }
}

#[tonic::async_trait]
impl Servers for Memory {
    async fn enroll(
        &self,
        who: &Principal,
        remote: Option<std::net::IpAddr>,
        offer: ServerOffer,
    ) -> Result<Enrolled, Failure> {
        assert!(remote.is_some());
        let rack = &mut self.kept().rack;
        rack.refused()?;
        rack.enrolled.push((who.clone(), offer));
        Ok(Enrolled {
            id: "given".to_owned(),
            key: "its key".to_owned(),
        })
    }

    async fn alive(
        &self,
        _: &Principal,
        server: &str,
        beat: ServerBeat,
    ) -> Result<Vec<String>, Failure> {
        let rack = &mut self.kept().rack;
        rack.refused()?;
        rack.beats.push((server.to_owned(), beat));
        Ok(vec!["old".to_owned()])
    }

    async fn servers(&self) -> Result<Vec<ServerView>, Failure> {
        Ok(self.kept().rack.servers.clone())
    }

    async fn take_on(
        &self,
        who: &Principal,
        job: Submission,
        package: Option<Package>,
    ) -> Result<JobView, Failure> {
        self.kept().rack.packages.push(package);
        self.submit(who, job).await
    }

    async fn entry(&self, _: &Principal, _: &str) -> Result<Option<Entry>, Failure> {
        Ok(self.kept().rack.entry.clone())
    }
}

#[tonic::async_trait]
impl ServerReports for Memory {
    async fn advanced(&self, _: &Principal, of: OfServed, advance: Advance) -> Result<(), Failure> {
        let rack = &mut self.kept().rack;
        rack.refused()?;
        rack.advances.push((of, advance));
        Ok(())
    }

    async fn served(
        &self,
        _: &Principal,
        of: OfServed,
        how: Served,
    ) -> Result<Option<String>, Failure> {
        let rack = &mut self.kept().rack;
        rack.refused()?;
        rack.served.push((of, how));
        Ok(Some("17".to_owned()))
    }
}

fn info() -> wire::NodeInfo {
    wire::NodeInfo {
        node_id: "mine".to_owned(),
        name: "CyxWiz-Node-1".to_owned(),
        devices: vec![wire::DeviceCapabilities {
            device_type: 2,
            device_name: "RTX".to_owned(),
            total_memory: 8 << 30,
            compute_score: 12.5,
            ..Default::default()
        }],
        cpu_cores: 8,
        ram_total: 16 << 30,
        ip_address: "198.51.100.7".to_owned(),
        port: 50052,
        region: "eu".to_owned(),
        pricing: Some(wire::NodePricing {
            price_per_hour: 0.5,
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn of(job: &str) -> OfServed {
    OfServed {
        server: "mine".to_owned(),
        job: job.to_owned(),
    }
}

/// A server that is known, and what it has said.
fn view(free: Option<u64>) -> ServerView {
    ServerView {
        offer: ServerOffer {
            id: "mine".to_owned(),
            memory: 16 << 30,
            port: 50052,
            region: "eu".to_owned(),
            devices: vec![embermesh_dialects::port::servers::ServerDevice {
                kind: Some(embermesh_crypto::statement::DeviceKind::Cuda),
                name: "RTX".to_owned(),
                memory: 8 << 30,
                score: 12.5,
            }],
            ..ServerOffer::default()
        },
        host: "192.0.2.9".to_owned(),
        price: 750_000,
        live: true,
        heard_at: Some(UnixMillis(3_000_000)),
        free_memory: free,
        running: 1,
        free_places: 3,
    }
}

#[tokio::test]
async fn a_server_registers_with_what_it_says_of_itself() {
    let (memory, channel) = serve(Profile::Documented).await;
    let mut client = NodeServiceClient::new(channel.clone());
    let request = wire::RegisterNodeRequest {
        info: Some(info()),
        // A token may be in the message, where the system has a field for it.
        authentication_token: "bob".to_owned(),
        ..Default::default()
    };
    let answer = client.register_node(request).await.unwrap().into_inner();
    assert_eq!((answer.status, &*answer.node_id), (1, "given"));
    assert_eq!(answer.session_token, "its key");
    {
        let kept = memory.kept();
        let (who, offer) = &kept.rack.enrolled[0];
        assert_eq!((&*who.name, &*offer.id), ("bob", "mine"));
        assert_eq!((offer.port, offer.assign_port), (50052, 50052));
        assert_eq!((offer.cores, offer.memory), (8, 16 << 30));
        assert_eq!((offer.price, &*offer.region), (Some(500_000), "eu"));
        let device = &offer.devices[0];
        assert_eq!((device.memory, device.score), (8 << 30, 12.5));
        assert_eq!(offer.form, Profile::Documented);
    }
    // What it cannot be is an answer, who may not is a status.
    for spoil in [
        (|info: &mut wire::NodeInfo| info.port = 0) as fn(&mut wire::NodeInfo),
        |info| info.port = 70_000,
        |info| info.name = "x".repeat(300),
        |info| info.pricing.as_mut().unwrap().billing_model = 1,
        |info| info.pricing.as_mut().unwrap().price_per_hour = -1.0,
    ] {
        let mut info = info();
        spoil(&mut info);
        let request = wire::RegisterNodeRequest {
            info: Some(info),
            ..Default::default()
        };
        let answer = client.register_node(by("bob", request)).await.unwrap();
        let answer = answer.into_inner();
        assert_eq!((answer.status, &*answer.node_id), (5, ""));
        assert_eq!(answer.error.unwrap().code, 1);
    }
    let request = || wire::RegisterNodeRequest {
        info: Some(info()),
        ..Default::default()
    };
    let nobody = client.register_node(request()).await.unwrap_err();
    assert_eq!(nobody.code(), Code::Unauthenticated);
    memory.kept().rack.refusal = Some(Failure::new(ErrorCode::Denied, "somebody else's"));
    let stolen = client.register_node(by("eve", request())).await;
    assert_eq!(stolen.unwrap_err().code(), Code::PermissionDenied);
    assert_eq!(memory.kept().rack.enrolled.len(), 1);

    // In the form that shipped it is assigned jobs three ports further.
    let (memory, channel) = serve(Profile::Shipped).await;
    let mut client = shipped::node_service_client::NodeServiceClient::new(channel);
    let request = shipped::RegisterNodeRequest {
        info: Some(shipped::NodeInfo {
            port: 50052,
            devices: vec![shipped::DeviceCaps {
                device_type: 2,
                vram_total: 4 << 30,
                ..Default::default()
            }],
            ..Default::default()
        }),
        ..Default::default()
    };
    client.register_node(by("bob", request)).await.unwrap();
    let kept = memory.kept();
    let (_, offer) = &kept.rack.enrolled[0];
    assert_eq!((offer.port, offer.assign_port), (50052, 50055));
    assert_eq!((offer.price, offer.devices[0].memory), (None, 4 << 30));
}

#[tokio::test]
async fn what_a_server_says_of_its_jobs_arrives_by_either_name() {
    let (memory, channel) = serve(Profile::Documented).await;
    let mut client = NodeServiceClient::new(channel.clone());
    let mut statuses =
        wire::job_status_service_client::JobStatusServiceClient::new(channel.clone());
    let beat = wire::HeartbeatRequest {
        node_id: "mine".to_owned(),
        current_status: Some(wire::NodeInfo {
            ram_available: 7,
            ..Default::default()
        }),
        active_jobs: vec!["t".to_owned()],
    };
    let answer = client
        .heartbeat(by("bob", beat))
        .await
        .unwrap()
        .into_inner();
    assert!(answer.keep_alive);
    assert_eq!(
        (answer.status, answer.jobs_to_cancel),
        (1, vec!["old".to_owned()])
    );
    let accepted = wire::JobAcceptedRequest {
        node_id: "mine".to_owned(),
        job_id: "t".to_owned(),
        node_endpoint: "198.51.100.7:50054".to_owned(),
        ..Default::default()
    };
    let answer = client
        .notify_job_accepted(by("bob", accepted))
        .await
        .unwrap();
    assert!(answer.into_inner().acknowledged);
    let progress = wire::ReportProgressRequest {
        node_id: "mine".to_owned(),
        job_id: "t".to_owned(),
        status: Some(wire::JobStatus {
            progress: 0.25,
            current_epoch: 2,
            metrics: [("loss".to_owned(), 3.0)].into(),
            ..Default::default()
        }),
        current_metrics: [("loss".to_owned(), 2.0)].into(),
    };
    let answer = client.report_progress(by("bob", progress)).await.unwrap();
    assert!(answer.into_inner().continue_job);
    let update = wire::UpdateJobStatusRequest {
        node_id: "mine".to_owned(),
        job_id: "t".to_owned(),
        progress: 0.5,
        current_epoch: 3,
        log_message: "epoch 3".to_owned(),
        ..Default::default()
    };
    let answer = statuses.update_job_status(by("bob", update)).await.unwrap();
    assert!(answer.into_inner().should_continue);
    let result = wire::ReportJobResultRequest {
        node_id: "mine".to_owned(),
        job_id: "t".to_owned(),
        final_status: 5,
        error_message: "no memory".to_owned(),
        ..Default::default()
    };
    let answer = statuses.report_job_result(by("bob", result)).await.unwrap();
    assert_eq!(answer.into_inner().status, 1);
    let done = |status| wire::ReportCompletionRequest {
        node_id: "mine".to_owned(),
        job_id: "u".to_owned(),
        result: Some(wire::JobResult {
            status,
            model_weights_uri: "file:///w".to_owned(),
            model_weights_hash: "sha256:1".to_owned(),
            model_size: 9,
            ..Default::default()
        }),
        ..Default::default()
    };
    let answer = client.report_completion(by("bob", done(4))).await.unwrap();
    let answer = answer.into_inner();
    assert!(answer.payment_released);
    assert_eq!(answer.payment_tx_hash, "17");
    // One that goes on has not ended.
    let open = client
        .report_completion(by("bob", done(3)))
        .await
        .unwrap_err();
    assert_eq!(open.code(), Code::InvalidArgument);

    let kept = memory.kept();
    let beat = ServerBeat {
        free_memory: Some(7),
        jobs: vec!["t".to_owned()],
    };
    assert_eq!(kept.rack.beats.len(), 1);
    assert_eq!(kept.rack.beats[0].1.jobs, beat.jobs);
    assert_eq!(kept.rack.beats[0].1.free_memory, beat.free_memory);
    let advances = [
        Advance {
            port: Some(50054),
            ..Advance::default()
        },
        Advance {
            progress: Some(0.25),
            pass: 2,
            metrics: [("loss".to_owned(), 2.0)].into(),
            ..Advance::default()
        },
        Advance {
            progress: Some(0.5),
            pass: 3,
            text: "epoch 3".to_owned(),
            ..Advance::default()
        },
    ];
    assert_eq!(
        kept.rack.advances,
        advances.map(|advance| (of("t"), advance))
    );
    let weights = Weights {
        uri: "file:///w".to_owned(),
        hash: "sha256:1".to_owned(),
        size: 9,
    };
    let succeeded = Served {
        state: JobState::Succeeded,
        weights: Some(weights),
        ..Served::failed(String::new())
    };
    let failed = Served::failed("no memory".to_owned());
    assert_eq!(kept.rack.served, [(of("t"), failed), (of("u"), succeeded)]);
}

#[tokio::test]
async fn a_server_is_told_to_stop_what_it_has_no_more() {
    let (memory, channel) = serve(Profile::Documented).await;
    let mut client = NodeServiceClient::new(channel.clone());
    let mut statuses =
        wire::job_status_service_client::JobStatusServiceClient::new(channel.clone());
    for (code, number) in [(ErrorCode::NotFound, 2), (ErrorCode::Precondition, 1)] {
        let refuse = || memory.kept().rack.refusal = Some(Failure::new(code, "stop it"));
        refuse();
        let progress = wire::ReportProgressRequest::default();
        let answer = client.report_progress(by("bob", progress)).await.unwrap();
        let answer = answer.into_inner();
        assert!(!answer.continue_job);
        assert_eq!((answer.status, answer.error.unwrap().code), (5, number));
        refuse();
        let update = wire::UpdateJobStatusRequest::default();
        let answer = statuses.update_job_status(by("bob", update)).await.unwrap();
        assert!(!answer.into_inner().should_continue);
        refuse();
        let accepted = wire::JobAcceptedRequest::default();
        let answer = client.notify_job_accepted(by("bob", accepted)).await;
        assert!(!answer.unwrap().into_inner().acknowledged);
        refuse();
        let result = wire::ReportJobResultRequest {
            final_status: 4,
            ..Default::default()
        };
        let answer = statuses.report_job_result(by("bob", result)).await;
        let answer = answer.unwrap().into_inner();
        assert_eq!((answer.status, answer.error.unwrap().code), (5, number));
    }
    // Who may not speak for it is told so by the status.
    memory.kept().rack.refusal = Some(Failure::new(ErrorCode::Denied, "not yours"));
    let progress = wire::ReportProgressRequest::default();
    let denied = client.report_progress(by("eve", progress.clone())).await;
    assert_eq!(denied.unwrap_err().code(), Code::PermissionDenied);
    let nobody = client.report_progress(progress).await.unwrap_err();
    assert_eq!(nobody.code(), Code::Unauthenticated);
    memory.kept().rack.refusal = Some(Failure::not_found("register first"));
    let unknown = client.heartbeat(by("bob", wire::HeartbeatRequest::default()));
    assert_eq!(unknown.await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn servers_are_found_beside_nodes_and_say_their_load_once() {
    let (memory, channel) = serve(Profile::Documented).await;
    memory.kept().nodes = four();
    memory.kept().rack.servers = vec![view(Some(4 << 30))];
    let mut found =
        wire::node_discovery_service_client::NodeDiscoveryServiceClient::new(channel.clone());
    let answer = found.find_nodes(wire::FindNodesRequest::default()).await;
    let ids: Vec<String> = answer
        .unwrap()
        .into_inner()
        .nodes
        .into_iter()
        .map(|node| node.node_id)
        .collect();
    assert_eq!(ids, [id(3), id(2), id(1), "mine".to_owned()]);
    let request = wire::GetNodeInfoRequest {
        node_id: "mine".to_owned(),
    };
    let info = found.get_node_info(request).await.unwrap().into_inner();
    let info = info.info.unwrap();
    // It is where it was heard from, whatever it calls itself.
    assert_eq!((&*info.ip_address, info.port), ("192.0.2.9", 50052));
    assert_eq!((info.ram_total, info.ram_available), (16 << 30, 4 << 30));
    assert_eq!(info.pricing.unwrap().price_per_hour, 0.75);
    assert_eq!((info.devices[0].device_type, info.compute_score), (2, 12.5));

    let mut client = NodeServiceClient::new(channel);
    let of = |node: &str, start_time, end_time| wire::GetNodeMetricsRequest {
        node_id: node.to_owned(),
        start_time,
        end_time,
    };
    let answer = client.get_node_metrics(by("ada", of("mine", 0, 0))).await;
    let answer = answer.unwrap().into_inner();
    assert_eq!(answer.error, None);
    let point = &answer.metrics[0];
    assert_eq!((point.timestamp, point.memory_usage), (3_000, 0.75));
    let answer = client.get_node_metrics(by("ada", of(&id(1), 0, 0))).await;
    let point = answer.unwrap().into_inner().metrics.remove(0);
    assert_eq!((point.timestamp, point.cpu_usage), (1_000, 0.5));
    // There is no history, and of what is not known nothing is said.
    let past = client
        .get_node_metrics(by("ada", of("mine", 0, 2_999)))
        .await;
    let past = past.unwrap().into_inner();
    assert!(past.metrics.is_empty() && past.error.is_some());
    memory.kept().rack.servers = vec![view(None)];
    for (request, code) in [
        (of("mine", 0, 0), Code::FailedPrecondition),
        (of("nobody", 0, 0), Code::NotFound),
    ] {
        let refused = client.get_node_metrics(by("ada", request)).await;
        assert_eq!(refused.unwrap_err().code(), code);
    }
}

#[tokio::test]
async fn a_server_is_sent_the_job_and_nothing_of_its_payment() {
    let (memory, channel) = serve(Profile::Documented).await;
    let mut jobs = wire::job_service_client::JobServiceClient::new(channel);
    let mut request = training(FORMS[3]);
    let config = request.config.as_mut().unwrap();
    config.job_id = "t".to_owned();
    config.payment_amount = 2.0;
    config.payment_address = "ada".to_owned();
    let data = request.initial_data.clone();
    jobs.submit_job(by("ada", request)).await.unwrap();
    {
        let kept = memory.kept();
        let package = kept.rack.packages[0].as_ref().unwrap();
        assert_eq!(package.data, Some(Digest::of(&data)));
        let inputs = &kept.jobs[0].1.inputs;
        assert_eq!(inputs.get(&Digest::of(&data)), Some(&data));
        let config = wire::JobConfig::decode(package.config.clone()).unwrap();
        assert!(!config.model_definition.is_empty());
        let paid = (config.payment_amount, &*config.payment_address);
        assert_eq!((paid, &*config.job_id), ((0.0, ""), ""));
    }
    // What only the mesh has is not for a server.
    let mut request = with(
        training(FORMS[3]),
        &[("target_column", "species"), ("dataset_format", "csv")],
    );
    request.initial_data = Bytes::new();
    let digest = Digest::of(b"flowers");
    request.config.as_mut().unwrap().dataset_uri = format!("blake3:{digest}?size=7");
    let answer = jobs.submit_job(by("ada", request)).await.unwrap();
    assert_eq!(answer.into_inner().error, None);
    assert_eq!(memory.kept().rack.packages[1], None);

    let entry = Entry {
        server: "mine".to_owned(),
        endpoint: "192.0.2.9:50052".to_owned(),
        token: "a token".to_owned(),
        expires_at: UnixMillis(9_000),
    };
    memory.kept().rack.entry = Some(entry);
    let request = wire::GetJobStatusRequest {
        job_id: "t".to_owned(),
    };
    let answer = jobs.get_job_status(by("ada", request)).await.unwrap();
    let assignment = answer.into_inner().node_assignment.unwrap();
    assert_eq!(
        (&*assignment.node_id, &*assignment.auth_token),
        ("mine", "a token")
    );
    assert_eq!(&*assignment.node_endpoint, "192.0.2.9:50052");
    assert_eq!(assignment.token_expires_at, 9);
}
