//! The rules that hold for every kind of statement.

use super::*;
use crate::{Digest, Epoch, JobId, NetworkName, TaskIndex, TokenId, UnixMillis};

fn keypair() -> Keypair {
    Keypair::from_seed(&[3; 32])
}

fn advert() -> Advert {
    Advert {
        peer: keypair().peer_id(),
        network: NetworkName::default(),
        sequence: 7,
        issued_at: UnixMillis(1_000_000),
        expires_at: UnixMillis(1_300_000),
        role: Role::Node,
        version: "0.1.0".into(),
        mesh_addresses: vec!["/ip4/127.0.0.1/tcp/4001".into()],
        tls_addresses: vec!["127.0.0.1:7001".into()],
        region: "eu".into(),
        price_micros_per_hour: 0,
        devices: vec![DeviceAdvert {
            name: "cpu".into(),
            kind: DeviceKind::Cpu,
            memory_bytes: 1 << 33,
            mflops: 90_000,
            fault: None,
        }],
        slots: 1,
        free_slots: 1,
        queued: 0,
        draining: false,
        runtimes: Runtimes::default(),
        models: Vec::new(),
        free_residents: 0,
        missing_fences: None,
    }
}

fn receipt() -> Receipt {
    let peer = keypair().peer_id();
    Receipt {
        node: peer,
        client: peer,
        issuer: peer,
        token_id: TokenId([1; 16]),
        job: JobId::v7(UnixMillis(5), [2; 10]),
        task: TaskIndex(0),
        epoch: Epoch::FIRST,
        spec: Digest::of(b"spec"),
        outcome: Outcome::Succeeded,
        device: "cpu".into(),
        device_kind: DeviceKind::Cpu,
        inputs: vec![Digest::of(b"in")],
        outputs: vec![Output {
            name: "model.safetensors".into(),
            digest: Digest::of(b"out"),
            size: 3,
        }],
        steps: 10,
        samples: 640,
        loss: Some(0.25),
        accuracy: Some(0.975),
        started_at: UnixMillis(10),
        ended_at: UnixMillis(20),
        message: String::new(),
        account: None,
    }
}

fn key_set() -> KeySet {
    KeySet {
        index: keypair().peer_id(),
        sequence: 1,
        issued_at: UnixMillis(1),
        expires_at: UnixMillis(2),
        keys: vec![IssuerKey {
            key: keypair().peer_id(),
            not_before: UnixMillis(0),
            not_after: UnixMillis(9),
        }],
    }
}

fn revocation() -> Revocation {
    Revocation {
        index: keypair().peer_id(),
        sequence: 1,
        issued_at: UnixMillis(1),
        min_epoch: 0,
        tokens: vec![TokenId([1; 16]), TokenId([2; 16])],
    }
}

fn grant() -> Grant {
    let node = |seed: u8| Keypair::from_seed(&[seed; 32]).peer_id();
    let mut nodes = vec![node(1), node(2)];
    nodes.sort_unstable();
    Grant {
        owner: keypair().peer_id(),
        client: node(3),
        network: NetworkName::default(),
        nodes,
        issued_at: UnixMillis(1),
        expires_at: UnixMillis(2),
    }
}

fn round_trips<T: Statement + PartialEq>(content: &T) {
    let signed = sign(content, &keypair()).unwrap();
    assert_eq!(&*signed.open().unwrap(), content);
    // Every truncation, every extension and every flipped bit is refused.
    let bytes = signed.bytes().to_vec();
    for len in 0..bytes.len() {
        let cut = Signed::<T>::from_bytes(&bytes[..len]).and_then(|signed| signed.open());
        assert!(cut.is_err(), "cut to {len}");
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert!(
        Signed::<T>::from_bytes(longer)
            .and_then(|s| s.open())
            .is_err()
    );
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let opened = Signed::<T>::from_bytes(flipped).and_then(|signed| signed.open());
        assert!(opened.is_err(), "bit {bit}");
    }
}

#[test]
fn each_kind_round_trips_and_no_bit_can_change() {
    round_trips(&advert());
    round_trips(&receipt());
    round_trips(&key_set());
    round_trips(&revocation());
    round_trips(&grant());
}

