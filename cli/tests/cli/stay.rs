//! Data that stays with the client, by hand and with real processes: the same weights
//! as when it travels, a client that goes away and another that feeds on.

use std::path::{Path, PathBuf};

use crate::support::{Mesh, Numbers, digits_job, is_event, refused};

/// The job of a file with its data kept here.
fn staying(job: &Path) -> PathBuf {
    let text = std::fs::read_to_string(job).unwrap();
    let stays = text.replace("digits.csv\" }", "digits.csv\", stay = true }");
    assert_ne!(text, stays);
    let path = job.with_file_name("stays.toml");
    std::fs::write(&path, stays).unwrap();
    path
}

/// What lies behind the header of a safetensors file.
fn tensors(path: &Path) -> Vec<u8> {
    let bytes = std::fs::read(path).unwrap();
    let head = u64::from_le_bytes(bytes[..8].try_into().unwrap());
    bytes[8 + usize::try_from(head).unwrap()..].to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_data_stays_gives_the_weights_of_one_whose_data_travels() {
    let mesh = Mesh::start(1).await;
    let job = digits_job(mesh.path(), "digits", 2);
    let stays = staying(&job);
    let mut weights = Vec::new();
    for (name, job) in [("travels", &job), ("stays", &stays)] {
        let out = mesh.path().join(name);
        let words = [
            "submit",
            job.to_str().unwrap(),
            "--follow",
            "--out",
            out.to_str().unwrap(),
        ];
        let mut numbers = Numbers::default();
        let (rest, code) = mesh.stream(&words).finish(&mut numbers).await;
        assert_eq!(code, 0, "{rest:?}");
        let sent = rest.iter().any(|line| line["update"] == "uploading");
        assert_eq!(sent, name == "travels");
        weights.push(tensors(&out.join("model.safetensors")));
    }
    assert_eq!(weights[0], weights[1]);

    // Data that stays needs somebody who stays with it.
    let left = mesh.run(&["submit", stays.to_str().unwrap()]).await;
    refused(&left, 2, &["--follow"]);
    // What is malformed is named before anything is submitted.
    let bad = mesh.path().join("bad.csv");
    std::fs::write(&bad, "1,2,3\n").unwrap();
    let text = std::fs::read_to_string(&stays).unwrap();
    let at = text.find("path = \"").unwrap() + 8;
    let end = at + text[at..].find('"').unwrap();
    let broken = mesh.path().join("broken.toml");
    std::fs::write(&broken, text.replace(&text[at..end], bad.to_str().unwrap())).unwrap();
    let refusal = mesh
        .run(&["submit", broken.to_str().unwrap(), "--follow"])
        .await;
    refused(&refusal, 2, &["line 1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_command_feeds_a_job_whose_client_has_gone() {
    let mesh = Mesh::start(1).await;
    let job = staying(&digits_job(mesh.path(), "digits", 30));
    let mut followed = mesh.follow(&job).await;
    followed
        .stream
        .until(&mut followed.numbers, |line| is_event(line, "progress"))
        .await;
    followed.stream.child.kill().await.unwrap();

    // Another job file is not the one.
    let other = digits_job(mesh.path(), "digits", 30);
    let wrong = [
        "jobs",
        "watch",
        &followed.id,
        "--feed",
        other.to_str().unwrap(),
    ];
    refused(&mesh.run(&wrong).await, 2, &["stay = true"]);

    let job = job.to_str().unwrap();
    let words = ["jobs", "watch", &followed.id, "--feed", job];
    let mut numbers = Numbers::default();
    let (rest, code) = mesh.stream(&words).finish(&mut numbers).await;
    assert_eq!(code, 0, "{rest:?}");
    assert!(rest.iter().any(|line| is_event(line, "finished")));
}
