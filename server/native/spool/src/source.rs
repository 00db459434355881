//! Sources, and what their policies make of values before these are kept.

use std::io;

use blake2b_simd::Params;

/// What becomes of the values of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Treatment {
    #[default]
    Keep,
    Drop,
    /// A keyed hash stands for the value. A missing value stays missing.
    Hash,
}

/// The values of an output: so many numbers or texts for each row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    Numbers(usize),
    Texts(usize),
}

/// Where rows come from: a version on a route, under a policy.
#[derive(Clone, Default)]
pub struct Source {
    /// Unique in a start.
    pub number: u32,
    /// The JSON body of the source's block.
    pub description: Vec<u8>,
    /// The first 16 hex digits of the schema fingerprint, as a number.
    pub fingerprint: u64,
    /// Whether its records are those of a shadow, and name the predictions that were copied.
    pub shadow: bool,
    /// For each number of a row what becomes of it; and for each text.
    pub numbers: Vec<Treatment>,
    pub texts: Vec<Treatment>,
    pub outputs: Vec<Output>,
    pub caller: Treatment,
    pub principal: Treatment,
    pub routing_key: Treatment,
    /// The key of all hashes: up to 64 bytes, and empty only if nothing is hashed.
    pub hash_key: Vec<u8>,
}

/// The most bytes of a BLAKE2b key.
const MAX_KEY_BYTES: usize = blake2b_simd::KEYBYTES;
/// The most bytes of a description, so that a policy or a schema cannot fill the spool.
const MAX_DESCRIPTION_BYTES: usize = 16 << 20;
const HASH_BYTES: usize = 16;
/// The length of a hash as a text.
pub(crate) const HASH_DIGITS: usize = 2 * HASH_BYTES;

impl Source {
    /// # Errors
    /// `io::Error`: something is to be hashed and there is no key, the key is too long, or the description is.
    pub(crate) fn check(&self) -> io::Result<()> {
        let of_calls = [&self.caller, &self.principal, &self.routing_key];
        let treatments = self.numbers.iter().chain(&self.texts).chain(of_calls);
        let hashes = treatments.into_iter().any(|&treatment| treatment == Treatment::Hash);
        let problem = if hashes && self.hash_key.is_empty() {
            "a source hashes values and has no key"
        } else if self.hash_key.len() > MAX_KEY_BYTES {
            "the key of a source's hashes has more than 64 bytes"
        } else if self.description.len() > MAX_DESCRIPTION_BYTES {
            "the description of a source has more than 16 MiB"
        } else {
            return Ok(());
        };
        Err(io::Error::new(io::ErrorKind::InvalidInput, problem))
    }
}

/// Makes keyed hashes: BLAKE2b of 16 bytes, as 32 hex digits.
pub(crate) struct Hasher(Params);

impl Hasher {
    /// `key`: checked by `Source::check`.
    pub(crate) fn new(key: &[u8]) -> Self {
        let mut params = Params::new();
        params.hash_length(HASH_BYTES).key(key);
        Self(params)
    }

    pub(crate) fn digits(&self, value: &[u8]) -> [u8; HASH_DIGITS] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let hash = self.0.hash(value);
        let mut digits = [0; HASH_DIGITS];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(hash.as_bytes()) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        digits
    }
}
