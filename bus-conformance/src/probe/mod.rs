//! The thin layer between the cases and the bus: events that check themselves, books that count
//! exactly, and waiting that works on a virtual clock as on a real one.
//!
//! Cases ask the public API for as much as they can; what needs the adapter alone uses
//! [`Client::connection`](crate::context::Client).

mod bounds;
mod crew;
mod dead;
mod diary;
mod gate;
mod inbox;
mod ledger;
mod note;
mod operate;
mod pump;
mod question;
mod time;
mod want;

pub(crate) use bounds::Bounds;
pub(crate) use crew::{Act, Job, Scripted, job, scripted_panic};
pub(crate) use dead::buried_numbers;
pub(crate) use diary::{Diary, Pages, Run};
pub(crate) use gate::Gate;
pub(crate) use inbox::{Inbox, Token, ack_all, numbers};
pub(crate) use ledger::{Books, Handed, Ledger};
pub(crate) use note::{Note, notes};
pub(crate) use pump::Pump;
pub(crate) use question::{Answer, Question, Say, post};
pub(crate) use time::{PATIENCE, QUIET, eventually, let_the_clock_tick, ms, secs, within};
pub(crate) use want::{Want, broadcast, group};
