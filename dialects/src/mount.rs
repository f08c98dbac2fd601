//! The services of dialects, put together for whoever serves a port.

use std::convert::Infallible;

use tonic::{
    body::Body,
    codegen::{Service, http},
    server::NamedService,
    service::Routes,
};

use crate::deadline::InTime;

/// Services of dialects, with what reflection says of them. Each dialect adds its own.
#[derive(Default)]
pub struct Mount {
    add: Vec<Box<dyn FnOnce(Routes) -> Routes + Send>>,
    names: Vec<&'static str>,
    descriptors: Vec<&'static [u8]>,
}

impl Mount {
    /// The same with a service more, whose calls end when their caller's time is up.
    pub(crate) fn serve<S>(mut self, service: S) -> Self
    where
        S: Service<http::Request<Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Response: axum::response::IntoResponse,
        S::Future: Send + 'static,
    {
        self.names.push(S::NAME);
        self.add
            .push(Box::new(|routes| routes.add_service(InTime(service))));
        self
    }

    /// The same with an encoded `FileDescriptorSet` more.
    pub(crate) fn describe(mut self, descriptors: &'static [u8]) -> Self {
        self.descriptors.push(descriptors);
        self
    }

    /// The names of the services.
    #[must_use]
    pub fn names(&self) -> &[&'static str] {
        &self.names
    }

    /// Encoded `FileDescriptorSet`s that have them.
    #[must_use]
    pub fn descriptors(&self) -> &[&'static [u8]] {
        &self.descriptors
    }

    /// Puts the services beside others.
    #[must_use]
    pub fn onto(self, routes: Routes) -> Routes {
        self.add.into_iter().fold(routes, |routes, add| add(routes))
    }
}
