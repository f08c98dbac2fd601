//! What a daemon keeps on a disk: a private data folder, held by one process at a
//! time, and the SQLite database in it.
//!
//! - [`folder`]: the folder, its lock, and files that only their owner reads.
//! - [`database`]: opens a database that is whole, private and of the right program.

pub mod database;
pub mod folder;
