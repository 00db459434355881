//! Makes the calls of a run: in an open loop on a schedule, in a closed loop one after another.

mod receiving;

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use mio::{Events, Poll, Token};
use slab::Slab;

use crate::answers::Answers;
use crate::connection::{BrokenError, CHUNK_BYTES, Connection, Owner};
use crate::grpc::{Reply, request_fields};
use crate::http2::event::{Event, PREFIX_BYTES};
use crate::http2::session::RequestFields;
use crate::lane::Lane;
use crate::meter::Meter;
use crate::pacing::Pacing;
use crate::schedule::{Next, Schedule};
use crate::settings::{Load, Settings};
use crate::shared::Shared;
use crate::status::{Failure, code};
use crate::tally::{Call, Tally, Totals};
use crate::timer::{Timer, now_ns};

/// After this many sends in a row, the loop handles responses.
const BURST: usize = 64;
/// After this many calls that are not sent, the loop looks for what else there is to do.
const SKIPS: usize = 100_000;
/// The period in which timeouts are looked for. In a closed loop, how late it begins is the generator's lag.
const TICK_NS: u64 = 5_000_000;
/// The pause after a connection that could not be made.
const RETRY_NS: u64 = 100_000_000;
const TIMER: Token = Token(usize::MAX);

/// A run.
pub(crate) struct Attack<'a> {
    settings: &'a Settings,
    shared: &'a Shared,
    poll: Poll,
    timer: Timer,
    fields: Arc<RequestFields>,
    connections: Slab<Connection>,
    /// The token of each connection that takes new calls.
    current: Vec<usize>,
    /// The streams of messages; empty for unary calls.
    lanes: Vec<Lane>,
    start_ns: u64,
    tally: Tally,
    answers: Answers<'a>,
    schedule: Option<Schedule>,
    outstanding: usize,
    next_call: usize,
    next_lane: usize,
    /// The connections with something to write.
    dirty: Vec<usize>,
    /// The connections with something more to read.
    again: Vec<usize>,
    buffer: Vec<u8>,
    /// Room for the events of a session.
    events: Vec<Event<Owner>>,
    meter: Meter,
}

impl<'a> Attack<'a> {
    /// # Errors
    /// `io::Error`: the system gives no poll or no timer, or there is no memory for a connection.
    pub(crate) fn new(settings: &'a Settings, shared: &'a Shared) -> io::Result<Self> {
        let poll = Poll::new()?;
        let timer = Timer::new(poll.registry(), TIMER)?;
        let start_ns = now_ns();
        let begin_ns = start_ns + settings.warmup_ns;
        let schedule = match settings.load {
            Load::Closed { .. } => None,
            Load::Open { arrivals, rate, max_outstanding } => {
                Some(Schedule::new(Pacing::new(arrivals, rate), max_outstanding, start_ns))
            }
        };
        let mut attack = Self {
            settings,
            shared,
            poll,
            timer,
            fields: Arc::new(request_fields(settings)),
            connections: Slab::new(),
            current: Vec::new(),
            lanes: (0..settings.streams.unwrap_or(0)).map(|_| Lane::default()).collect(),
            start_ns,
            tally: Tally::new(begin_ns, begin_ns + settings.duration_ns),
            answers: Answers::new(settings.calls.len(), settings.volatile_fields.clone(), &shared.fresh),
            schedule,
            outstanding: 0,
            next_call: 0,
            next_lane: 0,
            dirty: Vec::new(),
            again: Vec::new(),
            buffer: vec![0; CHUNK_BYTES],
            events: Vec::new(),
            meter: Meter::default(),
        };
        for index in 0..settings.connections {
            let token = attack.open(index, start_ns)?;
            attack.current.push(token);
        }
        Ok(attack)
    }

