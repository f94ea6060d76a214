//! One live participant of a subscription, and the deliveries in its hands.

use std::future::Future;
use std::ops::Deref;
use std::time::Duration;

use bus_api::{AckToken, Envelope, Error, Jitter, Raw, Retry, Settling, Subscription};
use bytes::Bytes;

use crate::context::Client;
use crate::outcome::Violation;
use crate::probe::ledger::Ledger;
use crate::probe::note::Note;
use crate::probe::time::{PATIENCE, QUIET, within};
use crate::probe::want::Want;

/// One live participant of a subscription.
#[derive(Debug)]
pub(crate) struct Inbox {
    want: Want,
    stream: Subscription<Raw>,
}

/// A delivery of any message in the hands of a case.
#[derive(Debug)]
pub(crate) struct Parcel {
    envelope: Envelope<Raw>,
    token: AckToken,
}

/// A delivery of a note.
#[derive(Debug)]
pub(crate) struct Token {
    parcel: Parcel,
    note: Note,
}

impl Client {
    /// Joins a subscription.
    pub(crate) async fn join(&self, want: Want) -> Result<Inbox, Error> {
        let subscribe = match &want.group {
            Some(group) => self.subscribe::<Raw>(group),
            None => self.broadcast::<Raw>(),
        };
        let backoff = Retry::exponential(want.backoff, want.backoff)
            .attempts(want.attempts)
            .jitter(Jitter::None);
        let stream = subscribe
            .pattern(&want.pattern)
            .start_at(want.start.clone())
            .order(want.order)
            .lease(want.lease)
            .max_in_flight(want.max_in_flight)
            .retry(backoff)
            .await?;
        Ok(Inbox { want, stream })
    }
}

impl Inbox {
    /// The next delivery or the error that ended the subscription; `None` after its end. Cancel safe.
    pub(crate) async fn raw(&mut self) -> Option<Result<Parcel, Error>> {
        let received = self.stream.next().await?;
        Some(received.map(|received| {
            let (envelope, token) = received.into_parts();
            Parcel { envelope, token }
        }))
    }

    /// The next delivery of whatever was published, which has to come.
    #[track_caller]
    pub(crate) fn parcel(&mut self) -> impl Future<Output = Result<Parcel, Violation>> {
        self.parcel_within(PATIENCE)
    }

    #[track_caller]
    fn parcel_within(
        &mut self,
        limit: Duration,
    ) -> impl Future<Output = Result<Parcel, Violation>> {
        let ended = Violation::new(format_args!("the subscription {:?} ended", self.want));
        let next = within(limit, "a delivery", self.raw());
        async move {
            match next.await? {
                Some(Ok(parcel)) => Ok(parcel),
                Some(Err(error)) => Err(ended.because(error)),
                None => Err(ended),
            }
        }
    }

    /// The next delivery, which has to come.
    #[track_caller]
    pub(crate) fn next(&mut self) -> impl Future<Output = Result<Token, Violation>> {
        self.next_within(PATIENCE)
    }

    /// The next delivery, which has to come within `limit`.
    #[track_caller]
    pub(crate) fn next_within(
        &mut self,
        limit: Duration,
    ) -> impl Future<Output = Result<Token, Violation>> {
        let parcel = self.parcel_within(limit);
        async move { parcel.await?.token() }
    }

    /// The error that the subscription ends with, which has to come; deliveries before it are dropped.
    #[track_caller]
    pub(crate) fn end(&mut self) -> impl Future<Output = Result<Error, Violation>> {
        let silent = Violation::new("the subscription ended without an error");
        let ended = within(PATIENCE, "the end of a subscription", async move {
            loop {
                match self.raw().await {
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Some(error),
                    None => return None,
                }
            }
        });
        async move { ended.await?.ok_or(silent) }
    }

    /// Takes `count` deliveries and holds them.
    pub(crate) async fn hold(&mut self, count: usize) -> Result<Vec<Token>, Violation> {
        let mut held = Vec::with_capacity(count);
        while held.len() < count {
            held.push(self.next().await?);
        }
        Ok(held)
    }

    /// Takes and acks until `ledger` has every publication acked; then nothing more may come.
    pub(crate) async fn take_all(&mut self, ledger: &Ledger) -> Result<(), Violation> {
        while !ledger.read(|books| {
            books
                .published
                .keys()
                .all(|number| books.acked.contains_key(number))
        }) {
            let token = self.next().await.map_err(|violation| {
                violation.because(ledger.read(crate::probe::Books::summary))
            })?;
            ledger.deliver("one", &token);
            let number = token.number();
            token.ack().await?;
            ledger.ack(number);
        }
        self.quiet().await?;
        ledger.exact()
    }

