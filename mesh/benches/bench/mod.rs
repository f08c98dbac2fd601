//! The contenders of the benchmark of roads.

mod bulk;
pub(crate) mod grpc;
mod raw;
pub(crate) mod sender;
mod stock;

use std::{path::Path, pin::Pin, sync::Arc};

use bytes::Bytes;
use embermesh_crypto::keys::Keypair;
use embermesh_mesh::road::Identity;
use tempfile::TempDir;

/// Bytes written at once, and of one message of gRPC.
pub(crate) const CHUNK_BYTES: usize = 256 * 1024;

/// A transfer, to be run again and again.
type Transfer = Box<dyn FnMut() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// Somebody who moves bytes.
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    transfer: Transfer,
    clean: Box<dyn FnMut()>,
}

impl Contender {
    pub(crate) fn new<F>(
        name: &'static str,
        mut transfer: impl FnMut() -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self {
            name,
            transfer: Box::new(move || Box::pin(transfer())),
            clean: Box::new(|| {}),
        }
    }

    /// Does this after each transfer, outside what is measured.
    pub(crate) fn then(mut self, clean: impl FnMut() + 'static) -> Self {
        self.clean = Box::new(clean);
        self
    }

    pub(crate) fn clean(&mut self) {
        (self.clean)();
    }

    pub(crate) async fn transfer(&mut self) {
        // On a worker of its own, as a server's and a client's tasks are.
        tokio::spawn((self.transfer)()).await.unwrap();
    }
}

/// All of them, raw TCP and tokio-rustls first.
pub(crate) async fn contenders(bytes: usize) -> Vec<Contender> {
    let mut all = vec![
        raw::tcp(bytes).await,
        raw::tls(bytes).await,
        raw::tls_from_file(bytes).await,
    ];
    all.push(stock::libp2p(bytes).await);
    all.extend(grpc::all(bytes).await);
    all.extend(bulk::all(bytes).await);
    all
}

pub(crate) fn identity(number: u8) -> Identity {
    Identity::new(Arc::new(Keypair::from_seed(&[number; 32]))).unwrap()
}

/// Bytes that do not compress or repeat.
pub(crate) fn noise(bytes: usize) -> Bytes {
    let mut noise = vec![0; bytes];
    blake3::Hasher::new().finalize_xof().fill(&mut noise);
    noise.into()
}

/// A folder in memory, where the system has one: the disk is not what is measured.
pub(crate) fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        TempDir::new_in(memory).unwrap()
    } else {
        TempDir::new().unwrap()
    }
}
