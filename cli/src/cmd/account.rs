//! `embermesh account`: what is in an account at an index, and the ways to move it.

use clap::{Args, Subcommand};
use embermesh_client::IdempotencyKey;
use embermesh_crypto::PeerId;
use embermesh_job::{
    ledger::{Key, Subject, Transaction},
    units::MicroUnits,
};
use serde_json::json;

use crate::{
    args::{ClientFlags, Global},
    cmd::connect,
    exit::{Exit, WrongInput},
    output::Output,
    runtime,
    show::transaction,
};

/// Look at accounts and move what is in them.
#[derive(Debug, Subcommand)]
pub(crate) enum Account {
    /// Show what is in an account
    #[command(
        after_help = "Examples:\n  embermesh account show\n  embermesh account show --account 12D3KooW... -o json"
    )]
    Show {
        #[command(flatten)]
        whose: Whose,
        #[command(flatten)]
        client: ClientFlags,
    },
    /// Pay from your account into another
    #[command(
        after_help = "Examples:\n  embermesh account transfer 12D3KooW... 1.25\n  embermesh account transfer 12D3KooW... 0.5 --subject \"invoice 7\" --once invoice-7"
    )]
    Transfer {
        /// Who pays, for administrators of the index [default: you]
        #[arg(long, value_name = "PEER")]
        from: Option<PeerId>,
        #[command(flatten)]
        payment: Payment,
        #[command(flatten)]
        client: ClientFlags,
    },
    /// Bring money into an account, as an administrator of the index
    #[command(
        after_help = "Example:\n  embermesh account deposit 12D3KooW... 100 --key admin.pem --once order-4711"
    )]
    Deposit {
        #[command(flatten)]
        payment: Payment,
        #[command(flatten)]
        client: ClientFlags,
    },
    /// List the transactions of an account, the newest first
    #[command(
        after_help = "Examples:\n  embermesh account history\n  embermesh account history --most 1000 -o jsonl"
    )]
    History {
        #[command(flatten)]
        whose: Whose,
        /// How many at most
        #[arg(long, value_name = "NUMBER", default_value_t = 50)]
        most: usize,
        #[command(flatten)]
        client: ClientFlags,
    },
}

/// Which account.
#[derive(Debug, Args)]
pub(crate) struct Whose {
    /// Another account than yours, for administrators of the index
    #[arg(long, value_name = "PEER")]
    account: Option<PeerId>,
}

/// What is paid, to whom, and what for.
#[derive(Debug, Args)]
pub(crate) struct Payment {
    /// Who is paid
    to: PeerId,
    /// How much, in units, such as 1.25; six digits at most behind the point
    #[arg(value_parser = units)]
    amount: MicroUnits,
    /// What for, 256 bytes at most
    #[arg(long, value_name = "TEXT", default_value = "")]
    subject: Subject,
    /// A name for this payment: typed again under the same name, it is made once
    #[arg(long, value_name = "NAME")]
    once: Option<String>,
}

impl Payment {
    /// The name that was given, or one that nobody else has.
    fn key(&self) -> anyhow::Result<Key> {
        match &self.once {
            Some(name) => {
                let key = Key::new(name.as_bytes());
                Ok(key.map_err(|error| WrongInput(format!("--once: {error}")))?)
            }
            None => Ok(IdempotencyKey::fresh()?.into()),
        }
    }
}

/// An amount in units, with or without a point.
pub(crate) fn units(text: &str) -> Result<MicroUnits, String> {
    let point = if text.contains('.') { "" } else { ".0" };
    format!("{text}{point}").parse().map_err(|_| {
        format!("`{text}` is not an amount: write units, with six digits at most behind a point, such as 1.25")
    })
}

impl Account {
    /// Does it.
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<Exit> {
        let (Self::Show { client, .. }
        | Self::Transfer { client, .. }
        | Self::Deposit { client, .. }
        | Self::History { client, .. }) = &self;
        let settings = global.resolve(client.settings())?;
        let output = global.output(&settings);
        runtime::run(async move {
            let client = connect(&settings).await?;
            match self {
                Self::Show { whose, .. } => {
                    let funds = client.balance(whose.account).await?;
                    output.one(
                        &[
                            ("account", funds.account.to_string()),
                            ("available", funds.available.to_string()),
                            ("held", funds.held.to_string()),
                        ],
                        &json!({
                            "account": funds.account,
                            "available_micros": funds.available.0,
                            "held_micros": funds.held.0,
                        }),
                    )?;
                }
                Self::Transfer { from, payment, .. } => {
                    let key = payment.key()?;
                    let Payment {
                        to,
                        amount,
                        subject,
                        ..
                    } = payment;
                    show(
                        output,
                        &client.transfer(key, from, to, amount, &subject).await?,
                    )?;
                }
                Self::Deposit { payment, .. } => {
                    let key = payment.key()?;
                    let Payment {
                        to,
                        amount,
                        subject,
                        ..
                    } = payment;
                    show(output, &client.deposit(key, to, amount, &subject).await?)?;
                }
                Self::History { whose, most, .. } => {
                    let whom = whose.account.unwrap_or_else(|| client.peer_id());
                    let found = client.history(whose.account, most).await?;
                    output.list(
                        &transaction::HEADERS,
                        found
                            .iter()
                            .map(|one| transaction::row(one, whom))
                            .collect(),
                        found.iter().map(transaction::value).collect(),
                    )?;
                }
            }
            Ok(Exit::Ok)
        })
    }
}

/// Shows a transaction that was just made.
fn show(output: Output, made: &Transaction) -> anyhow::Result<()> {
    let mut fields = vec![
        ("transaction", made.number.to_string()),
        ("kind", transaction::kind(made).to_owned()),
    ];
    for posting in &made.postings {
        let change = transaction::units(posting.available.saturating_add(posting.held));
        fields.push(("change", format!("{change} {}", posting.account)));
    }
    output.one(&fields, &transaction::value(made))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_units_and_exact() {
        assert_eq!(units("1.25"), Ok(MicroUnits(1_250_000)));
        assert_eq!(units("5"), Ok(MicroUnits(5_000_000)));
        assert_eq!(units("0.000001"), Ok(MicroUnits(1)));
        for bad in ["", "-1", "1.0000001", "1e3", "1,5", ".5", "10000000000"] {
            assert!(units(bad).is_err(), "{bad}");
        }
    }
}
