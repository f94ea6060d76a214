//! The client library's idempotent producer, and the thread that hears of what became of its records.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use bus_api::Result;
use bus_api::adapter::Life;
use rdkafka::Timestamp;
use rdkafka::error::RDKafkaErrorCode;

use crate::config::Config;
use crate::core::Core;
use crate::error::{from_code, unconfirmed};
use crate::sys::{Aside, Outgoing, Producing, Report};
use crate::thread;
use crate::tickets;
use crate::wire::stored_at;

/// How long the thread listens before it looks whether the producer is still wanted; it is woken when it is not.
const STEP: Duration = Duration::from_secs(2);
/// How long it listens for what became of records that were given up.
const FAREWELL: Duration = Duration::from_secs(10);

/// Where a record lies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stored {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) at: SystemTime,
}

/// The records of a connection that are on their way, whichever producer has them.
pub(crate) type Tickets = tickets::Tickets<Result<Stored>>;

/// A batch of them.
pub(crate) type Batch = tickets::Batch<Result<Stored>>;

/// A producer. Dropped, it gives up what it has not sent, on its own thread.
pub(crate) struct Producer {
    native: Arc<Aside<Producing>>,
    is_over: Arc<AtomicBool>,
}

impl Producer {
    /// Starts one whose records have their numbers from `tickets`.
    ///
    /// # Errors
    /// `InvalidConfig` for properties that the client library refuses.
    pub(crate) fn start(core: &Core, tickets: &Arc<Tickets>) -> Result<Self> {
        let producer = Self {
            native: Arc::new(Aside::new(Producing::start(&config(core), core.link())?)),
            is_over: Arc::default(),
        };
        let (native, is_over) = (Arc::clone(&producer.native), Arc::clone(&producer.is_over));
        let (tickets, life) = (Arc::clone(tickets), Arc::clone(&core.life));
        thread::start("producer", move || {
            while !is_over.load(Ordering::Acquire) {
                hear(&native, &tickets, &life, STEP);
            }
            native.give_up();
            let end = Instant::now() + FAREWELL;
            while native.in_flight() > 0 && Instant::now() < end {
                hear(&native, &tickets, &life, FAREWELL / 100);
            }
        })?;
        Ok(producer)
    }

    /// Queues records with their places in `batch`, until there are no more or one finds that the producer has failed
    /// for good: `false`. That one is not stored, and has its result.
    pub(crate) fn send<'a>(
        &self,
        records: &mut dyn Iterator<Item = (usize, Outgoing<'a>)>,
        batch: &Batch,
        tickets: &Tickets,
    ) -> bool {
        let mut sending = self.native.sending();
        for (index, record) in records {
            if let Err(code) = sending.send(record, batch.number(index)) {
                tickets.set(batch, index, Err(from_code(code)));
                if code == RDKafkaErrorCode::Fatal {
                    return false;
                }
            }
        }
        true
    }

    /// Records without an outcome.
    pub(crate) fn in_flight(&self) -> i32 {
        self.native.in_flight()
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        self.native.wake();
    }
}

/// Takes the next reports.
fn hear(native: &Producing, tickets: &Tickets, life: &Life, patience: Duration) {
    native.poll(patience, |reports| {
        let mut settling = tickets.settling();
        for report in reports {
            let result = outcome(&report);
            if result.is_ok() {
                life.reached();
            }
            settling.set(report.number, result);
        }
        settling.flush();
    });
}

/// What a report says.
fn outcome(report: &Report) -> Result<Stored> {
    match report.failed {
        // No broker has confirmed it: librdkafka concludes from a later record that it is stored. That is wrong when
        // its request was refused, and the later one was the first that the broker took of this producer.
        None if report.offset < 0 => Err(unconfirmed().indeterminate()),
        None => Ok(Stored {
            partition: report.partition,
            offset: report.offset,
            at: stored_at(Timestamp::CreateTime(report.millis)),
        }),
        Some(code) if report.may_be_stored => Err(from_code(code).indeterminate()),
        Some(code) => Err(from_code(code)),
    }
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
    use rdkafka::ClientConfig;
    use rdkafka::mocking::MockCluster;
    use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

    use super::*;
    use crate::gather::Gather;
    use crate::link::Link;
    use crate::sys::Headers;

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
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", brokers.bootstrap_servers())
            .set("enable.idempotence", "true")
            .set("linger.ms", "0")
            // A request for each.
            .set("batch.num.messages", "1");
        let link = Link::default();
        let life = Arc::clone(&link.life);
        let native = Producing::start(&config, link).unwrap();
        let tickets = Tickets::default();
        let (results, mut answered) = Gather::new(2);
        let batch = tickets.issue(results);
        let topic = Arc::from("orders");
        for index in 0..2 {
            let record = Outgoing {
                topic: &topic,
                partition: Some(0),
                key: None,
                headers: Headers::none(),
                payload: Some(b"order"),
            };
            let number = batch.number(index);
            native.sending().send(record, number).unwrap();
        }
        let end = Instant::now() + Duration::from_secs(20);
        let outcomes = loop {
            hear(&native, &tickets, &life, Duration::from_millis(100));
            match answered.try_recv() {
                Ok(outcomes) => break outcomes,
                Err(_) => assert!(Instant::now() < end, "no report"),
            }
        };
        let refused = outcomes[0].as_ref().unwrap_err();
        assert!(refused.is_indeterminate(), "{refused}");
        assert_eq!(outcomes[1].as_ref().unwrap().offset, 0);
    }
}