#[test]
fn a_signature_of_one_kind_is_none_of_another() {
    let domains = [
        Advert::DOMAIN,
        Receipt::DOMAIN,
        KeySet::DOMAIN,
        Revocation::DOMAIN,
        Grant::DOMAIN,
    ];
    for (i, a) in domains.iter().enumerate() {
        assert!(domains[i + 1..].iter().all(|b| a != b));
    }
    // The same payload under another kind's domain does not verify.
    let payload = encode(&revocation()).unwrap();
    let mut bytes = keypair().sign(&signed_message::<KeySet>(&payload)).to_vec();
    bytes.extend_from_slice(&payload);
    let opened = Signed::<Revocation>::from_bytes(bytes).unwrap().open();
    assert_eq!(opened.unwrap_err(), StatementError::BadSignature);
}

#[test]
fn a_signed_but_noncanonical_payload_is_refused() {
    // The same map with the sequence number in two bytes instead of one.
    let payload = encode(&revocation()).unwrap();
    let at = payload
        .windows(2)
        .position(|pair| pair == [0x01, 0x01])
        .unwrap();
    let mut loose = payload[..=at].to_vec();
    loose.extend_from_slice(&[0x18, 0x01]);
    loose.extend_from_slice(&payload[at + 2..]);
    let mut bytes = keypair()
        .sign(&signed_message::<Revocation>(&loose))
        .to_vec();
    bytes.extend_from_slice(&loose);
    let opened = Signed::<Revocation>::from_bytes(bytes).unwrap().open();
    assert_eq!(opened.unwrap_err(), StatementError::NotCanonical);
}

#[test]
fn a_grant_names_nodes_once_and_ends() {
    let broken = |change: fn(&mut Grant)| {
        let mut grant = grant();
        change(&mut grant);
        matches!(sign(&grant, &keypair()), Err(StatementError::Invalid(_)))
    };
    assert!(broken(|grant| grant.nodes.reverse()));
    assert!(broken(|grant| grant.nodes.push(grant.nodes[1])));
    assert!(broken(|grant| grant.expires_at = grant.issued_at));
    assert!(broken(|grant| grant.expires_at = UnixMillis(u64::MAX)));
    let mut wide = grant();
    assert!(wide.names(&wide.nodes[0]) && !wide.names(&wide.client));
    wide.nodes.clear();
    assert!(wide.names(&wide.client));
    round_trips(&wide);
}

#[test]
fn rules_hold_when_signing_and_when_opening() {
    let mut long_lived = advert();
    long_lived.expires_at = UnixMillis(1_300_001);
    assert!(matches!(
        sign(&long_lived, &keypair()),
        Err(StatementError::Invalid(_))
    ));
    let mut large = advert();
    large.mesh_addresses = vec!["/".repeat(128); 6];
    large.tls_addresses = vec!["h".repeat(128); 6];
    assert!(matches!(
        sign(&large, &keypair()),
        Err(StatementError::Size { .. })
    ));
    let mut nan = receipt();
    nan.loss = Some(f64::NAN);
    assert!(matches!(
        sign(&nan, &keypair()),
        Err(StatementError::Invalid(_))
    ));
    let mut unordered = revocation();
    unordered.tokens.reverse();
    assert!(matches!(
        sign(&unordered, &keypair()),
        Err(StatementError::Invalid(_))
    ));
    assert_eq!(
        sign(&advert(), &Keypair::from_seed(&[4; 32])).unwrap_err(),
        StatementError::WrongSigner
    );
    // A rule broken under a true signature is still refused.
    let payload = encode(&long_lived).unwrap();
    let mut bytes = keypair().sign(&signed_message::<Advert>(&payload)).to_vec();
    bytes.extend_from_slice(&payload);
    let opened = Signed::<Advert>::from_bytes(bytes).unwrap().open();
    assert!(matches!(opened, Err(StatementError::Invalid(_))));
}

fn full_receipt() -> Receipt {
    Receipt {
        account: Some(Account {
            version: ACCOUNT_VERSION,
            kind: "train".into(),
            model: Some(Digest::of(b"model")),
            resumed_from: Some(Digest::of(b"checkpoint")),
            program: "embermesh 1".into(),
            backend: "burn 1 flex".into(),
            driver: "Linux 6".into(),
            wall_ms: 9,
            cpu_ms: Some(18),
            peak_memory_bytes: Some(1 << 20),
            memory_ceiling_bytes: 1 << 30,
            wall_ceiling_ms: 1000,
            cpu_ceiling_ms: Some(2000),
            output_ceiling_bytes: 1 << 20,
            previous: Some(Digest::of(b"previous")),
        }),
        message: "as asked".into(),
        ..receipt()
    }
}

