//! What is played on each transport.

use super::fault::Fault;
use crate::brokers::Kind;

/// Faults that happen to the same servers.
#[derive(Debug)]
pub(super) struct Play {
    pub(super) servers: usize,
    /// Whether every write goes to the disk before it is confirmed. Kafka confirms when enough brokers have it
    /// in memory: what a broker that is killed has not written down, the others have.
    pub(super) synced: bool,
    /// Options of the URL that this needs.
    pub(super) options: &'static str,
    /// Each with how often it happens in a full run.
    pub(super) faults: &'static [(Fault, u32)],
    /// Whether the message that aborts its process is part of it.
    pub(super) aborts: bool,
}

impl Play {
    /// In a full run servers and members are killed so often.
    const FULL: u32 = 50;

    /// What is played on one transport.
    pub(super) const fn of(kind: Kind) -> &'static [Self] {
        match kind {
            Kind::Redis => &[Self {
                servers: 1,
                synced: true,
                options: "",
                faults: &ALL_OF_ONE,
                aborts: true,
            }],
            Kind::Nats => &[
                Self {
                    servers: 1,
                    synced: true,
                    options: "",
                    faults: &ALL_OF_ONE,
                    aborts: true,
                },
                Self {
                    servers: 3,
                    synced: true,
                    options: "&replicas=3",
                    faults: &[(Fault::ServerKill, 10)],
                    aborts: false,
                },
            ],
            Kind::Kafka => &[Self {
                servers: 3,
                synced: false,
                options: "&replication=3",
                faults: &[
                    (Fault::ServerKill, 30),
                    (Fault::MemberKill, 50),
                    (Fault::Cut, 20),
                    (Fault::Pause, 10),
                ],
                aborts: true,
            }],
        }
    }

    /// How often something happens that happens `full` times in a full run.
    pub(super) fn scaled(full: u32, rounds: u32) -> u32 {
        (full * rounds).div_ceil(Self::FULL)
    }
}

const ALL_OF_ONE: [(Fault, u32); 4] = [
    (Fault::ServerKill, 50),
    (Fault::MemberKill, 50),
    (Fault::Cut, 20),
    (Fault::Pause, 10),
];
