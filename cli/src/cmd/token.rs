//! `embermesh token inspect`: what an assignment token says, and whether it holds.

use std::io::Read as _;

use anyhow::Context as _;
use clap::Subcommand;
use embermesh_crypto::{
    time::UnixMillis,
    token::{Claims, MAX_TOKEN_LEN, Refusal, inspect},
};
use figment::value::Dict;
use serde_json::{Value, json};

use crate::{
    args::Global,
    exit::{Exit, WrongInput},
    show::amount,
};

/// Look into assignment tokens.
#[derive(Debug, Subcommand)]
pub(crate) enum Token {
    /// Show what a token says, and check its signature and its times
    #[command(
        after_help = "Examples:\n  embermesh token inspect eyJhbGciOiJFZERTQSI...\n  embermesh token inspect < token.txt\n\nWhether a node trusts its issuer is for the node to say."
    )]
    Inspect {
        /// The token [default: read from stdin]
        token: Option<String>,
    },
}

impl Token {
    /// Does it.
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<Exit> {
        let Self::Inspect { token } = self;
        let settings = global.resolve(Dict::new())?;
        let token = match token {
            Some(token) => token,
            None => read_stdin()?,
        };
        let inspection = match inspect(token.trim(), UnixMillis::now()) {
            Ok(inspection) => inspection,
            // Text that is no token is the caller's mistake, not a refusal.
            Err(error @ Refusal::Malformed(_)) => return Err(WrongInput(error.to_string()).into()),
            Err(error) => return Err(error.into()),
        };
        let verdict = inspection.verdict.as_ref().err();
        let word = verdict.map_or("valid", Refusal::code);
        let said = verdict.map_or_else(
            || "valid".to_owned(),
            |refusal| format!("{} ({refusal})", refusal.code()),
        );
        let mut fields = fields(&inspection.claims);
        fields.push(("verdict", said));
        let value = value(&inspection.claims, word);
        global.output(&settings).one(&fields, &value)?;
        Ok(if verdict.is_none() {
            Exit::Ok
        } else {
            Exit::Refused
        })
    }
}

fn read_stdin() -> anyhow::Result<String> {
    let mut text = String::new();
    let most = MAX_TOKEN_LEN as u64 + 1024;
    std::io::stdin()
        .take(most)
        .read_to_string(&mut text)
        .context("cannot read the token from stdin")?;
    if text.trim().is_empty() {
        return Err(
            WrongInput("there is no token: give it as an argument or on stdin".to_owned()).into(),
        );
    }
    Ok(text)
}

fn fields(claims: &Claims) -> Vec<(&'static str, String)> {
    let methods: Vec<&str> = claims
        .methods
        .iter()
        .map(|method| method.as_str())
        .collect();
    let ceilings = &claims.ceilings;
    vec![
        ("issuer", claims.issuer.to_string()),
        ("client", claims.client.to_string()),
        ("node", claims.node.to_string()),
        ("job", claims.job.to_string()),
        ("task", claims.task.to_string()),
        ("epoch", claims.epoch.to_string()),
        ("spec", claims.spec.to_string()),
        ("methods", methods.join(" ")),
        ("memory", amount::bytes(ceilings.memory_bytes)),
        (
            "wall time",
            amount::span(std::time::Duration::from_millis(ceilings.wall_ms)),
        ),
        ("output", amount::bytes(ceilings.output_bytes)),
        ("token id", claims.token_id.to_string()),
        ("issued", amount::instant(claims.issued_at.as_millis())),
        ("valid from", amount::instant(claims.not_before.as_millis())),
        ("expires", amount::instant(claims.expires_at.as_millis())),
        ("revocation epoch", claims.revocation_epoch.to_string()),
    ]
}

fn value(claims: &Claims, verdict: &str) -> Value {
    let methods: Vec<&str> = claims
        .methods
        .iter()
        .map(|method| method.as_str())
        .collect();
    json!({
        "issuer": claims.issuer,
        "client": claims.client,
        "node": claims.node,
        "job": claims.job,
        "task": claims.task.0,
        "epoch": claims.epoch.0,
        "spec": claims.spec,
        "methods": methods,
        "ceilings": {
            "memory_bytes": claims.ceilings.memory_bytes,
            "wall_ms": claims.ceilings.wall_ms,
            "output_bytes": claims.ceilings.output_bytes,
        },
        "token_id": claims.token_id.to_string(),
        "issued_at": claims.issued_at.0,
        "not_before": claims.not_before.0,
        "expires_at": claims.expires_at.0,
        "revocation_epoch": claims.revocation_epoch,
        "verdict": verdict,
    })
}
