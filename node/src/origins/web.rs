//! A file on a server of the web, by ranges (RFC 9110).

use bytes::Bytes;
use futures::future::BoxFuture;
use reqwest::{
    Client, Response, StatusCode,
    header::{ACCEPT_ENCODING, CONTENT_RANGE, RANGE},
};

use super::{
    guard::chain,
    transfer::{Body, Cut, Opened, Readable},
};

/// A file on the web.
pub(super) struct Web {
    client: Client,
    url: String,
}

impl Web {
    pub(super) fn new(client: Client, url: &str) -> Self {
        Self {
            client,
            url: url.to_owned(),
        }
    }
}

impl Readable for Web {
    fn open(&self, offset: u64) -> BoxFuture<'_, Result<Opened, Cut>> {
        Box::pin(async move {
            let mut request = self
                .client
                .get(&self.url)
                // The digest is of the file, not of a compressed form of it.
                .header(ACCEPT_ENCODING, "identity");
            if offset > 0 {
                request = request.header(RANGE, format!("bytes={offset}-"));
            }
            let response = request.send().await.map_err(cut)?;
            let status = response.status();
            let (offset, size) = match status {
                StatusCode::OK => (0, response.content_length()),
                StatusCode::PARTIAL_CONTENT => content_range(&response)
                    .ok_or_else(|| Cut::Final("its range makes no sense".to_owned()))?,
                _ if status.is_server_error()
                    || matches!(
                        status,
                        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT
                    ) =>
                {
                    return Err(Cut::Passing(format!("it answered {status}")));
                }
                _ => return Err(Cut::Final(format!("it answered {status}"))),
            };
            Ok(Opened {
                offset,
                size,
                body: Box::new(Answer(response)),
            })
        })
    }
}

struct Answer(Response);

impl Body for Answer {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, Cut>> {
        Box::pin(async { self.0.chunk().await.map_err(cut) })
    }
}

fn cut(error: reqwest::Error) -> Cut {
    let passing = !error.is_redirect() && !error.is_builder();
    let reason = chain(&error.without_url());
    // What the guard refuses it refuses again.
    if passing && !reason.contains("private network") {
        Cut::Passing(reason)
    } else {
        Cut::Final(reason)
    }
}

/// Where an answer begins, and the size of the whole: `bytes 5-9/10`.
fn content_range(response: &Response) -> Option<(u64, Option<u64>)> {
    let text = response.headers().get(CONTENT_RANGE)?.to_str().ok()?;
    let (range, size) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, _) = range.split_once('-')?;
    Some((first.parse().ok()?, size.parse().ok()))
}
