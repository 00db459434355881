//! The limits on the number of connections, and how often each limit of the transport was met.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How often each limit of the transport was met.
#[derive(Debug, Default)]
pub(crate) struct LimitCounts {
    /// New connections that were closed at once, since too many were open.
    pub connections: AtomicU64,
    /// New connections that were closed at once, since too many of their address were open.
    pub connections_of_address: AtomicU64,
    /// Connections that were closed since they had had no call for too long.
    pub idle_connections: AtomicU64,
    /// Calls that were ended since their request, or the reading of their response, made no progress.
    pub stalled_calls: AtomicU64,
    /// Calls that were refused since their headers were longer than allowed.
    pub overlong_headers: AtomicU64,
    /// Connections that were closed with ENHANCE_YOUR_CALM: the client flooded the server.
    pub flooded_connections: AtomicU64,
}

/// Counts the open connections, and refuses new ones beyond a limit. A limit of 0 means no limit.
#[derive(Debug)]
pub(crate) struct ConnectionLimits {
    max: usize,
    max_of_address: usize,
    open: Mutex<HashMap<IpAddr, usize>>,
    pub counts: Arc<LimitCounts>,
}

impl ConnectionLimits {
    pub(crate) fn new(max: usize, max_of_address: usize, counts: Arc<LimitCounts>) -> Arc<Self> {
        Arc::new(Self { max, max_of_address, open: Mutex::default(), counts })
    }

    /// The number of open connections.
    pub(crate) fn open(&self) -> usize {
        self.locked().values().sum()
    }

    /// Registers a connection from an address as open. `None`, counted, where a limit is met.
    pub(crate) fn enter(self: &Arc<Self>, address: IpAddr) -> Option<ConnectionPermit> {
        let address = address.to_canonical();
        let mut open = self.locked();
        if self.max > 0 && open.values().sum::<usize>() >= self.max {
            self.counts.connections.fetch_add(1, Relaxed);
            return None;
        }
        let count = open.entry(address).or_default();
        if self.max_of_address > 0 && *count >= self.max_of_address {
            self.counts.connections_of_address.fetch_add(1, Relaxed);
            return None;
        }
        *count += 1;
        drop(open);
        Some(ConnectionPermit { limits: Arc::clone(self), address })
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts a connection as open until this is dropped.
#[derive(Debug)]
pub(crate) struct ConnectionPermit {
    limits: Arc<ConnectionLimits>,
    address: IpAddr,
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut open = self.limits.locked();
        if let Some(count) = open.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_connection_beyond_a_limit_is_refused_until_another_ends() {
        let limits = ConnectionLimits::new(3, 2, Arc::default());
        let first = limits.enter(address("10.0.0.1"));
        // The same address, in the form that a socket for IPv4 and IPv6 reports.
        let second = limits.enter(address("::ffff:10.0.0.1"));
        assert!(first.is_some() && second.is_some());
        assert!(limits.enter(address("10.0.0.1")).is_none());
        let other = limits.enter(address("10.0.0.2"));
        assert!(other.is_some() && limits.enter(address("10.0.0.3")).is_none());
        assert_eq!(limits.open(), 3);
        drop(second);
        assert!(limits.enter(address("10.0.0.1")).is_some());
        let counts = &limits.counts;
        assert_eq!((counts.connections.load(Relaxed), counts.connections_of_address.load(Relaxed)), (1, 1));
        drop((first, other));
        assert_eq!(limits.open(), 0);
        assert!(limits.locked().is_empty());
    }

    #[test]
    fn without_limits_all_are_taken() {
        let limits = ConnectionLimits::new(0, 0, Arc::default());
        let taken: Vec<_> = (0..100).map(|_| limits.enter(address("10.0.0.1"))).collect();
        assert!(taken.iter().all(Option::is_some));
    }
}
