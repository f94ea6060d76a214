//! The cases, a file per section of the contract or per theme of it.

mod acks;
mod acks_under_load;
mod attempts;
mod attributes;
mod away;
mod broadcast;
mod cancel;
mod capabilities;
mod closing;
mod crash;
mod dead_letters;
mod dead_store;
mod dedup;
mod delays;
mod drain;
mod flow;
mod groups;
mod leases;
mod lost;
mod nacks;
mod namespaces;
mod order;
mod pausing;
mod payloads;
mod publish;
mod redrive;
mod replay;
mod replies;
mod requests;
mod requests_once;
mod retention;
mod retry;
mod safety;
mod starts;
mod subscriptions;
mod topics;
mod versions;
mod window;

use crate::case::Case;
use crate::model;

/// Every case, in no particular order.
pub(crate) fn all() -> Vec<Case> {
    [
        acks::cases(),
        acks_under_load::cases(),
        attempts::cases(),
        attributes::cases(),
        away::cases(),
        broadcast::cases(),
        cancel::cases(),
        capabilities::cases(),
        closing::cases(),
        crash::cases(),
        dead_letters::cases(),
        dead_store::cases(),
        dedup::cases(),
        delays::cases(),
        drain::cases(),
        flow::cases(),
        groups::cases(),
        leases::cases(),
        lost::cases(),
        nacks::cases(),
        namespaces::cases(),
        order::cases(),
        pausing::cases(),
        payloads::cases(),
        publish::cases(),
        redrive::cases(),
        replay::cases(),
        replies::cases(),
        requests::cases(),
        requests_once::cases(),
        retention::cases(),
        retry::cases(),
        safety::cases(),
        starts::cases(),
        subscriptions::cases(),
        topics::cases(),
        versions::cases(),
        window::cases(),
        model::cases(),
    ]
    .concat()
}
