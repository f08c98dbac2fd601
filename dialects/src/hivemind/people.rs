//! Users and what they have. The system counts whole units; a millionth of one is what is
//! counted here.

use tonic::Request;

use super::{Pool, PoolPort};
use crate::{Dialect, ErrorCode, Failure, caller, port::Principal};

/// Micro-units of one unit.
const UNIT: u64 = 1_000_000;

impl<P: PoolPort> Pool<P> {
    pub(super) async fn make_user<T>(
        &self,
        request: &Request<T>,
        name: &str,
        password: &str,
    ) -> Result<String, Failure> {
        let remote = caller::remote(request);
        self.port
            .register(Dialect::HiveMind, name, password, remote)
            .await?;
        Ok("the user is made: log in".to_owned())
    }

    /// A session's token.
    pub(super) async fn log_in<T>(
        &self,
        request: &Request<T>,
        name: &str,
        password: &str,
    ) -> Result<String, Failure> {
        let remote = caller::remote(request);
        let session = self
            .port
            .login(Dialect::HiveMind, name, password, remote)
            .await?;
        Ok(session.token)
    }

    /// Whole units that the caller can spend.
    pub(super) async fn funds<T>(
        &self,
        request: &Request<T>,
        token: &str,
        name: &str,
    ) -> Result<i64, Failure> {
        let who = self.who(request, token, name).await?;
        if !name.is_empty() && name != who.name {
            let message = format!("the token is of {:?}: ask for that balance", who.name);
            return Err(Failure::new(ErrorCode::Denied, message));
        }
        let balance = self.port.balance(&who).await?;
        Ok(i64::try_from(balance.available / UNIT).unwrap_or(i64::MAX))
    }

    /// Gives whole units to somebody. The request has nothing to know a second try by, so
    /// each one moves.
    pub(super) async fn give<T>(
        &self,
        request: &Request<T>,
        token: &str,
        receiver: &str,
        amount: i64,
    ) -> Result<String, Failure> {
        let who = self.who(request, token, "").await?;
        let amount = u64::try_from(amount).ok().filter(|amount| *amount > 0);
        let Some(micros) = amount.and_then(|amount| amount.checked_mul(UNIT)) else {
            return Err(Failure::invalid("give an amount above 0"));
        };
        if receiver.is_empty() || receiver == who.name {
            return Err(Failure::invalid("name somebody else who receives it"));
        }
        let to = Principal {
            dialect: Dialect::HiveMind,
            name: receiver.to_owned(),
        };
        let mut key = [0; 16];
        getrandom::fill(&mut key).map_err(|error| {
            tracing::error!(%error, "the operating system gives no random bytes");
            Failure::new(ErrorCode::Internal, "nothing can be moved now")
        })?;
        let key = format!("transfer-{:032x}", u128::from_be_bytes(key));
        self.port.transfer(&who, &to, micros, &key).await?;
        Ok("it is given".to_owned())
    }
}
