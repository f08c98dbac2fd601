//! Tokens, key sets, rotation and revocation, as a node would check them.

use embermesh_crypto::{
    ids::TokenId,
    statement::{KeySet, MAX_REVOKED, Revocation},
    token::{self, Authority, Bearer, Expectation, IssuerTrust, Method, TaskRef},
};

use super::*;
use crate::state::settings::{CLOCK_SKEW, REVOCATIONS_PER_CLIENT};

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
    assert!(world.writes().keys.is_some());
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

fn revoke(world: &mut World, job: JobId, caller: PeerId) -> Result<Reply, Refused> {
    world.handle(Command::Revoke { job, caller })
}

#[test]
fn too_many_revocations_raise_the_epoch_instead() {
    let mut world = World::new();
    world.register(&key(1), 100);
    let kept = world.submit(spec("a")).unwrap().assignment.unwrap();
    let clients = MAX_REVOKED / REVOCATIONS_PER_CLIENT + 1;
    for n in 0..clients {
        let client = key(150 + u8::try_from(n).unwrap()).peer_id();
        let job = world
            .submit_as(client, spec("b"), [1; 16])
            .unwrap()
            .job
            .job
            .id;
        for _ in 0..REVOCATIONS_PER_CLIENT {
            revoke(&mut world, job, client).unwrap();
        }
    }
    let trust = Trust::of(&world);
    assert_eq!(trust.revocation.as_ref().unwrap().min_epoch, 1);
    assert!(trust.revocation.as_ref().unwrap().tokens.len() < MAX_REVOKED);
    assert!(world.writes().revocation.unwrap().all_void);
    assert_eq!(check(&world, &trust, &kept).unwrap_err().code(), "revoked");
    let fresh = renew(&mut world, kept.job);
    check(&world, &trust, &fresh).unwrap();
}

#[test]
fn one_client_cannot_void_the_tokens_of_all() {
    let mut world = World::new();
    world.register(&key(1), 10);
    let (caller, other) = (world.client.peer_id(), key(101).peer_id());
    let theirs = world.submit_as(other, spec("a"), [1; 16]).unwrap();
    let theirs = theirs.assignment.unwrap();
    let job = world.submit(spec("a")).unwrap().job.job.id;
    for _ in 0..REVOCATIONS_PER_CLIENT {
        revoke(&mut world, job, caller).unwrap();
    }
    for _ in 0..2_000 {
        let refused = revoke(&mut world, job, caller).unwrap_err();
        assert!(matches!(refused, Refused::TooManyRevocations { .. }));
        assert!(refused.to_string().contains("64"), "{refused}");
    }
    let revocation = Trust::of(&world).revocation.unwrap();
    assert_eq!(revocation.min_epoch, 0);
    assert_eq!(revocation.tokens.len(), REVOCATIONS_PER_CLIENT);
    let expect = Expectation {
        node: theirs.node.peer,
        bearer: Bearer::Peer(other),
        method: Method::Run,
        task: None,
        spec: Some(spec("a").digest()),
        now: world.now,
        trust: &Trust::of(&world),
    };
    token::verify(&theirs.token, &expect).unwrap();
    // Another is not bound by it, and neither is the first once theirs expired.
    revoke(&mut world, theirs.job, other).unwrap();
    world.now = world
        .now
        .saturating_add(settings().token_lifetime + CLOCK_SKEW);
    revoke(&mut world, job, caller).unwrap();
}

#[test]
fn only_what_is_new_of_a_revocation_is_written() {
    let mut world = World::new();
    world.register(&key(1), 1);
    let caller = world.client.peer_id();
    let job = world.submit(spec("a")).unwrap().job.job.id;
    world.writes();
    let mut written = std::collections::BTreeSet::new();
    for _ in 0..3 {
        revoke(&mut world, job, caller).unwrap();
        let writes = world.writes();
        assert!(writes.keys.is_none(), "the keys did not change");
        let added = writes.revocation.unwrap().added;
        assert_eq!(added.len(), 1);
        assert!(added.into_keys().all(|token| written.insert(token)));
    }
    // Once the job is over there is one token left to void, and only once.
    world.handle(Command::Cancel { job, caller }).unwrap();
    revoke(&mut world, job, caller).unwrap();
    world.writes();
    world.out.broadcast.clear();
    let sequence = world.state.issuer().revocation_sequence();
    assert!(
        matches!(revoke(&mut world, job, caller), Ok(Reply::Statement(bytes)) if !bytes.is_empty())
    );
    assert!(world.writes().is_empty() && world.out.broadcast.is_empty());
    assert_eq!(world.state.issuer().revocation_sequence(), sequence);
}

#[test]
fn a_clock_set_back_leaves_no_token_in_the_nodes_future() {
    let mut world = World::new();
    world.register(&key(1), 1);
    let job = world.submit(spec("a")).unwrap().job.job.id;
    let administrator = world.identity.peer_id();
    world
        .handle(Command::RotateIssuerKey {
            caller: administrator,
        })
        .unwrap();
    let sequence = world.state.issuer().key_set_sequence();
    // An hour ahead until now, as the nodes see it.
    world.now = UnixMillis(world.now.0 - 3_600_000);
    world.out.broadcast.clear();
    world.handle(Command::Grace).unwrap();
    assert_eq!(world.state.issuer().key_set_sequence(), sequence + 1);
    assert!(matches!(world.out.broadcast[..], [Order::KeySet(_)]));
    assert!(world.writes().keys.is_some());
    let trust = Trust::of(&world);
    assert!(trust.set.keys.iter().all(|key| key.not_before <= world.now));
    let fresh = renew(&mut world, job);
    check(&world, &trust, &fresh).unwrap();
    // The old key goes when its tokens have, and not an hour later.
    world.now = world.now.saturating_add(Duration::from_secs(3_600));
    let rotate = Command::RotateIssuerKey {
        caller: administrator,
    };
    world.handle(rotate).unwrap();
    assert_eq!(world.state.issuer().snapshot().keys.len(), 3);
}

#[test]
fn a_token_withdrawn_under_a_clock_that_was_ahead_does_not_come_back_to_life() {
    let mut world = World::new();
    world.register(&key(1), 1);
    let job = world.submit(spec("a")).unwrap().job.job.id;
    let caller = world.client.peer_id();
    revoke(&mut world, job, caller).unwrap();
    let ahead = world.now;
    world.now = UnixMillis(ahead.0 - 3_600_000);
    world.handle(Command::Grace).unwrap();
    world.now = ahead;
    world.handle(Command::Tick).unwrap();
    assert_eq!(world.state.issuer().snapshot().revoked.len(), 1);
}
