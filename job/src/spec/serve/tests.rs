//! What a deployment may say, and who may ask it.

use embermesh_crypto::Keypair;

use super::*;
use crate::{
    spec::{JobSpec, Work},
    units::Bytes,
};

fn peer(seed: u8) -> PeerId {
    Keypair::from_seed(&[seed; 32]).peer_id()
}

fn file() -> Input {
    Input {
        digest: Digest::of(b"model"),
        size: 5,
    }
}

fn job(serve: Serve) -> JobSpec {
    JobSpec {
        name: "chat".to_owned(),
        work: Work::Serve(serve),
        requires: Requirements::default(),
        limits: Limits::default(),
        attempts: 1,
    }
}

fn network(outputs: &str) -> Serve {
    let json = format!(
        r#"{{"model":{{"input":[2],"layers":[{{"op":"dense","units":3}}]}},
            "weights":{{"digest":"{}","size":5}},{outputs}}}"#,
        Digest::of(b"weights")
    );
    Serve::new(Served::Network(serde_json::from_str(&json).unwrap()))
}

#[test]
fn a_deployment_has_one_form_and_the_usual_for_what_is_not_said() {
    for serve in [
        Serve::new(Served::Language(file().into())),
        network(r#""outputs":"classes","labels":["a","b","c"]"#),
        Serve {
            idle: Some(Millis(60_000)),
            askers: Askers::Peers(vec![peer(1)]),
            ..Serve::new(Served::Language(file().into()))
        },
    ] {
        let spec = job(serve);
        let bytes = spec.canonical();
        assert_eq!(JobSpec::from_canonical(&bytes).unwrap(), spec);
        assert_eq!(spec.inputs().len(), 1);
    }
    let text = format!(
        r#"{{"model":{{"language":{{"digest":"{}","size":5}}}}}}"#,
        Digest::of(b"model")
    );
    let short: Serve = serde_json::from_str(&text).unwrap();
    assert_eq!(short, Serve::new(Served::Language(file().into())));
    assert_eq!((short.kind(), short.most_asks()), (AskKind::Text, 20));
}

#[test]
fn what_is_out_of_bounds_is_refused_by_name() {
    let refused = |change: fn(&mut Serve)| {
        let mut serve = Serve::new(Served::Language(file().into()));
        change(&mut serve);
        job(serve).validate().unwrap_err().to_string()
    };
    assert!(refused(|s| s.concurrency = 0).contains("`concurrency`"));
    assert!(refused(|s| s.concurrency = MAX_CONCURRENCY + 1).contains("`concurrency`"));
    assert!(refused(|s| s.queue = MAX_QUEUE + 1).contains("`queue`"));
    assert!(refused(|s| s.context = 1).contains("`context`"));
    assert!(refused(|s| s.idle = Some(Millis(999))).contains("`idle`"));
    assert!(refused(|s| s.askers = Askers::Peers(Vec::new())).contains("`askers.peers`"));
    let mut spec = job(Serve::new(Served::Language(file().into())));
    spec.requires.device = Some(DeviceKind::Cuda);
    let said = spec.validate().unwrap_err().to_string();
    assert!(said.contains("processor"), "{said}");
    let mut spec = job(Serve::new(Served::Language(LanguageModel::File(Input {
        size: 3 << 30,
        ..file()
    }))));
    spec.limits.memory = Bytes(1 << 30);
    let said = spec.validate().unwrap_err().to_string();
    assert!(said.contains("limits.memory"), "{said}");
}

#[test]
fn a_network_says_what_its_outputs_are_called() {
    for (outputs, word) in [
        (r#""outputs":"classes","labels":["a"]"#, "`labels`"),
        (r#""outputs":"numbers","labels":["a","b","c"]"#, "`labels`"),
        (r#""outputs":"labels","labels":["a","","c"]"#, "`labels`"),
        (
            r#""outputs":"numbers","normalise":{"scale":{"from":1,"to":1}}"#,
            "normalise",
        ),
    ] {
        let said = job(network(outputs)).validate().unwrap_err().to_string();
        assert!(said.contains(word), "{outputs}: {said}");
    }
    let mut spec = job(network(r#""outputs":"numbers""#));
    spec.limits.memory = Bytes(1 << 20);
    if let Work::Serve(serve) = &mut spec.work
        && let Served::Network(network) = &mut serve.model
    {
        network.model = serde_json::from_str(
            r#"{"input":[2],"layers":[{"op":"dense","units":60000},{"op":"dense","units":3}]}"#,
        )
        .unwrap();
    }
    let said = spec.validate().unwrap_err().to_string();
    assert!(said.contains("limits.memory"), "{said}");
}

#[test]
fn the_owner_asks_and_others_as_the_deployment_says() {
    let (owner, friend, stranger) = (peer(1), peer(2), peer(3));
    let only = Askers::Owner;
    assert!(only.admit(&owner, &owner, false));
    assert!(!only.admit(&friend, &owner, true));
    let some = Askers::Peers(vec![friend]);
    assert!(some.admit(&owner, &owner, false) && some.admit(&friend, &owner, false));
    assert!(!some.admit(&stranger, &owner, true));
    let all = Askers::Anyone;
    assert!(all.admit(&stranger, &owner, true));
    assert!(!all.admit(&stranger, &owner, false));
    assert!(all.admit(&owner, &owner, false));
}
