//! Tokens, key sets, rotation and revocation, as a node would check them.

use embermesh_crypto::{
    ids::TokenId,
    statement::{KeySet, Revocation},
    token::{self, Authority, Bearer, Expectation, IssuerTrust, Method, TaskRef},
};

use super::*;

/// What a node believes: the newest set and revocation that it was given.
struct Trust {
    set: KeySet,
    revocation: Option<Revocation>,
}

impl Trust {
    fn of(world: &World) -> Self {
        Self {
            set: (*world.state.issuer().key_set().open().unwrap()).clone(),
            revocation: world
                .state
                .issuer()
                .revocation()
                .map(|r| (*r.open().unwrap()).clone()),
        }
    }
}

impl IssuerTrust for Trust {
    fn authority(&self, issuer: &PeerId, now: UnixMillis) -> Option<Authority> {
        self.set.valid_key(issuer, now)?;
        Some(Authority {
            identity: self.set.index,
            min_revocation_epoch: self.revocation.as_ref().map_or(0, |r| r.min_epoch),
        })
    }

    fn is_revoked(&self, _: &PeerId, token: &TokenId) -> bool {
        self.revocation
            .as_ref()
            .is_some_and(|r| r.tokens.contains(token))
    }
}

fn check(world: &World, trust: &Trust, assignment: &NodeAssignment) -> Result<(), token::Refusal> {
    let expect = Expectation {
        node: assignment.node.peer,
        bearer: Bearer::Peer(world.client.peer_id()),
        method: Method::Run,
        task: Some(TaskRef {
            job: assignment.job,
            task: assignment.task,
        }),
        spec: Some(spec("a").digest()),
        now: world.now,
        trust,
    };
    token::verify(&assignment.token, &expect).map(|_| ())
}

