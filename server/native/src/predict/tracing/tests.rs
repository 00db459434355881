use std::time::Duration;

use super::*;
use crate::encodings::message::Times;
use crate::encodings::tests::RefusedRows;
use crate::onnx::binding::{IoBinding, Names};
use crate::rows::explainer::Explained;
use crate::rows::runner::RunTimes;
use crate::transport::context::{Metadata, Peer};
use crate::transport::headers::{Flaws, HeaderBlocks};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// The trace of a call with these headers that comes at this time, if it is traced.
fn begin(
    tracer: &Arc<Tracer>,
    headers: &[(&str, &str)],
    received: Instant,
    streams: bool,
) -> Option<Arc<Trace>> {
    let mut blocks = HeaderBlocks::default();
    blocks.begin();
    for (name, value) in headers {
        blocks.push(name.as_bytes(), value.as_bytes());
    }
    blocks.end(1, Flaws::default());
    let (_, headers) = blocks.iter().next().unwrap();
    let (grpc, peer) = (headers.grpc(), Arc::new(Peer::new(([127, 0, 0, 1], 1).into(), None)));
    let metadata = Metadata::of(headers, &grpc);
    let context = CallContext { path: "/p.S/M", metadata, peer: &peer, received, deadline: None };
    tracer.begin(grpc.traceparent, &context, streams)
}

fn tracer(per_second: u64, waiting: usize) -> Arc<Tracer> {
    Arc::new(Tracer::new(0.0, per_second, waiting))
}

#[test]
fn a_trace_that_nobody_ends_ends_as_cancelled() {
    let tracer = tracer(1000, 8);
    let trace =
        begin(&tracer, &[("traceparent", PARENT), ("tracestate", "a=1")], Instant::now(), false).unwrap();
    assert!(tracer.take(8).is_empty());
    drop(trace);
    let call = tracer.take(8).pop().unwrap();
    assert_eq!((call.code, &*call.method, &*call.context.state), (status::CANCELLED, "p.S/M", "a=1"));
}

#[test]
fn a_trace_ends_once_and_not_at_all_once_it_is_handed_over() {
    let tracer = tracer(1000, 8);
    let start = || begin(&tracer, &[("traceparent", PARENT)], Instant::now(), false).unwrap();
    let trace = start();
    trace.end(Instant::now(), status::OK, 0);
    trace.end(Instant::now(), status::INTERNAL, 0);
    assert_eq!(trace.hand_over(), None);
    drop(trace);
    assert_eq!(tracer.take(8).iter().map(|call| call.code).collect::<Vec<_>>(), [status::OK]);
    assert!(start().hand_over().is_some());
    assert!(tracer.take(8).is_empty());
}

#[test]
fn the_stage_of_an_explanation_ends_where_the_run_begins() {
    let (tracer, rows, begun) = (tracer(1000, 8), RefusedRows::new(2), Instant::now());
    let at = |us| begun + Duration::from_micros(us);
    let names = || Names::new::<&str>(&[]).unwrap();
    let binding = IoBinding::from_outputs(vec![], Arc::new((names(), names())));
    let explained = Explained { ns: 200_000, ..Explained::default() };
    let explained = ExplainedRows { index: 0, explained: &explained, top_k: 0 };
    let times = Times { begin: begun, decoded: at(10), run: RunTimes { begin: at(300), end: at(400) } };
    // The names of the stages of a call with these scores, and when the explanation began and ended.
    let stages = |binding, explained| {
        let trace = begin(&tracer, &[("traceparent", PARENT)], begun, false).unwrap();
        trace.scored(&Scores { binding, explained, times, ..rows.scores() }, Some(at(500)));
        trace.end(at(500), status::OK, 0);
        let call = tracer.take(1).pop().unwrap();
        let passed = STAGE_NAMES.iter().zip(call.stages).filter(|(_, times)| times.is_some());
        (passed.map(|(name, _)| *name).collect::<Vec<_>>(), call.stages[Stage::Explain as usize])
    };
    let scored = vec!["decode", "explain", "run", "encode"];
    assert_eq!(stages(Some(&binding), Some(explained)), (scored, Some((at(100), at(300)))));
    assert_eq!(stages(Some(&binding), None), (vec!["decode", "run", "encode"], None));
    // Every row has an error.
    assert_eq!(stages(None, Some(explained)), (vec!["decode", "encode"], None));
}

