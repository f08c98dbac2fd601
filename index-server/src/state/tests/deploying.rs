//! Deployments: who sees them, and where they are placed.

use embermesh_crypto::token::{self, Method};
use embermesh_job::{
    event::Loaded,
    spec::{Askers, LanguageModel, Serve, Served},
    wire::Deployment,
};

use super::*;

fn deployment(name: &str, askers: Askers) -> JobSpec {
    JobSpec {
        work: Work::Serve(Serve {
            askers,
            ..Serve::new(Served::Language(LanguageModel::File(Input {
                digest: Digest::of(b"model"),
                size: 5,
            })))
        }),
        ..spec(name)
    }
}

impl World {
    /// A node with a slot and so many places for resident models.
    fn register_with(&mut self, node: &Keypair, residents: u32, sequence: u64) {
        let mut advert = (*self.advert(node, sequence, 1, 1).open().unwrap()).clone();
        advert.free_residents = residents;
        let advert = statement::sign(&advert, node).unwrap();
        let node = node.peer_id();
        self.handle(Command::Register { node, advert }).unwrap();
    }

    fn deployments(&mut self, caller: &Keypair) -> Vec<Deployment> {
        let caller = caller.peer_id();
        match self.handle(Command::Deployments { caller }).unwrap() {
            Reply::Deployments(found) => found,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn deployments_are_shown_to_those_who_may_ask_until_they_end() {
    let mut world = World::new();
    world.register_with(&key(1), 4, 1);
    let owner = key(100);
    let only = world.submit(deployment("only", Askers::Owner)).unwrap();
    let some = Askers::Peers(vec![key(2).peer_id()]);
    world.submit(deployment("some", some)).unwrap();
    world.submit(deployment("all", Askers::Anyone)).unwrap();
    world.submit(spec("no deployment")).unwrap();
    let names = |found: Vec<Deployment>| -> Vec<String> {
        found
            .into_iter()
            .map(|deployment| deployment.name)
            .collect()
    };
    assert_eq!(names(world.deployments(&owner)), ["all", "some", "only"]);
    assert_eq!(names(world.deployments(&key(2))), ["all", "some"]);
    assert_eq!(names(world.deployments(&key(3))), ["all"]);

    let job = only.job.job.id;
    let attempt = task(job, 1);
    let shown = |world: &mut World| world.deployments(&key(100)).pop().unwrap();
    assert!(!shown(&mut world).loaded);
    let started = world.started(attempt);
    world.report(&key(1), attempt, started).unwrap();
    let loaded = world.event(
        attempt,
        2,
        EventKind::Loaded(Loaded {
            model: Digest::of(b"model"),
            memory_bytes: 1,
            context: 1,
            concurrency: 1,
        }),
    );
    world.report(&key(1), attempt, loaded).unwrap();
    let now = shown(&mut world);
    assert!(now.loaded && now.state == JobState::Running);
    assert_eq!(now.node.unwrap().peer, key(1).peer_id());
    let caller = owner.peer_id();
    world.handle(Command::Cancel { job, caller }).unwrap();
    assert_eq!(names(world.deployments(&owner)), ["all", "some"]);
}

#[test]
fn who_may_ask_gets_a_permission_for_that_and_for_nothing_else() {
    let mut world = World::new();
    world.register_with(&key(1), 4, 1);
    let deploy = |world: &mut World, askers| {
        let deployed = world.submit(deployment("it", askers)).unwrap();
        deployed.job.job.id
    };
    let mine = deploy(&mut world, Askers::Owner);
    let some = deploy(&mut world, Askers::Peers(vec![key(2).peer_id()]));
    let all = deploy(&mut world, Askers::Anyone);
    let no_model = world.submit(spec("no deployment")).unwrap().job.job.id;
    let mut permit = |job, caller: &Keypair| {
        let caller = caller.peer_id();
        match world.handle(Command::PermitAsk { job, caller })? {
            Reply::Assignment(permit) => Ok(*permit),
            other => panic!("{other:?}"),
        }
    };
    for (job, caller) in [(mine, 100), (some, 2), (all, 2), (all, 3)] {
        let permit = permit(job, &key(caller)).unwrap();
        assert_eq!((permit.job, permit.node.peer), (job, key(1).peer_id()));
        let said = token::inspect(&permit.token, permit.expires_at).unwrap();
        assert_eq!(said.claims.client, key(caller).peer_id());
        let methods: Vec<Method> = said.claims.methods.iter().collect();
        assert_eq!(methods, [Method::Ask]);
    }
    for (job, caller) in [(mine, 2), (some, 3), (no_model, 100)] {
        let refused = permit(job, &key(caller)).unwrap_err();
        assert!(matches!(refused, Refused::UnknownJob(id) if id == job));
    }
}

#[test]
fn a_deployment_takes_a_place_and_no_slot() {
    let mut world = World::new();
    world.register_with(&key(1), 1, 1);
    assert!(world.submit(spec("job")).unwrap().assignment.is_some());
    // Every slot is taken, and a place is free.
    let first = world.submit(deployment("first", Askers::Owner)).unwrap();
    assert!(first.assignment.is_some());
    // It is promised, whatever the last advert says.
    let second = world.submit(deployment("second", Askers::Owner)).unwrap();
    assert!(second.assignment.is_none());
    assert_eq!(second.job.passed_over[0].code, "no_residents");
    // A job that waits is no hindrance to a deployment that does.
    world.submit(spec("another")).unwrap();
    world.register_with(&key(1), 1, 2);
    let id = second.job.job.id;
    assert_eq!(world.state_of(id), JobState::Assigned);
}
