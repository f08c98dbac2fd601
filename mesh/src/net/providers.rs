//! The provider records this process keeps for others, within bounds.
//!
//! libp2p's own memory store bounds the number of keys and never sweeps what has
//! expired, so a stranger can fill it for ever. This one gives every provider a
//! share, sweeps, and keeps the own keys apart from everybody else's.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet, hash_set},
    iter,
    time::Instant,
};

use libp2p::{
    PeerId,
    kad::{
        ProviderRecord, Record, RecordKey,
        store::{Error, RecordStore, Result},
    },
};

use super::address::MAX_ADDRESSES_PER_PEER;

/// Keys that this process provides.
pub(crate) const MAX_PROVIDED: usize = 4096;
/// Provider records kept for others, in all.
const MAX_RECORDS: usize = 16 * 1024;
/// Records kept for one provider.
const MAX_PER_PROVIDER: usize = 2048;
/// Providers kept for one key.
const MAX_PER_KEY: usize = 20;
/// Bytes of a key: a digest and its prefix, or the name of a class.
const MAX_KEY_BYTES: usize = 96;

/// Provider records only: this mesh stores no values in the DHT.
pub(crate) struct ProviderStore {
    me: PeerId,
    provided: HashSet<ProviderRecord>,
    others: HashMap<RecordKey, Vec<ProviderRecord>>,
    per_provider: HashMap<PeerId, usize>,
    records: usize,
}

impl ProviderStore {
    pub(crate) fn new(me: PeerId) -> Self {
        Self {
            me,
            provided: HashSet::new(),
            others: HashMap::new(),
            per_provider: HashMap::new(),
            records: 0,
        }
    }

    /// The keys that this process provides.
    pub(crate) fn provided_keys(&self) -> Vec<RecordKey> {
        self.provided
            .iter()
            .map(|record| record.key.clone())
            .collect()
    }

    /// Forgets every record that is over.
    pub(crate) fn sweep(&mut self, now: Instant) {
        let Self {
            others,
            per_provider,
            records,
            ..
        } = self;
        others.retain(|_, list| {
            list.retain(|record| {
                let keep = !record.is_expired(now);
                if !keep {
                    discount(per_provider, records, &record.provider);
                }
                keep
            });
            !list.is_empty()
        });
    }

    fn add_other(&mut self, mut record: ProviderRecord) -> Result<()> {
        record.addresses.truncate(MAX_ADDRESSES_PER_PEER);
        if let Some(list) = self.others.get_mut(&record.key) {
            if let Some(known) = list
                .iter_mut()
                .find(|known| known.provider == record.provider)
            {
                *known = record;
                return Ok(());
            }
            if list.len() >= MAX_PER_KEY {
                // The first come stay, so that a crowd of new ids cannot push out
                // those who were there.
                return Err(Error::MaxProvidedKeys);
            }
        }
        if self.records >= MAX_RECORDS {
            self.sweep(Instant::now());
        }
        let share = self.per_provider.entry(record.provider).or_default();
        if self.records >= MAX_RECORDS || *share >= MAX_PER_PROVIDER {
            if *share == 0 {
                self.per_provider.remove(&record.provider);
            }
            return Err(Error::MaxProvidedKeys);
        }
        *share += 1;
        self.records += 1;
        self.others
            .entry(record.key.clone())
            .or_default()
            .push(record);
        Ok(())
    }
}

fn discount(per_provider: &mut HashMap<PeerId, usize>, records: &mut usize, provider: &PeerId) {
    *records = records.saturating_sub(1);
    if let Some(share) = per_provider.get_mut(provider) {
        *share = share.saturating_sub(1);
        if *share == 0 {
            per_provider.remove(provider);
        }
    }
}

impl RecordStore for ProviderStore {
    type RecordsIter<'a> = iter::Empty<Cow<'a, Record>>;
    type ProvidedIter<'a> = iter::Map<
        hash_set::Iter<'a, ProviderRecord>,
        fn(&'a ProviderRecord) -> Cow<'a, ProviderRecord>,
    >;

    fn get(&self, _: &RecordKey) -> Option<Cow<'_, Record>> {
        None
    }

