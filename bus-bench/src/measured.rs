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
    /// Its ratio is the rate of the bus divided by that of this side: above 1 the bus is faster.
    #[serde(flatten)]
    pub(crate) figures: Figures,
}

/// What some rounds say.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Figures {
    /// Nanoseconds for each message.
    pub(crate) nanos: Spread,
    /// How many times as long it took as what it is compared with, in the same round.
    pub(crate) ratio: Option<Spread>,
    /// Messages that should have been received, and were not, in all rounds.
    pub(crate) lost: u64,
    /// Messages that were received more than once, in all rounds.
    pub(crate) duplicated: u64,
}

impl Figures {
    /// What `samples` say, of which the messages took `nanos` each, and `base` those that they are compared with.
    pub(crate) fn of(samples: &[Sample], nanos: &[f64], base: Option<&[f64]>) -> Option<Self> {
        let ratios = base.map(|base| {
            nanos
                .iter()
                .zip(base)
                .map(|(own, base)| own / base)
                .collect()
        });
        Some(Self {
            nanos: Spread::of(nanos.to_vec())?,
            ratio: ratios.and_then(Spread::of),
            lost: samples.iter().map(|sample| sample.lost).sum(),
            duplicated: samples.iter().map(|sample| sample.duplicated).sum(),
        })
    }

    /// Messages that were lost or came twice.
    pub(crate) fn wrong(&self) -> u64 {
        self.lost + self.duplicated
    }
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
                let base = (index > 0).then_some(&ours[..]);
                Some(Row {
                    side: (*side).to_owned(),
                    figures: Figures::of(rounds, &each, base)?,
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
        self.sides.iter().map(|row| row.figures.wrong()).sum()
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
        assert!(bus.figures.ratio.is_none());
        assert!((bus.figures.nanos.median - 2_000.0).abs() < 1.0);
        let ratio = raw.figures.ratio.unwrap();
        assert_eq!((ratio.least, ratio.median, ratio.most), (0.25, 0.5, 1.0));
    }
}
