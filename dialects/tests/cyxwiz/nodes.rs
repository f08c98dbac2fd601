//! Nodes for everybody to see, and the calls that are refused with a reason.

use std::time::Duration;

use embermesh_crypto::{
    Keypair, UnixMillis,
    statement::{Advert, DeviceAdvert, DeviceKind, Role, Runtimes},
};
use embermesh_dialects::{Profile, port::nodes::NodeView};
use embermesh_job::address::PeerAddress;
use embermesh_proto::cyxwiz::{
    daemon::{GetStatusRequest, daemon_service_client::DaemonServiceClient},
    protocol::{
        AssignJobRequest, ComputeRequest, FindNodesRequest, GetNodeInfoRequest, ListNodesRequest,
        compute_service_client::ComputeServiceClient,
        node_discovery_service_client::NodeDiscoveryServiceClient,
        node_service_client::NodeServiceClient,
    },
    shipped,
};
use tonic::Code;

use crate::port::serve;

/// A node with a processor, and a GPU where it has memory.
fn node(seed: u8, price: u64, region: &str, vram: u64) -> NodeView {
    let peer = Keypair::from_seed(&[seed; 32]).peer_id();
    let device = |kind, memory_bytes, mflops, fault| DeviceAdvert {
        name: format!("{kind:?}"),
        kind,
        memory_bytes,
        mflops,
        fault,
    };
    let mut devices = vec![
        device(DeviceKind::Cpu, 8 << 30, 50_000, None),
        device(DeviceKind::Wgpu, 1, 1, Some("no driver".to_owned())),
    ];
    if vram > 0 {
        devices.push(device(DeviceKind::Cuda, vram, 9_000_000, None));
    }
    let issued_at = UnixMillis(1_000_000);
    NodeView {
        address: PeerAddress {
            peer,
            tls: vec![format!("192.0.2.{seed}:7421")],
            mesh: Vec::new(),
        },
        live: seed != 9,
        last_seen: UnixMillis(2_000_000),
        running: 0,
        advert: Some(Advert {
            peer,
            network: "embermesh".parse().unwrap(),
            sequence: 1,
            issued_at,
            expires_at: issued_at.saturating_add(Duration::from_secs(60)),
            role: Role::Node,
            version: "1.2.3-dev".to_owned(),
            mesh_addresses: Vec::new(),
            tls_addresses: Vec::new(),
            region: region.to_owned(),
            price_micros_per_hour: price,
            devices,
            slots: 2,
            free_slots: 1,
            queued: 0,
            draining: false,
            runtimes: Runtimes::default(),
            models: Vec::new(),
            free_residents: 0,
            missing_fences: None,
        }),
    }
}

pub(crate) fn four() -> Vec<NodeView> {
    vec![
        node(1, 500_000, "eu", 24 << 30),
        node(2, 250_000, "eu", 0),
        node(3, 0, "us", 8 << 30),
        node(9, 100_000, "us", 0),
    ]
}

pub(crate) fn id(seed: u8) -> String {
    Keypair::from_seed(&[seed; 32]).peer_id().to_string()
}

#[tokio::test]
async fn nodes_are_found_by_what_they_have_and_cost() {
    let (memory, channel) = serve(Profile::Documented).await;
    memory.kept().nodes = four();
    let mut client = NodeDiscoveryServiceClient::new(channel);
    let usual = FindNodesRequest::default;
    for (request, expected) in [
        (usual(), vec![3, 2, 1]),
        (
            FindNodesRequest {
                required_device: 2,
                ..usual()
            },
            vec![3, 1],
        ),
        (
            FindNodesRequest {
                min_vram: 16 << 30,
                ..usual()
            },
            vec![1],
        ),
        (
            FindNodesRequest {
                max_price_per_hour: 0.25,
                ..usual()
            },
            vec![3, 2],
        ),
        (
            FindNodesRequest {
                require_free_tier: true,
                ..usual()
            },
            vec![3],
        ),
        (
            FindNodesRequest {
                allowed_regions: vec!["eu".to_owned()],
                ..usual()
            },
            vec![2, 1],
        ),
        (
            FindNodesRequest {
                blocked_regions: vec!["us".to_owned()],
                sort_by: 1,
                ..usual()
            },
            vec![1, 2],
        ),
        (
            FindNodesRequest {
                preferred_region: "eu".to_owned(),
                ..usual()
            },
            vec![2, 1, 3],
        ),
    ] {
        let found = client
            .find_nodes(request.clone())
            .await
            .unwrap()
            .into_inner();
        let ids: Vec<&str> = found.nodes.iter().map(|node| &*node.node_id).collect();
        let expected: Vec<String> = expected.into_iter().map(id).collect();
        assert_eq!(ids, expected, "{request:?}");
        assert_eq!(usize::try_from(found.total_matching).unwrap(), ids.len());
    }
    let one = FindNodesRequest {
        max_results: 1,
        ..usual()
    };
    let found = client.find_nodes(one).await.unwrap().into_inner();
    assert_eq!((found.nodes.len(), found.total_matching), (1, 3));
    assert!((found.avg_price_per_hour - 0.25).abs() < f64::EPSILON);
    assert!((found.max_price_per_hour - 0.5).abs() < f64::EPSILON);
    // What nobody here knows is not passed over in silence.
    for (field, request) in [
        (
            "min_reputation",
            FindNodesRequest {
                min_reputation: 0.5,
                ..usual()
            },
        ),
        (
            "min_stake",
            FindNodesRequest {
                min_stake: 1.0,
                ..usual()
            },
        ),
        (
            "sort_by",
            FindNodesRequest {
                sort_by: 2,
                ..usual()
            },
        ),
        (
            "min_memory",
            FindNodesRequest {
                min_memory: -1,
                ..usual()
            },
        ),
    ] {
        let refused = client.find_nodes(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().starts_with(field), "{refused}");
    }
}

