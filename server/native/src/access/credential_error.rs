//! Why calls are refused for their credentials, and how often.
//!
//! Callers never learn the cause: all of them get the same bytes.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Why a call is refused for its credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CredentialError {
    /// The call shows none.
    Missing,
    /// The metadata has no bearer token where it should, or more than one.
    Malformed,
    /// No principal has this key.
    Unknown,
    /// The token was verified, and is not valid.
    Token,
    /// The certificate was verified, and is that of no principal.
    Certificate,
    /// The credential was valid until a time that has passed.
    Expired,
    /// Too many credentials of this address were not valid.
    Address,
    /// Too many credentials are being verified.
    Busy,
}

/// All causes with their names, in the order of their numbers.
const CAUSES: [(CredentialError, &str); 8] = [
    (CredentialError::Missing, "missing"),
    (CredentialError::Malformed, "malformed"),
    (CredentialError::Unknown, "unknown"),
    (CredentialError::Token, "token"),
    (CredentialError::Certificate, "certificate"),
    (CredentialError::Expired, "expired"),
    (CredentialError::Address, "address"),
    (CredentialError::Busy, "busy"),
];

/// How many calls were refused, by cause.
#[derive(Default)]
pub(crate) struct RefusalCounts([AtomicU64; CAUSES.len()]);

impl RefusalCounts {
    /// Counts a call that is refused, or a stream that ends.
    pub(crate) fn add(&self, cause: CredentialError) {
        self.0[cause as usize].fetch_add(1, Relaxed);
    }

    /// The names of all causes, and their counts.
    pub(crate) fn read(&self) -> Vec<(&'static str, u64)> {
        CAUSES.iter().map(|&(cause, name)| (name, self.0[cause as usize].load(Relaxed))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_a_count_of_its_own() {
        let counts = RefusalCounts::default();
        for (place, (cause, _)) in CAUSES.iter().enumerate() {
            (0..=place).for_each(|_| counts.add(*cause));
        }
        let wanted: Vec<_> = CAUSES.iter().map(|(_, name)| *name).zip(1..).collect();
        assert_eq!(counts.read(), wanted);
    }
}
