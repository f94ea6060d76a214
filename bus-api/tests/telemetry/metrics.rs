//! The metrics that the table promises.

use std::collections::{BTreeMap, BTreeSet};

use metrics_util::MetricKind;
use metrics_util::debugging::DebuggingRecorder;

use crate::table;

type Told = BTreeMap<String, (String, BTreeSet<String>)>;

fn told(recorder: &DebuggingRecorder) -> Told {
    let mut told = Told::new();
    for (key, _, _, _) in recorder.snapshotter().snapshot().into_vec() {
        let (kind, key) = key.into_parts();
        let kind = match kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
        };
        let labels = key.labels().map(|label| label.key().to_owned()).collect();
        told.insert(key.name().to_owned(), (kind.to_owned(), labels));
    }
    told
}

pub(crate) fn are_those_of_the_table(recorder: &DebuggingRecorder) {
    let promised: Told = table::metrics()
        .into_iter()
        .map(|(name, kind, labels)| {
            let labels = labels.into_iter().map(str::to_owned).collect();
            (name.to_owned(), (kind.to_owned(), labels))
        })
        .collect();
    assert!(!promised.is_empty());
    assert_eq!(told(recorder), promised);
}