    fn put(&mut self, _: Record) -> Result<()> {
        Err(Error::MaxRecords)
    }

    fn remove(&mut self, _: &RecordKey) {}

    fn records(&self) -> Self::RecordsIter<'_> {
        iter::empty()
    }

    fn add_provider(&mut self, record: ProviderRecord) -> Result<()> {
        if record.key.as_ref().len() > MAX_KEY_BYTES {
            return Err(Error::ValueTooLarge);
        }
        if record.provider != self.me {
            return self.add_other(record);
        }
        if self.provided.len() >= MAX_PROVIDED && !self.provided.contains(&record) {
            return Err(Error::MaxProvidedKeys);
        }
        self.provided.replace(record);
        Ok(())
    }

    fn providers(&self, key: &RecordKey) -> Vec<ProviderRecord> {
        let me = ProviderRecord::new(key.clone(), self.me, Vec::new());
        let now = Instant::now();
        self.provided
            .get(&me)
            .into_iter()
            .chain(self.others.get(key).into_iter().flatten())
            .filter(|record| !record.is_expired(now))
            .cloned()
            .collect()
    }

    fn provided(&self) -> Self::ProvidedIter<'_> {
        self.provided.iter().map(Cow::Borrowed)
    }

    fn remove_provider(&mut self, key: &RecordKey, provider: &PeerId) {
        if *provider == self.me {
            self.provided
                .remove(&ProviderRecord::new(key.clone(), *provider, Vec::new()));
            return;
        }
        let Some(list) = self.others.get_mut(key) else {
            return;
        };
        if let Some(at) = list.iter().position(|record| record.provider == *provider) {
            list.swap_remove(at);
            discount(&mut self.per_provider, &mut self.records, provider);
        }
        if list.is_empty() {
            self.others.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn record(key: u32, provider: PeerId) -> ProviderRecord {
        ProviderRecord::new(key.to_be_bytes().to_vec(), provider, Vec::new())
    }

    #[test]
    fn one_provider_gets_its_share_and_no_more() {
        let mut store = ProviderStore::new(PeerId::random());
        let greedy = PeerId::random();
        let kept = (0..MAX_PER_PROVIDER as u32 + 10)
            .filter(|key| store.add_provider(record(*key, greedy)).is_ok())
            .count();
        assert_eq!(kept, MAX_PER_PROVIDER);
        store.add_provider(record(1, PeerId::random())).unwrap();
        assert_eq!(store.providers(&record(1, greedy).key).len(), 2);
    }

    #[test]
    fn what_has_expired_makes_room() {
        let mut store = ProviderStore::new(PeerId::random());
        let now = Instant::now();
        for provider in (0..MAX_RECORDS / MAX_PER_PROVIDER).map(|_| PeerId::random()) {
            for key in 0..MAX_PER_PROVIDER as u32 {
                let mut record = record(key, provider);
                record.expires = Some(now);
                store.add_provider(record).unwrap();
            }
        }
        assert_eq!(store.records, MAX_RECORDS);
        assert!(store.providers(&record(1, store.me).key).is_empty());
        store.add_provider(record(9, PeerId::random())).unwrap();
        assert_eq!(store.records, 1);
        store.sweep(now + Duration::from_secs(1));
        assert_eq!(store.per_provider.len(), 1);
    }

    #[test]
    fn own_keys_do_not_depend_on_what_others_store() {
        let me = PeerId::random();
        let mut store = ProviderStore::new(me);
        for key in 0..MAX_PROVIDED as u32 {
            store.add_provider(record(key, me)).unwrap();
        }
        assert!(store.add_provider(record(u32::MAX, me)).is_err());
        store.add_provider(record(7, me)).unwrap();
        store.remove_provider(&record(7, me).key, &me);
        store.add_provider(record(u32::MAX, me)).unwrap();
        assert_eq!(store.provided_keys().len(), MAX_PROVIDED);
    }

    #[test]
    fn a_key_without_bound_is_refused() {
        let me = PeerId::random();
        let mut store = ProviderStore::new(me);
        let long = ProviderRecord::new(vec![0; MAX_KEY_BYTES + 1], me, Vec::new());
        assert!(store.add_provider(long).is_err());
    }
}
