//! Clients of the foreign systems, written in Python and TypeScript as the systems'
//! documentation has it, on a mesh of real processes.

mod cyxwiz;
mod hivemind;
mod zisk;

use serde_json::{Value, json};

use crate::{
    dim,
    support::{Mesh, foreign::Foreign, stderr, stdout},
    titancompute,
};

#[tokio::test(flavor = "multi_thread")]
async fn titancompute_streams_the_same_tokens_to_python_and_typescript() {
    let Some(foreign) = Foreign::installed() else {
        return;
    };
    let mesh = titancompute::with_model(titancompute::LEGACY).await;
    let node = mesh.nodes[0].peer();
    let address = mesh.index.address();
    let words = [&*address, "--model", "chat", "--prompt", "her the"];
    let words = [&words[..], &["--tokens", "12"]].concat();
    let python = foreign.python("titancompute.py", &words).await;
    assert_eq!(python["health"], "SERVING");
    for seen in [
        &python,
        &foreign.typescript("titancompute.ts", &words).await,
    ] {
        assert_eq!(seen["agent"], *node);
        assert_eq!(seen["agents"], json!([node]));
        assert_eq!(seen["algorithm"], "RS256");
        assert_eq!(seen["done"], true, "{seen}");
        assert!(seen["pieces"].as_u64().unwrap() > 1, "it streams: {seen}");
        assert_eq!(seen["text"], python["text"]);
    }
    // The documentation's temperature holds where a client gives none.
    let words = ["ask", "chat", "her the", "--max-tokens", "12"];
    let more = ["--temperature", "0.7", "--seed", "7"];
    let native = mesh.run(&[&words[..], &more[..]].concat()).await;
    let text = python["text"].as_str().unwrap();
    assert_eq!(stdout(&native).trim_end(), text.trim_end());

    // A model that nobody has is said in both, and ends both.
    for output in [
        foreign.run_python("titancompute.py", &[&address]).await,
        foreign.run_typescript("titancompute.ts", &[&address]).await,
    ] {
        assert_eq!(output.status.code(), Some(1));
        let said = stderr(&output);
        assert!(said.starts_with("error: UNAVAILABLE: no agents"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dim_collaborates_for_python_and_typescript() {
    let Some(foreign) = Foreign::installed() else {
        return;
    };
    let mesh = Mesh::start_with(2, dim::SETTINGS).await;
    let nodes: Vec<String> = mesh.nodes.iter().map(|node| node.peer()).collect();
    for node in &nodes {
        dim::deploy_flowers(&mesh, "flowers", node).await;
    }
    let (address, input) = (mesh.index.address(), dim::flowers().to_string());
    let mut words = vec![&*address, "--model", "flowers", "--input", &input];
    for node in &nodes {
        words.extend(["--node", node]);
    }
    let python = foreign.python("dim.py", &words).await;
    let typescript = foreign.typescript("dim.ts", &words).await;
    for seen in [&python, &typescript] {
        assert!(seen["job"].as_str().unwrap().starts_with("job-"), "{seen}");
        assert_eq!(seen["submitted"], "pending");
        assert_eq!(seen["status"], "JOB_STATE_COMPLETED");
        assert_eq!(seen["percent"], 100);
        assert_eq!(seen["nodes"], json!(nodes));
        assert_eq!(seen["nodes_used"], 2);
        let average = &seen["result"]["aggregation"]["aggregated_output"];
        assert!(average[0][0].as_f64().unwrap() > 0.5, "a setosa: {seen}");
        assert!(average[1][2].as_f64().unwrap() > 0.5, "a virginica: {seen}");
    }
    let aggregation = |seen: &Value| seen["result"]["aggregation"].clone();
    assert_eq!(aggregation(&python), aggregation(&typescript));
    assert_eq!(
        typescript["listed"],
        json!([typescript["job"], python["job"]])
    );
}
