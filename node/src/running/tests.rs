//! The last reports.

use futures::FutureExt as _;

use super::*;
use crate::store::tests::{key, open_in, peer};

#[tokio::test]
async fn reports_are_waited_for_only_while_there_are_lines() {
    use embermesh_crypto::time::UnixMillis;
    use embermesh_job::order::Report;
    let dir = tempfile::tempdir().unwrap();
    let store = open_in(dir.path()).await;
    let report = Report::AttemptFailed {
        code: "drained".to_owned(),
        message: String::new(),
    };
    let kind = crate::store::ReportKind::End;
    let now = UnixMillis(1);
    store
        .post(peer(9), key(1, 1), kind, report, now)
        .await
        .unwrap();

    let cut = CancellationToken::new();
    let mut waiting = Box::pin(last_reports(&store, &cut));
    assert!(waiting.as_mut().now_or_never().is_none());
    // The lines go meanwhile.
    cut.cancel();
    assert!(waiting.now_or_never().is_some());
    // They had gone before.
    assert!(last_reports(&store, &cut).now_or_never().is_some());

    // With lines, until the outbox is empty.
    let lines = CancellationToken::new();
    let entry = store.next_report(peer(9)).await.unwrap().unwrap();
    let deliver = async {
        store.acknowledged(entry.id).await.unwrap();
    };
    tokio::join!(last_reports(&store, &lines), deliver);
    assert!(!store.any_report().await.unwrap());
}
