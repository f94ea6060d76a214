//! The closed table of what may differ.

use std::time::Duration;

use bus_api::{AckDurability, Capabilities, OrderedMembers};

use crate::case::{Case, case};
use crate::context::Context;
use crate::factory::Transport;
use crate::outcome::{Violation, ensure, ensure_eq};
use crate::probe::ms;

pub(crate) fn cases() -> Vec<Case> {
    vec![case!(t0_capabilities_are_the_contracts)]
}

/// What a user loses by this row is checked where the clause is: P2, A5, P4 and so on.
async fn t0_capabilities_are_the_contracts(context: Context) -> Result<(), Violation> {
    let declared = context.client().await?.capabilities().clone();
    let expected = match context.factory().transport() {
        Transport::Memory => Capabilities {
            dedup: true,
            ack_durability: AckDurability::Process,
            exact_attempts: true,
            immediate_no_responders: true,
            reject_when_full: true,
            ordered_members: OrderedMembers::Many,
            min_lease: ms(10),
            max_payload: declared.max_payload,
        },
        Transport::Redis => Capabilities {
            dedup: true,
            ack_durability: AckDurability::Server,
            exact_attempts: true,
            immediate_no_responders: false,
            reject_when_full: true,
            ordered_members: OrderedMembers::One,
            min_lease: ms(100),
            max_payload: declared.max_payload,
        },
        Transport::Nats { replicas } => Capabilities {
            dedup: true,
            ack_durability: if replicas > 1 {
                AckDurability::Final
            } else {
                AckDurability::Flushed(Duration::from_secs(1))
            },
            exact_attempts: false,
            immediate_no_responders: true,
            reject_when_full: true,
            ordered_members: OrderedMembers::One,
            min_lease: ms(100),
            max_payload: declared.max_payload,
        },
        Transport::Kafka => Capabilities {
            dedup: false,
            ack_durability: AckDurability::Final,
            exact_attempts: false,
            immediate_no_responders: false,
            reject_when_full: false,
            ordered_members: OrderedMembers::Many,
            min_lease: declared.min_lease,
            max_payload: declared.max_payload,
        },
        Transport::Other(expected) => expected,
    };
    ensure_eq!(declared, expected, "the capabilities");
    ensure!(
        declared.max_payload >= 64 << 10,
        "a maximum of {} bytes is not useful",
        declared.max_payload
    );
    let again = context.client().await?.capabilities().clone();
    ensure_eq!(declared, again, "the capabilities of another connection");
    Ok(())
}
