//! W3C trace context: what the caller's headers say of the trace that a call belongs to.
//!
//! Source: <https://www.w3.org/TR/trace-context/>. The rules are those of `engine/trace_context.py`.

use std::fmt::Debug;
use std::sync::Arc;

/// The longest tracestate that is kept: the specification asks for 512.
pub(crate) const MAX_STATE_BYTES: usize = 512;

const MAX_MEMBERS: usize = 32;

pub(crate) type TraceId = [u8; 16];
pub(crate) type SpanId = [u8; 8];

/// Where the flags stand: behind the version, the ids and their hyphens. Their last digit tells of sampling.
const FLAGS: usize = 53;
/// The bytes of version 00; later versions may have more behind a hyphen.
const LENGTH: usize = 55;
const SAMPLED: u8 = 1;

/// A valid traceparent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TraceParent {
    pub trace_id: TraceId,
    /// The span of the caller.
    pub span_id: SpanId,
    /// Whether the caller keeps its own spans of the trace.
    pub sampled: bool,
}

/// Whether a traceparent says that the caller's spans are kept, if the traceparent is valid. It is not checked,
/// so that a call which is not sampled costs no more than this.
#[inline]
pub(crate) fn is_flagged(traceparent: &[u8]) -> bool {
    matches!(traceparent.get(FLAGS + 1), Some(b'1' | b'3' | b'5' | b'7' | b'9' | b'b' | b'd' | b'f'))
}

impl TraceParent {
    /// Reads a traceparent; `None` where it is not valid.
    pub(crate) fn parse(value: &[u8]) -> Option<Self> {
        let (head, more) = value.split_at_checked(LENGTH)?;
        let [version] = hex(&head[..2])?;
        if version == 0xff || !(more.is_empty() || version > 0 && more[0] == b'-') {
            return None;
        }
        if [head[2], head[35], head[52]] != *b"---" {
            return None;
        }
        let (trace_id, span_id) = (hex::<16>(&head[3..35])?, hex::<8>(&head[36..52])?);
        let [flags] = hex(&head[FLAGS..])?;
        let valid = trace_id != [0; 16] && span_id != [0; 8];
        valid.then_some(Self { trace_id, span_id, sampled: flags & SAMPLED != 0 })
    }
}

/// The bytes of lower-case hexadecimal digits; `None` where there are others.
fn hex<const BYTES: usize>(digits: &[u8]) -> Option<[u8; BYTES]> {
    let mut bytes = [0; BYTES];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        for &digit in pair {
            let value = match digit {
                b'0'..=b'9' => digit - b'0',
                b'a'..=b'f' => digit - b'a' + 10,
                _ => return None,
            };
            *byte = *byte << 4 | value;
        }
    }
    Some(bytes)
}

/// The tracestate of headers, joined: the first members up to `MAX_STATE_BYTES`; "" where it is not valid.
pub(crate) fn join_state<'a>(values: impl Iterator<Item = &'a [u8]>) -> Arc<str> {
    let mut state = Vec::new();
    for (at, value) in values.enumerate() {
        if at > 0 {
            state.push(b',');
        }
        state.extend_from_slice(value);
        if state.len() > MAX_STATE_BYTES {
            let kept = state[..=MAX_STATE_BYTES].iter().rposition(|&byte| byte == b',').unwrap_or_default();
            state.truncate(kept);
            break;
        }
    }
    valid_state(std::str::from_utf8(&state).unwrap_or_default()).into()
}

/// A tracestate without empty members and the space around members; "" where it is not valid.
fn valid_state(state: &str) -> String {
    let members = state.split(',').map(|part| part.trim_matches([' ', '\t'])).filter(|part| !part.is_empty());
    let members: Vec<&str> = members.collect();
    let mut keys = Vec::with_capacity(members.len());
    for member in &members {
        match member.split_once('=') {
            Some((key, value)) if is_key(key) && is_value(value) && !keys.contains(&key) => keys.push(key),
            _ => return String::new(),
        }
    }
    if members.len() > MAX_MEMBERS { String::new() } else { members.join(",") }
}

/// Whether a text is the key of a member of a tracestate.
fn is_key(key: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_lowercase();
    let first = |byte: u8| letter(byte) || byte.is_ascii_digit();
    let is_name = |name: &str, most: usize, first: &dyn Fn(u8) -> bool| {
        let others = |byte| letter(byte) || byte.is_ascii_digit() || b"_-*/".contains(&byte);
        name.len() <= most && name.bytes().next().is_some_and(first) && name.bytes().all(others)
    };
    match key.split_once('@') {
        None => is_name(key, 256, &first),
        Some((tenant, system)) => is_name(tenant, 241, &first) && is_name(system, 14, &letter),
    }
}

/// Whether a text is the value of a member of a tracestate.
fn is_value(value: &str) -> bool {
    let printable = |byte| matches!(byte, b' '..=b'~') && byte != b',' && byte != b'=';
    matches!(value.len(), 1..=256) && value.bytes().all(printable) && !value.ends_with(' ')
}

