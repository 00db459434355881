//! One stream of messages: the calls on it, and the messages of PredictStream.
//!
//! A lane has one stream at a time, and opens the next one when a call is made after the last stream ended.
//! Answers come in the order of the calls.

use std::collections::VecDeque;

use crate::protobuf::{Fields, Value, put_varint};
use crate::status::Failure;
use crate::tally::Call;

const CORRELATION_TAG: u8 = 0x08;
const REQUEST_TAG: u8 = 0x12;
/// A stream whose messages the server has not read so long after a timeout is given up.
const STUCK_NS: u64 = 1_000_000_000;

/// A call without an answer so far. One that has timed out stays, so that a late answer is matched to it.
struct Pending {
    call: Call,
    correlation_id: u64,
    timed_out: bool,
}

/// A stream, and the calls on it.
#[derive(Default)]
pub(crate) struct Lane {
    /// The connection's token and the stream's id.
    pub(crate) stream: Option<(usize, i32)>,
    pending: VecDeque<Pending>,
    last_id: u64,
}

/// What a message of the server says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer<'a> {
    Response(&'a [u8]),
    Failure(Failure),
    /// The message says nothing that can be read.
    Unreadable,
}

impl Lane {
    /// Adds a call, and appends its message to `out`. `message` is that of a unary call.
    pub(crate) fn push(&mut self, call: Call, message: &[u8], out: &mut Vec<u8>) {
        self.last_id += 1;
        self.pending.push_back(Pending { call, correlation_id: self.last_id, timed_out: false });
        let begin = out.len();
        out.extend_from_slice(&[0; 5]);
        out.push(CORRELATION_TAG);
        put_varint(out, self.last_id);
        out.push(REQUEST_TAG);
        put_varint(out, message.len() as u64);
        out.extend_from_slice(message);
        let length = (out.len() - begin - 5) as u32;
        out[begin + 1..begin + 5].copy_from_slice(&length.to_be_bytes());
    }

    /// The oldest call, which an answer with this id belongs to; `None`: it has timed out.
    ///
    /// # Errors
    /// `Option<Call>`: the answer belongs to another call than the oldest, which is the call if it has not timed
    /// out.
    pub(crate) fn answered(&mut self, correlation_id: u64) -> Result<Option<Call>, Option<Call>> {
        let Some(pending) = self.pending.pop_front() else { return Err(None) };
        let call = (!pending.timed_out).then_some(pending.call);
        if pending.correlation_id == correlation_id { Ok(call) } else { Err(call) }
    }

    /// Takes the calls whose time is over. Returns whether the stream should be given up, if the server has not
    /// read all its messages.
    pub(crate) fn expire(&mut self, now_ns: u64, expired: &mut Vec<Call>) -> bool {
        for pending in &mut self.pending {
            if pending.call.deadline_ns > now_ns {
                break;
            }
            if !std::mem::replace(&mut pending.timed_out, true) {
                expired.push(pending.call);
            }
        }
        self.pending.front().is_some_and(|pending| pending.call.deadline_ns + STUCK_NS <= now_ns)
    }

    /// Ends the stream, and takes the calls on it that have not timed out.
    pub(crate) fn close(&mut self) -> Vec<Call> {
        self.stream = None;
        self.pending.drain(..).filter(|pending| !pending.timed_out).map(|pending| pending.call).collect()
    }
}

/// Reads a PredictStreamResponse: the correlation id and the answer.
pub(crate) fn read_answer(message: &[u8]) -> (u64, Answer<'_>) {
    let (mut correlation_id, mut answer) = (0, Answer::Unreadable);
    for field in Fields::of(message) {
        match field.map(|field| (field.number, field.value)) {
            Some((1, Value::Varint(id))) => correlation_id = id,
            Some((2, Value::Bytes(response))) => answer = Answer::Response(response),
            Some((3, Value::Bytes(status))) => {
                answer = Failure::of_status(status).map_or(Answer::Unreadable, Answer::Failure);
            }
            Some(_) => {}
            None => return (correlation_id, Answer::Unreadable),
        }
    }
    (correlation_id, answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(deadline_ns: u64) -> Call {
        Call { prepared: 0, due_ns: 0, deadline_ns, lane: 0, moved: false }
    }

    #[test]
    fn a_message_wraps_the_request_of_a_unary_call() {
        let (mut lane, mut out) = (Lane::default(), Vec::new());
        lane.push(call(1), b"abc", &mut out);
        lane.push(call(2), &[7; 200], &mut out);
        assert_eq!(out[..12], *b"\0\0\0\0\x07\x08\x01\x12\x03abc");
        assert_eq!(out[12..22], *b"\0\0\0\0\xcd\x08\x02\x12\xc8\x01");
        assert_eq!(out.len(), 22 + 200);
    }

    #[test]
    fn answers_belong_to_calls_in_their_order() {
        let (mut lane, mut out) = (Lane::default(), Vec::new());
        for deadline in 1..=3 {
            lane.push(call(deadline), b"", &mut out);
        }
        assert_eq!(lane.answered(1).unwrap().unwrap().deadline_ns, 1);
        assert_eq!(lane.answered(3).unwrap_err().unwrap().deadline_ns, 2);
        assert!(lane.answered(3).unwrap().is_some());
        assert!(lane.answered(4).unwrap_err().is_none());
    }

    #[test]
    fn a_call_that_times_out_is_told_once_and_its_late_answer_is_dropped() {
        let (mut lane, mut out, mut expired) = (Lane::default(), Vec::new(), Vec::new());
        lane.push(call(10), b"", &mut out);
        lane.push(call(20), b"", &mut out);
        assert!(!lane.expire(9, &mut expired) && expired.is_empty());
        assert!(!lane.expire(10, &mut expired));
        assert!(!lane.expire(11, &mut expired));
        assert_eq!(expired.len(), 1);
        assert!(lane.expire(10 + STUCK_NS, &mut expired));
        assert_eq!(expired.len(), 2);
        assert!(lane.answered(1).unwrap().is_none());
        assert!(lane.close().is_empty());
    }

    #[test]
    fn an_answer_is_a_response_or_an_error() {
        assert_eq!(read_answer(b"\x08\x07\x12\x02ab"), (7, Answer::Response(b"ab")));
        assert_eq!(read_answer(b"\x08\x07\x1a\x02\x08\x03"), (7, Answer::Failure(Failure::new(3, ""))));
        assert_eq!(read_answer(b"\x08\x07"), (7, Answer::Unreadable));
        assert_eq!(read_answer(b"\x08\x07\x12\x09ab"), (7, Answer::Unreadable));
    }
}
