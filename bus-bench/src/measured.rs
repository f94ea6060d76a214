//! Medians and ratios of the rounds.

use serde::Serialize;

use crate::side::Sample;
use crate::work::Work;

/// What all sides did of one kind of work.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Measured {
    pub(crate) work: Work,
    /// Bytes of each payload.
    pub(crate) payload: usize,
    /// Messages of a round.
    pub(crate) messages: usize,
    /// The bus comes first.
    pub(crate) sides: Vec<Row>,
}

/// What one side did of it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) side: String,
    /// Nanoseconds for each message.
    pub(crate) nanos: Spread,
    /// The rate of the bus divided by that of this side, in the same round: above 1 the bus is faster.
    pub(crate) ratio: Option<Spread>,
    /// Messages that should have been received, and were not, in all rounds.
    pub(crate) lost: u64,
    /// Messages that were received more than once, in all rounds.
    pub(crate) duplicated: u64,
}

/// The middle of some rounds, and the least and the most.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Spread {
    pub(crate) fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        Some(Self {
            median: *values.get(values.len() / 2)?,
            least: *values.first()?,
            most: *values.last()?,
        })
    }
}

impl Measured {
    /// What the rounds say; `samples` by side, the bus first.
    pub(crate) fn of(
        work: Work,
        payload: usize,
        messages: usize,
        samples: &[(&str, Vec<Sample>)],
    ) -> Self {
        let nanos = |sample: &Sample| match sample.median {
            Some(median) if work.is_latency() => median.as_secs_f64() * 1e9,
            _ => sample.took.as_secs_f64() * 1e9 / messages as f64,
        };
        let ours: Vec<f64> = samples
            .first()
            .map(|(_, rounds)| rounds.iter().map(nanos).collect())
            .unwrap_or_default();
        let rows = samples
            .iter()
            .enumerate()
            .filter_map(|(index, (side, rounds))| {
                let each: Vec<f64> = rounds.iter().map(nanos).collect();
                let ratios = each
                    .iter()
                    .zip(&ours)
                    .map(|(raw, ours)| raw / ours)
                    .collect();
                Some(Row {
                    side: (*side).to_owned(),
                    ratio: Spread::of(ratios).filter(|_| index > 0),
                    nanos: Spread::of(each)?,
                    lost: rounds.iter().map(|sample| sample.lost).sum(),
                    duplicated: rounds.iter().map(|sample| sample.duplicated).sum(),
                })
            });
        Self {
            work,
            payload,
            messages,
            sides: rows.collect(),
        }
    }

    /// Messages that were lost or came twice, on any side.
    pub(crate) fn wrong(&self) -> u64 {
        self.sides.iter().map(|row| row.lost + row.duplicated).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_ratio_is_that_of_rounds_side_by_side() {
        let rounds = |micros: [u64; 3]| -> Vec<Sample> {
            micros
                .map(|micros| Sample::sent(Duration::from_micros(micros)))
                .into()
        };
        let samples = [("bus", rounds([10, 20, 40])), ("raw", rounds([10, 10, 10]))];
        let measured = Measured::of(Work::PublishBatch, 256, 10, &samples);
        let [bus, raw] = &measured.sides[..] else {
            panic!("two sides");
        };
        assert!(bus.ratio.is_none());
        assert!((bus.nanos.median - 2_000.0).abs() < 1.0);
        let ratio = raw.ratio.unwrap();
        assert_eq!((ratio.least, ratio.median, ratio.most), (0.25, 0.5, 1.0));
    }
}
