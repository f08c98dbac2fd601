//! Who makes a call, as far as the call says.

use std::net::IpAddr;

use tonic::Request;

use crate::port::{
    node::{Call, Line},
    users::Credentials,
};

/// The longest token that is looked at, in bytes.
const MAX_TOKEN: usize = 8 << 10;

/// Where a call comes from. Whoever mounts the services puts it into each request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remote(pub IpAddr);

/// What a call says of its caller: a token in the metadata (`authorization: Bearer …`),
/// else the one in a field of the message; the name that a field claims; and where it
/// comes from. What is empty counts as not said.
#[must_use]
pub fn credentials<T>(request: &Request<T>, field: &str, claimed: &str) -> Credentials {
    Credentials {
        token: token(request, field),
        claimed: said(claimed),
        remote: remote(request),
    }
}

/// What a call to a node says of its caller: its line, the token as above, and what it
/// calls the job.
#[must_use]
pub fn call<T>(request: &Request<T>, field: &str, job: &str) -> Call {
    Call {
        line: line(request),
        token: token(request, field),
        job: job.to_owned(),
    }
}

/// The line of a call, as whoever mounted the services has put it into the request.
#[must_use]
pub fn line<T>(request: &Request<T>) -> Line {
    let mounted = request.extensions().get::<Line>().copied();
    mounted.unwrap_or_else(|| Line {
        remote: request.remote_addr(),
        key: None,
    })
}

fn token<T>(request: &Request<T>, field: &str) -> Option<String> {
    let header = request
        .metadata()
        .get("authorization")
        .and_then(|value| value.to_str().ok())
        .map(|value| bearer(value).unwrap_or(value).trim());
    let token = header.and_then(said).or_else(|| said(field));
    token.filter(|token| token.len() <= MAX_TOKEN)
}

fn said(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// Where a call comes from.
#[must_use]
pub fn remote<T>(request: &Request<T>) -> Option<IpAddr> {
    let mounted = request.extensions().get::<Remote>();
    mounted
        .map(|remote| remote.0)
        .or_else(|| Some(request.remote_addr()?.ip()))
}

/// The token behind the word, which has no case (RFC 7235, section 2.1).
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_goes_before_the_field_and_nothing_is_not_a_token() {
        let mut request = Request::new(());
        assert_eq!(credentials(&request, "", "").token, None);
        let said = credentials(&request, "field", "alice");
        assert_eq!(said.token.as_deref(), Some("field"));
        assert_eq!(said.claimed.as_deref(), Some("alice"));
        for header in ["Bearer abc", "bearer  abc ", "abc"] {
            let metadata = request.metadata_mut();
            metadata.insert("authorization", header.parse().unwrap());
            assert_eq!(
                credentials(&request, "field", "").token.as_deref(),
                Some("abc")
            );
        }
        let long = "x".repeat(MAX_TOKEN + 1);
        assert_eq!(credentials(&Request::new(()), &long, "").token, None);
        let call = call(&request, "field", "job-1");
        assert_eq!(call.token.as_deref(), Some("abc"));
        assert_eq!((call.job.as_str(), call.line), ("job-1", Line::default()));
        assert!(!format!("{call:?}").contains("abc"));
    }
}