    /// Nothing comes for [`QUIET`].
    #[track_caller]
    pub(crate) fn quiet(&mut self) -> impl Future<Output = Result<(), Violation>> {
        self.quiet_for(QUIET)
    }

    /// Nothing comes for `long`.
    #[track_caller]
    pub(crate) fn quiet_for(
        &mut self,
        long: Duration,
    ) -> impl Future<Output = Result<(), Violation>> {
        let came = Violation::new("a delivery came that must not");
        let ended = Violation::new("the subscription ended");
        async move {
            match tokio::time::timeout(long, self.raw()).await {
                Err(_) => Ok(()),
                Ok(Some(Ok(parcel))) => Err(came.because(format_args!(
                    "{:?}, attempt {}",
                    parcel.envelope.event,
                    parcel.attempt()
                ))),
                Ok(Some(Err(error))) => Err(ended.because(error)),
                Ok(None) => Err(ended),
            }
        }
    }

    /// Leaves in order: hands back what was fetched, waits for acks.
    pub(crate) async fn leave(self) -> Result<(), Violation> {
        Ok(self.stream.close_within(PATIENCE).await?)
    }
}

impl Parcel {
    /// Everything that came along.
    pub(crate) fn envelope(&self) -> &Envelope<Raw> {
        &self.envelope
    }

    /// The attempt that this is.
    pub(crate) fn attempt(&self) -> u32 {
        self.envelope.attempt
    }

    /// The payload as it arrived.
    pub(crate) fn payload(&self) -> &Bytes {
        &self.envelope.event.payload
    }

    /// The delivery of a note.
    pub(crate) fn token(self) -> Result<Token, Violation> {
        let envelope = &self.envelope;
        let note = Note::read(
            &envelope.topic,
            envelope.key.as_ref(),
            &envelope.event.payload,
        )?;
        Ok(Token { parcel: self, note })
    }

    /// Acks; resolves when the broker has confirmed. The ack is requested now, awaited or not.
    #[track_caller]
    pub(crate) fn ack(self) -> impl Future<Output = Result<(), Violation>> + Send + 'static {
        confirmed(self.token.ack())
    }

    /// Acks without waiting for the confirmation.
    pub(crate) fn ack_later(self) {
        drop(self.token.ack());
    }

    /// Nacks for redelivery at once; resolves when the broker has confirmed.
    #[track_caller]
    pub(crate) fn nack(self) -> impl Future<Output = Result<(), Violation>> + Send + 'static {
        confirmed(self.token.nack())
    }

    /// Nacks for redelivery not before `delay`.
    #[track_caller]
    pub(crate) fn nack_after(
        self,
        delay: Duration,
    ) -> impl Future<Output = Result<(), Violation>> + Send + 'static {
        confirmed(self.token.nack_after(delay))
    }
}

/// The broker's answer, as what the case expects.
#[track_caller]
fn confirmed(settling: Settling) -> impl Future<Output = Result<(), Violation>> + Send + 'static {
    let refused = Violation::new("settling was refused");
    async move { settling.await.map_err(|error| refused.because(error)) }
}

impl Token {
    /// The note.
    pub(crate) fn note(&self) -> &Note {
        &self.note
    }

    /// Its number.
    pub(crate) fn number(&self) -> u64 {
        self.note.number
    }

    /// As [`Parcel::ack`].
    #[track_caller]
    pub(crate) fn ack(self) -> impl Future<Output = Result<(), Violation>> + Send + 'static {
        self.parcel.ack()
    }

    /// As [`Parcel::ack_later`].
    pub(crate) fn ack_later(self) {
        self.parcel.ack_later();
    }

    /// As [`Parcel::nack`].
    #[track_caller]
    pub(crate) fn nack(self) -> impl Future<Output = Result<(), Violation>> + Send + 'static {
        self.parcel.nack()
    }

    /// As [`Parcel::nack_after`].
    #[track_caller]
    pub(crate) fn nack_after(
        self,
        delay: Duration,
    ) -> impl Future<Output = Result<(), Violation>> + Send + 'static {
        self.parcel.nack_after(delay)
    }
}

impl Deref for Token {
    type Target = Parcel;

    fn deref(&self) -> &Parcel {
        &self.parcel
    }
}

/// The numbers of these deliveries, sorted.
pub(crate) fn numbers(tokens: &[Token]) -> Vec<u64> {
    let mut numbers: Vec<u64> = tokens.iter().map(Token::number).collect();
    numbers.sort_unstable();
    numbers
}

/// Acks all of them and waits for the confirmations.
pub(crate) async fn ack_all(tokens: impl IntoIterator<Item = Token>) -> Result<(), Violation> {
    let acks = tokens.into_iter().map(Token::ack);
    for ack in futures_util::future::join_all(acks).await {
        ack?;
    }
    Ok(())
}
