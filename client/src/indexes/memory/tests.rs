//! What is remembered is found again, within its bounds.

use embermesh_crypto::Keypair;

use super::*;

fn held(number: u16) -> Held {
    let [high, low] = number.to_be_bytes();
    let mut random = [1; 10];
    random[2] = low;
    Held {
        job: JobId::v7(UnixMillis(1_790_000_000_000 + u64::from(number)), random),
        name: format!("job {high}-{low}"),
        spec: Digest::of(b"spec"),
        index: "127.0.0.1:7420".to_owned(),
        index_peer: Keypair::from_seed(&[1; 32]).peer_id(),
        epoch: Epoch(0),
        node: None,
        token: String::new(),
        expires_at: UnixMillis(0),
    }
}

fn assignment(held: &Held, epoch: u64) -> NodeAssignment {
    NodeAssignment {
        job: held.job,
        task: TaskIndex(0),
        epoch: Epoch(epoch),
        node: PeerAddress {
            peer: Keypair::from_seed(&[2; 32]).peer_id(),
            tls: vec!["127.0.0.1:1".to_owned()],
            mesh: Vec::new(),
        },
        token: format!("token {epoch}"),
        expires_at: UnixMillis(5),
    }
}

#[test]
fn a_job_is_found_with_its_newest_assignment() {
    let folder = tempfile::tempdir().unwrap();
    let memory = Memory::at(folder.path().join("held"));
    let mut one = held(1);
    assert_eq!(memory.find(one.job), None);
    assert_eq!(one.assignment(), None);
    memory.keep(&one).unwrap();
    let second = assignment(&one, 2);
    assert!(one.assign(&assignment(&one.clone(), 1)) && one.assign(&second));
    assert!(!one.assign(&second), "it is no news");
    memory.keep(&one).unwrap();
    let found = memory.find(one.job).unwrap();
    assert_eq!(found, one);
    assert_eq!(found.assignment(), Some(second));
}

#[test]
fn what_is_damaged_is_as_if_it_were_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let memory = Memory::at(folder.path().to_owned());
    let one = held(1);
    memory.keep(&one).unwrap();
    std::fs::write(folder.path().join(format!("{}.json", one.job)), b"{").unwrap();
    assert_eq!(memory.find(one.job), None);
}

#[test]
fn the_oldest_make_room() {
    let folder = tempfile::tempdir().unwrap();
    let memory = Memory::at(folder.path().to_owned());
    let most = u16::try_from(MAX_HELD).unwrap();
    for number in 0..most + 2 {
        memory.keep(&held(number)).unwrap();
    }
    assert_eq!(memory.find(held(1).job), None);
    assert!(memory.find(held(2).job).is_some());
    assert!(memory.find(held(most + 1).job).is_some());
    // What is there already takes no room from others.
    memory.keep(&held(most)).unwrap();
    assert!(memory.find(held(2).job).is_some());
}
