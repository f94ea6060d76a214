//! One live participant of a subscription, and the deliveries in its hands.

use std::future::Future;
use std::time::Duration;

use bus_api::{Envelope, Error, Raw};

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
}

/// A delivery in the hands of a case.
#[derive(Debug)]
pub(crate) struct Token {
    envelope: Envelope<Raw>,
    note: Note,
}

impl Client {
    /// Joins a subscription.
    pub(crate) async fn join(&self, want: Want) -> Result<Inbox, Error> {
        let _ = want;
        Err(Error::new(
            bus_api::ErrorKind::Internal,
            "streams are not wired yet",
        ))
    }
}

impl Inbox {
    /// The next delivery or the error that ended the subscription; `None` after its end. Cancel safe.
    pub(crate) async fn raw(&mut self) -> Option<Result<Token, Error>> {
        None
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
        let ended = Violation::new(format_args!("the subscription {:?} ended", self.want));
        let next = within(limit, "a delivery", self.raw());
        async move {
            match next.await? {
                Some(Ok(token)) => Ok(token),
                Some(Err(error)) => Err(ended.because(error)),
                None => Err(ended),
            }
        }
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
                Ok(Some(Ok(token))) => Err(came.because(format_args!(
                    "{:?}, attempt {}",
                    token.note(),
                    token.attempt()
                ))),
                Ok(Some(Err(error))) => Err(ended.because(error)),
                Ok(None) => Err(ended),
            }
        }
    }

    /// Leaves in order: hands back what was fetched, waits for acks.
    pub(crate) async fn leave(self) -> Result<(), Violation> {
        Ok(())
    }
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

    /// Everything that came along.
    pub(crate) fn envelope(&self) -> &Envelope<Raw> {
        &self.envelope
    }

    /// The attempt that this is.
    pub(crate) fn attempt(&self) -> u32 {
        self.envelope.attempt
    }

    /// Acks; returns when the broker has confirmed.
    pub(crate) async fn ack(self) -> Result<(), Violation> {
        Ok(())
    }

    /// Nacks for redelivery at once; returns when the broker has confirmed.
    pub(crate) async fn nack(self) -> Result<(), Violation> {
        self.nack_after(Duration::ZERO).await
    }

    /// Nacks for redelivery not before `delay`.
    pub(crate) async fn nack_after(self, _delay: Duration) -> Result<(), Violation> {
        Ok(())
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