/// The place of a span in its trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SpanContext {
    pub trace_id: TraceId,
    pub span_id: SpanId,
    /// The span that caused this one; `None` for the first of a trace.
    pub parent_id: Option<SpanId>,
    /// Whether the parent is a span of the caller.
    pub remote: bool,
    pub state: Arc<str>,
}

/// A span that is still to end, and that somebody else may come to end.
pub(crate) trait OpenSpan: Debug + Send + Sync {
    /// Leaves the span to the caller, who ends it; `None` where it has ended, or was left to another.
    fn hand_over(&self) -> Option<SpanContext>;
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";

    fn parse(text: &str) -> Option<bool> {
        TraceParent::parse(text.as_bytes()).map(|parent| parent.sampled)
    }

    #[test]
    fn a_traceparent_has_ids_and_flags() {
        let parent = TraceParent::parse(format!("00-{TRACE}-{SPAN}-01").as_bytes()).unwrap();
        assert_eq!((parent.trace_id[0], parent.trace_id[15]), (0x0a, 0x9c));
        assert_eq!(parent.span_id, [0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31]);
        for (flags, sampled) in [("00", false), ("01", true), ("02", false), ("03", true), ("ff", true)] {
            let text = format!("00-{TRACE}-{SPAN}-{flags}");
            assert_eq!(parse(&text), Some(sampled), "{flags}");
            assert_eq!(is_flagged(text.as_bytes()), sampled, "{flags}");
        }
    }

    #[test]
    fn later_versions_may_be_longer() {
        for (text, valid) in [
            (format!("01-{TRACE}-{SPAN}-01"), true),
            (format!("cc-{TRACE}-{SPAN}-01-what-the-future-will-be"), true),
            (format!("cc-{TRACE}-{SPAN}-01-"), true),
            (format!("cc-{TRACE}-{SPAN}-01.what"), false),
            (format!("00-{TRACE}-{SPAN}-01-"), false),
            (format!("00-{TRACE}-{SPAN}-01-what"), false),
            (format!("ff-{TRACE}-{SPAN}-01"), false),
        ] {
            assert_eq!(parse(&text).is_some(), valid, "{text}");
        }
    }

    #[test]
    fn a_traceparent_that_is_not_valid_is_none() {
        let (zeros, upper) = ("0".repeat(32), TRACE.to_uppercase());
        for text in [
            String::new(),
            "00".into(),
            format!("00-{zeros}-{SPAN}-01"),
            format!("00-{TRACE}-{}-01", &zeros[..16]),
            format!("00-{upper}-{SPAN}-01"),
            format!("00-{TRACE}-{}-01", SPAN.to_uppercase()),
            format!("00-{TRACE}-{SPAN}-0A"),
            format!("00-{TRACE}-{SPAN}-1"),
            format!("0-{TRACE}-{SPAN}-011"),
            format!("00_{TRACE}-{SPAN}-01"),
            format!("00-{TRACE}_{SPAN}-01"),
            format!("00-{TRACE}-{SPAN}_01"),
            format!("00-{}g-{SPAN}-01", &TRACE[1..]),
            format!(" 00-{TRACE}-{SPAN}-0"),
        ] {
            assert_eq!(parse(&text), None, "{text}");
        }
    }

    #[test]
    fn a_tracestate_is_kept_up_to_its_bound() {
        let join = |values: &[&str]| join_state(values.iter().map(|value| value.as_bytes())).to_string();
        assert_eq!(join(&[]), "");
        assert_eq!(join(&["a=1", "b=2,c=3"]), "a=1,b=2,c=3");
        let (first, second) = (format!("a={}", "x".repeat(251)), format!("b={}", "y".repeat(256)));
        let whole = format!("{first},{second}");
        assert_eq!(whole.len(), MAX_STATE_BYTES);
        assert_eq!(join(&[&first, &second]), whole);
        assert_eq!(join(&[&first, &second, "c=3"]), whole);
        assert_eq!(join(&[&format!("{first}x"), &second]), format!("{first}x"));
        assert_eq!(join(&[&"z".repeat(600)]), "");
    }

    #[test]
    fn a_tracestate_is_passed_on_only_if_it_is_one() {
        let (longest, most) = (format!("{}=v", "k".repeat(256)), (0..32).map(|n| format!("k{n}=v")));
        let most = most.collect::<Vec<_>>().join(",");
        for state in ["a=1", "a=1,b=2", "0a_-*/=!", "tenant@system=x", "a= 1 2", &longest, &most] {
            assert_eq!(valid_state(state), state);
        }
        assert_eq!(valid_state("\ta=1 ,, b=2,"), "a=1,b=2");
        let more = format!("{most},more=1");
        for state in [
            "a",
            "a=",
            "=1",
            "A=1",
            "a=1,a=2",
            "a=1=2",
            "a b=1",
            "\u{e4}=1",
            "a=\u{e4}",
            "a=\u{7f}",
            "a@B=1",
            "@b=1",
            "a@=1",
            "a@b@c=1",
            &format!("k{longest}"),
            "a@bbbbbbbbbbbbbbb=1",
            &more,
        ] {
            assert_eq!(valid_state(state), "", "{state}");
        }
    }
}
