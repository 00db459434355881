//! How many credentials of one address may be verified and fail.

use std::net::IpAddr;
use std::time::Instant;

use crate::access::bounded::Bounded;
use crate::access::rate::Rate;

/// The addresses of which the failures are kept.
const ADDRESSES: usize = 1 << 15;

/// Who shares a limit: an address of IPv4, or the network of one of IPv6, whose last 64 bits a client chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct AddressKey(u64, bool);

impl AddressKey {
    pub(crate) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self(u32::from(address).into(), false),
            IpAddr::V6(address) => Self((u128::from(address) >> 64) as u64, true),
        }
    }
}

/// The failures of each address. A credential counts as failed until it is verified, so that many at one time
/// do not pass the limit.
pub(crate) struct FailureLimit {
    began: Instant,
    states: Bounded<AddressKey, u64>,
}

impl FailureLimit {
    pub(crate) fn new() -> Self {
        Self { began: Instant::now(), states: Bounded::new(ADDRESSES) }
    }

    /// Counts a failure of an address; false where it had too many.
    pub(crate) fn take(&mut self, key: AddressKey, rate: &Rate) -> bool {
        let now = self.began.elapsed().as_nanos() as u64;
        match self.states.get(&key) {
            None => {
                let taken = rate.take(0, now, 1.0);
                taken.is_ok_and(|state| {
                    self.states.insert(key, state);
                    true
                })
            }
            Some(state) => rate.take(*state, now, 1.0).is_ok_and(|next| {
                *state = next;
                true
            }),
        }
    }

    /// Takes a failure back: the credential is valid.
    pub(crate) fn give_back(&mut self, key: AddressKey, rate: &Rate) {
        if let Some(state) = self.states.get(&key) {
            *state = rate.give_back(*state, 1.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_burst_and_a_network_of_ipv6_has_one_together() {
        let rate = Rate::new(1e-3, 3.0);
        for (one, other, together) in [
            ("10.0.0.1", "::ffff:10.0.0.1", true),
            ("10.0.0.1", "10.0.0.2", false),
            ("2001:db8::1", "2001:db8::ffff:0:0:1", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
            // The address of IPv4 whose number is that of the network.
            ("0.0.0.1", "0:0:0:1::", false),
        ] {
            let key = |text: &str| AddressKey::of(text.parse().unwrap());
            let mut limit = FailureLimit::new();
            assert!((0..3).all(|_| limit.take(key(one), &rate)) && !limit.take(key(one), &rate));
            assert_eq!(limit.take(key(other), &rate), !together, "{one} {other}");
            limit.give_back(key(one), &rate);
            assert!(limit.take(key(one), &rate) && !limit.take(key(one), &rate), "{one}");
        }
    }
}
