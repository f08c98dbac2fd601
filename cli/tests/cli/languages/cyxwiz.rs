//! CyxWiz: a training that is watched to its end, and one that is ended.

use std::path::Path;

use serde_json::Value;

use crate::support::{Mesh, foreign::Foreign, stderr};

/// A token of an index's operator for somebody.
async fn pass(mesh: &Mesh, name: &str) -> String {
    let pass = mesh.pass("cyxwiz", name).await;
    pass["token"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn cyxwiz_trains_for_python_and_typescript() {
    let Some(foreign) = Foreign::installed() else {
        return;
    };
    let mesh = Mesh::start(1).await;
    let node = mesh.nodes[0].peer();
    let address = mesh.index.address();
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/iris.csv");
    let mut words = vec![&*address, "--data", data.to_str().unwrap()];
    words.extend(["--epochs", "60"]);
    for option in [
        "learning_rate=0.01",
        "validation_split=0.2",
        "seed=4",
        "normalise=standardise",
        "target_column=species",
        "labels=setosa,versicolor,virginica",
    ] {
        words.extend(["--hyper", option]);
    }
    let (alice, bob) = (pass(&mesh, "alice").await, pass(&mesh, "bob").await);
    // A token may begin with a dash.
    let alice = [format!("--token={alice}"), "--wallet=alice".to_owned()];
    let bob = [format!("--token={bob}"), "--wallet=bob".to_owned()];
    let python = [&words[..], &[&*alice[0], &*alice[1]]].concat();
    let python = foreign.python("cyxwiz.py", &python).await;
    let typescript = [&words[..], &[&*bob[0], &*bob[1]]].concat();
    let typescript = foreign.typescript("cyxwiz.ts", &typescript).await;
    for seen in [&python, &typescript] {
        assert_eq!(seen["submitted"], "STATUS_QUEUED");
        assert_eq!(seen["last"], "STATUS_COMPLETED");
        assert_eq!(seen["status"], "STATUS_COMPLETED");
        assert_eq!(seen["progress"], 1.0, "{seen}");
        assert!(seen["updates"].as_u64().unwrap() > 2, "it streams: {seen}");
        assert!(
            seen["metrics"]["val_accuracy"].as_f64().unwrap() > 0.8,
            "{seen}"
        );
        assert_eq!(seen["assigned"], *node);
        assert_eq!(seen["cancelled"], "STATUS_CANCELLED");
        let (job, long) = (&seen["job"], &seen["long"]);
        let listed = &seen["listed"];
        assert_eq!(listed.as_object().unwrap().len(), 2, "nobody else's");
        assert_eq!(listed[job.as_str().unwrap()], "STATUS_COMPLETED");
        assert_eq!(listed[long.as_str().unwrap()], "STATUS_CANCELLED");
    }
    // The same seed, the same training.
    let accuracy = |seen: &Value| seen["metrics"]["val_accuracy"].clone();
    assert_eq!(accuracy(&python), accuracy(&typescript));

    let nobody = foreign.run_python("cyxwiz.py", &words).await;
    let said = stderr(&nobody);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(said.starts_with("error: UNAUTHENTICATED"), "{said}");
}
