//! Gauss-Legendre quadrature.

/// The nodes and weights of the rule with `count` nodes over 0 to 1, which is exact for polynomials of degree
/// 2 `count` - 1. By Newton's method on the Legendre polynomial, from Tricomi's approximation of its roots.
pub(super) fn rule(count: usize) -> Vec<(f64, f64)> {
    let degree = count as f64;
    let mut rule = vec![(0.5, 1.0); count];
    for i in 0..count.div_ceil(2) {
        let mut root = (std::f64::consts::PI * (i as f64 + 0.75) / (degree + 0.5)).cos();
        let mut slope = 1.0;
        // It converges quadratically from less than 0.01 away.
        for _ in 0..8 {
            let (mut before, mut value) = (1.0, root);
            for k in 2..=count {
                let k = k as f64;
                (before, value) = (value, ((2.0 * k - 1.0) * root * value - (k - 1.0) * before) / k);
            }
            slope = degree * (root * value - before) / (root * root - 1.0);
            root -= value / slope;
        }
        if 2 * i + 1 == count {
            root = 0.0;
        }
        let weight = 1.0 / ((1.0 - root * root) * slope * slope);
        rule[i] = ((1.0 - root) / 2.0, weight);
        rule[count - 1 - i] = ((1.0 + root) / 2.0, weight);
    }
    rule
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_up_to_twice_the_nodes_are_exact() {
        for count in (1..=40).chain([100, 512]) {
            let rule = rule(count);
            for power in 0..2 * count {
                let sum: f64 = rule.iter().map(|(node, weight)| weight * node.powi(power as i32)).sum();
                let wanted = 1.0 / (power as f64 + 1.0);
                assert!((sum - wanted).abs() < 1e-13, "{count} nodes, power {power}: {sum} for {wanted}");
            }
            assert!(rule.iter().all(|(node, weight)| *node > 0.0 && *node < 1.0 && *weight > 0.0));
        }
    }
}
