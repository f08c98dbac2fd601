//! Blobs: bytes named by their BLAKE3 hash, kept, served and fetched.
//!
//! - [`BlobStore`] keeps blobs in a folder under a quota; what is not pinned or held
//!   makes room, the longest unused first. `layout` is the folder's form, `ledger`
//!   its account, `partial` a blob on its way, [`Upload`] plain bytes coming in.
//! - [`BlobService`] serves verified ranges, to whom a [`BlobGate`] lets: over the
//!   bulk framing of `wire`, and as chunks for gRPC's `FetchBlob`.
//! - [`Fetcher`] brings a blob from those who hold it, several at once where it is large,
//!   checks every group of chunks before it is written, and goes on where it was stopped.
//! - `codec` is the one encoding (bao, groups of 16 KiB) behind all of them;
//!   [`decode`] is its receiving end for gRPC.

mod codec;
mod decode;
mod error;
mod fetch;
mod geometry;
mod layout;
mod ledger;
mod partial;
mod receive;
mod serve;
mod source;
mod store;
mod upload;
mod wire;

pub use codec::CodecError;
pub use decode::{Decode, Verified, decode};
pub use error::{FetchError, HolderFault, StoreError, Trial};
pub use fetch::{Fetched, Fetcher, Progress, Want};
pub use geometry::GROUP_BYTES;
pub use serve::{BlobGate, BlobService, EncodedBlob, Open, Refused};
pub use store::{BlobInfo, BlobStore, Held, PartialInfo, Stored, Usage};
pub use upload::Upload;
