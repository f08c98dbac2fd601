//! Acts for clients that have no key: the index's side of every dialect.
//!
//! A client of a foreign system has a name, a password or a token, and no keypair. Here
//! each of them is given one that is derived from a secret of this gateway and from his
//! name, and with it the gateway is a client of the mesh like any other: it submits with
//! a spec, brings inputs to the node, follows the stream, checks what it fetches. So the
//! index and the nodes know nothing of dialects, a job of a foreign client belongs to a
//! key like every job, and nobody reads or ends another's.
//!
//! - [`users`]: names, passwords, sessions, and whose word is taken without.

pub mod users;
