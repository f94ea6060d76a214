//! What is done to servers, members and connections.

use std::fmt;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The server is killed without warning and started again.
    ServerKill,
    /// A member's process is killed without warning and another takes its place.
    MemberKill,
    /// Every connection is cut.
    Cut,
    /// The server stands still for five seconds.
    Pause,
}

/// How connections are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// Closed once; new ones pass.
    Reset,
    /// Closed, and new ones refused for a while.
    Refused,
    /// Requests pass and answers do not, until all are closed: nobody knows what was done.
    AnswersLost,
}

impl Cut {
    pub(super) const ALL: [Self; 3] = [Self::Reset, Self::Refused, Self::AnswersLost];
}

impl Fault {
    pub(super) const ALL: [Self; 4] = [Self::ServerKill, Self::MemberKill, Self::Cut, Self::Pause];

    /// How often it happens when servers are killed `rounds` times: 50, 50, 20 and 10 in a full run.
    pub(super) fn times(self, rounds: u32) -> u32 {
        match self {
            Self::ServerKill | Self::MemberKill => rounds,
            Self::Cut => (rounds * 2).div_ceil(5),
            Self::Pause => rounds.div_ceil(5),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ServerKill => "server killed",
            Self::MemberKill => "member killed",
            Self::Cut => "connections cut",
            Self::Pause => "server paused 5 s",
        })
    }
}
