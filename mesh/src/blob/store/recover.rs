//! What a folder holds when it is opened, and what a crash left in it.

use std::{fs, io, time::SystemTime};

use embermesh_crypto::digest::Digest;

use crate::blob::{
    StoreError, geometry,
    layout::{self, Layout},
    ledger::Ledger,
};

/// Enters the blobs of a folder, in the order of their last use, and removes what a
/// crash left half.
pub(super) fn blobs(layout: &Layout, ledger: &mut Ledger) -> Result<(), StoreError> {
    let mut found: Vec<(SystemTime, Digest, u64)> = Vec::new();
    for shard in layout::entries(&layout.blobs())? {
        for path in layout::entries(&shard)? {
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            let (digest, outboard) = match name.strip_suffix(".bao") {
                Some(stem) => (stem.parse::<Digest>(), true),
                None => (name.parse::<Digest>(), false),
            };
            let Ok(digest) = digest else {
                tracing::warn!(path = %path.display(), "not a blob: left alone");
                continue;
            };
            let paths = layout.blob(&digest);
            if outboard {
                if !paths.data.exists() {
                    layout::remove(&path)?;
                }
                continue;
            }
            let failed = |error: io::Error| StoreError::io("read", &path, &error);
            let meta = fs::metadata(&path).map_err(failed)?;
            let wanted = geometry::tree(meta.len()).outboard_size();
            let outboard = fs::metadata(&paths.outboard).map_or(0, |meta| meta.len());
            if wanted == outboard {
                found.push((meta.modified().map_err(failed)?, digest, meta.len()));
            } else {
                tracing::warn!(%digest, "a blob and its hash tree do not fit: removed");
                paths.remove()?;
            }
        }
    }
    found.sort_unstable();
    for (_, digest, size) in found {
        ledger.insert(digest, size, layout.pin(&digest).exists());
    }
    Ok(())
}

/// Enters the blobs that were on their way, and removes what is none.
pub(super) fn partials(layout: &Layout, ledger: &mut Ledger) -> Result<(), StoreError> {
    for path in layout::entries(&layout.partials())? {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        let (name, outboard) = match name.strip_suffix(".bao") {
            Some(stem) => (stem, true),
            None => (name, false),
        };
        let parsed = name.split_once('.').and_then(|(digest, size)| {
            Some((digest.parse::<Digest>().ok()?, size.parse::<u64>().ok()?))
        });
        match parsed {
            Some((digest, size)) if !outboard => {
                if ledger.blob(&digest).is_some() || ledger.partial(&digest).is_some() {
                    layout.partial(&digest, size).remove()?;
                } else {
                    ledger.insert_partial(digest, size, false);
                }
            }
            Some((digest, size)) if layout.partial(&digest, size).data.exists() => {}
            _ => layout::remove(&path)?,
        }
    }
    Ok(())
}
