//! Who makes a call: a token of the metadata or of a field.

use tonic::Request;

use super::{Pool, PoolPort};
use crate::{Dialect, Failure, caller, port::Principal};

impl<P: PoolPort> Pool<P> {
    /// Who makes a call.
    pub(super) async fn who<T>(
        &self,
        request: &Request<T>,
        field: &str,
        claimed: &str,
    ) -> Result<Principal, Failure> {
        let credentials = caller::credentials(request, field, claimed);
        self.port.authenticate(Dialect::HiveMind, credentials).await
    }
}
