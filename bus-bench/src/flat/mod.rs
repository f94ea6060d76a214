//! Whether a message costs the same where there is much: many topics, many subscriptions, a long backlog; and how much
//! memory a client takes whose handler is stuck.

mod resident;
mod shape;

use anyhow::{Context, Result};
use bus::BusUrl;
use serde::Serialize;

pub(crate) use self::resident::Resident;
pub(crate) use self::shape::Shape;
use crate::arguments::Arguments;
use crate::load::Load;
use crate::measured::Figures;
use crate::ours::Ours;
use crate::side::Side as _;

/// What one shape cost.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Cost {
    pub(crate) shape: Shape,
    /// Its ratio is to the small shape that it is compared with.
    #[serde(flatten)]
    pub(crate) figures: Figures,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Flat {
    /// Bytes of each payload.
    pub(crate) payload: usize,
    pub(crate) costs: Vec<Cost>,
    /// `None`: the messages are in this process, or the system does not tell.
    pub(crate) resident: Option<Resident>,
}

impl Flat {
    /// Messages that were lost or came twice.
    pub(crate) fn wrong(&self) -> u64 {
        self.costs.iter().map(|cost| cost.figures.wrong()).sum()
    }
}

/// Measures every shape in each of `rounds`, each time beginning with another one; small ones have about `messages`.
///
/// # Errors
/// The bus cannot be reached, or some work failed.
pub(crate) async fn measure(
    url: &BusUrl,
    namespace: &str,
    messages: usize,
    bytes: usize,
    arguments: &Arguments,
) -> Result<Flat> {
    let mut url = url.clone();
    let in_process = url.scheme() == "memory";
    if in_process {
        // The long backlog needs more than is usual.
        url.options_mut().set("memory_limit", "4GiB");
    }
    let ours = Ours::connect(&url, namespace).await.context("the bus")?;
    let messages = messages.next_multiple_of(shape::GRAIN);
    let mut shapes = Shape::all(messages, url.scheme() == "kafka").to_vec();
    shapes.retain(|shape| arguments.wants(shape));
    let mut resident = None;
    if !in_process && arguments.wants(&resident::NAME) {
        // Before anything of this process has grown.
        let load = Load::new(shape::LONGER * messages, bytes);
        let found = resident::stalled(&ours, &load).await;
        resident = found.context(resident::NAME)?;
        ours.clean(namespace, &load.root).await?;
    }
    let rounds = arguments.rounds;
    let mut samples = vec![Vec::with_capacity(rounds); shapes.len()];
    for round in 0..rounds {
        for turn in 0..shapes.len() {
            let index = (round + turn) % shapes.len();
            let shape = shapes[index];
            let load = Load::new(shape.messages() + shape.topics(), bytes);
            let sample = ours.run_shape(shape, &load).await;
            samples[index].push(sample.with_context(|| shape.to_string())?);
            ours.clean(namespace, &load.root).await?;
        }
    }
    let nanos: Vec<Vec<f64>> = shapes
        .iter()
        .zip(&samples)
        .map(|(shape, rounds)| {
            let each = |took: f64| took * 1e9 / shape.messages() as f64;
            rounds
                .iter()
                .map(|sample| each(sample.took.as_secs_f64()))
                .collect()
        })
        .collect();
    let cost = |(index, shape): (usize, &Shape)| {
        let base = shapes.iter().position(|small| small.is_small_of(shape));
        let base = base.map(|base| &nanos[base][..]);
        Some(Cost {
            shape: *shape,
            figures: Figures::of(&samples[index], &nanos[index], base)?,
        })
    };
    Ok(Flat {
        payload: bytes,
        costs: shapes.iter().enumerate().filter_map(cost).collect(),
        resident,
    })
}
