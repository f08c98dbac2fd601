//! A blob on its way: two files that grow out of order, and what they lack.
//!
//! Nothing records which groups have come. When a partial is opened again its hash
//! tree says it: what does not verify has not come, whatever a crash left there.

use std::{fs::File, io, path::Path};

use bao_tree::{
    ChunkRanges,
    io::{
        outboard::PreOrderOutboard,
        sync::{WriteAt as _, valid_ranges},
    },
};
use blake3::Hash;
use embermesh_crypto::digest::Digest;

use super::{
    CodecError, StoreError,
    codec::{Decoder, Item, PAIR_BYTES},
    geometry::{self, Groups},
    layout::{Pair, private_file},
};

/// Bytes of hashes gathered before they are written: neighbours come one after the
/// other.
const MAX_RUN_BYTES: usize = 64 * PAIR_BYTES;

/// A blob that is not whole yet.
#[derive(Debug)]
pub(crate) struct Partial {
    pub(crate) digest: Digest,
    pub(crate) paths: Pair,
    data: File,
    outboard: File,
    missing: Groups,
    run: Run,
}

/// Pairs of hashes that lie side by side in the outboard.
#[derive(Debug, Default)]
struct Run {
    place: u64,
    bytes: Vec<u8>,
}

/// Why bytes that came could not be taken.
#[derive(Debug)]
pub(crate) enum Untaken {
    Codec(CodecError),
    Store(StoreError),
}

impl From<CodecError> for Untaken {
    fn from(error: CodecError) -> Self {
        Self::Codec(error)
    }
}

impl From<StoreError> for Untaken {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Partial {
    /// Opens the files, or makes them, and finds out what they lack. Reads all that
    /// has come; blocks.
    pub(crate) fn open(paths: Pair, digest: Digest, size: u64) -> Result<Self, StoreError> {
        let known = paths.data.exists();
        let open = |path: &Path| {
            private_file()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(path)
                .map_err(|error| StoreError::io("open", path, &error))
        };
        let (data, outboard) = (open(&paths.data)?, open(&paths.outboard)?);
        let tree = geometry::tree(size);
        let grown = data
            .set_len(size)
            .and_then(|()| outboard.set_len(tree.outboard_size()));
        grown.map_err(|error| StoreError::growth(&paths.data, size, &error))?;
        let missing = if known || size == 0 {
            let present = present(&data, &outboard, digest, size)
                .map_err(|error| StoreError::io("read", &paths.data, &error))?;
            Groups::missing(size, &present)
        } else {
            Groups::all(size)
        };
        Ok(Self {
            digest,
            paths,
            data,
            outboard,
            missing,
            run: Run::default(),
        })
    }

    /// The same files, to take some groups that are missing. What comes that way has to be
    /// [absorbed](Self::absorb).
    pub(crate) fn part(&self, groups: Groups) -> Result<Self, StoreError> {
        let again = |file: &File, path: &Path| {
            file.try_clone()
                .map_err(|error| StoreError::io("open", path, &error))
        };
        Ok(Self {
            digest: self.digest,
            paths: self.paths.clone(),
            data: again(&self.data, &self.paths.data)?,
            outboard: again(&self.outboard, &self.paths.outboard)?,
            missing: groups,
            run: Run::default(),
        })
    }

    /// Of the groups of a part, all have come but those that are left.
    pub(crate) fn absorb(&mut self, part: &Groups, left: &Groups) {
        self.missing.take_away(part);
        self.missing.put_back(left);
    }

    /// The groups that have not come.
    pub(crate) const fn missing(&self) -> &Groups {
        &self.missing
    }

    /// Bytes of the whole blob.
    pub(crate) const fn size(&self) -> u64 {
        self.missing.size()
    }

    /// Bytes that are here and checked.
    pub(crate) fn present_bytes(&self) -> u64 {
        self.size() - self.missing.bytes()
    }

    /// A decoder for the groups, which must be missing ones.
    pub(crate) fn decoder(&self, groups: &Groups) -> Decoder {
        Decoder::new(Hash::from_bytes(*self.digest.as_bytes()), groups)
    }

    /// Takes encoded bytes: checks them, and writes what is right. Blocks.
    pub(crate) fn take(&mut self, decoder: &mut Decoder, bytes: &[u8]) -> Result<(), Untaken> {
        let taken = decoder.push(bytes, |item| match item {
            Item::Pair { place, pair } => self.write_pair(place, pair),
            Item::Data { offset, data } => self.write_group(offset, data),
        });
        // What was checked before an error is worth keeping.
        let written = self.write_run();
        taken?;
        Ok(written?)
    }

    fn write_group(&mut self, offset: u64, data: &[u8]) -> Result<(), Untaken> {
        self.data
            .write_all_at(offset, data)
            .map_err(|error| StoreError::io("write", &self.paths.data, &error))?;
        self.missing.remove(offset, data.len() as u64);
        Ok(())
    }

    fn write_pair(&mut self, place: u64, pair: &[u8]) -> Result<(), Untaken> {
        let end = self.run.place + self.run.bytes.len() as u64;
        if place != end || self.run.bytes.len() >= MAX_RUN_BYTES {
            self.write_run()?;
            self.run.place = place;
        }
        self.run.bytes.extend_from_slice(pair);
        Ok(())
    }

    fn write_run(&mut self) -> Result<(), StoreError> {
        if !self.run.bytes.is_empty() {
            self.outboard
                .write_all_at(self.run.place, &self.run.bytes)
                .map_err(|error| StoreError::io("write", &self.paths.outboard, &error))?;
            self.run.bytes.clear();
        }
        Ok(())
    }

    /// Syncs the whole blob to the disk and lets its files go, without the outboard
    /// where the blob has none. Blocks.
    pub(crate) fn finish(self) -> Result<(Pair, u64), StoreError> {
        let size = self.size();
        let sync = |file: &File, path: &Path| {
            file.sync_all()
                .map_err(|error| StoreError::io("sync", path, &error))
        };
        sync(&self.data, &self.paths.data)?;
        if geometry::tree(size).outboard_size() == 0 {
            super::layout::remove(&self.paths.outboard)?;
        } else {
            sync(&self.outboard, &self.paths.outboard)?;
        }
        Ok((self.paths, size))
    }
}

fn present(data: &File, outboard: &File, digest: Digest, size: u64) -> io::Result<ChunkRanges> {
    let outboard = PreOrderOutboard {
        root: Hash::from_bytes(*digest.as_bytes()),
        tree: geometry::tree(size),
        data: outboard,
    };
    let mut present = ChunkRanges::empty();
    for range in valid_ranges(outboard, data, &ChunkRanges::all()) {
        present |= ChunkRanges::from(range?);
    }
    Ok(present)
}
