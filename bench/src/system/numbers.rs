//! Random numbers that are the same in every run.

/// `SplitMix64`.
#[derive(Clone, Debug)]
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 up to and without 1.
    #[expect(clippy::cast_precision_loss, reason = "the upper 53 bits fit")]
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// From 0 up to and without `bound`.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "bounds are far below 2^52"
    )]
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.unit() * bound as f64) as usize
    }

    /// Gaps between arrivals that know nothing of each other.
    pub(crate) fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).ln()
    }
}

/// Choices of which some are likelier than others.
#[derive(Clone, Debug)]
pub(crate) struct Weights {
    sums: Vec<f64>,
}

impl Weights {
    /// A power law: choice `n`, from 0, weighs `(n + 1)^-exponent`.
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    pub(crate) fn power_law(count: usize, exponent: f64) -> Self {
        let mut sum = 0.0;
        let weights = (0..count).map(|choice| ((choice + 1) as f64).powf(-exponent));
        let sums = weights.map(|weight| {
            sum += weight;
            sum
        });
        Self { sums: sums.collect() }
    }

    pub(crate) fn pick(&self, numbers: &mut Numbers) -> usize {
        let all = self.sums.last().copied().unwrap_or_default();
        let at = numbers.unit() * all;
        self.sums.partition_point(|sum| *sum <= at).min(self.sums.len().saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::cast_precision_loss, reason = "small counts")]
    fn numbers_have_the_means_they_should() {
        const DRAWS: usize = 100_000;
        let mut numbers = Numbers::new(1);
        let gaps: f64 = (0..DRAWS).map(|_| numbers.exponential(0.01)).sum();
        assert!((gaps / DRAWS as f64 - 0.01).abs() < 0.000_2, "{gaps}");
        let faces: usize = (0..DRAWS).map(|_| numbers.below(6)).sum();
        assert!((faces as f64 / DRAWS as f64 - 2.5).abs() < 0.02, "{faces}");
        let weights = Weights::power_law(3, 1.0);
        let mut counts = [0_usize; 3];
        for _ in 0..DRAWS {
            counts[weights.pick(&mut numbers)] += 1;
        }
        for (count, share) in counts.iter().zip([6.0 / 11.0, 3.0 / 11.0, 2.0 / 11.0]) {
            assert!((*count as f64 / DRAWS as f64 - share).abs() < 0.01, "{counts:?}");
        }
    }
}
