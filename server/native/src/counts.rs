//! What versions and routes have counted, over all snapshots in which they served.
//!
//! A version counts on in the same place when it is made again, and a route when it is published again. What a
//! version counted on its routes is forgotten when it no longer serves. Its own counts are no longer told then,
//! and go on where they ended if it serves again, since counters of metrics must not go backwards.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use crate::encodings::methods::METHODS;
use crate::protocol::reasons::{REASONS, ROW_REASONS};
use crate::routing::version::{Version, VersionShards};
use crate::statistics::{
    self, Distribution, Histogram, MethodCounts, RouteCounts, RouteShards, Sums, VersionCounts,
};

/// The versions that do not serve and whose counts are kept: those that ceased to serve last.
const MAX_KEPT: usize = 64;

/// Model and version.
type VersionKey = (String, String);
/// Model, version, route, whether it is a shadow.
pub(crate) type RouteKey = (String, String, String, bool);
/// Counts by the first 16 bits of the numbers.
pub(crate) type Buckets = Vec<(u16, u64)>;
/// Answered, failed by reason, durations.
pub(crate) type CallSums = (u64, [u64; REASONS], Sums);
/// Model, version, calls by method, rows, rows that were explained, row errors by reason, and the durations decode,
/// explain, run, encode.
pub(crate) type VersionSums = (String, String, Vec<CallSums>, [u64; 2], [u64; ROW_REASONS], [Sums; 4]);
/// Key, calls, rows, failed by reason, row errors by reason, dropped, latency in seconds, scores.
pub(crate) type RouteSums = (RouteKey, u64, u64, [u64; REASONS], [u64; ROW_REASONS], u64, Buckets, Buckets);

/// The counts of one version.
struct VersionEntry {
    counts: Arc<VersionShards>,
    /// Whether the version is in the last snapshot.
    serves: bool,
    /// The number of the last snapshot that had the version, or of the one before it was made.
    snapshot: u64,
}

/// The counts of all versions, by name.
#[derive(Default)]
struct Versions {
    entries: BTreeMap<VersionKey, VersionEntry>,
    /// The number of snapshots so far.
    snapshots: u64,
}

impl Versions {
    /// Takes note of a snapshot with these versions.
    fn publish(&mut self, served: BTreeMap<VersionKey, Arc<VersionShards>>) {
        self.snapshots += 1;
        self.entries.values_mut().for_each(|entry| entry.serves = false);
        for (key, counts) in served {
            self.entries.insert(key, VersionEntry { counts, serves: true, snapshot: self.snapshots });
        }
        let gone = self.entries.iter().filter(|(_, entry)| !entry.serves);
        let mut gone: Vec<_> = gone.map(|(key, entry)| (entry.snapshot, key.clone())).collect();
        gone.sort_unstable();
        let excess = gone.len().saturating_sub(MAX_KEPT);
        for (_, key) in gone.drain(..excess) {
            self.entries.remove(&key);
        }
    }
}

/// The counts of all versions and routes.
pub(crate) struct CountRegistry {
    /// How many threads count.
    workers: usize,
    versions: Mutex<Versions>,
    routes: Mutex<BTreeMap<RouteKey, Arc<RouteShards>>>,
}

impl CountRegistry {
    pub(crate) fn new(workers: usize) -> Self {
        Self { workers, versions: Mutex::default(), routes: Mutex::default() }
    }

    /// Where a version counts.
    pub(crate) fn version(&self, model: &str, version: &str) -> Arc<VersionShards> {
        let mut versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        let snapshot = versions.snapshots;
        let made = || {
            let counts = Arc::new((0..self.workers).map(|_| Arc::<VersionCounts>::default()).collect());
            VersionEntry { counts, serves: false, snapshot }
        };
        let entry = versions.entries.entry((model.to_owned(), version.to_owned())).or_insert_with(made);
        Arc::clone(&entry.counts)
    }

