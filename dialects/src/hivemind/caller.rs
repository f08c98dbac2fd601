//! Who makes a call: a token of the metadata or of a field, and where the call comes from.

use tonic::Request;

use super::Pool;
use crate::{
    Dialect, Failure,
    port::{
        IndexPort, Principal,
        users::{Credentials, Users as _},
        workers::Workers,
    },
};

/// What a request says of its caller. A token in the metadata goes before one in a field.
pub(super) fn credentials<T>(request: &Request<T>, field: &str, claimed: &str) -> Credentials {
    let bearer = request
        .metadata()
        .get("authorization")
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim());
    let given = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    Credentials {
        token: bearer.and_then(given).or_else(|| given(field)),
        claimed: given(claimed),
        remote: request.remote_addr().map(|address| address.ip()),
    }
}

impl<P: IndexPort + Workers> Pool<P> {
    /// Who makes a call.
    pub(super) async fn who<T>(
        &self,
        request: &Request<T>,
        field: &str,
        claimed: &str,
    ) -> Result<Principal, Failure> {
        let credentials = credentials(request, field, claimed);
        self.port.authenticate(Dialect::HiveMind, credentials).await
    }
}
