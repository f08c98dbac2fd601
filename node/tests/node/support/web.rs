//! A server of the web that does as its paths say, and remembers what it was asked.
#![allow(clippy::unwrap_used, reason = "a test ends where what it needs fails")]

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tokio_util::task::AbortOnDropHandle;

/// What was asked: the first line, and the head in lower case.
type Asked = Arc<Mutex<Vec<(String, String)>>>;

/// A server of one file.
pub(crate) struct Web {
    pub(crate) address: SocketAddr,
    asked: Asked,
    count: watch::Receiver<usize>,
    _serving: AbortOnDropHandle<()>,
}

impl Web {
    /// | path | what it does |
    /// |---|---|
    /// | `/file` | gives the file, by ranges too |
    /// | `/whole` | gives the file, and knows no ranges |
    /// | `/cut` | stops in the middle of every answer from the start |
    /// | `/other` | gives as many other bytes |
    /// | `/long` | says nothing of its size and does not end |
    /// | `/larger` | has a byte more |
    /// | `/stuck` | begins and says nothing more |
    /// | `/to/URL` | redirects there |
    /// | `/flowers/...` | an object of S3, for whoever is `AKIATEST` |
    pub(crate) async fn start(file: Bytes) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Asked::default();
        let (tell, count) = watch::channel(0);
        let heard = Arc::clone(&asked);
        let serving = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (file, heard, tell) = (file.clone(), Arc::clone(&heard), tell.clone());
                tokio::spawn(async move {
                    // Whoever asks may go away.
                    let _ = serve(stream, file, &heard, &tell).await;
                });
            }
        });
        Self {
            address,
            asked,
            count,
            _serving: AbortOnDropHandle::new(serving),
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// What was asked so far.
    pub(crate) fn asked(&self) -> Vec<(String, String)> {
        self.asked.lock().unwrap().clone()
    }

    /// Waits until that much was asked.
    pub(crate) async fn until_asked(&self, many: usize) {
        let mut count = self.count.clone();
        tokio::time::timeout(super::LONG, count.wait_for(|count| *count >= many))
            .await
            .expect("it is asked")
            .unwrap();
    }
}

async fn serve(
    mut stream: TcpStream,
    file: Bytes,
    asked: &Asked,
    tell: &watch::Sender<usize>,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).await?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let (line, rest) = head.split_once("\r\n").unwrap();
    let path = line.split(' ').nth(1).unwrap().to_owned();
    let headers = rest.to_lowercase();
    asked
        .lock()
        .unwrap()
        .push((line.to_owned(), headers.clone()));
    tell.send_modify(|count| *count += 1);
    let from: usize = headers
        .lines()
        .find_map(|line| line.strip_prefix("range: bytes="))
        .map_or(0, |range| range.split('-').next().unwrap().parse().unwrap());
    let dated =
        "last-modified: Fri, 27 Nov 2026 12:00:00 GMT\r\netag: \"x\"\r\nconnection: close\r\n";
    let whole = |status: &str, length: usize| {
        format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n{dated}\r\n")
    };
    let part = |length: usize| {
        let size = file.len();
        format!(
            "HTTP/1.1 206 Partial Content\r\ncontent-length: {length}\r\ncontent-range: bytes {from}-{}/{size}\r\n{dated}\r\n",
            size - 1
        )
    };
    let (head, body): (String, Bytes) = match path.as_str() {
        "/file" if from > 0 => (part(file.len() - from), file.slice(from..)),
        "/file" | "/whole" => (whole("200 OK", file.len()), file.clone()),
        "/cut" if from == 0 => (whole("200 OK", file.len()), file.slice(..file.len() / 2)),
        "/cut" => (part(file.len() - from), file.slice(from..)),
        "/other" => (whole("200 OK", file.len()), vec![b'x'; file.len()].into()),
        "/larger" => (
            whole("200 OK", file.len() + 1),
            vec![b'x'; file.len() + 1].into(),
        ),
        "/long" => {
            stream
                .write_all(format!("HTTP/1.1 200 OK\r\n{dated}\r\n").as_bytes())
                .await?;
            loop {
                stream.write_all(&[b'x'; 1024]).await?;
            }
        }
        "/stuck" => {
            let head = whole("200 OK", file.len());
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(&file[..10]).await?;
            stream.flush().await?;
            // Until whoever asked goes away.
            stream.read_u8().await?;
            return Ok(());
        }
        path if path.starts_with("/to/") => {
            let to = &path[4..];
            let head = format!(
                "HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            );
            (head, Bytes::new())
        }
        path if path.starts_with("/flowers/") => {
            let signed = headers.contains("credential=akiatest/") && headers.contains("signature=");
            match (signed, from) {
                (false, _) => {
                    let text = "<Error><Code>AccessDenied</Code></Error>";
                    (whole("403 Forbidden", text.len()), text.into())
                }
                (true, 0) => (whole("200 OK", file.len()), file.slice(..file.len() / 2)),
                (true, _) => (part(file.len() - from), file.slice(from..)),
            }
        }
        _ => (whole("404 Not Found", 0), Bytes::new()),
    };
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(&body).await?;
    stream.shutdown().await
}
