//! What was expected, what came, and whether that is the same.

use serde::Serialize;

/// One count that was checked.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    pub name: String,
    pub expected: u64,
    pub found: u64,
}

impl Check {
    pub fn is_right(&self) -> bool {
        self.expected == self.found
    }
}

/// All counts that were checked.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(transparent)]
pub struct Checks(Vec<Check>);

impl Checks {
    /// Checks a count, and returns whether it is right.
    pub fn count(&mut self, name: impl Into<String>, expected: u64, found: u64) -> bool {
        let check = Check {
            name: name.into(),
            expected,
            found,
        };
        let right = check.is_right();
        self.0.push(check);
        right
    }

    /// Checks something that is either so or not.
    pub fn holds(&mut self, name: impl Into<String>, holds: bool) -> bool {
        self.count(name, 1, u64::from(holds))
    }

    pub fn wrong(&self) -> impl Iterator<Item = &Check> {
        self.0.iter().filter(|check| !check.is_right())
    }

    pub fn all_right(&self) -> bool {
        self.wrong().next().is_none()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }
}
