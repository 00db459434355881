//! What an attack does with what comes back: it reads, hands responses to their calls, and ends calls.

use std::io;

use crate::attack::Attack;
use crate::connection::{Owner, Read};
use crate::grpc::{Reply, content};
use crate::http2::event::{Event, REFUSED_STREAM};
use crate::lane::{Answer, read_answer};
use crate::status::{self, Failure, code};
use crate::tally::Call;
use crate::timer::now_ns;

/// After this many reads of a connection, it is the turn of the others.
const READS: usize = 8;

impl Attack<'_> {
    /// Reads what has come on a connection. `to_end`: a read that finds no more bytes still has something to
    /// tell, such as the end of the connection.
    pub(super) fn receive(&mut self, token: usize, to_end: bool) -> io::Result<()> {
        for _ in 0..READS {
            // A connection may be gone of which the poll had more to tell.
            let Some(connection) = self.connections.get_mut(token) else { return Ok(()) };
            let read = connection.read(&mut self.buffer);
            let now_ns = now_ns();
            // First of all, since callers whose calls have ended make the next ones.
            if connection.session.is_closing() && !connection.is_retired {
                self.retire(token, now_ns)?;
                self.connect(now_ns)?;
            }
            match read {
                Err(error) => return self.fail(token, error, now_ns),
                Ok(Read::Nothing) => return self.flush(token),
                Ok(read) => {
                    self.deliver(token, now_ns)?;
                    self.flush(token)?;
                    if read == Read::All && !to_end {
                        return Ok(());
                    }
                }
            }
        }
        self.again.push(token);
        Ok(())
    }

    /// Handles what the session of a connection tells.
    pub(super) fn deliver(&mut self, token: usize, now_ns: u64) -> io::Result<()> {
        let mut events = std::mem::take(&mut self.events);
        self.connections[token].session.take_events(&mut events);
        for event in events.drain(..) {
            self.handle(token, event, now_ns)?;
        }
        self.events = events;
        Ok(())
    }

    fn handle(&mut self, token: usize, event: Event<Owner>, now_ns: u64) -> io::Result<()> {
        match event {
            // A stream that was given up.
            Event::Message { owner: Owner::Lane(lane), id, .. }
            | Event::Ended { owner: Owner::Lane(lane), id, .. }
                if self.lanes[lane].stream != Some((token, id)) =>
            {
                Ok(())
            }
            // A server that goes away has not seen the call, as gRPC's own clients understand it.
            Event::Ended { owner: Owner::Call(call), ending, .. }
                if ending.error_code == REFUSED_STREAM && !call.moved =>
            {
                self.place(Call { moved: true, ..call }, now_ns)
            }
            Event::Ended { owner: Owner::Call(call), ending, .. } => {
                let reply = match status::failure(&ending) {
                    Some(failure) => Reply::Failure(failure),
                    None => content(&ending.body),
                };
                self.end(call, reply, now_ns)
            }
            Event::Ended { owner: Owner::Lane(lane), ending, .. } => {
                let ended = || Failure::new(code::UNAVAILABLE, "the server ended the stream");
                let failure = status::failure(&ending).unwrap_or_else(ended);
                for call in self.lanes[lane].close() {
                    self.end(call, Reply::Failure(failure.clone()), now_ns)?;
                }
                Ok(())
            }
            Event::Message { owner: Owner::Lane(lane), message, .. } => self.answer(lane, &message, now_ns),
            // A unary call has one event.
            Event::Message { owner: Owner::Call(_), .. } => Ok(()),
        }
    }

    /// Hands a message of a stream to its call.
    fn answer(&mut self, lane: usize, message: &[u8], now_ns: u64) -> io::Result<()> {
        let Reply::Response(content) = content(message) else { return self.give_up(lane, now_ns) };
        let (correlation_id, answer) = read_answer(content);
        match self.lanes[lane].answered(correlation_id) {
            Ok(None) => Ok(()),
            Ok(Some(call)) => {
                let reply = match answer {
                    Answer::Response(response) => Reply::Response(response),
                    Answer::Failure(failure) if failure.code != code::OK => Reply::Failure(failure),
                    _ => Reply::Unreadable("the response cannot be parsed"),
                };
                self.end(call, reply, now_ns)
            }
            Err(call) => {
                if let Some(call) = call {
                    self.end(call, Reply::Unreadable("an answer came out of order"), now_ns)?;
                }
                self.give_up(lane, now_ns)
            }
        }
    }

    /// Resets the stream of a lane, and fails the calls on it.
    pub(super) fn give_up(&mut self, lane: usize, now_ns: u64) -> io::Result<()> {
        if let Some((token, id)) = self.lanes[lane].stream {
            self.connections[token].session.reset(id);
            self.mark(token);
        }
        for call in self.lanes[lane].close() {
            let failure = Failure::new(code::CANCELLED, "the stream was given up");
            self.end(call, Reply::Failure(failure), now_ns)?;
        }
        Ok(())
    }

    /// Counts a call that has ended. In a closed loop, its caller makes the next call.
    pub(super) fn end(&mut self, call: Call, reply: Reply<'_>, now_ns: u64) -> io::Result<()> {
        self.outstanding -= 1;
        let rows = self.settings.calls[call.prepared].rows;
        match reply {
            Reply::Response(response) => {
                self.tally.answer(&call, rows, now_ns);
                self.answers.add(call.prepared, response, self.tally.counts(&call));
            }
            Reply::Unreadable(why) => {
                self.tally.answer(&call, rows, now_ns);
                if self.tally.counts(&call) {
                    *self.tally.unreadable.entry(why).or_default() += 1;
                }
            }
            Reply::Failure(failure) => self.tally.fail(&call, failure, now_ns),
        }
        if self.schedule.is_none() && now_ns < self.tally.end_ns {
            self.call(call.lane, now_ns, now_ns)?;
        }
        Ok(())
    }
}
