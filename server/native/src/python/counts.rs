//! What versions and routes have counted, over all snapshots in which they served.
//!
//! A version counts on in the same place when it is made again, and a route when it is published again. What a
//! version counted is forgotten when it no longer serves.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use crate::protocol::reasons::{REASONS, ROW_REASONS};
use crate::routing::version::{Version, VersionShards};
use crate::statistics::{self, Distribution, Histogram, RouteCounts, RouteShards, Sums, VersionCounts};

/// Model and version.
type VersionKey = (String, String);
/// Model, version, route, whether it is a shadow.
pub(super) type RouteKey = (String, String, String, bool);
/// Counts by the first 16 bits of the numbers.
pub(super) type Buckets = Vec<(u16, u64)>;
/// Model, version, rows, row errors by reason, decode, run, encode.
pub(super) type VersionSums = (String, String, u64, [u64; ROW_REASONS], Sums, Sums, Sums);
/// Key, calls, rows, failed by reason, row errors by reason, dropped, latency in seconds, scores.
pub(super) type RouteSums = (RouteKey, u64, u64, [u64; REASONS], [u64; ROW_REASONS], u64, Buckets, Buckets);

/// The counts of all versions and routes of the last snapshot, and of versions that were made since.
pub(super) struct CountRegistry {
    /// How many threads count.
    workers: usize,
    versions: Mutex<BTreeMap<VersionKey, Arc<VersionShards>>>,
    routes: Mutex<BTreeMap<RouteKey, Arc<RouteShards>>>,
}

impl CountRegistry {
    pub(super) fn new(workers: usize) -> Self {
        Self { workers, versions: Mutex::default(), routes: Mutex::default() }
    }

    /// Where a version counts.
    pub(super) fn version(&self, model: &str, version: &str) -> Arc<VersionShards> {
        let mut versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        let made = || Arc::new((0..self.workers).map(|_| VersionCounts::default()).collect());
        Arc::clone(versions.entry((model.to_owned(), version.to_owned())).or_insert_with(made))
    }

    /// Calls `build` with a function that says where a version counts on a route, or as its shadow; then
    /// forgets the versions for which it was not called.
    pub(super) fn publish<T>(
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
        *self.versions.lock().unwrap_or_else(PoisonError::into_inner) = served;
        built
    }

    /// What each version has counted.
    pub(super) fn of_versions(&self) -> Vec<VersionSums> {
        let versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        let each = |((model, version), shards): (&VersionKey, &Arc<VersionShards>)| {
            let mut row_errors = [0; ROW_REASONS];
            for shard in shards.iter() {
                for (total, count) in row_errors.iter_mut().zip(&shard.row_errors) {
                    *total += count.load(Relaxed);
                }
            }
            let rows = shards.iter().map(|shard| shard.rows.load(Relaxed)).sum();
            let sums = |pick: fn(&VersionCounts) -> &Histogram| statistics::sum(shards.iter().map(pick));
            let (decode, run, encode) = (sums(|c| &c.decode), sums(|c| &c.run), sums(|c| &c.encode));
            (model.clone(), version.clone(), rows, row_errors, decode, run, encode)
        };
        versions.iter().map(each).collect()
    }

    /// What each route has counted.
    pub(super) fn of_routes(&self) -> Vec<RouteSums> {
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
