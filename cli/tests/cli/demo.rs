//! The demo: all of it, with a murder in the middle, and on images of the user.

use std::path::{Path, PathBuf};

use crate::support::{
    demo::{check, demo, last_node, nothing_left, ran},
    is_event,
};
use serde_json::Value;

/// What the demo must reach on digits that the training never saw.
const GOOD: f64 = 0.97;
/// What a few steps reach at least; chance is right in a tenth of the cases.
const BETTER_THAN_CHANCE: f64 = 0.3;

fn check_accuracy(lines: &[Value], least: f64) {
    for job in ran(lines) {
        assert!(job["accuracy"].as_f64().unwrap() >= least, "{job}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_runs_the_main_job_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let lines = demo(folder.path(), &[]).await;
    check(&lines);
    check_accuracy(&lines, GOOD);
    assert_eq!(ran(&lines)[0]["attempts"], 1);
    nothing_left(folder.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_survives_the_death_of_its_node() {
    let folder = tempfile::tempdir().unwrap();
    let lines = demo(folder.path(), &["--kill", "node"]).await;
    check(&lines);
    check_accuracy(&lines, GOOD);
    assert_eq!(ran(&lines)[0]["attempts"], 2);
    nothing_left(folder.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_survives_the_death_of_its_index_over_the_mesh_road() {
    let folder = tempfile::tempdir().unwrap();
    let lines = demo(folder.path(), &["--kill", "index", "--road", "mesh"]).await;
    check(&lines);
    check_accuracy(&lines, GOOD);
    assert_eq!(ran(&lines)[0]["streams"][0]["road"], "mesh");
    nothing_left(folder.path());
}

/// Nobody but the node that made the weights had them when the evaluation began, and
/// the client never sends them: the other node has them from the mesh.
#[tokio::test(flavor = "multi_thread")]
async fn the_weights_go_from_node_to_node_on_images_of_the_user() {
    let folder = tempfile::tempdir().unwrap();
    let images = folder.path().join("images");
    let kept = folder.path().join("kept");
    write_idx(&images);
    let words = [
        "--idx",
        images.to_str().unwrap(),
        "--dir",
        kept.to_str().unwrap(),
    ];
    let lines = demo(folder.path(), &words).await;
    check(&lines);
    check_accuracy(&lines, BETTER_THAN_CHANCE);
    nothing_left(folder.path());

    let made = lines
        .iter()
        .find(|line| is_event(line, "artifact"))
        .unwrap();
    let digest = made["event"]["kind"]["artifact"]["digest"]
        .as_str()
        .unwrap();
    let sent = |line: &&Value| line["update"] == "uploading";
    assert!(lines.iter().filter(sent).count() >= 4, "the images were");
    assert!(
        !lines
            .iter()
            .filter(sent)
            .any(|line| line["digest"] == digest)
    );
    for job in ran(&lines) {
        let name = name_of(&lines, last_node(job));
        assert!(
            has_file(&kept.join(&name), digest),
            "{name} has no {digest}"
        );
    }
}

/// What the demo calls a node.
fn name_of(lines: &[Value], peer: &str) -> String {
    let found = lines
        .iter()
        .find(|line| line["update"] == "found" && line["node"]["node"] == peer);
    found.unwrap()["name"].as_str().unwrap().to_owned()
}

/// Whether a file of this name is anywhere in a folder.
fn has_file(folder: &Path, name: &str) -> bool {
    std::fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        path.file_name().is_some_and(|file| file == name)
            || (path.is_dir() && has_file(&path, name))
    })
}

/// The digits as an IDX folder, each enlarged to the 28 by 28 pixels of the others
/// that come in this format: four fifths to train on, the rest to judge by.
fn write_idx(folder: &Path) {
    let digits = std::fs::read_to_string(
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../data/digits.csv"),
    )
    .unwrap();
    let rows: Vec<Vec<u8>> = digits
        .lines()
        .map(|line| line.split(',').map(|cell| cell.parse().unwrap()).collect())
        .collect();
    let (train, test) = rows.split_at(rows.len() / 5 * 4);
    std::fs::create_dir(folder).unwrap();
    for (name, rows) in [("train", train), ("t10k", test)] {
        let count = u32::try_from(rows.len()).unwrap();
        let head = |magic: u32, sizes: &[u32]| -> Vec<u8> {
            let words = [magic, count].into_iter().chain(sizes.iter().copied());
            words.flat_map(u32::to_be_bytes).collect()
        };
        let mut images = head(0x0803, &[28, 28]);
        let mut labels = head(0x0801, &[]);
        for row in rows {
            images.extend(enlarged(&row[..64]));
            labels.push(row[64]);
        }
        std::fs::write(folder.join(format!("{name}-images-idx3-ubyte")), images).unwrap();
        std::fs::write(folder.join(format!("{name}-labels-idx1-ubyte")), labels).unwrap();
    }
}

/// Each of 8 by 8 grey levels from 0 to 16 as 3 by 3 pixels, in a frame of 2.
fn enlarged(digit: &[u8]) -> impl Iterator<Item = u8> {
    (0..28 * 28).map(|at| {
        let inside = |at: usize| (2..26).contains(&at).then(|| (at - 2) / 3);
        let (row, column) = (inside(at / 28), inside(at % 28));
        row.zip(column).map_or(0, |(row, column)| {
            digit[row * 8 + column].saturating_mul(15)
        })
    })
}
