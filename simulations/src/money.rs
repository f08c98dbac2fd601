//! Whether money is where it should be: nothing is made or lost, and what is set aside is
//! for jobs that have not ended.

use std::collections::BTreeMap;

use embermesh_crypto::PeerId;
use embermesh_job::{ledger::Account, units::MicroUnits};

use crate::{Violation, World, client::PAYMENT};

/// What the administrator pays into the client's account, in millionths of a unit.
pub(crate) const DEPOSIT: MicroUnits = MicroUnits(1_000_000_000);

impl World {
    /// Money is conserved: all accounts together are zero, what is held is what the open
    /// holds say, and each open job with a budget has one.
    pub(crate) fn check_money(&self) -> Result<(), Violation> {
        let ledger = self.index.ledger();
        let mut held: BTreeMap<PeerId, i128> = BTreeMap::new();
        for hold in ledger.holds().values() {
            *held.entry(hold.payer).or_default() += i128::from(hold.amount.0);
        }
        let peers = self.peers.iter().map(crate::peer::Peer::id);
        let mut sum = 0i128;
        for account in peers
            .chain([self.client.keypair.peer_id(), self.administrator])
            .map(Account::Peer)
            .chain([Account::Issuance])
        {
            let balance = ledger.balance_of(account);
            sum += i128::from(balance.available) + i128::from(balance.held);
            let aside = match account {
                Account::Peer(peer) => held.remove(&peer).unwrap_or(0),
                Account::Issuance => 0,
            };
            if i128::from(balance.held) != aside {
                return Err(self.violation(format!(
                    "{} is held in account {account:?}, and its holds are {aside}",
                    balance.held
                )));
            }
            if account != Account::Issuance && balance.available < 0 {
                return Err(self.violation(format!("account {account:?} is below zero")));
            }
        }
        if sum != 0 {
            return Err(self.violation(format!("all accounts together are {sum}, not zero")));
        }
        self.check_holds()
    }

    /// Every hold is a job's that has not ended, and each such job with a budget has one.
    fn check_holds(&self) -> Result<(), Violation> {
        let ledger = self.index.ledger();
        let mut of_jobs: BTreeMap<&str, u32> = BTreeMap::new();
        for hold in ledger.holds().values() {
            *of_jobs.entry(hold.subject.as_str()).or_default() += 1;
        }
        for job in self.index.jobs() {
            let holds = of_jobs.remove(format!("job {}", job.id).as_str());
            let open = !job.state.is_final();
            let expected = self.client.budget(job.id).filter(|_| open);
            // A job whose submit was not answered yet is not known to its client.
            let known = self
                .client
                .submits
                .iter()
                .any(|(_, of)| *of == Some(job.id));
            let right = match holds {
                None => expected.is_none(),
                Some(1) => open && (expected.is_some() || !known),
                Some(_) => false,
            };
            if !right {
                return Err(self.violation(format!(
                    "job {} is {} and has {} holds",
                    job.id,
                    job.state,
                    holds.unwrap_or(0)
                )));
            }
        }
        match of_jobs.into_keys().next() {
            Some(subject) => {
                Err(self.violation(format!("a hold is for {subject:?}, which is none")))
            }
            None => Ok(()),
        }
    }

    /// Each payment of which somebody was told was made, and none other.
    pub(crate) fn check_payments(&self) -> Result<(), Violation> {
        let mut paid: BTreeMap<usize, i64> = BTreeMap::new();
        for number in self.audit.payments().filter(|number| *number > 0) {
            let amount = i64::try_from(PAYMENT.0).unwrap_or(i64::MAX);
            *paid.entry(number as usize % self.peers.len()).or_default() += amount;
        }
        for (peer, node) in self
            .peers
            .iter()
            .enumerate()
            .filter(|(_, node)| node.price == 0)
        {
            let balance = self.index.ledger().balance_of(Account::Peer(node.id()));
            let expected = paid.get(&peer).copied().unwrap_or(0);
            if balance.available != expected {
                return Err(self.violation(format!(
                    "node {peer} was paid {}, and {expected} was asked for",
                    balance.available
                )));
            }
        }
        Ok(())
    }
}