    /// Calls `build` with a function that says where a version counts on a route, or as its shadow. The
    /// versions for which it was not called do not serve from then on.
    pub(crate) fn publish<T>(
        &self,
        build: impl FnOnce(&mut dyn FnMut(&Version, &str, bool) -> Arc<RouteShards>) -> T,
    ) -> T {
        let mut counted = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut kept, mut served) = (BTreeMap::<RouteKey, _>::new(), BTreeMap::new());
        let built = build(&mut |version, route, shadow| {
            let key = (version.model.clone(), version.version.clone(), route.to_owned(), shadow);
            let found = counted.remove(&key).or_else(|| kept.get(&key).cloned());
            let made = || Arc::new((0..self.workers).map(|_| RouteCounts::default()).collect());
            let counts: Arc<RouteShards> = found.unwrap_or_else(made);
            kept.insert(key, Arc::clone(&counts));
            // A version that was made long before it is published counts where it began to.
            served.insert((version.model.clone(), version.version.clone()), Arc::clone(&version.counts));
            counts
        });
        // What a version has counted on a route that it lost stays as long as the version does.
        counted.retain(|(model, version, ..), _| served.contains_key(&(model.clone(), version.clone())));
        counted.append(&mut kept);
        self.versions.lock().unwrap_or_else(PoisonError::into_inner).publish(served);
        built
    }

    /// What each version that serves has counted.
    pub(crate) fn of_versions(&self) -> Vec<VersionSums> {
        let versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        let each = |((model, version), entry): (&VersionKey, &VersionEntry)| {
            let shards = &entry.counts;
            let mut row_errors = [0; ROW_REASONS];
            for shard in shards.iter() {
                for (total, count) in row_errors.iter_mut().zip(&shard.row_errors) {
                    *total += count.load(Relaxed);
                }
            }
            let total = |pick: fn(&VersionCounts) -> &AtomicU64| {
                shards.iter().map(|shard| pick(shard).load(Relaxed)).sum()
            };
            let rows = [total(|shard| &shard.rows), total(|shard| &shard.explained_rows)];
            let sums = |pick: fn(&VersionCounts) -> &Histogram| {
                statistics::sum(shards.iter().map(|shard| pick(shard)))
            };
            let picks: [fn(&VersionCounts) -> &Histogram; 4] =
                [|c| &c.decode, |c| &c.explain, |c| &c.run, |c| &c.encode];
            let calls = of_calls(shards.iter().map(|shard| &shard.calls));
            (model.clone(), version.clone(), calls, rows, row_errors, picks.map(sums))
        };
        versions.entries.iter().filter(|(_, entry)| entry.serves).map(each).collect()
    }

    /// What each route has counted.
    pub(crate) fn of_routes(&self) -> Vec<RouteSums> {
        let routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        let each = |(key, shards): (&RouteKey, &Arc<RouteShards>)| {
            let total = |pick: &dyn Fn(&RouteCounts) -> &AtomicU64| {
                shards.iter().map(|shard| pick(shard).load(Relaxed)).sum::<u64>()
            };
            let buckets = |pick: fn(&RouteCounts) -> &Distribution| {
                let mut sums = BTreeMap::new();
                shards.iter().for_each(|shard| pick(shard).add_to(&mut sums));
                sums.into_iter().collect::<Buckets>()
            };
            (
                key.clone(),
                total(&|shard| &shard.calls),
                total(&|shard| &shard.rows),
                std::array::from_fn(|i| total(&|shard| &shard.failed[i])),
                std::array::from_fn(|i| total(&|shard| &shard.row_errors[i])),
                total(&|shard| &shard.dropped),
                buckets(|shard| &shard.latency),
                buckets(|shard| &shard.scores),
            )
        };
        routes.iter().map(each).collect()
    }
}

/// What the threads have counted of calls, by method in the order of `METHODS`.
pub(crate) fn of_calls<'a>(threads: impl Iterator<Item = &'a MethodCounts> + Clone) -> Vec<CallSums> {
    let each = |method: usize| {
        let calls = threads.clone().map(|counts| &counts.0[method]);
        let answered = calls.clone().map(|calls| calls.answered.load(Relaxed)).sum();
        let failed =
            std::array::from_fn(|i| calls.clone().map(|calls| calls.failed[i].load(Relaxed)).sum::<u64>());
        (answered, failed, statistics::sum(calls.map(|calls| &calls.durations)))
    };
    (0..METHODS.len()).map(each).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_that_serves_again_counts_on_and_the_longest_gone_are_forgotten() {
        let (registry, key) = (CountRegistry::new(1), |version: &str| ("m".to_owned(), version.to_owned()));
        let serve = |names: &[&str]| {
            let each = |name: &&str| (key(name), registry.version("m", name));
            let served = names.iter().map(each).collect();
            registry.versions.lock().unwrap().publish(served);
        };
        let rows = || -> Vec<(String, u64)> {
            registry.of_versions().into_iter().map(|sums| (sums.1, sums.3[0])).collect()
        };
        registry.version("m", "1")[0].rows.fetch_add(3, Relaxed);
        assert!(rows().is_empty());
        serve(&["1"]);
        assert_eq!(rows(), [("1".into(), 3)]);
        serve(&["2"]);
        registry.version("m", "1")[0].rows.fetch_add(1, Relaxed);
        assert_eq!(rows(), [("2".into(), 0)]);
        serve(&["1"]);
        assert_eq!(rows(), [("1".into(), 4)]);
        for other in 0..=MAX_KEPT {
            serve(&[&format!("other-{other}")]);
        }
        assert!(!registry.versions.lock().unwrap().entries.contains_key(&key("1")));
        serve(&["1"]);
        assert_eq!(rows(), [("1".into(), 0)]);
    }
}
