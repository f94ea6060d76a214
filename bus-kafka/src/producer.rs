//! The client library's idempotent producer, and the thread that hears of what became of its records.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use bus_api::Result;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext};

use crate::config::Config;
use crate::core::Core;
use crate::error::{from_client, unconfirmed};
use crate::gather::Gather;
use crate::link::{Link, as_link};
use crate::sys;
use crate::thread;
use crate::wire::{Record, stored_at};

/// How long the thread listens before it looks whether the producer is still wanted. The library counts in whole
/// milliseconds and spins through the last one of each time, so the time is not short.
const STEP: Duration = Duration::from_secs(2);

/// Where a record lies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stored {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) at: SystemTime,
}

/// What became of the records of a batch.
pub(crate) type Results = Gather<Result<Stored>>;

/// The result of one record goes here.
struct Ticket {
    results: Arc<Results>,
    index: usize,
}

/// Takes the delivery reports.
struct Reports(Link);

as_link!(Reports, 0);

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<Ticket>;

    fn delivery(&self, report: &DeliveryResult<'_>, ticket: Box<Ticket>) {
        if report.is_ok() {
            self.0.life.reached();
        }
        ticket.results.set(ticket.index, outcome(report));
    }
}

/// What a delivery report says.
fn outcome(report: &DeliveryResult<'_>) -> Result<Stored> {
    match report {
        // No broker has confirmed it: librdkafka concludes from a later record that it is stored. That is wrong when
        // its request was refused, and the later one was the first that the broker took of this producer.
        Ok(record) if record.offset() < 0 => Err(unconfirmed().indeterminate()),
        Ok(record) => Ok(Stored {
            partition: record.partition(),
            offset: record.offset(),
            at: stored_at(record.timestamp()),
        }),
        Err((native, record)) => {
            let failed = from_client(native);
            Err(if sys::may_be_stored(record) {
                failed.indeterminate()
            } else {
                failed
            })
        }
    }
}

/// A producer. Dropped, it gives up what it has not sent, on its own thread.
pub(crate) struct Producer {
    native: Arc<BaseProducer<Reports>>,
    is_over: Arc<AtomicBool>,
}

impl Producer {
    /// # Errors
    /// `InvalidConfig` for properties that the client library refuses.
    pub(crate) fn start(core: &Core) -> Result<Self> {
        let native: BaseProducer<Reports> = config(core)
            .create_with_context(Reports(core.link()))
            .map_err(|native| from_client(&native))?;
        let producer = Self {
            native: Arc::new(native),
            is_over: Arc::default(),
        };
        let (heard, is_over) = (Arc::clone(&producer.native), Arc::clone(&producer.is_over));
        thread::start("producer", move || {
            while !is_over.load(Ordering::Relaxed) {
                heard.poll(STEP);
            }
        })?;
        Ok(producer)
    }

    /// Queues a record; what became of it is the result at `index`. `false`: the producer has failed for good.
    pub(crate) fn send(&self, record: Record, results: &Arc<Results>, index: usize) -> bool {
        let ticket = Box::new(Ticket {
            results: Arc::clone(results),
            index,
        });
        let mut base = BaseRecord::<[u8], [u8], Box<Ticket>>::with_opaque_to(&record.topic, ticket)
            .headers(record.headers);
        if let Some(key) = &record.key {
            base = base.key(&key[..]);
        }
        if let Some(payload) = &record.payload {
            base = base.payload(&payload[..]);
        }
        if let Some(partition) = record.partition {
            base = base.partition(partition);
        }
        let Err((native, refused)) = self.native.send(base) else {
            return true;
        };
        let ticket = refused.delivery_opaque;
        ticket.results.set(ticket.index, Err(from_client(&native)));
        !is_fatal(&native)
    }

    /// Records without an outcome.
    pub(crate) fn in_flight(&self) -> i32 {
        self.native.in_flight_count()
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

fn is_fatal(native: &KafkaError) -> bool {
    native.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal)
}

fn config(core: &Core) -> rdkafka::ClientConfig {
    let mut client = core.config.client();
    let timeout = core.config.settings.publish_timeout.as_millis().max(100);
    let most = core
        .limits()
        .message
        .saturating_add(Config::DEAD_LETTER_ROOM)
        .min(1_000_000_000);
    client
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("linger.ms", "0")
        .set(
            "message.timeout.ms",
            timeout.min(i32::MAX as u128).to_string(),
        )
        .set("message.max.bytes", most.to_string())
        // The core bounds what is outstanding.
        .set("queue.buffering.max.messages", "0")
        .set("queue.buffering.max.kbytes", "2147483647")
        .set("topic.metadata.propagation.max.ms", "2000")
        .set("partitioner", "murmur2_random");
    core.config.finish(&mut client);
    client
}

#[cfg(test)]
mod tests {
    use rdkafka::mocking::MockCluster;
    use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
    use rdkafka::{ClientConfig, ClientContext};

    use super::*;

    /// Keeps the outcomes.
    struct Kept;

    impl ClientContext for Kept {}

    impl ProducerContext for Kept {
        type DeliveryOpaque = Box<Ticket>;

        fn delivery(&self, report: &DeliveryResult<'_>, ticket: Box<Ticket>) {
            ticket.results.set(ticket.index, outcome(report));
        }
    }

    /// The broker refuses the first request and takes the second one, which was sent before the answer came.
    #[test]
    fn what_no_broker_has_confirmed_is_not_taken_for_stored() {
        let brokers = MockCluster::new(1).unwrap();
        brokers.create_topic("orders", 1, 1).unwrap();
        brokers
            .broker_round_trip_time(1, Duration::from_millis(200))
            .unwrap();
        brokers.request_errors(
            RDKafkaApiKey::Produce,
            &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION],
        );
        let producer: BaseProducer<Kept> = ClientConfig::new()
            .set("bootstrap.servers", brokers.bootstrap_servers())
            .set("enable.idempotence", "true")
            .set("linger.ms", "0")
            // A request for each.
            .set("batch.num.messages", "1")
            .create_with_context(Kept)
            .unwrap();
        let (results, mut answered) = Gather::new(2);
        for index in 0..2 {
            let ticket = Box::new(Ticket {
                results: Arc::clone(&results),
                index,
            });
            let record = BaseRecord::<[u8], [u8], _>::with_opaque_to("orders", ticket)
                .partition(0)
                .payload(b"order");
            assert!(producer.send(record).is_ok());
        }
        producer.flush(Duration::from_secs(20)).unwrap();
        let outcomes = answered.try_recv().unwrap();
        let refused = outcomes[0].as_ref().unwrap_err();
        assert!(refused.is_indeterminate(), "{refused}");
        assert_eq!(outcomes[1].as_ref().unwrap().offset, 0);
    }
}
