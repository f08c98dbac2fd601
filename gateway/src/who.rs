//! Who makes a call, by the users that are kept here.

use std::net::IpAddr;

use embermesh_dialects::{
    Dialect, Failure,
    port::{
        Principal,
        users::{Credentials, Session, Users},
    },
};

use crate::Gateway;

#[tonic::async_trait]
impl Users for Gateway {
    async fn authenticate(
        &self,
        dialect: Dialect,
        credentials: Credentials,
    ) -> Result<Principal, Failure> {
        self.inner.users.authenticate(dialect, credentials).await
    }

    async fn register(
        &self,
        dialect: Dialect,
        name: &str,
        password: &str,
        remote: Option<IpAddr>,
    ) -> Result<(), Failure> {
        let users = &self.inner.users;
        users.register(dialect, name, password, remote).await
    }

    async fn exists(&self, dialect: Dialect, name: &str) -> Result<bool, Failure> {
        Users::exists(&self.inner.users, dialect, name).await
    }

    async fn login(
        &self,
        dialect: Dialect,
        name: &str,
        password: &str,
        remote: Option<IpAddr>,
    ) -> Result<Session, Failure> {
        let users = &self.inner.users;
        users.login(dialect, name, password, remote).await
    }
}