/// What somebody would like a receipt to say, under the signature of another.
fn tampered() -> Vec<(&'static str, Receipt)> {
    let mut all = Vec::new();
    let mut with = |field, change: &dyn Fn(&mut Receipt)| {
        let mut receipt = full_receipt();
        change(&mut receipt);
        assert_ne!(receipt, full_receipt(), "{field} is as it was");
        all.push((field, receipt));
    };
    let peer = Keypair::from_seed(&[9; 32]).peer_id();
    let other = Digest::of(b"other");
    with("node", &|r| r.node = peer);
    with("client", &|r| r.client = peer);
    with("issuer", &|r| r.issuer = peer);
    with("token_id", &|r| r.token_id = TokenId([2; 16]));
    with("job", &|r| r.job = JobId::v7(UnixMillis(6), [2; 10]));
    with("task", &|r| r.task = TaskIndex(1));
    with("epoch", &|r| r.epoch = Epoch(2));
    with("spec", &|r| r.spec = other);
    with("outcome", &|r| r.outcome = Outcome::Failed);
    with("device", &|r| r.device = "gpu".into());
    with("device_kind", &|r| r.device_kind = DeviceKind::Cuda);
    with("inputs", &|r| r.inputs = vec![other]);
    with("an input more", &|r| r.inputs.push(other));
    with("output name", &|r| r.outputs[0].name = "x".into());
    with("output digest", &|r| r.outputs[0].digest = other);
    with("output size", &|r| r.outputs[0].size = 4);
    with("outputs", &|r| r.outputs.clear());
    with("steps", &|r| r.steps = 11);
    with("samples", &|r| r.samples = 641);
    with("loss", &|r| r.loss = Some(0.125));
    with("accuracy", &|r| r.accuracy = None);
    with("started_at", &|r| r.started_at = UnixMillis(9));
    with("ended_at", &|r| r.ended_at = UnixMillis(21));
    with("message", &|r| r.message.clear());
    with("account", &|r| r.account = None);
    let mut in_account = |field, change: &dyn Fn(&mut Account)| {
        with(field, &|r| change(r.account.as_mut().unwrap()));
    };
    in_account("version", &|a| a.version = 0);
    in_account("kind", &|a| a.kind = "predict".into());
    in_account("model", &|a| a.model = Some(other));
    in_account("resumed_from", &|a| a.resumed_from = None);
    in_account("program", &|a| a.program = "embermesh 2".into());
    in_account("backend", &|a| a.backend = "burn 1 cuda".into());
    in_account("driver", &|a| a.driver.clear());
    in_account("wall_ms", &|a| a.wall_ms = 8);
    in_account("cpu_ms", &|a| a.cpu_ms = Some(17));
    in_account("peak_memory_bytes", &|a| a.peak_memory_bytes = None);
    in_account("memory_ceiling_bytes", &|a| a.memory_ceiling_bytes = 1);
    in_account("wall_ceiling_ms", &|a| a.wall_ceiling_ms = 1);
    in_account("cpu_ceiling_ms", &|a| a.cpu_ceiling_ms = None);
    in_account("output_ceiling_bytes", &|a| a.output_ceiling_bytes = 1);
    in_account("previous", &|a| a.previous = None);
    all
}

#[test]
fn no_field_of_a_receipt_can_be_changed_under_its_signature() {
    let signed = sign(&full_receipt(), &keypair()).unwrap();
    assert_eq!(*signed.open().unwrap(), full_receipt());
    let signature = &signed.bytes()[..SIGNATURE_LEN];
    for (field, content) in tampered() {
        let mut bytes = signature.to_vec();
        bytes.extend(encode(&content).unwrap());
        let opened = Signed::<Receipt>::from_bytes(bytes).unwrap().open();
        assert!(
            matches!(opened, Err(StatementError::BadSignature)),
            "{field}: {opened:?}"
        );
    }
}

#[test]
fn a_receipt_without_an_account_is_what_it_was_before_there_were_any() {
    // Twenty entries: nothing is written for what is not there.
    let old = encode(&receipt()).unwrap();
    assert_eq!(old[0], 0xb4);
    assert!(sign(&receipt(), &keypair()).unwrap().open().is_ok());
    let mut later = full_receipt();
    later.account.as_mut().unwrap().version = ACCOUNT_VERSION + 1;
    assert!(matches!(
        sign(&later, &keypair()),
        Err(StatementError::Invalid(_))
    ));
}
