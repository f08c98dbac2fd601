//! HiveMind's users with real processes: programs on a node of the mesh, and on a worker of
//! the system where no node takes them.
#![cfg(target_os = "linux")]

pub(crate) mod worker;

use std::{
    io::{Cursor, Read as _, Write as _},
    path::Path,
};

use embermesh_proto::hivemind::nodepool::{
    self as wire, master_node_service_client::MasterNodeServiceClient,
    user_service_client::UserServiceClient,
};
use tonic::{Request, transport::Channel};
use zip::{ZipArchive, ZipWriter, write::SimpleFileOptions};

use crate::support::{Mesh, eventually};

pub(crate) type Tasks = MasterNodeServiceClient<Channel>;

const PROGRAM: &[u8] = b"
import os
print('Hello,', open('name.txt').read())
os.makedirs('out', exist_ok=True)
open('out/answer.txt', 'w').write('42')
print('the last line has no end', end='')
";

fn zipped(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in files {
        zip.start_file(*name, SimpleFileOptions::default()).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// A file of an archive.
pub(crate) fn unzipped(data: &[u8], name: &str) -> String {
    let mut zip = ZipArchive::new(Cursor::new(data)).unwrap();
    let mut text = String::new();
    let mut file = zip.by_name(name).unwrap();
    file.read_to_string(&mut text).unwrap();
    text
}

/// Registers somebody and logs in.
async fn user(channel: &Channel, name: &str) -> String {
    let mut users = UserServiceClient::new(channel.clone());
    let (username, password) = (name.to_owned(), "password123".to_owned());
    let request = wire::RegisterRequest { username, password };
    let made = users.register(request).await.unwrap().into_inner();
    assert!(made.success, "{}", made.message);
    let (username, password) = (name.to_owned(), "password123".to_owned());
    let login = wire::LoginRequest { username, password };
    let session = users.login(login).await.unwrap().into_inner();
    assert!(session.success, "{}", session.message);
    session.token
}

fn by<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let value = format!("Bearer {token}").parse().unwrap();
    request.metadata_mut().insert("authorization", value);
    request
}

async fn upload(tasks: &mut Tasks, token: &str, id: &str, data: Vec<u8>) -> (bool, String) {
    let request = wire::UploadTaskRequest {
        task_id: id.to_owned(),
        task_data: data.into(),
        user_id: String::new(),
    };
    let answer = tasks.upload_task(by(token, request)).await.unwrap();
    let answer = answer.into_inner();
    (answer.success, answer.message)
}

async fn poll(tasks: &Tasks, token: &str, id: &str) -> wire::PollTaskStatusResponse {
    let task_id = id.to_owned();
    let request = by(token, wire::PollTaskStatusRequest { task_id });
    let polled = tasks.clone().poll_task_status(request).await;
    polled.unwrap().into_inner()
}

async fn until(tasks: &Tasks, token: &str, id: &str, status: &str) {
    eventually(&format!("{id} is {status}"), async || {
        poll(tasks, token, id).await.status == status
    })
    .await;
}

async fn result(tasks: &mut Tasks, token: &str, id: &str) -> wire::GetTaskResultResponse {
    let request = wire::GetTaskResultRequest {
        task_id: id.to_owned(),
        ..wire::GetTaskResultRequest::default()
    };
    let result = tasks.get_task_result(by(token, request)).await;
    result.unwrap().into_inner()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zip_is_run_on_a_node_that_allows_it_and_comes_back_as_a_zip() {
    if !Path::new("/usr/bin/bwrap").exists() {
        println!("skipped: bubblewrap is missing: install it");
        return;
    }
    let mut mesh = Mesh::start(0).await;
    let node = mesh.start_node_with("runs", &["--runtime", "python"]).await;
    let peer = node.peer();
    mesh.nodes.push(node);
    mesh.until_nodes(1).await;
    let channel = mesh.channel().await;
    let (ada, bob) = (user(&channel, "ada").await, user(&channel, "bob").await);
    let mut tasks = Tasks::new(channel)
        .max_decoding_message_size(256 << 20)
        .max_encoding_message_size(256 << 20);

    // More than gRPC takes by itself, and what is none.
    let mut noise = vec![0_u8; 8 << 20];
    let mut state = 7_u32;
    for byte in &mut noise {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *byte = state.to_be_bytes()[0];
    }
    let files: [(&str, &[u8]); 3] = [
        ("main.py", PROGRAM),
        ("name.txt", b"HiveMind"),
        ("noise.bin", &noise),
    ];
    let data = zipped(&files);
    let (success, message) = upload(&mut tasks, &ada, "task-001", data.clone()).await;
    assert!(success, "{message}");
    for (id, reason) in [
        ("../../etc/passwd", "no path"),
        ("task-001", "already"),
        ("", "1 to"),
    ] {
        let (success, message) = upload(&mut tasks, &ada, id, data.clone()).await;
        assert!(!success && message.contains(reason), "{message}");
    }
    let (success, message) = upload(&mut tasks, "wrong", "task-009", data).await;
    assert!(!success && message.starts_with("1004 "), "{message}");

    until(&tasks, &ada, "task-001", "COMPLETED").await;
    let polled = poll(&tasks, &ada, "task-001").await;
    let lines = ["Hello, HiveMind", "the last line has no end"];
    assert_eq!(polled.output, lines);
    // A result is there as often as it is asked for.
    for _ in 0..2 {
        let result = result(&mut tasks, &ada, "task-001").await;
        assert!(result.success, "{}", result.message);
        assert_eq!(unzipped(&result.result_data, "out/answer.txt"), "42");
        let log = unzipped(&result.result_data, "task_logs.txt");
        assert_eq!(log, format!("{}\n{}\n", lines[0], lines[1]));
    }
    let all = wire::GetAllTasksRequest::default();
    let all = tasks.get_all_tasks(by(&ada, all)).await.unwrap();
    let shown = &all.into_inner().tasks[0];
    assert_eq!(
        (shown.task_id.as_str(), &shown.assigned_node),
        ("task-001", &peer)
    );

    // Nobody else sees it, and what there is not is not found.
    for (token, id) in [(&bob, "task-001"), (&ada, "task-002")] {
        assert_eq!(poll(&tasks, token, id).await.status, "NOT_FOUND");
        let none = result(&mut tasks, token, id).await;
        assert!(
            !none.success && none.message.starts_with("3001 "),
            "{}",
            none.message
        );
    }
    let (success, _) = upload(&mut tasks, &ada, "fails", b"raise SystemExit(3)".to_vec()).await;
    assert!(success);
    until(&tasks, &ada, "fails", "FAILED").await;
    let failed = poll(&tasks, &ada, "fails").await;
    assert!(
        failed.message.starts_with("3002 TASK_FAILED"),
        "{}",
        failed.message
    );
    // What makes somebody known is in no log.
    for process in [&mesh.index, &mesh.nodes[0]] {
        let log = std::fs::read_to_string(&process.log).unwrap();
        for secret in [&*ada, &*bob, "password123"] {
            assert!(!log.contains(secret), "{}", process.log.display());
        }
    }
}
