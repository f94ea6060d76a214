//! Who holds fetching back: the user, the breaker.

use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

use crate::member::MemberHandle;

/// Pauses and resumes the members and responders of a worker, for whoever asks.
pub(crate) struct Pauses {
    members: Vec<MemberHandle>,
    responders: watch::Sender<bool>,
    by: Mutex<By>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct By {
    user: bool,
    breaker: bool,
}

impl Pauses {
    pub(crate) fn new(members: Vec<MemberHandle>, responders: watch::Sender<bool>) -> Self {
        Self {
            members,
            responders,
            by: Mutex::default(),
        }
    }

    pub(crate) fn members(&self) -> &[MemberHandle] {
        &self.members
    }

    pub(crate) fn is_paused_by_user(&self) -> bool {
        self.by.lock().unwrap_or_else(PoisonError::into_inner).user
    }

    pub(crate) fn by_user(&self, paused: bool) {
        self.change(|by| by.user = paused);
    }

    pub(crate) fn by_breaker(&self, paused: bool) {
        self.change(|by| by.breaker = paused);
    }

    fn change(&self, change: impl FnOnce(&mut By)) {
        let mut by = self.by.lock().unwrap_or_else(PoisonError::into_inner);
        let before = by.user || by.breaker;
        change(&mut by);
        let paused = by.user || by.breaker;
        if before == paused {
            return;
        }
        for member in &self.members {
            if paused {
                member.pause();
            } else {
                member.resume();
            }
        }
        self.responders.send_replace(paused);
    }
}
