//! HiveMind's tasks over a real server.
#![allow(clippy::unwrap_used, reason = "a test ends where what it needs fails")]

mod support;

use std::io::{Cursor, Write as _};

use bytes::Bytes;
use embermesh_dialects::Profile;
use embermesh_job::{
    event::LogStream,
    lifecycle::JobState,
    spec::{Runtime, Work},
    units,
};
use embermesh_proto::hivemind::{
    nodepool::{self, master_node_service_client::MasterNodeServiceClient},
    shipped::{self, master_node_service_client::MasterNodeServiceClient as ShippedClient},
};
use support::{Memory, by, pool};
use tonic::{Code, transport::Channel};
use zip::{ZipArchive, ZipWriter, write::SimpleFileOptions};

const HELLO: &[u8] = b"print('Hello, HiveMind!')";

fn upload(id: &str, data: impl Into<Bytes>) -> nodepool::UploadTaskRequest {
    nodepool::UploadTaskRequest {
        task_id: id.to_owned(),
        task_data: data.into(),
        user_id: String::new(),
    }
}

fn zipped(files: &[&str]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for name in files {
        zip.start_file(*name, SimpleFileOptions::default()).unwrap();
        zip.write_all(HELLO).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

type Tasks = MasterNodeServiceClient<Channel>;

async fn documented() -> (std::sync::Arc<Memory>, Tasks) {
    let (memory, channel) = pool(Profile::Documented).await;
    (memory, Tasks::new(channel))
}

async fn sent(tasks: &mut Tasks, request: nodepool::UploadTaskRequest) -> (bool, String) {
    let answer = tasks.upload_task(by("ada", request)).await.unwrap();
    let answer = answer.into_inner();
    (answer.success, answer.message)
}

fn id(id: &str) -> nodepool::PollTaskStatusRequest {
    nodepool::PollTaskStatusRequest {
        task_id: id.to_owned(),
    }
}

#[tokio::test]
async fn source_becomes_a_script_and_its_name_is_taken_once() {
    let (memory, mut tasks) = documented().await;
    let mut request = upload("task-001", HELLO);
    request.user_id = "ada".to_owned();
    let (success, message) = sent(&mut tasks, request).await;
    assert!(success, "{message}");
    assert!(message.starts_with("0 SUCCESS: "), "{message}");
    {
        let kept = memory.kept();
        let (_, job) = &kept.jobs[0];
        assert_eq!(job.spec.attempts, 1);
        let Work::Script(script) = &job.spec.work else {
            panic!("{:?}", job.spec.work)
        };
        assert_eq!(script.runtime, Runtime::Python);
        assert_eq!(job.inputs[&script.program.digest], HELLO);
    }
    let (success, message) = sent(&mut tasks, upload("task-001", HELLO)).await;
    assert!(!success);
    assert!(message.starts_with("3002 TASK_FAILED: "), "{message}");
    assert_eq!(memory.kept().jobs.len(), 1);
}

#[tokio::test]
async fn an_archive_is_unpacked_where_its_program_runs() {
    let (memory, mut tasks) = documented().await;
    let all = ["other.py", "lib/run.py", "start.py", "main.py"];
    for (name, files, program) in [
        ("a", &all[..], "main.py"),
        ("b", &all[..2], "other.py"),
        ("c", &["my task.py", "data.txt"][..], "my task.py"),
    ] {
        let data = zipped(files);
        let (success, message) = sent(&mut tasks, upload(name, data.clone())).await;
        assert!(success, "{message}");
        let kept = memory.kept();
        let (_, job) = kept.jobs.last().unwrap();
        let Work::Script(script) = &job.spec.work else {
            panic!("{:?}", job.spec.work)
        };
        assert_eq!(script.args, [program]);
        assert_eq!(job.inputs[&script.inputs["task.zip"].digest], data);
    }
}

#[tokio::test]
async fn tasks_that_will_not_do_are_refused_with_the_reason() {
    let (memory, mut tasks) = documented().await;
    let long = "x".repeat(129);
    for (name, data, reason) in [
        ("t", Vec::new(), "no data"),
        ("t", b"\xff\xfe\x00".to_vec(), "UTF-8"),
        ("t", b"PK\x03\x04 but no archive".to_vec(), "cannot be read"),
        ("t", zipped(&["run.sh", "main.py"]), "run.sh"),
        ("t", zipped(&["lib/main.py", "readme.txt"]), "no program"),
        ("", HELLO.to_vec(), "id"),
        ("a\nb", HELLO.to_vec(), "id"),
        (&long, HELLO.to_vec(), "id"),
    ] {
        let (success, message) = sent(&mut tasks, upload(name, data)).await;
        assert!(!success && message.contains(reason), "{message}");
    }
    // Somebody else is not billed, and nobody without a token is heard.
    let mut other = upload("t", HELLO);
    other.user_id = "bob".to_owned();
    let (success, message) = sent(&mut tasks, other.clone()).await;
    assert!(!success && message.contains("the token is of"), "{message}");
    let none = tasks.upload_task(other).await.unwrap().into_inner();
    assert!(
        none.message.starts_with("1004 INVALID_SESSION: "),
        "{}",
        none.message
    );
    for path in ["../../etc/passwd", "a/b", "a\\b", ".."] {
        let (success, message) = sent(&mut tasks, upload(path, HELLO)).await;
        assert!(!success && message.contains("no path"), "{message}");
    }
    assert!(memory.kept().jobs.is_empty());
}

#[tokio::test]
async fn a_task_of_the_documented_size_is_taken_and_more_is_not() {
    let (_, mut tasks) = documented().await;
    let mut source = vec![b'#'; 100_000_000];
    let (success, message) = sent(&mut tasks, upload("big", source.clone())).await;
    // It arrives whole; a program by itself has a smaller bound than an archive.
    assert!(!success && message.contains("script.program"), "{message}");
    source.push(b'#');
    let (success, message) = sent(&mut tasks, upload("bigger", source.clone())).await;
    assert!(
        !success && message.starts_with("2003 INSUFFICIENT_RESOURCES: "),
        "{message}"
    );
    source.resize(101_000_000, b'#');
    let refused = tasks.upload_task(by("ada", upload("huge", source))).await;
    assert_eq!(refused.unwrap_err().code(), Code::OutOfRange);
}

#[tokio::test]
async fn a_task_is_seen_to_its_end_with_every_line() {
    let (memory, mut tasks) = documented().await;
    sent(&mut tasks, upload("t", HELLO)).await;
    memory.write("t", LogStream::Stdout, "one\ntwo\nthr");
    let polled = tasks
        .poll_task_status(by("ada", id("t")))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((polled.success, polled.status.as_str()), (true, "PENDING"));
    assert_eq!(polled.output, ["one", "two", "thr"]);
    let early = nodepool::GetTaskResultRequest {
        task_id: "t".to_owned(),
        token: String::new(),
    };
    let early = tasks
        .get_task_result(by("ada", early))
        .await
        .unwrap()
        .into_inner();
    assert!(!early.success && early.message.contains("no result yet"));

    memory.end("t", JobState::Failed, "it ended with 1");
    let polled = tasks
        .poll_task_status(by("ada", id("t")))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(polled.status, "FAILED");
    assert_eq!(polled.message, "3002 TASK_FAILED: it ended with 1");
    let logs = nodepool::GetTaskLogsRequest {
        task_id: "t".to_owned(),
        token: "token-of-ada".to_owned(),
    };
    let logs = tasks.get_task_logs(logs).await.unwrap().into_inner();
    assert_eq!(logs.logs, "one\ntwo\nthr\n");
}

#[tokio::test]
async fn a_result_can_be_fetched_again() {
    let (memory, mut tasks) = documented().await;
    sent(&mut tasks, upload("t", HELLO)).await;
    memory.make("t", "model.bin", b"weights");
    memory.end("t", JobState::Succeeded, "");
    let request = nodepool::GetTaskResultRequest {
        task_id: "t".to_owned(),
        token: "token-of-ada".to_owned(),
    };
    let first = tasks
        .get_task_result(request.clone())
        .await
        .unwrap()
        .into_inner();
    assert!(first.success, "{}", first.message);
    let again = tasks.get_task_result(request).await.unwrap().into_inner();
    assert_eq!(first, again);
    let mut zip = ZipArchive::new(Cursor::new(first.result_data.to_vec())).unwrap();
    assert!(zip.by_name("model.bin").is_ok());
    assert!(zip.by_name("task_logs.txt").is_ok());
}

#[tokio::test]
async fn nobody_sees_or_stops_anothers_task() {
    let (memory, mut tasks) = documented().await;
    for name in ["a", "b", "c"] {
        sent(&mut tasks, upload(name, HELLO)).await;
    }
    let polled = tasks
        .poll_task_status(by("bob", id("a")))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (polled.success, polled.status.as_str()),
        (false, "NOT_FOUND")
    );
    assert!(polled.message.starts_with("3001 TASK_NOT_FOUND: "));
    let unknown = tasks
        .poll_task_status(by("ada", id("z")))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(unknown.status, "NOT_FOUND");
    let stop = |token: &str| nodepool::StopTaskRequest {
        task_id: "a".to_owned(),
        token: token.to_owned(),
    };
    let stopped = tasks
        .stop_task(stop("token-of-bob"))
        .await
        .unwrap()
        .into_inner();
    assert!(!stopped.success);
    assert_eq!(memory.kept().jobs[0].0.state, JobState::Queued);
    let result = nodepool::GetTaskResultRequest {
        task_id: "a".to_owned(),
        token: String::new(),
    };
    let result = tasks.get_task_result(result).await.unwrap().into_inner();
    assert!(!result.success && result.message.starts_with("1004 "));

    // Pages are walked to the end, and the other's list is empty.
    let list = nodepool::GetAllTasksRequest::default();
    let own = tasks
        .get_all_tasks(by("ada", list.clone()))
        .await
        .unwrap()
        .into_inner();
    let names: Vec<_> = own.tasks.iter().map(|task| task.task_id.as_str()).collect();
    assert_eq!(names, ["c", "b", "a"]);
    assert!((own.tasks[0].created_at - 1.5).abs() < 1e-9);
    let other = tasks
        .get_all_tasks(by("bob", list.clone()))
        .await
        .unwrap()
        .into_inner();
    assert!(other.tasks.is_empty());

    let stopped = tasks
        .stop_task(stop("token-of-ada"))
        .await
        .unwrap()
        .into_inner();
    assert!(stopped.success);
    let polled = tasks
        .poll_task_status(by("ada", id("a")))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(polled.status, "STOPPED");
    // A session that has ended is none: this form's list says so with a status.
    memory.kept().now = 1000;
    let ended = tasks.get_all_tasks(by("ada", list)).await.unwrap_err();
    assert_eq!(ended.code(), Code::Unauthenticated);
    assert!(ended.message().starts_with("1004 INVALID_SESSION: "));
}

#[tokio::test]
async fn the_shipped_form_is_taken_with_its_memory_and_answered_in_kind() {
    let (memory, channel) = pool(Profile::Shipped).await;
    let mut tasks = ShippedClient::new(channel.clone());
    let mut request = shipped::UploadTaskRequest {
        task_id: "t".to_owned(),
        task_zip: zipped(&["run.py"]).into(),
        memory_gb: 4,
        location: "Any".to_owned(),
        gpu_name: "Any".to_owned(),
        user_id: "ada".to_owned(),
        ..shipped::UploadTaskRequest::default()
    };
    let taken = tasks
        .upload_task(by("ada", request.clone()))
        .await
        .unwrap()
        .into_inner();
    assert!(taken.success, "{}", taken.message);
    assert_eq!(
        memory.kept().jobs[0].1.spec.limits.memory,
        units::Bytes(4 << 30)
    );
    let polled = shipped::PollTaskStatusRequest {
        task_id: "t".to_owned(),
    };
    let polled = tasks
        .poll_task_status(by("ada", polled))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (polled.task_id.as_str(), polled.status.as_str()),
        ("t", "PENDING")
    );
    let list = shipped::GetAllTasksRequest {
        token: "token-of-ada".to_owned(),
    };
    let list = tasks.get_all_tasks(list).await.unwrap().into_inner();
    assert!(list.success);
    assert_eq!(list.tasks[0].created_at, "1.5");
    let list = tasks
        .get_all_tasks(shipped::GetAllTasksRequest::default())
        .await
        .unwrap();
    assert!(!list.into_inner().success);
    // A card is not promised, and the other form is read here too.
    request.task_id = "u".to_owned();
    request.gpu_memory_gb = 8;
    let refused = tasks
        .upload_task(by("ada", request))
        .await
        .unwrap()
        .into_inner();
    assert!(refused.message.starts_with("2003 "), "{}", refused.message);
    let mut other = Tasks::new(channel);
    let mut request = upload("v", HELLO);
    request.user_id = "ada".to_owned();
    assert!(sent(&mut other, request).await.0);
}
