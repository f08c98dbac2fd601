//! Records on the disk: whole, bounded, damaged.

use std::fs;

use super::*;

fn record(number: u64) -> Record {
    let mut tail = [0; 10];
    tail[2..].copy_from_slice(&number.to_be_bytes());
    Record {
        job: JobId::v7(UnixMillis(1_000_000 + number), tail),
        name: format!("job {number}"),
        submitted_at: UnixMillis(1_000_000 + number),
        epoch: Epoch(1),
        begun: 1,
        node: None,
        token: "a.b.c".to_owned(),
        expires_at: UnixMillis(9),
        checkpoints: Vec::new(),
        ended: None,
    }
}

#[test]
fn what_is_kept_is_found_and_the_newest_comes_first() {
    let folder = tempfile::tempdir().unwrap();
    let records = Records::at(folder.path().join("jobs"));
    assert_eq!(records.all().unwrap(), []);
    assert_eq!(records.find(record(1).job).unwrap(), None);
    for number in [2, 1, 3] {
        records.begin(&record(number), b"{}").unwrap();
    }
    let ended = Record {
        ended: Some(Outcome::Succeeded),
        ..record(2)
    };
    records.keep(&ended).unwrap();
    assert_eq!(records.find(ended.job).unwrap(), Some(ended.clone()));
    assert_eq!(records.spec(ended.job).unwrap(), b"{}");
    assert_eq!(records.all().unwrap(), [record(3), ended, record(1)]);
    // Nothing is left of what was being written, and nobody else reads it.
    let names: Vec<_> = fs::read_dir(folder.path().join("jobs"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .collect();
    assert_eq!(names.len(), 6);
    #[cfg(unix)]
    for entry in names {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = entry.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{:?}", entry.path());
    }
}

#[test]
fn a_damaged_record_is_named_and_hides_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let records = Records::at(folder.path().to_owned());
    records.begin(&record(1), b"{}").unwrap();
    records.begin(&record(2), b"{}").unwrap();
    let path = folder.path().join(format!("{}.json", record(1).job));
    fs::write(&path, b"{\"job\": 7").unwrap();
    let error = records.find(record(1).job).unwrap_err().to_string();
    assert!(error.contains(path.to_str().unwrap()), "{error}");
    assert_eq!(records.all().unwrap(), [record(2)]);
    let long = vec![b' '; usize::try_from(MAX_RECORD_LEN).unwrap() + 1];
    fs::write(&path, long).unwrap();
    assert!(records.find(record(1).job).is_err());
}

#[test]
fn the_first_makes_room() {
    let folder = tempfile::tempdir().unwrap();
    let records = Records::at(folder.path().to_owned());
    for number in 0..=MAX_RECORDS as u64 {
        records.begin(&record(number), b"{}").unwrap();
    }
    assert_eq!(records.all().unwrap().len(), MAX_RECORDS);
    assert_eq!(records.find(record(0).job).unwrap(), None);
    assert!(records.spec(record(0).job).is_err());
    assert!(records.find(record(1).job).unwrap().is_some());
}
