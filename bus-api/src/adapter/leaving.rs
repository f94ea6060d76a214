use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use async_trait::async_trait;
use tokio::time::Instant;

use crate::error::{ErrorKind, Result};

/// Something that leaves when the connection is closed: a member, a broadcast subscriber, a responder.
#[async_trait]
pub trait Leave: Send + Sync {
    /// Hands back what it holds and is gone by `deadline`.
    ///
    /// # Errors
    /// `Timeout` when that was not confirmed in time; `Closed` when the connection is over.
    async fn leave(&self, deadline: Instant) -> Result<()>;
}

/// Whatever leaves when the connection is closed. It is known here and kept alive elsewhere.
#[derive(Clone, Default)]
pub struct Leaving(Arc<Mutex<Vec<Weak<dyn Leave>>>>);

impl Leaving {
    /// One more, until it is dropped.
    pub fn add<T: Leave + 'static>(&self, who: &Arc<T>) {
        let who: Arc<dyn Leave> = Arc::<T>::clone(who);
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|known| known.strong_count() > 0);
        known.push(Arc::downgrade(&who));
    }

    /// All leave at once. Not cancel safe: those that have not left by then stay.
    ///
    /// # Errors
    /// The first that could not leave; one whose connection was over had nothing to leave.
    pub async fn leave(&self, deadline: Instant) -> Result<()> {
        let all: Vec<Arc<dyn Leave>> = {
            let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            known.iter().filter_map(Weak::upgrade).collect()
        };
        let left = futures_util::future::join_all(all.iter().map(|who| who.leave(deadline))).await;
        left.into_iter()
            .filter(|result| !matches!(result, Err(error) if error.kind() == ErrorKind::Closed))
            .collect()
    }
}

impl fmt::Debug for Leaving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leaving").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    struct Member(Option<ErrorKind>);

    #[async_trait]
    impl Leave for Member {
        async fn leave(&self, _deadline: Instant) -> Result<()> {
            self.0
                .map_or(Ok(()), |kind| Err(Error::new(kind, "of the test")))
        }
    }

    #[tokio::test]
    async fn one_that_is_over_is_no_failure_and_one_that_is_late_is() {
        let leaving = Leaving::default();
        let members = [None, Some(ErrorKind::Closed)].map(|kind| Arc::new(Member(kind)));
        members.iter().for_each(|member| leaving.add(member));
        leaving.leave(Instant::now()).await.unwrap();

        let late = Arc::new(Member(Some(ErrorKind::Timeout)));
        leaving.add(&late);
        let error = leaving.leave(Instant::now()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);

        drop(late);
        leaving.leave(Instant::now()).await.unwrap();
    }
}