    /// Makes the calls, waits for their responses, and returns what was counted.
    ///
    /// # Errors
    /// `io::Error`: the poll or the timer failed, or there is no memory for a connection.
    pub(crate) fn run(mut self) -> io::Result<Totals> {
        let mut events = Events::with_capacity(1024);
        let mut tick_ns = self.start_ns;
        self.connect(self.start_ns)?;
        if let Load::Closed { concurrency } = self.settings.load {
            for caller in 0..concurrency {
                self.call(caller % self.lane_count(), self.start_ns, self.start_ns)?;
            }
        }
        while !self.is_over(now_ns()) && !self.shared.aborted.load(Relaxed) {
            let mut wake_ns = tick_ns;
            if let Some(schedule) = &self.schedule {
                wake_ns = wake_ns.min(schedule.wake_ns(self.outstanding));
            }
            if self.settings.spins || !self.again.is_empty() || !self.dirty.is_empty() {
                wake_ns = 0;
            }
            let timeout = self.timer.wake_at(wake_ns)?;
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            let now_ns = now_ns();
            if now_ns >= tick_ns {
                if self.schedule.is_none() && tick_ns >= self.tally.begin_ns && tick_ns < self.tally.end_ns {
                    self.tally.lag(now_ns - tick_ns);
                }
                self.tick(now_ns)?;
                tick_ns = now_ns + TICK_NS;
            }
            for token in std::mem::take(&mut self.again) {
                self.receive(token, true)?;
            }
            for event in events.iter().filter(|event| event.token() != TIMER) {
                self.receive(event.token().0, event.is_read_closed())?;
            }
            self.send_due()?;
            for token in std::mem::take(&mut self.dirty) {
                if self.connections.get(token).is_some_and(|connection| connection.is_dirty) {
                    self.flush(token)?;
                }
            }
        }
        self.tick(now_ns())?;
        self.tally.finish();
        let (work, measured_ns) = self.meter.read(now_ns());
        Ok(Totals { work, measured_ns, answers: self.answers.counts(), tally: self.tally })
    }

    /// Whether all calls were made and have ended.
    fn is_over(&self, now_ns: u64) -> bool {
        self.outstanding == 0
            && match &self.schedule {
                None => now_ns >= self.tally.end_ns,
                Some(schedule) => schedule.is_over(),
            }
    }

    /// Does what is to be done from time to time.
    fn tick(&mut self, now_ns: u64) -> io::Result<()> {
        if self.shared.stopped.load(Relaxed) {
            self.tally.stop(now_ns);
        }
        self.meter.tick(now_ns, self.tally.begin_ns..self.tally.end_ns);
        self.shared.answered.store(self.tally.answered, Relaxed);
        self.shared.failed.store(self.tally.calls - self.tally.answered, Relaxed);
        if let Ok(mut last) = self.shared.last_second.try_lock() {
            *last = self.tally.seconds.last().copied();
        }
        self.connect(now_ns)?;
        let mut expired = Vec::new();
        for (token, connection) in &mut self.connections {
            connection.expire(now_ns, &mut expired);
            if !std::mem::replace(&mut connection.is_dirty, true) {
                self.dirty.push(token);
            }
        }
        let mut stuck = Vec::new();
        for (index, lane) in self.lanes.iter_mut().enumerate() {
            if lane.expire(now_ns, &mut expired)
                && let Some((token, id)) = lane.stream
                && self.connections[token].session.has_unsent(id)
            {
                stuck.push(index);
            }
        }
        for call in expired {
            let failure = Failure::new(code::DEADLINE_EXCEEDED, "no answer in time");
            self.end(call, Reply::Failure(failure), now_ns)?;
        }
        for index in stuck {
            self.give_up(index, now_ns)?;
        }
        let registry = self.poll.registry();
        self.connections.retain(|_, connection| {
            let is_idle = connection.is_retired && connection.session.is_idle();
            if is_idle {
                connection.close(registry);
            }
            !is_idle
        });
        Ok(())
    }

    /// A new connection, which is made at `connect_ns`. Returns its token.
    fn open(&mut self, index: usize, connect_ns: u64) -> io::Result<usize> {
        let connection = Connection::new(index, &self.fields, self.settings.max_message_bytes, connect_ns);
        let connection = connection.map_err(|BrokenError(why)| io::Error::other(why))?;
        Ok(self.connections.insert(connection))
    }

    /// Begins to make the connections that are to be made.
    fn connect(&mut self, now_ns: u64) -> io::Result<()> {
        let mut broken = Vec::new();
        for (token, connection) in &mut self.connections {
            let registry = self.poll.registry();
            if let Err(error) = connection.connect(now_ns, self.settings, registry, Token(token)) {
                broken.push((token, error));
            }
        }
        for (token, error) in broken {
            self.fail(token, error, now_ns)?;
        }
        Ok(())
    }

