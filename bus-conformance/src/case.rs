//! Cases: what proves a clause.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use crate::cases;
use crate::context::Context;
use crate::factory::Control;
use crate::outcome::Violation;

/// The future of a running case. It stays on the thread of its runtime, so that a case may borrow as it likes
/// in what it waits for; what it spawns is `Send`.
pub(crate) type Running = Pin<Box<dyn Future<Output = Result<(), Violation>>>>;

/// A clause of the contract, such as `A3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Clause {
    /// The section's letter.
    pub section: char,
    /// The number within the section.
    pub number: u8,
}

impl fmt::Display for Clause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.section, self.number)
    }
}

/// One proof of a clause. Its name starts with the clause in lower case: `a3_nack_after_delay`.
#[derive(Clone)]
pub struct Case {
    pub(crate) name: &'static str,
    pub(crate) run: fn(Context) -> Running,
    pub(crate) needs: &'static [Control],
    pub(crate) timeout: Duration,
}

impl Case {
    /// How long a case may take unless it says otherwise.
    pub const TIMEOUT: Duration = Duration::from_secs(30);

    /// The name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The clause that the name starts with.
    #[must_use]
    pub fn clause(&self) -> Clause {
        let (head, _) = self.name.split_once('_').unwrap_or((self.name, ""));
        let (section, number) = head.split_at(1);
        Clause {
            section: section
                .chars()
                .next()
                .map_or('?', |c| c.to_ascii_uppercase()),
            number: number.parse().unwrap_or(0),
        }
    }

    /// What the factory has to be able to do.
    #[must_use]
    pub fn needs(&self) -> &'static [Control] {
        self.needs
    }

    /// How long it may take.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The same case with another time-out.
    pub(crate) fn within(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The same case for factories with these controls.
    pub(crate) fn with(mut self, needs: &'static [Control]) -> Self {
        self.needs = needs;
        self
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Case({})", self.name)
    }
}

/// Makes a [`Case`] of an `async fn(Context) -> Result<(), Violation>`; its name is the function's.
macro_rules! case {
    ($function:ident) => {
        $crate::case::Case {
            name: stringify!($function),
            run: |context| Box::pin($function(context)),
            needs: &[],
            timeout: $crate::case::Case::TIMEOUT,
        }
    };
}
pub(crate) use case;

/// Every case, in the order of the contract.
#[must_use]
pub fn all() -> Vec<Case> {
    let mut all = cases::all();
    all.sort_by_key(|case| (section_order(case.clause().section), case.clause().number));
    all
}

/// The case of this name.
#[must_use]
pub fn find(name: &str) -> Option<Case> {
    cases::all().into_iter().find(|case| case.name == name)
}

/// The contract's own order of sections.
fn section_order(section: char) -> usize {
    "TPSAORQKLIVB".find(section).unwrap_or(usize::MAX)
}
