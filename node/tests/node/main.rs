//! The node through its public face: one program, so that it is linked once.

mod blobs;
mod bombs;
mod ceilings;
mod computing;
mod control;
mod cyxwiz;
mod daemon;
mod disk;
mod feed;
mod foreign;
mod index;
mod indexes;
mod language;
mod late;
mod origins;
mod permit;
mod resume;
mod rogue;
mod runs;
mod scripts;
mod serve;
mod support;
mod tokens;
