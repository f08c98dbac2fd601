//! Meshes, roads and blobs through the public face: one program, so that it is linked
//! once.

mod blob_fetch;
mod blob_store;
mod floods;
mod hostile;
mod ipv6;
mod mesh;
mod private;
mod road;
mod roads;
mod scale;
mod support;
mod table;
