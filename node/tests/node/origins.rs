//! Inputs that nobody sends: fetched from the web and from buckets, or shared by the
//! node's owner; and all that must not be fetched.

use bytes::Bytes;
use embermesh_crypto::digest::Digest;
use embermesh_job::{
    event::{Event, EventKind, Outcome},
    spec::{JobSpec, Origin},
};
use embermesh_node::{
    NodeConfig,
    origins::{S3Config, Secret, measure},
};

use crate::support::{all, caller, config, digits, spec, start, until, web::Web};

/// A short job over digits that lie somewhere.
fn from(origin: impl Into<String>) -> JobSpec {
    let mut spec = spec(100, 1);
    spec.requires.origins.push(Origin {
        digest: Digest::of(&digits(100)),
        from: origin.into(),
    });
    spec.validate().unwrap();
    spec
}

/// A node that may ask some servers of this machine.
fn allowing(dir: &std::path::Path, webs: &[&Web]) -> NodeConfig {
    let mut config = config(dir);
    config.origins.hosts = webs.iter().map(|web| web.url("")).collect();
    config.origins.private = vec!["127.0.0.1".parse().unwrap()];
    config
}

/// How a job ended: in an event, or as an attempt that another may follow.
async fn outcome(config: NodeConfig, spec: &JobSpec) -> Result<Vec<Event>, (String, String)> {
    let node = start(config, 1).await;
    let client = caller(&node, 2).await;
    let (events, end) = all(&mut client.run(1, spec).await).await;
    node.stop().await.unwrap();
    match end {
        None => Ok(events),
        Some(end) => Err(end),
    }
}

