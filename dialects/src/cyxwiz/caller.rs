//! Who makes a call: the bearer of the token in the metadata.

use tonic::{Extensions, metadata::MetadataMap, transport::server::TcpConnectInfo};

use crate::{
    Dialect, Failure,
    port::{
        Principal,
        users::{Credentials, Users},
    },
};

/// What a call says of who makes it.
pub(super) fn credentials(metadata: &MetadataMap, extensions: &Extensions) -> Credentials {
    let token = metadata
        .get("authorization")
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim().to_owned())
        .filter(|token| !token.is_empty());
    Credentials {
        token,
        claimed: None,
        remote: extensions
            .get::<TcpConnectInfo>()
            .and_then(TcpConnectInfo::remote_addr)
            .map(|address| address.ip()),
    }
}

/// Who makes a call.
pub(super) async fn caller<P: Users, T: Sync>(
    port: &P,
    request: &tonic::Request<T>,
) -> Result<Principal, Failure> {
    let credentials = credentials(request.metadata(), request.extensions());
    port.authenticate(Dialect::CyxWiz, credentials).await
}

/// Whether a name that a request gives is the caller's; an empty one is.
pub(super) fn is_own(who: &Principal, field: &str, name: &str) -> Result<(), Failure> {
    if name.is_empty() || name == who.name {
        return Ok(());
    }
    Err(Failure::new(
        crate::ErrorCode::Denied,
        format!(
            "{field}: it is not yours: leave it empty, or give \"{}\"",
            who.name
        ),
    ))
}
