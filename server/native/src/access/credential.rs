//! Credentials: what callers show of themselves.

use std::hint::black_box;

use bytes::Bytes;
use ring::digest::{SHA256, digest};

use crate::access::credential_error::CredentialError;
use crate::transport::context::Peer;
use crate::transport::headers::Authorization;

/// The longest token. Longer ones are refused unread.
const MAX_TOKEN_BYTES: usize = 8192;
/// What stands before a token, in any case.
const BEARER: &[u8] = b"bearer ";

/// The SHA-256 of a token or of a certificate.
pub(crate) type Digest = [u8; 32];

/// What kind of credential it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// A bearer token: an API key or a JWT.
    Token,
    /// The certificate of the client, in DER.
    Certificate,
}

/// What a call shows, as it came.
#[derive(Clone, Copy)]
pub(crate) enum Shown<'a> {
    Token(&'a [u8]),
    Certificate(&'a Bytes),
}

impl<'a> Shown<'a> {
    /// What a call with this `authorization` shows: the token in it, else the certificate of its connection.
    ///
    /// # Errors
    /// `CredentialError`: there is neither, or the entry is no bearer token.
    pub(crate) fn of(authorization: Authorization<'a>, peer: &'a Peer) -> Result<Self, CredentialError> {
        match authorization {
            Authorization::Value(value) => token(value).map(Self::Token).ok_or(CredentialError::Malformed),
            Authorization::Unclear => Err(CredentialError::Malformed),
            Authorization::Missing => {
                peer.certificate.as_ref().map(Self::Certificate).ok_or(CredentialError::Missing)
            }
        }
    }
}

/// The token of an `authorization` entry, as of RFC 6750.
fn token(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(BEARER.len())?;
    let fits = scheme.eq_ignore_ascii_case(BEARER) && (1..=MAX_TOKEN_BYTES).contains(&token.len());
    fits.then_some(token)
}

/// A credential that is kept, with the SHA-256 of the whole of it.
#[derive(Clone)]
pub(crate) struct Credential {
    pub kind: Kind,
    pub digest: Digest,
    pub value: Bytes,
}

impl Credential {
    pub(crate) fn of(shown: Shown<'_>) -> Self {
        let (kind, value) = match shown {
            Shown::Token(token) => (Kind::Token, Bytes::copy_from_slice(token)),
            Shown::Certificate(certificate) => (Kind::Certificate, certificate.clone()),
        };
        let mut sha256 = Digest::default();
        sha256.copy_from_slice(digest(&SHA256, &value).as_ref());
        Self { kind, digest: sha256, value }
    }

    /// What tells credentials apart.
    pub(crate) fn identity(&self) -> (Kind, Digest) {
        (self.kind, self.digest)
    }

    /// Whether it may be valid although it is no API key of the table: all but tokens that are no JWT.
    pub(crate) fn can_be_verified(&self) -> bool {
        self.kind == Kind::Certificate || self.value.iter().filter(|&&byte| byte == b'.').count() == 2
    }

    /// Whether this is what a call of the same connection shows.
    #[inline]
    pub(crate) fn is(&self, shown: Shown<'_>) -> bool {
        match shown {
            Shown::Token(token) => self.kind == Kind::Token && equal(&self.value, token),
            // A connection has one certificate.
            Shown::Certificate(_) => self.kind == Kind::Certificate,
        }
    }
}

/// Whether two texts are the same, in a time that depends on their lengths only: all bytes are compared, and the
/// compiler does not know what becomes of the result, so it cannot leave the loop early.
#[inline]
fn equal(one: &[u8], other: &[u8]) -> bool {
    let differences = || one.iter().zip(other).fold(0, |found, (one, other)| found | (one ^ other));
    one.len() == other.len() && black_box(differences()) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_stands_behind_its_scheme_and_one_space() {
        let longest = [b"Bearer ".to_vec(), vec![b'x'; MAX_TOKEN_BYTES]].concat();
        let too_long = [&longest[..], b"x"].concat();
        for (value, found) in [
            (&b"Bearer abc"[..], Some(&b"abc"[..])),
            (b"bEARER abc", Some(b"abc")),
            (b"Bearer  abc", Some(b" abc")),
            (&longest, Some(&longest[7..])),
            (&too_long, None),
            (b"Bearer ", None),
            (b"Bearer", None),
            (b"Bearerabc", None),
            (b"Bearer\tabc", None),
            (b"Basic abc", None),
            (b"", None),
        ] {
            assert_eq!(token(value), found, "{value:?}");
        }
    }

    #[test]
    fn the_entry_counts_before_the_certificate() {
        let peer = |certificate| Peer::new(([127, 0, 0, 1], 1).into(), certificate);
        let (with, without) = (peer(Some(Bytes::from_static(b"der"))), peer(None));
        let shown = |authorization, peer| match Shown::of(authorization, peer) {
            Ok(Shown::Token(token)) => Ok(token.to_vec()),
            Ok(Shown::Certificate(certificate)) => Ok(certificate.to_vec()),
            Err(cause) => Err(cause),
        };
        let value = Authorization::Value;
        for (authorization, peer, found) in [
            (value(b"Bearer a"), &with, Ok(b"a".to_vec())),
            (value(b"Bearer a"), &without, Ok(b"a".to_vec())),
            (value(b"Basic a"), &with, Err(CredentialError::Malformed)),
            (Authorization::Unclear, &with, Err(CredentialError::Malformed)),
            (Authorization::Missing, &with, Ok(b"der".to_vec())),
            (Authorization::Missing, &without, Err(CredentialError::Missing)),
        ] {
            assert_eq!(shown(authorization, peer), found);
        }
    }

    #[test]
    fn credentials_are_told_apart_by_their_bytes_and_their_kind() {
        let bytes = Bytes::from_static(b"a.b.c");
        let (token, certificate) =
            (Credential::of(Shown::Token(&bytes)), Credential::of(Shown::Certificate(&bytes)));
        assert!(token.digest == certificate.digest && token.identity() != certificate.identity());
        assert!(token.is(Shown::Token(b"a.b.c")) && !certificate.is(Shown::Token(b"a.b.c")));
        for other in [&b"a.b.d"[..], b"x.b.c", b"a.b.", b"a.b.cc", b""] {
            assert!(!token.is(Shown::Token(other)), "{other:?}");
        }
        assert!(certificate.is(Shown::Certificate(&bytes)) && !token.is(Shown::Certificate(&bytes)));
        let can = |token: &[u8]| Credential::of(Shown::Token(token)).can_be_verified();
        assert!(can(b"a.b.c") && !can(b"a.b") && !can(b"a.b.c.d") && !can(b"scorewire_1_2"));
    }

    #[test]
    fn a_digest_is_the_sha_256_of_the_whole() {
        let digest = Credential::of(Shown::Token(b"abc")).digest;
        let text: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(text, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