fn last(events: &[Event]) -> (Outcome, String) {
    match &events.last().unwrap().kind {
        EventKind::Finished {
            outcome, message, ..
        } => (*outcome, message.clone()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_input_is_fetched_from_the_web_where_the_owner_allows_it() {
    let dir = tempfile::tempdir().unwrap();
    let web = Web::start(digits(100)).await;
    let url = web.url(&format!("/to/{}", web.url("/whole")));
    let node = start(allowing(dir.path(), &[&web]), 1).await;
    let client = caller(&node, 2).await;
    let (events, end) = all(&mut client.run(1, &from(&url)).await).await;
    assert_eq!((end, last(&events).0), (None, Outcome::Succeeded));
    assert!(client.has(Digest::of(&digits(100))).await);
    // It is a blob now: nobody is asked again.
    let asked = web.asked().len();
    let (events, _) = all(&mut client.run(2, &from(&url)).await).await;
    assert_eq!(last(&events).0, Outcome::Succeeded);
    assert_eq!(web.asked().len(), asked);
    node.stop().await.unwrap();
    let measured = measure(&web.url("/file"), &S3Config::default(), 1 << 30).await;
    assert_eq!(measured.unwrap(), from("https://a/b").inputs()[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_that_was_cut_goes_on_from_there() {
    let dir = tempfile::tempdir().unwrap();
    let web = Web::start(digits(100)).await;
    let spec = from(web.url("/cut"));
    let events = outcome(allowing(dir.path(), &[&web]), &spec).await.unwrap();
    assert_eq!(last(&events).0, Outcome::Succeeded);
    let asked = web.asked();
    assert_eq!(asked.len(), 2, "{asked:?}");
    let half = digits(100).len() / 2;
    assert!(
        asked[1].1.contains(&format!("range: bytes={half}-")),
        "{asked:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_the_named_input_fails_the_job_in_words() {
    for (path, words) in [
        ("/other", "hash"),
        ("/larger", "and the job says"),
        ("/long", "more than"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let web = Web::start(digits(100)).await;
        let spec = from(web.url(path));
        let events = outcome(allowing(dir.path(), &[&web]), &spec).await.unwrap();
        let (outcome, message) = last(&events);
        assert_eq!(outcome, Outcome::Failed);
        assert!(message.contains(words), "{path}: {message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_asked_that_the_owner_has_not_allowed() {
    let web = Web::start(digits(100)).await;
    let other = Web::start(digits(100)).await;
    let home = format!("/to/{}", other.url("/file"));
    let local = format!("/to/http://localhost:{}/file", other.address.port());
    let allow = |change: &dyn Fn(&mut NodeConfig)| {
        let dir = tempfile::tempdir().unwrap();
        let mut config = allowing(dir.path(), &[&web]);
        change(&mut config);
        (dir, config)
    };
    let nothing = allow(&|config| config.origins = Default::default());
    let private = allow(&|config| config.origins.private.clear());
    let small = allow(&|config| config.origins.max_size.0 = 10);
    let as_is = || allow(&|_| ());
    let cases = [
        (
            nothing,
            web.url("/file"),
            "origin_not_allowed",
            "origins.hosts",
        ),
        (
            private,
            web.url("/file"),
            "origin_not_allowed",
            "origins.private",
        ),
        (
            small,
            web.url("/file"),
            "origin_not_allowed",
            "at most 10 B",
        ),
        (
            as_is(),
            other.url("/file"),
            "origin_not_allowed",
            "origins.hosts",
        ),
        (
            as_is(),
            web.url(&home),
            "origin_failed",
            "a redirect is refused",
        ),
        (
            as_is(),
            web.url(&local),
            "origin_failed",
            "a redirect is refused",
        ),
        (
            as_is(),
            web.url("/to/file:///etc/passwd"),
            "origin_failed",
            "302",
        ),
        (as_is(), web.url("/missing"), "origin_failed", "404"),
        (
            as_is(),
            "s3://flowers/a".to_owned(),
            "origin_not_allowed",
            "origins.s3.buckets",
        ),
        (
            as_is(),
            "shared:sets/a".to_owned(),
            "origin_not_allowed",
            "`shared`",
        ),
    ];
    for ((_dir, config), url, code, words) in cases {
        let (found, message) = outcome(config, &from(&url)).await.unwrap_err();
        assert_eq!(found, code, "{url}: {message}");
        assert!(message.contains(words), "{url}: {message}");
    }
    assert!(other.asked().is_empty(), "{:?}", other.asked());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_from_a_server_that_stands_still_is_cancelled_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let web = Web::start(digits(100)).await;
    let node = start(allowing(dir.path(), &[&web]), 1).await;
    let client = caller(&node, 2).await;
    let spec = from(web.url("/stuck"));
    let token = client.token(1, &spec);
    let mut stream = client.run_with(&token, &spec).await.unwrap();
    web.until_asked(1).await;
    let began = std::time::Instant::now();
    client
        .stub
        .clone()
        .cancel(client.control(&token, 1))
        .await
        .unwrap();
    let (events, _) = all(&mut stream).await;
    assert_eq!(last(&events).0, Outcome::Cancelled);
    assert!(began.elapsed().as_secs() < 10);
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_is_fetched_with_the_owners_credentials_alone() {
    let dir = tempfile::tempdir().unwrap();
    let web = Web::start(digits(100)).await;
    let mut config = config(dir.path());
    config.origins.s3 = S3Config {
        buckets: vec!["flowers".to_owned()],
        endpoint: web.url(""),
        access_key_id: "AKIATEST".to_owned(),
        secret_access_key: Secret::new("hush-hush".to_owned()),
        ..S3Config::default()
    };
    let spec = from("s3://flowers/sets/digits.csv");
    let events = outcome(config.clone(), &spec).await.unwrap();
    assert_eq!(last(&events).0, Outcome::Succeeded);
    let asked = web.asked();
    assert!(
        asked[0].0.starts_with("GET /flowers/sets/digits.csv "),
        "{asked:?}"
    );
    // The first answer was cut.
    assert!(asked[1].1.contains("range: bytes="), "{asked:?}");
    assert!(asked.iter().all(|(_, head)| !head.contains("hush-hush")));

    // Another bucket is not asked for, and other credentials are told apart.
    let dir = tempfile::tempdir().unwrap();
    let mut other = config.clone();
    other.data_dir = dir.path().join("node");
    let refused = outcome(other.clone(), &from("s3://secrets/a"))
        .await
        .unwrap_err();
    assert_eq!(refused.0, "origin_not_allowed");
    let dir = tempfile::tempdir().unwrap();
    other.data_dir = dir.path().join("node");
    other.origins.s3.access_key_id = "AKIAOTHER".to_owned();
    let (code, message) = outcome(other, &spec).await.unwrap_err();
    assert_eq!(code, "origin_failed");
    assert!(message.contains("may not read it"), "{message}");
    assert!(!message.contains("hush-hush"), "{message}");
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_shared_file_is_read_where_it_lies() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("sets");
    std::fs::create_dir(&folder).unwrap();
    let data: Bytes = digits(100);
    std::fs::write(folder.join("digits.csv"), &data).unwrap();
    std::fs::write(dir.path().join("outside.csv"), &data).unwrap();
    std::os::unix::fs::symlink("../outside.csv", folder.join("link.csv")).unwrap();
    let mut config = config(dir.path());
    config.shared.insert("sets".to_owned(), folder);
    let node = start(config, 1).await;
    let client = caller(&node, 2).await;
    let shared = from("shared:sets/digits.csv");
    let (events, _) = all(&mut client.run(1, &shared).await).await;
    assert_eq!(last(&events).0, Outcome::Succeeded);
    // No copy was made of it.
    assert!(!client.has(Digest::of(&data)).await);
    let (_, end) = all(&mut client.run(2, &from("shared:sets/link.csv")).await).await;
    let (code, message) = end.unwrap();
    assert_eq!(code, "origin_failed");
    assert!(message.contains("link"), "{message}");
    // What was changed is not what the job names.
    std::fs::write(dir.path().join("sets/digits.csv"), b"other").unwrap();
    let (events, _) = all(&mut client.run(3, &shared).await).await;
    let (outcome, message) = last(&events);
    assert_eq!(outcome, Outcome::Failed);
    assert!(message.contains("5 bytes"), "{message}");
    let waiting = until_started(&client).await;
    assert!(waiting);
    node.stop().await.unwrap();
}

/// The node takes other work after all that.
async fn until_started(client: &crate::support::Caller) -> bool {
    client.put("", &digits(100)).await.unwrap();
    let mut stream = client.run(9, &spec(100, 1)).await;
    !until(&mut stream, EventKind::is_final).await.is_empty()
}
