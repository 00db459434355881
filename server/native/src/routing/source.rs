//! The sources of records: what is recorded of a version on a route, and of which of its predictions.
//!
//! The same rules as `engine/interpreted/recording.py`, so that both engines keep the same predictions.

use std::sync::Arc;

use scorewire_spool::DefinedSource;

use crate::routing::split;

/// What is recorded of a version on a route.
#[derive(Clone)]
pub(crate) struct RecordedSource {
    /// What the spool knows as the source. It forgets the source with the last use of it.
    pub defined: Arc<DefinedSource>,
    pub sampling: Sampling,
}

/// Which predictions of a source are recorded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sampling {
    /// The share of predictions that is kept.
    pub share: f64,
    /// Whether the routing key decides, if there is one; else the choice is random.
    pub by_key: bool,
    /// Whether predictions with a row error are kept in any case.
    pub keep_errors: bool,
    /// Whether predictions that are copied to a shadow are kept in any case.
    pub keep_shadowed: bool,
}

/// Whether a prediction is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    /// The sample leaves it out.
    Left,
    /// It is in the sample.
    Sampled,
    /// It is kept whatever the sample says.
    Always,
}

impl Sampling {
    /// Whether a prediction is recorded: one that has a row `error`, or is `shadowed`, in any case if the policy
    /// says so, and otherwise the sample.
    #[inline]
    pub(crate) fn choose(&self, routing_key: &str, error: bool, shadowed: bool) -> Choice {
        if self.share >= 1.0 {
            return Choice::Sampled;
        }
        if (error && self.keep_errors) || (shadowed && self.keep_shadowed) {
            return Choice::Always;
        }
        let sampled = if self.by_key && !routing_key.is_empty() {
            split::samples(routing_key, self.share)
        } else {
            split::drawn(self.share)
        };
        if sampled { Choice::Sampled } else { Choice::Left }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Sampling = Sampling { share: 0.0, by_key: false, keep_errors: false, keep_shadowed: false };

    #[test]
    fn errors_and_shadowed_predictions_are_kept_where_the_policy_says_so() {
        let errors = Sampling { keep_errors: true, ..NONE };
        let shadowed = Sampling { keep_shadowed: true, ..NONE };
        for source in [NONE, errors, shadowed] {
            for (error, copied) in [(false, false), (false, true), (true, false), (true, true)] {
                let always = (error && source.keep_errors) || (copied && source.keep_shadowed);
                let wanted = if always { Choice::Always } else { Choice::Left };
                assert_eq!(source.choose("key", error, copied), wanted);
                let all = Sampling { share: 1.0, ..source };
                assert_eq!(all.choose("key", error, copied), Choice::Sampled);
            }
        }
    }

    #[test]
    fn a_key_decides_for_itself_and_calls_without_a_key_are_sampled_at_random() {
        let source = Sampling { share: 0.3, by_key: true, ..NONE };
        let sampled = |key: &str| source.choose(key, false, false) == Choice::Sampled;
        for key in (0..100).map(|i| format!("customer-{i}")) {
            assert!((0..10).all(|_| sampled(&key) == split::samples(&key, 0.3)));
        }
        let at_random = |key: &str| (0..10_000).filter(|_| sampled(key)).count();
        assert!((2_500..3_500).contains(&at_random("")));
        let by_chance = Sampling { by_key: false, ..source };
        let found = (0..10_000).filter(|_| by_chance.choose("key", false, false) == Choice::Sampled).count();
        assert!((2_500..3_500).contains(&found));
    }
}
