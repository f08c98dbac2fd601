//! Real swarms by the scenario files, in a small version of each: what comes of it is looked
//! at, not how long it took, for a machine that is busy.

mod files;
mod hostile;
mod support;
mod swarms;
