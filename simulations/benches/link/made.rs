//! What a contender is made of.

use std::{path::Path, sync::Arc};

use bytes::Bytes;
use embermesh_crypto::keys::Keypair;
use embermesh_mesh::road::Identity;
use tempfile::TempDir;

/// Bytes that do not compress or repeat.
pub(crate) fn noise(bytes: u64) -> Bytes {
    let mut noise = vec![0; usize::try_from(bytes).unwrap()];
    blake3::Hasher::new().finalize_xof().fill(&mut noise);
    noise.into()
}

pub(crate) fn identity(number: u8) -> Identity {
    Identity::new(Arc::new(Keypair::from_seed(&[number; 32]))).unwrap()
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
