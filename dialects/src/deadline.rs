//! Calls that end when their caller's time is up, as `grpc-timeout` gives it.
//!
//! The server holds the beginning of an answer to that time. A stream that has begun goes on
//! for as long as it is read, so here its end is said when the time is up, and whatever
//! made it is dropped.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body as Answer, HttpBody},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http_body::Frame;
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::{
    Status,
    body::Body,
    codegen::{
        Service,
        http::{HeaderMap, Request},
    },
    server::NamedService,
};

/// How long the caller waits.
const TIMEOUT: &str = "grpc-timeout";
/// The most digits of it: as many as gRPC allows.
const MAX_DIGITS: usize = 8;

/// A service whose answers end in time.
#[derive(Clone, Debug)]
pub(crate) struct InTime<S>(pub(crate) S);

impl<S: NamedService> NamedService for InTime<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<Request<Body>> for InTime<S>
where
    S: Service<Request<Body>, Error = Infallible>,
    S::Response: IntoResponse,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let within = time(request.headers());
        let until = within.and_then(|within| Instant::now().checked_add(within));
        let answer = self.0.call(request);
        Box::pin(async move {
            let answer = answer.await?.into_response();
            Ok(match until {
                Some(until) => answer.map(|body| Answer::new(Until::new(body, until))),
                None => answer,
            })
        })
    }
}

/// The time that a call gives; nothing where it gives none, or none that is one.
fn time(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(TIMEOUT)?.to_str().ok()?;
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if number.is_empty() || number.len() > MAX_DIGITS {
        return None;
    }
    let number: u64 = number.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

/// A body that ends at a moment, if it has not ended before.
struct Until {
    /// None when it is over.
    body: Option<Answer>,
    until: Pin<Box<Sleep>>,
}

impl Until {
    fn new(body: Answer, until: Instant) -> Self {
        Self {
            body: Some(body),
            until: Box::pin(sleep_until(until)),
        }
    }
}

impl HttpBody for Until {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.body.is_some() && self.until.as_mut().poll(cx).is_ready() {
            self.body = None;
            let mut trailers = HeaderMap::new();
            let status = Status::deadline_exceeded("the time of this call is up");
            return Poll::Ready(Some(match status.add_header(&mut trailers) {
                Ok(()) => Ok(Frame::trailers(trailers)),
                Err(status) => Err(axum::Error::new(status)),
            }));
        }
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test ends where what it needs fails")]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_number_and_a_unit_or_is_none() {
        let of = |text: &str| {
            time(&HeaderMap::from_iter([(
                TIMEOUT.parse().unwrap(),
                text.parse().unwrap(),
            )]))
        };
        for (text, seconds) in [("2H", 7200.0), ("3M", 180.0), ("4S", 4.0), ("5m", 0.005)] {
            assert_eq!(of(text), Some(Duration::from_secs_f64(seconds)), "{text}");
        }
        assert_eq!(of("99999999n"), Some(Duration::from_nanos(99_999_999)));
        assert_eq!(of("7u"), Some(Duration::from_micros(7)));
        for text in ["", "S", "7", "-1S", "1.5S", "123456789S", "1s", "S1"] {
            assert_eq!(of(text), None, "{text}");
        }
        assert_eq!(time(&HeaderMap::new()), None);
    }
}
