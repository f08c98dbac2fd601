//! One suite for every foreign system: submit, observe, progress, list, result, cancel,
//! an id that is unknown, a job that is another's, garbage. It is written once, over what
//! a client of any system does ([`Face`]), and each system is run through it against
//! processes of an index and a node.
//!
//! `scripts/test -p embermesh-cli conformance --no-capture` prints the table.

mod cyxwiz;
mod dim;
#[cfg(target_os = "linux")]
mod hivemind;
#[cfg(target_os = "linux")]
mod matrix;
mod raw;
mod titancompute;
mod zisk;

use std::{collections::BTreeSet, time::Duration};

use tonic::{Code, Status};

use crate::support::{Mesh, PATIENCE};

/// Where a job stands, in the words of no system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Waiting,
    Running,
    Done,
    Failed,
    Cancelled,
}

/// How long a job takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    /// It ends by itself.
    Short,
    /// It does not end while a test looks.
    Endless,
}

/// What a user of a system does. A system that has no such call answers `None`.
trait Face: Sized {
    /// The system.
    const NAME: &'static str;
    /// A call that takes a message, as `/package.Service/Method`.
    const CALL: &'static str;
    /// Whether what a submit gives is a session: whoever has it may take its result, once.
    const SESSIONS: bool = false;

    /// An index and a node that serve the system.
    async fn mesh() -> Mesh;

    /// A user, with whatever makes him known.
    async fn of(mesh: &Mesh, name: &str) -> Self;

    /// Submits a job of the system's usual kind, for its id.
    async fn submit(&mut self, length: Length) -> Result<String, Status>;

    /// Where a job stands, and how far it is, from 0 to 1.
    async fn observe(&mut self, job: &str) -> Option<Result<(Seen, f64), Status>>;

    /// The ids of the user's jobs.
    async fn list(&mut self) -> Option<Result<Vec<String>, Status>>;

    /// What came out.
    async fn result(&mut self, job: &str) -> Result<Vec<u8>, Status>;

    /// Ends a job.
    async fn cancel(&mut self, job: &str) -> Option<Result<(), Status>>;
}

/// One line of the table.
struct Row {
    system: &'static str,
    cells: Vec<String>,
}

impl Row {
    fn add(&mut self, case: &str, has: bool) {
        let word = if has { "yes" } else { "no such call" };
        self.cells.push(format!("{case}: {word}"));
    }
}

impl Drop for Row {
    fn drop(&mut self) {
        println!("conformance | {} | {}", self.system, self.cells.join(" | "));
    }
}

/// Observes a job until it stands so. How far it is never falls.
async fn until<F: Face>(user: &mut F, job: &str, wanted: Seen) -> Option<()> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let mut far = 0.0;
    loop {
        let (seen, now) = user.observe(job).await?.unwrap();
        assert!((0.0..=1.0).contains(&now) && now >= far, "{far} to {now}");
        far = now;
        if seen == wanted {
            return Some(());
        }
        let over = matches!(seen, Seen::Done | Seen::Failed | Seen::Cancelled);
        assert!(!over, "{job} is {seen:?} and was to be {wanted:?}");
        assert!(
            tokio::time::Instant::now() < deadline,
            "{job} never was {wanted:?}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Whether a call was refused as one for what is not there, or not the caller's.
fn hidden<T: std::fmt::Debug>(answer: Option<Result<T, Status>>) -> Option<()> {
    let refused = answer?.unwrap_err();
    let codes = [
        Code::NotFound,
        Code::PermissionDenied,
        Code::Unauthenticated,
    ];
    assert!(codes.contains(&refused.code()), "{refused}");
    Some(())
}

async fn conforms<F: Face>() {
    let mesh = F::mesh().await;
    let mut row = Row {
        system: F::NAME,
        cells: Vec::new(),
    };
    let mut alice = F::of(&mesh, "alice").await;
    let mut bob = F::of(&mesh, "bob").await;

    let job = alice.submit(Length::Short).await.unwrap();
    row.add("submit", true);
    let observed = until(&mut alice, &job, Seen::Done).await;
    row.add("observe", observed.is_some());
    if observed.is_some() {
        let (_, far) = alice.observe(&job).await.unwrap().unwrap();
        assert!((far - 1.0).abs() < f64::EPSILON, "done is all of it: {far}");
    }
    // Nobody else's, in every call; and he is not told that it is there.
    if !F::SESSIONS {
        hidden(bob.observe(&job).await);
        hidden(Some(bob.result(&job).await)).unwrap();
        hidden(bob.cancel(&job).await);
        let his = bob.list().await.map(Result::unwrap);
        assert!(his.is_none_or(|jobs| jobs.is_empty()));
        row.add("wrong owner", true);
    }
    let made = alice.result(&job).await.unwrap();
    assert!(!made.is_empty());
    let again = alice.result(&job).await;
    if F::SESSIONS {
        hidden(Some(again)).unwrap();
    } else {
        assert_eq!(again.unwrap(), made, "a result stays");
    }
    row.add("result", true);

    let unknown = "no-such-job-0000";
    hidden(alice.observe(unknown).await);
    hidden(Some(alice.result(unknown).await)).unwrap();
    hidden(alice.cancel(unknown).await);
    row.add("unknown id", true);

    // Many at once are as many, and all in the list.
    let mut all = BTreeSet::from([job]);
    for _ in 0..4 {
        all.insert(alice.submit(Length::Short).await.unwrap());
    }
    assert_eq!(all.len(), 5);
    let listed = alice.list().await.map(Result::unwrap);
    row.add("list", listed.is_some());
    if let Some(listed) = listed {
        assert_eq!(BTreeSet::from_iter(listed), all);
    }

    // Bytes that are no message: refused, and the port goes on.
    for bytes in raw::garbage() {
        let status = raw::call(mesh.channel().await, F::CALL, bytes).await;
        assert_ne!(status.code(), Code::Ok);
    }
    row.add("garbage", true);

    let endless = alice.submit(Length::Endless).await.unwrap();
    let ran = until(&mut alice, &endless, Seen::Running).await;
    hidden(bob.cancel(&endless).await);
    let cancelled = alice.cancel(&endless).await.map(Result::unwrap);
    row.add("cancel", cancelled.is_some());
    if ran.is_some() && cancelled.is_some() {
        until(&mut alice, &endless, Seen::Cancelled).await;
        let again = alice.cancel(&endless).await.unwrap().unwrap_err();
        assert_eq!(again.code(), Code::FailedPrecondition, "{again}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn titancompute_conforms() {
    conforms::<titancompute::Client>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dim_conforms() {
    conforms::<dim::Client>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cyxwiz_conforms() {
    conforms::<cyxwiz::Client>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn zisk_conforms() {
    conforms::<zisk::Client>().await;
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn hivemind_conforms() {
    if !std::path::Path::new("/usr/bin/bwrap").exists() {
        println!("skipped: bubblewrap is missing: install it");
        return;
    }
    conforms::<hivemind::Client>().await;
}
