//! Candidates by hand.

use embermesh_crypto::{
    Keypair,
    ids::NetworkName,
    statement::{DeviceAdvert, DeviceKind, Runtimes},
    time::UnixMillis,
};
use embermesh_job::{
    model::{Layer, Model, Op},
    spec::{Dataset, Input, Limits, Requirements, Train, Work},
    units::Bytes,
};

use super::*;

fn peer(number: u8) -> PeerId {
    Keypair::from_seed(&[number; 32]).peer_id()
}

fn advert(number: u8, memory: u64, free: u32) -> Advert {
    Advert {
        peer: peer(number),
        sequence: 1,
        issued_at: UnixMillis(0),
        expires_at: UnixMillis(1),
        network: NetworkName::default(),
        role: Role::Node,
        version: String::new(),
        tls_addresses: Vec::new(),
        mesh_addresses: Vec::new(),
        region: String::new(),
        price_micros_per_hour: 0,
        devices: vec![DeviceAdvert {
            name: String::new(),
            kind: DeviceKind::Cpu,
            memory_bytes: memory,
            mflops: 1000,
            fault: None,
        }],
        slots: 1,
        free_slots: free,
        queued: 0,
        draining: false,
        runtimes: Runtimes::default(),
        models: Vec::new(),
        free_residents: 0,
        missing_fences: None,
    }
}

fn spec() -> JobSpec {
    let model = Model {
        input: vec![1, 8, 8],
        layers: [Op::flatten(), Op::dense(10)].map(Layer::new).into(),
    };
    let data = Dataset::DigitsCsv {
        file: Input {
            digest: embermesh_crypto::Digest::of(b"data"),
            size: 4,
        },
        classes: 10,
    };
    JobSpec {
        name: String::new(),
        work: Work::Train(Train::new(model, data)),
        requires: Requirements::default(),
        limits: Limits {
            memory: Bytes(1 << 30),
            ..Limits::default()
        },
        attempts: 3,
    }
}

#[test]
fn the_free_come_first_the_taken_last_and_the_rest_with_the_reason() {
    let index = Advert {
        role: Role::Index,
        ..advert(9, 4 << 30, 1)
    };
    let adverts = [
        advert(1, 4 << 30, 0),
        advert(2, 1 << 20, 1),
        advert(3, 4 << 30, 1),
        advert(4, 4 << 30, 1),
        index,
    ];
    let found = candidates(
        &spec(),
        peer(8),
        adverts.iter(),
        &BTreeMap::from([(peer(3), 400)]),
        &[peer(4)],
        1,
    );
    assert_eq!(found.ask, [peer(3), peer(1)]);
    let why: Vec<_> = found
        .passed_over
        .iter()
        .map(|(peer, code, _)| (*peer, code.as_str()))
        .collect();
    assert_eq!(why, [(peer(2), "too_little_memory"), (peer(4), "avoided")]);
    let (_, _, said) = &found.passed_over[0];
    assert!(said.contains("1 MiB") && said.contains("1 GiB"), "{said}");
}

#[test]
fn no_more_are_asked_and_told_of_than_the_bounds() {
    let many = |memory| {
        let adverts: Vec<Advert> = (0..=u8::MAX)
            .map(|number| advert(number, memory, 1))
            .collect();
        candidates(&spec(), peer(8), adverts.iter(), &BTreeMap::new(), &[], 1)
    };
    assert_eq!(many(4 << 30).ask.len(), MAX_ASKED);
    assert_eq!(many(1).passed_over.len(), MAX_PASSED_OVER);
}