#[tokio::test]
async fn a_list_goes_on_where_it_was_and_a_node_says_what_it_has() {
    let (memory, channel) = serve(Profile::Documented).await;
    memory.kept().nodes = four();
    let mut client = NodeDiscoveryServiceClient::new(channel);
    let mut request = ListNodesRequest {
        page_size: 2,
        ..ListNodesRequest::default()
    };
    let mut seen = Vec::new();
    loop {
        let page = client
            .list_nodes(request.clone())
            .await
            .unwrap()
            .into_inner();
        seen.extend(page.nodes.into_iter().map(|node| node.node_id));
        if page.next_page_token.is_empty() {
            break;
        }
        assert_eq!((page.total_count, page.online_count), (4, 3));
        request.page_token = page.next_page_token;
        // One that goes between two pages moves nothing.
        memory.kept().nodes.retain(|node| node.live);
    }
    assert_eq!(seen, [id(3), id(9), id(2), id(1)]);
    request.page_token = "word".to_owned();
    let refused = client.list_nodes(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);

    let info = |node_id: String| GetNodeInfoRequest { node_id };
    let node = client
        .get_node_info(info(id(1)))
        .await
        .unwrap()
        .into_inner();
    let node = node.info.unwrap();
    // Devices are those that work, with what was measured.
    let devices: Vec<(i32, i64)> = node
        .devices
        .iter()
        .map(|device| (device.device_type, device.total_memory))
        .collect();
    assert_eq!(devices, [(1, 8 << 30), (2, 24 << 30)]);
    assert!((node.compute_score - 9_000.0).abs() < f64::EPSILON);
    assert_eq!((&*node.ip_address, node.port), ("192.0.2.1", 7421));
    assert!(node.is_online);
    assert_eq!(node.last_heartbeat, 2_000);
    let version = node.version.unwrap();
    assert_eq!((version.major, version.minor, version.patch), (1, 2, 3));
    assert_eq!(version.build, "dev");
    assert!((node.pricing.unwrap().price_per_hour - 0.5).abs() < f64::EPSILON);
    let unknown = client.get_node_info(info("nobody".to_owned())).await;
    assert_eq!(unknown.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn devices_have_the_fields_of_the_form_that_shipped() {
    let (memory, channel) = serve(Profile::Shipped).await;
    memory.kept().nodes = four();
    let mut client =
        shipped::node_discovery_service_client::NodeDiscoveryServiceClient::new(channel);
    let request = shipped::GetNodeInfoRequest { node_id: id(1) };
    let answer = client.get_node_info(request).await.unwrap().into_inner();
    let devices = answer.info.unwrap().devices;
    assert_eq!(
        (devices[0].vram_total, devices[1].vram_total),
        (0, 24 << 30)
    );
    assert_eq!(devices[1].device_type, 2);
}

#[tokio::test]
async fn jobs_are_assigned_at_nodes() {
    for profile in [Profile::Documented, Profile::Shipped] {
        let (_, channel) = serve(profile).await;
        let mut nodes = NodeServiceClient::new(channel.clone());
        let refusals = [
            nodes
                .assign_job(AssignJobRequest::default())
                .await
                .unwrap_err(),
            ComputeServiceClient::new(channel.clone())
                .execute(ComputeRequest::default())
                .await
                .unwrap_err(),
            DaemonServiceClient::new(channel)
                .get_status(GetStatusRequest {})
                .await
                .unwrap_err(),
        ];
        let reasons = ["call the node", "call a node", "its own machine"];
        for (refusal, reason) in refusals.iter().zip(reasons) {
            assert_eq!(refusal.code(), Code::Unimplemented);
            assert!(refusal.message().contains(reason), "{refusal}");
        }
    }
}