    /// Ends a connection that broke, and all calls on it.
    fn fail(&mut self, token: usize, BrokenError(why): BrokenError, now_ns: u64) -> io::Result<()> {
        let retry_ns = if self.connections[token].has_received { now_ns } else { now_ns + RETRY_NS };
        self.retire(token, retry_ns)?;
        self.deliver(token, now_ns)?;
        let mut connection = self.connections.remove(token);
        connection.close(self.poll.registry());
        let mut failed = Vec::new();
        for owner in connection.session.take_owners() {
            match owner {
                Owner::Call(call) => failed.push(call),
                Owner::Lane(lane) => failed.extend(self.lanes[lane].close()),
            }
        }
        for call in failed {
            self.end(call, Reply::Failure(Failure::new(code::UNAVAILABLE, why.clone())), now_ns)?;
        }
        Ok(())
    }

    /// Gives new calls another connection, which is made at `connect_ns`; those on this one go on.
    fn retire(&mut self, token: usize, connect_ns: u64) -> io::Result<()> {
        let connection = &mut self.connections[token];
        if !std::mem::replace(&mut connection.is_retired, true) {
            let index = connection.index;
            self.current[index] = self.open(index, connect_ns)?;
        }
        Ok(())
    }

    /// Remembers that a connection has something to write.
    fn mark(&mut self, token: usize) {
        if !std::mem::replace(&mut self.connections[token].is_dirty, true) {
            self.dirty.push(token);
        }
    }

    fn flush(&mut self, token: usize) -> io::Result<()> {
        let Some(connection) = self.connections.get_mut(token) else { return Ok(()) };
        match connection.flush() {
            // A request that cannot be sent any more has ended.
            Ok(()) => self.deliver(token, now_ns()),
            Err(error) => self.fail(token, error, now_ns()),
        }
    }

    /// How many lanes there are: streams, or connections of unary calls.
    fn lane_count(&self) -> usize {
        self.settings.streams.unwrap_or(self.settings.connections)
    }

    /// Makes the next call.
    fn call(&mut self, lane: usize, due_ns: u64, now_ns: u64) -> io::Result<()> {
        let prepared = self.next_call;
        self.next_call = (prepared + 1) % self.settings.calls.len();
        self.outstanding += 1;
        let deadline_ns = now_ns + self.settings.timeout_ns;
        self.place(Call { prepared, due_ns, deadline_ns, lane, moved: false }, now_ns)
    }

    /// Puts a call on its connection or its stream.
    fn place(&mut self, call: Call, now_ns: u64) -> io::Result<()> {
        let lane = call.lane;
        let message = &self.settings.calls[call.prepared].framed;
        let index = lane % self.settings.connections;
        // A session that takes no more calls is replaced by a new one, which takes them.
        for _ in 0..2 {
            let token = self.current[index];
            let connection = &mut self.connections[token];
            let made = match self.lanes.get_mut(lane) {
                None => connection.call(call, message.clone()).is_ok(),
                Some(lane_of_call) => {
                    if lane_of_call.stream.is_none()
                        && let Ok(id) = connection.session.open_stream(Owner::Lane(lane))
                    {
                        lane_of_call.stream = Some((token, id));
                    }
                    match lane_of_call.stream {
                        None => false,
                        Some((token, id)) => {
                            let write =
                                |out: &mut Vec<u8>| lane_of_call.push(call, &message[PREFIX_BYTES..], out);
                            self.connections[token].session.send_message(id, write);
                            self.mark(token);
                            return Ok(());
                        }
                    }
                }
            };
            if made {
                self.mark(token);
                return Ok(());
            }
            self.retire(token, now_ns)?;
        }
        let failure = Failure::new(code::UNAVAILABLE, "no connection takes the call");
        self.outstanding -= 1;
        self.tally.fail(&call, failure, now_ns);
        Ok(())
    }

    /// Makes the calls of an open loop that are due.
    fn send_due(&mut self) -> io::Result<()> {
        let Some(mut schedule) = self.schedule.take() else { return Ok(()) };
        let (mut sent, mut skipped) = (0, 0);
        while sent < BURST && skipped < SKIPS {
            let now_ns = now_ns();
            match schedule.next(now_ns, self.outstanding, &mut self.tally) {
                Next::Nothing => break,
                Next::Skipped => skipped += 1,
                Next::Call(due_ns) => {
                    self.next_lane = (self.next_lane + 1) % self.lane_count();
                    self.call(self.next_lane, due_ns, now_ns)?;
                    sent += 1;
                }
            }
        }
        self.schedule = Some(schedule);
        Ok(())
    }
}
