//! Asks those who coordinate groups, with a client of its own.
//!
//! librdkafka 2.12 has two defects there. A client outside of groups dereferences a null pointer when a broker
//! answers a question for offsets that it is not the coordinator any more (`rd_kafka_handle_OffsetFetch`), so this
//! one names a group, which it never joins. And who coordinates a group is remembered as long as it is asked for
//! (`rd_kafka_coord_cache_get`), so the client is replaced when none serves.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bus_api::{ErrorKind, Result};
use rdkafka::client::Client;
use rdkafka::consumer::{BaseConsumer, Consumer};

use crate::core::Core;
use crate::error::from_client;
use crate::link::Link;
use crate::sys::{self, Aside};
use crate::thread;

type Asking = Arc<Aside<BaseConsumer<Link>>>;

/// Made with the first question.
#[derive(Default)]
pub(crate) struct Coordinators(Mutex<Option<Asking>>);

impl Core {
    /// Asks a coordinator; again while the brokers cannot serve, for a while.
    pub(crate) async fn ask_coordinator<T: Send + 'static>(
        self: &Arc<Self>,
        question: impl Fn(&Client<Link>, Duration) -> Result<T> + Clone + Send + 'static,
    ) -> Result<T> {
        self.ask(move |core, patience| {
            let asking = core.asking()?;
            let answer = question(asking.client(), patience);
            if matches!(&answer, Err(failed) if failed.kind() == ErrorKind::Unavailable) {
                core.coordinators.forget(&asking);
            }
            answer
        })
        .await
    }

    fn asking(&self) -> Result<Asking> {
        let mut current = self.coordinators.lock();
        if let Some(asking) = &*current {
            return Ok(Arc::clone(asking));
        }
        let mut client = self.outside_of_groups();
        self.config.finish(&mut client);
        let asking: BaseConsumer<Link> = client
            .create_with_context(self.link())
            .map_err(|native| from_client(&native))?;
        let asking = Arc::new(Aside::new(asking));
        let (heard, life) = (Arc::clone(&asking), Arc::clone(&self.life));
        thread::start("groups", move || {
            let is_over = || life.is_over() || Arc::strong_count(&heard) == 1;
            sys::serve(heard.client(), is_over);
        })?;
        *current = Some(Arc::clone(&asking));
        Ok(asking)
    }
}

impl Coordinators {
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Asking>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next question is asked with another client.
    fn forget(&self, asked: &Asking) {
        self.lock().take_if(|current| Arc::ptr_eq(current, asked));
    }
}
