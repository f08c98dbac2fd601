//! Pages and totals mean the same jobs.

use super::*;

fn who(name: &str) -> Principal {
    Principal {
        dialect: Dialect::CyxWiz,
        name: name.to_owned(),
    }
}

fn job(owner: &str, id: &str, kind: &str) -> Kept {
    Kept {
        number: 0,
        owner: who(owner),
        id: Some(id.to_owned()),
        submit_key: [0; 16],
        job: None,
        spec: Vec::new(),
        notes: BTreeMap::from([("cyxwiz.type".to_owned(), kind.to_owned())]),
        submitted_at: UnixMillis(1),
        state: JobState::Queued,
        ended: None,
    }
}

fn ended() -> Ended {
    Ended {
        at: UnixMillis(2),
        started_at: None,
        progress: 1.0,
        pass: (0, 0),
        metrics: BTreeMap::new(),
        message: String::new(),
        artifacts: Vec::new(),
        receipt: Vec::new(),
        node: None,
        worker: None,
    }
}

#[tokio::test]
async fn a_note_cuts_pages_and_counts_alike() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("jobs.sqlite"))
        .await
        .unwrap();
    let mut numbers = Vec::new();
    for (owner, id, kind) in [
        ("alice", "a", "1"),
        ("alice", "b", "2"),
        ("alice", "c", "1"),
        ("alice", "d", "1"),
        ("bob", "a", "1"),
    ] {
        numbers.push(store.add(&job(owner, id, kind)).await.unwrap().unwrap());
    }
    let done = ended();
    for (number, state) in [(0, JobState::Failed), (2, JobState::Succeeded)] {
        store.end(numbers[number], state, &done).await.unwrap();
    }
    let note = |kind: &str| ("cyxwiz.type".to_owned(), kind.to_owned());
    let page = async |kind: Option<&str>, before, most| {
        let note = kind.map(note);
        let page = store.page(&who("alice"), note.as_ref(), before, most).await;
        let ids = page.unwrap().into_iter().filter_map(|kept| kept.id);
        ids.collect::<Vec<_>>()
    };
    assert_eq!(page(None, i64::MAX, 9).await, ["d", "c", "b", "a"]);
    assert_eq!(page(Some("1"), i64::MAX, 2).await, ["d", "c"]);
    assert_eq!(page(Some("1"), numbers[2], 2).await, ["a"]);
    assert_eq!(page(Some("3"), i64::MAX, 9).await, [""; 0]);
    let (ended, open) = store.census(&who("alice"), Some(&note("1"))).await.unwrap();
    let mut ended: Vec<_> = ended
        .iter()
        .map(|(state, many)| (state.as_str(), *many))
        .collect();
    ended.sort_unstable();
    assert_eq!(ended, [("failed", 1), ("succeeded", 1)]);
    assert_eq!(open, [numbers[3]]);
    let (ended, open) = store.census(&who("alice"), None).await.unwrap();
    assert_eq!((ended.len(), open), (2, vec![numbers[1], numbers[3]]));
    let (ended, open) = store.census(&who("carol"), None).await.unwrap();
    assert!(ended.is_empty() && open.is_empty());
}

#[tokio::test]
async fn writes_that_come_together_are_all_kept_and_a_name_is_taken_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("jobs.sqlite"))
        .await
        .unwrap();
    let names: Vec<String> = (0..40).map(|number| format!("job-{number}")).collect();
    let jobs: Vec<_> = names
        .iter()
        .chain(&names)
        .map(|name| job("alice", name, "1"))
        .collect();
    let added = futures::future::join_all(jobs.iter().map(|job| store.add(job))).await;
    let mut numbers: Vec<i64> = added.into_iter().filter_map(Result::unwrap).collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), names.len());
    let open = store.open_jobs().await.unwrap();
    let found: Vec<i64> = open.iter().map(|kept| kept.number).collect();
    assert_eq!(found, numbers);

    // Each of a group has its own effect.
    let done = ended();
    let ends = numbers[..39]
        .iter()
        .map(|number| store.end(*number, JobState::Succeeded, &done));
    for ended in futures::future::join_all(ends).await {
        ended.unwrap();
    }
    let open = store.open_jobs().await.unwrap();
    assert_eq!(open.len(), 1);
    assert_eq!(open[0].number, numbers[39]);
}