fn renew(world: &mut World, job: JobId) -> NodeAssignment {
    let caller = world.client.peer_id();
    let command = Command::Renew {
        job,
        epoch: Epoch(1),
        caller,
    };
    match world.handle(command).unwrap() {
        Reply::Assignment(assignment) => *assignment,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_node_that_trusts_the_set_accepts_the_token() {
    let mut world = World::new();
    world.register(&key(1), 1);
    let assignment = world.submit(spec("a")).unwrap().assignment.unwrap();
    check(&world, &Trust::of(&world), &assignment).unwrap();
}

#[test]
fn rotation_never_makes_a_token_that_a_node_cannot_know() {
    let mut world = World::new();
    world.register(&key(1), 1);
    let before = world.submit(spec("a")).unwrap().assignment.unwrap();
    let old_trust = Trust::of(&world);
    let rotate = Command::RotateIssuerKey {
        caller: world.identity.peer_id(),
    };
    world.handle(rotate).unwrap();
    assert!(
        world
            .out
            .broadcast
            .iter()
            .any(|order| matches!(order, Order::KeySet(_)))
    );
    assert!(world.writes().issuer.is_some());
    let after = renew(&mut world, before.job);
    assert_ne!(before.token, after.token);
    // The node that has not heard of the rotation yet accepts both, and so does
    // the one that has.
    for trust in [old_trust, Trust::of(&world)] {
        check(&world, &trust, &before).unwrap();
        check(&world, &trust, &after).unwrap();
    }
    // Once the last token of the old key has expired, the key is forgotten.
    let keys = world.state.issuer().snapshot().keys.len();
    world.now = world.now.saturating_add(Duration::from_secs(3_600));
    let rotate = Command::RotateIssuerKey {
        caller: world.identity.peer_id(),
    };
    world.handle(rotate).unwrap();
    assert_eq!(world.state.issuer().snapshot().keys.len(), keys);
}

#[test]
fn old_secrets_are_not_kept() {
    let mut world = World::new();
    let caller = world.identity.peer_id();
    world.handle(Command::RotateIssuerKey { caller }).unwrap();
    let keys = world.state.issuer().snapshot().keys;
    assert_eq!(keys.len(), 3);
    for key in keys {
        assert_eq!(
            key.keypair.is_none(),
            key.role == super::super::KeyRole::Old
        );
    }
}

#[test]
fn only_administrators_rotate_and_not_without_end() {
    let admin = key(50).peer_id();
    let mut world = World::with(Settings {
        administrators: vec![admin],
        ..settings()
    });
    let caller = world.client.peer_id();
    let refused = world
        .handle(Command::RotateIssuerKey { caller })
        .unwrap_err();
    assert!(matches!(refused, Refused::NotAdministrator));
    let mut refused = None;
    for _ in 0..20 {
        refused = world
            .handle(Command::RotateIssuerKey { caller: admin })
            .err();
    }
    assert!(matches!(refused, Some(Refused::TooManyIssuerKeys { .. })));
    // Age comes due while the set is full: it waits, and does not spin.
    world.settings.rotate_after = Duration::from_secs(1);
    world.state.settings.rotate_after = Duration::from_secs(1);
    world.wait(Duration::from_secs(2));
    assert!(world.state.next_tick() > world.now);
    let next = world.state.next_tick();
    world.wait(next.since(world.now));
    assert!(world.state.next_tick() > world.now);
}

#[test]
fn keys_age() {
    let mut world = World::with(Settings {
        rotate_after: Duration::from_secs(3_600),
        ..settings()
    });
    let signer = world.state.issuer().signer();
    world.wait(Duration::from_secs(3_599));
    assert_eq!(world.state.issuer().signer(), signer);
    world.wait(Duration::from_secs(1));
    assert_ne!(world.state.issuer().signer(), signer);
    assert!(world.state.next_tick() > world.now);
}

#[test]
fn a_set_is_signed_again_before_it_expires() {
    let mut world = World::with(Settings {
        rotate_after: Duration::from_secs(1 << 30),
        ..settings()
    });
    let sequence = world.state.issuer().key_set_sequence();
    let signer = world.state.issuer().signer();
    world.wait(settings().key_set_lifetime / 2);
    assert_eq!(world.state.issuer().key_set_sequence(), sequence + 1);
    assert_eq!(world.state.issuer().signer(), signer);
    let set = Trust::of(&world).set;
    assert!(set.expires_at > world.now.saturating_add(settings().key_set_lifetime / 2));
}

#[test]
fn a_revoked_token_is_refused_and_a_new_one_is_not() {
    let mut world = World::new();
    world.register(&key(1), 1);
    let before = world.submit(spec("a")).unwrap().assignment.unwrap();
    let job = before.job;
    let renewed = renew(&mut world, job);
    let stranger = key(2).peer_id();
    let refused = world
        .handle(Command::Revoke {
            job,
            caller: stranger,
        })
        .unwrap_err();
    assert!(matches!(refused, Refused::NotOwner { .. }));
    let caller = world.client.peer_id();
    world.handle(Command::Revoke { job, caller }).unwrap();
    assert!(
        world
            .out
            .broadcast
            .iter()
            .any(|order| matches!(order, Order::Revocation(_)))
    );
    let trust = Trust::of(&world);
    assert_eq!(
        check(&world, &trust, &before).unwrap_err().code(),
        "revoked"
    );
    assert_eq!(
        check(&world, &trust, &renewed).unwrap_err().code(),
        "revoked"
    );
    let fresh = renew(&mut world, job);
    check(&world, &trust, &fresh).unwrap();
}

#[test]
fn too_many_revocations_raise_the_epoch_instead() {
    let mut world = World::with(Settings {
        open_jobs: 5_000,
        open_jobs_per_client: 5_000,
        ..settings()
    });
    world.register(&key(1), 5_000);
    let caller = world.client.peer_id();
    let kept = world.submit(spec("a")).unwrap().assignment.unwrap();
    for _ in 0..1_025 {
        let job = world.submit(spec("a")).unwrap().job.job.id;
        world.handle(Command::Revoke { job, caller }).unwrap();
    }
    let trust = Trust::of(&world);
    assert_eq!(trust.revocation.as_ref().unwrap().min_epoch, 1);
    assert!(trust.revocation.as_ref().unwrap().tokens.len() < 1_024);
    assert_eq!(check(&world, &trust, &kept).unwrap_err().code(), "revoked");
    let fresh = renew(&mut world, kept.job);
    check(&world, &trust, &fresh).unwrap();
}
