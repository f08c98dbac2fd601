//! A driver that hangs.

use std::io::{BufRead as _, BufReader, Read as _};

use tokio::{sync::oneshot, task::spawn_blocking};

use super::*;

/// It says that it is up, through a pipe that ends with the last process that holds it.
const HANGS: &str = r#"exec 9>"$0"; sleep 600 & echo up >&9; wait"#;

#[tokio::test]
async fn a_probe_that_hangs_is_killed_with_all_that_it_started() {
    use rustix::fs::{CWD, Mode, mkfifoat};
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("fifo");
    mkfifoat(CWD, &fifo, Mode::RUSR | Mode::WUSR).unwrap();
    let command = WorkerCommand {
        program: "/bin/sh".into(),
        words: ["-c", HANGS, fifo.to_str().unwrap()]
            .map(str::to_owned)
            .into(),
    };
    let (tell, up) = oneshot::channel();
    let all_gone = spawn_blocking(move || {
        let mut pipe = BufReader::new(std::fs::File::open(fifo).unwrap());
        let mut word = String::new();
        pipe.read_line(&mut word).unwrap();
        tell.send(word.clone()).unwrap();
        pipe.read_to_string(&mut word).unwrap();
        word
    });
    let over = async {
        assert_eq!(up.await.unwrap(), "up\n");
    };
    let spawner = Spawner::start().unwrap();
    let fault = probe(DeviceChoice::Cpu, &spawner, &command, over).await;
    assert!(fault.unwrap_err().contains("did not answer"));
    assert_eq!(all_gone.await.unwrap(), "up\n");
}
