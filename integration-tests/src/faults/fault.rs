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