#[test]
fn the_messages_of_a_stream_tell_who_calls_as_the_stream_does() {
    let tracer = tracer(1000, 8);
    let stream = begin(&tracer, &[("traceparent", PARENT)], Instant::now(), true).unwrap();
    let unknown = stream.message(Instant::now());
    stream.identified(&"shop".into());
    let known = stream.message(Instant::now());
    drop((unknown, known, stream));
    let found: Vec<_> = tracer.take(8).into_iter().map(|call| call.principal).collect();
    assert_eq!(found, [None, Some("shop".into()), Some("shop".into())]);
}

#[test]
fn the_limit_allows_a_second_s_worth_at_once_and_then_one_at_a_time() {
    let (tracer, begun) = (tracer(10, 100), Instant::now());
    let at = |ms| begun + Duration::from_millis(ms);
    let begin = |ms| begin(&tracer, &[("traceparent", PARENT)], at(ms), true);
    let traces: Vec<_> = (0..20).filter_map(|_| begin(0)).collect();
    assert_eq!((traces.len(), tracer.counts()[3]), (10, 10));
    assert!(begin(50).is_none());
    assert!(begin(101).is_some());
    assert!(begin(101).is_none());
    // Messages of a stream count as well.
    assert!(traces[0].message(at(150)).is_none());
    assert!(traces[0].message(at(202)).is_some());
}

#[test]
fn a_full_queue_loses_calls_and_counts_them() {
    let tracer = tracer(1000, 2);
    for _ in 0..5 {
        begin(&tracer, &[("traceparent", PARENT)], Instant::now(), false).unwrap();
    }
    assert_eq!(tracer.counts(), [5, 3, 2, 0]);
    assert_eq!(tracer.take(1).len(), 1);
    assert_eq!(tracer.counts(), [5, 3, 1, 0]);
    assert_eq!(tracer.take(8).len(), 1);
}

#[test]
fn nothing_is_drawn_for_a_call_whose_parent_is_not_sampled() {
    let tracer = Arc::new(Tracer::new(1.0, 1000, 8));
    let unsampled = PARENT.replace("-01", "-00");
    assert!(begin(&tracer, &[("traceparent", &unsampled)], Instant::now(), false).is_none());
    // One that is not valid does not count.
    for headers in [&[("traceparent", "00-x-01")][..], &[]] {
        assert!(begin(&tracer, headers, Instant::now(), false).is_some());
    }
}

#[test]
fn a_share_of_the_calls_is_drawn_each_on_its_own() {
    const CALLS: usize = 200_000;
    for share in [0.01, 0.3, 1.0] {
        let tracer = Tracer::new(share, 1000, 8);
        // Another share in between changes nothing.
        let other = Tracer::new(0.5, 1000, 8);
        let drawn: Vec<_> = (0..CALLS)
            .map(|number| {
                if number % 1000 == 0 {
                    other.draws();
                }
                tracer.draws()
            })
            .collect();
        let count = |drawn: &mut dyn Iterator<Item = bool>| drawn.filter(|each| *each).count() as f64;
        let all = count(&mut drawn.iter().copied());
        let both = count(&mut drawn.windows(2).map(|pair| pair[0] && pair[1]));
        // Seven standard deviations; of pairs, which overlap, more than five.
        let near = |found: f64, share: f64| {
            let expected = CALLS as f64 * share;
            (found - expected).abs() <= 7.0 * (expected * (1.0 - share)).sqrt() + 1.0
        };
        assert!(near(all, share), "{all} for {share}");
        assert!(near(both, share * share), "{both} twice for {share}");
    }
    let never = Tracer::new(0.0, 1000, 8);
    let hardly_ever = Tracer::new(f64::MIN_POSITIVE, 1000, 8);
    assert!(!(0..1000).any(|_| never.draws() || hardly_ever.draws()));
}
