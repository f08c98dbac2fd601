//! Acts for clients that have no key: the index's side of every dialect.
//!
//! A client of a foreign system has a name, a password or a token, and no keypair. Here
//! each of them is given one that is derived from a secret of this gateway and from his
//! name, and with it the gateway is a client of the mesh like any other: it submits with
//! a spec, brings inputs to the node, follows the stream, checks what it fetches. So the
//! index knows nothing of dialects, a job of a foreign client belongs to a
//! key like every job, and nobody reads or ends another's.
//!
//! - [`Gateway`]: starts, goes on with what was open, stops.
//! - `keys`: the keys of clients without a key.
//! - `clients`: one connection for each of them.
//! - `jobs`: their jobs, followed by the gateway until they end.
//! - `plans`: jobs of several tasks, driven until they end.
//! - `workers`: programs of foreign systems that take tasks.
//! - `servers`: server nodes of foreign systems that take jobs.
//! - `accounts`: their accounts in the index's ledger.
//! - `provers`: provers that dial in, and the proofs that gangs of them make.
//! - `nodes`, `models`: what can be had in the mesh.
//! - `registry`: models that they keep here; `deployments`: models that they put into
//!   the memory of a node.
//! - `reservations`: nodes that they take for a time.
//! - `sessions`: permissions to ask a model once, for systems whose clients carry them.
//! - `serve`: the services, ready to be served beside an index.
//! - `store`, `folder`: what is kept, in a database and in files.
//! - [`users`]: names, passwords, sessions, and whose word is taken without.
//! - [`Pass`]: what an operator gives to somebody whose system has no way to log in.
//! - `failure`: errors of the mesh in the words of the dialects.

mod accounts;
mod agents;
mod background;
mod clients;
mod deployments;
mod failure;
mod folder;
mod gateway;
mod jobs;
mod keys;
mod models;
mod nodes;
mod pass;
mod plans;
mod provers;
mod registry;
mod reservations;
mod serve;
mod servers;
mod sessions;
mod store;
pub mod users;
mod who;
mod workers;

pub use gateway::{Gateway, GatewayConfig, GatewayError};
pub use pass::{NoPass, Pass};
pub use provers::{InvalidSettings, ProvingSettings};
pub use serve::{NotServed, Services};
pub use store::StoreError;
