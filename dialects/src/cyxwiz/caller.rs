//! Who makes a call: the bearer of the token, or a name that is believed.

use tonic::Request;

use crate::{
    Dialect, ErrorCode, Failure, caller,
    port::{Principal, users::Users},
};

/// What somebody is called who gives no name, on a wire where few calls have one.
const NAMELESS: &str = "engine";

/// Who makes a call: whom his token says. Without a token, and only where the operator
/// believes that: whom the call names, or the only one who is known from where it comes,
/// or, where there is nobody yet, a name of ours.
pub(super) async fn caller<P: Users, T>(
    port: &P,
    request: &Request<T>,
    claimed: &str,
) -> Result<Principal, Failure> {
    caller_with(port, request, "", claimed).await
}

/// The same, where a field of the message may have the token.
pub(super) async fn caller_with<P: Users, T>(
    port: &P,
    request: &Request<T>,
    token: &str,
    claimed: &str,
) -> Result<Principal, Failure> {
    let by = |name| port.authenticate(Dialect::CyxWiz, caller::credentials(request, token, name));
    match by(claimed).await {
        Err(failure) if failure.code == ErrorCode::Unauthenticated && claimed.is_empty() => {
            by(NAMELESS).await
        }
        known => known,
    }
}

/// Whether a name that a request gives is the caller's; an empty one is.
pub(super) fn is_own(who: &Principal, field: &str, name: &str) -> Result<(), Failure> {
    if name.is_empty() || name == who.name {
        return Ok(());
    }
    Err(Failure::new(
        ErrorCode::Denied,
        format!(
            "{field}: it is not yours: leave it empty, or give \"{}\"",
            who.name
        ),
    ))
}
