//! A histogram with the buckets of an HDR histogram of three digits.
//!
//! The buckets are those of HdrHistogram with a lowest value of 1 and three significant digits: 2,048 of width
//! 1, then 1,024 of width 2, 1,024 of width 4, and so on. So Python's HDR histogram takes them over as they are.

/// The largest value that is told apart: an hour in microseconds.
pub(crate) const HIGHEST: u64 = 3_600_000_000;
const HALF_BITS: u32 = 10;
const LOW_MASK: u64 = (1 << (HALF_BITS + 1)) - 1;

/// Counts of values.
#[derive(Clone)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; place(HIGHEST) + 1], total: 0, max: 0 }
    }
}

/// The bucket of a value.
fn place(value: u64) -> usize {
    let shift = u64::BITS - (value | LOW_MASK).leading_zeros() - (HALF_BITS + 1);
    ((shift as usize) << HALF_BITS) + (value >> shift) as usize
}

/// The smallest and the largest value of a bucket.
fn values(place: usize) -> (u64, u64) {
    let shift = (place >> HALF_BITS).saturating_sub(1);
    let low = ((place - (shift << HALF_BITS)) as u64) << shift;
    (low, low + (1 << shift) - 1)
}

impl Histogram {
    /// Adds a value.
    pub(crate) fn record(&mut self, value: u64) {
        let value = value.min(HIGHEST);
        self.counts[place(value)] += 1;
        self.total += 1;
        self.max = self.max.max(value);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// The largest value.
    pub(crate) fn max(&self) -> u64 {
        self.max
    }

    /// The value at a share of the values, 0 to 1; 0 without values.
    pub(crate) fn quantile(&self, share: f64) -> u64 {
        let rank = ((share * self.total as f64).ceil() as u64).clamp(1, self.total.max(1));
        let mut seen = 0;
        for (place, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return values(place).1.min(self.max);
            }
        }
        0
    }

    /// The smallest value of each bucket that has values, and how many it has.
    pub(crate) fn buckets(&self) -> Vec<(u64, u64)> {
        let filled = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        filled.map(|(place, count)| (values(place).0, *count)).collect()
    }

    pub(crate) fn clear(&mut self) {
        self.counts.fill(0);
        (self.total, self.max) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_has_the_values_that_are_put_there() {
        for value in (0..10_000).chain((1..32).flat_map(|bit| [(1 << bit) - 1, 1 << bit, (1 << bit) + 1])) {
            let (low, high) = values(place(value));
            assert!(low <= value && value <= high, "{value} is not in {low} to {high}");
            assert!(high - low <= value / 1_000, "{value}: {low} to {high} is not precise");
        }
    }

    #[test]
    fn buckets_follow_each_other_without_a_gap() {
        for place in 1..Histogram::default().counts.len() {
            assert_eq!(values(place).0, values(place - 1).1 + 1);
        }
    }

    #[test]
    fn quantiles_are_those_of_the_values() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), 0);
        for value in 1..=1_000 {
            histogram.record(value);
        }
        let found = [0.0, 0.5, 0.99, 1.0].map(|share| histogram.quantile(share));
        assert_eq!(found, [1, 500, 990, 1_000]);
        histogram.record(u64::MAX);
        assert_eq!((histogram.quantile(1.0), histogram.max()), (HIGHEST, HIGHEST));
        histogram.clear();
        assert!(histogram.is_empty() && histogram.buckets().is_empty());
    }
}
