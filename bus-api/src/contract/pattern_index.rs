//! Which patterns match a topic, without asking each of them.

use std::collections::HashMap;

use crate::contract::pattern::Pattern;
use crate::contract::topic::Topic;

/// Values filed under patterns; finds those whose pattern matches a topic.
///
/// A tree with one level per token: a topic visits only the branches that its own tokens and the
/// wildcards open, so ten thousand patterns about other things cost nothing.
///
/// ```
/// use bus_api::{Pattern, PatternIndex, Topic};
///
/// let mut index = PatternIndex::new();
/// index.insert(&Pattern::new("orders.*")?, "mail");
/// index.insert(&Pattern::new("orders.>")?, "audit");
/// index.insert(&Pattern::new("users.>")?, "search");
/// let mut found: Vec<_> = index.matching(&Topic::new("orders.placed")?).collect();
/// found.sort();
/// assert_eq!(found, [&"audit", &"mail"]);
/// # Ok::<(), bus_api::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct PatternIndex<T> {
    root: Node<T>,
    len: usize,
}

#[derive(Clone, Debug)]
struct Node<T> {
    exact: HashMap<Box<str>, Self>,
    any: Option<Box<Self>>,
    /// Patterns that end with this token.
    here: Vec<T>,
    /// Patterns that continue with `>`.
    rest: Vec<T>,
}

// Derived, it would ask for `T: Default`.
impl<T> Default for Node<T> {
    fn default() -> Self {
        Self {
            exact: HashMap::new(),
            any: None,
            here: Vec::new(),
            rest: Vec::new(),
        }
    }
}

impl<T> Node<T> {
    fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.any.is_none() && self.here.is_empty() && self.rest.is_empty()
    }
}

impl<T> Default for PatternIndex<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> PatternIndex<T> {
    /// An empty index.
    #[must_use]
    pub fn new() -> Self {
        Self {
            root: Node::default(),
            len: 0,
        }
    }

    /// How many values are filed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is filed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Files `value` under `pattern`, beside what is there already.
    pub fn insert(&mut self, pattern: &Pattern, value: T) {
        let mut node = &mut self.root;
        self.len += 1;
        for token in pattern.tokens() {
            node = match token {
                ">" => {
                    node.rest.push(value);
                    return;
                }
                "*" => node.any.get_or_insert_default(),
                token => {
                    if !node.exact.contains_key(token) {
                        node.exact.insert(token.into(), Node::default());
                    }
                    let Some(next) = node.exact.get_mut(token) else {
                        return;
                    };
                    next
                }
            };
        }
        node.here.push(value);
    }

    /// The values whose pattern matches `topic`, in no particular order; a value that is filed under
    /// several matching patterns comes once for each.
    pub fn matching(&self, topic: &Topic) -> impl Iterator<Item = &T> {
        let mut found: Vec<&[T]> = Vec::new();
        let mut level = vec![&self.root];
        for token in topic.tokens() {
            found.extend(level.iter().map(|node| node.rest.as_slice()));
            level = level
                .into_iter()
                .flat_map(|node| node.exact.get(token).into_iter().chain(node.any.as_deref()))
                .collect();
        }
        found.extend(level.iter().map(|node| node.here.as_slice()));
        found.into_iter().flatten()
    }
}

impl<T: PartialEq> PatternIndex<T> {
    /// Removes one `value` filed under `pattern`; says whether there was one.
    pub fn remove(&mut self, pattern: &Pattern, value: &T) -> bool {
        let tokens: Vec<_> = pattern.tokens().collect();
        let removed = remove(&mut self.root, &tokens, value);
        self.len -= usize::from(removed);
        removed
    }
}

/// Removes below `node` and prunes what became empty; a pattern has at most 16 tokens.
fn remove<T: PartialEq>(node: &mut Node<T>, tokens: &[&str], value: &T) -> bool {
    match tokens {
        [] => take(&mut node.here, value),
        [">"] => take(&mut node.rest, value),
        ["*", rest @ ..] => {
            let Some(next) = node.any.as_deref_mut() else {
                return false;
            };
            let removed = remove(next, rest, value);
            if next.is_empty() {
                node.any = None;
            }
            removed
        }
        [token, rest @ ..] => {
            let Some(next) = node.exact.get_mut(*token) else {
                return false;
            };
            let removed = remove(next, rest, value);
            if next.is_empty() {
                node.exact.remove(*token);
            }
            removed
        }
    }
}

fn take<T: PartialEq>(values: &mut Vec<T>, value: &T) -> bool {
    let found = values.iter().position(|known| known == value);
    if let Some(index) = found {
        values.swap_remove(index);
    }
    found.is_some()
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::new(text).unwrap()
    }

    fn found(index: &PatternIndex<usize>, topic: &str) -> Vec<usize> {
        let mut found: Vec<_> = index
            .matching(&Topic::new(topic).unwrap())
            .copied()
            .collect();
        found.sort_unstable();
        found
    }

    #[test]
    fn wildcards_open_their_branches() {
        let mut index = PatternIndex::new();
        for (value, text) in ["a.b", "a.*", "a.>", ">", "*.b", "*", "a.b.>"]
            .into_iter()
            .enumerate()
        {
            index.insert(&pattern(text), value);
        }
        assert_eq!(found(&index, "a.b"), [0, 1, 2, 3, 4]);
        assert_eq!(found(&index, "a"), [3, 5]);
        assert_eq!(found(&index, "a.b.c"), [2, 3, 6]);
    }

    #[test]
    fn removing_takes_one_value_and_leaves_nothing_behind() {
        let mut index = PatternIndex::new();
        for text in ["a.b", "a.*.c", "a.>"] {
            index.insert(&pattern(text), 1);
            index.insert(&pattern(text), 2);
            assert!(index.remove(&pattern(text), &1));
            assert!(!index.remove(&pattern(text), &1));
            assert!(index.remove(&pattern(text), &2));
        }
        assert!(!index.remove(&pattern("x.y"), &1));
        assert!(index.is_empty() && index.root.is_empty());
    }

    #[test]
    fn ten_thousand_other_patterns_are_not_visited() {
        let mut index = PatternIndex::new();
        for value in 0..10_000 {
            index.insert(&pattern(&format!("tenant-{value}.orders.>")), value);
        }
        assert_eq!(index.len(), 10_000);
        assert_eq!(found(&index, "tenant-77.orders.placed"), [77]);
    }

    fn tokens(choices: &'static [&'static str]) -> impl Strategy<Value = String> {
        vec(prop::sample::select(choices), 1..6).prop_map(|tokens| tokens.join("."))
    }

    fn patterns() -> impl Strategy<Value = String> {
        (tokens(&["a", "b", "*"]), any::<bool>())
            .prop_map(|(text, rest)| if rest { text + ".>" } else { text })
    }

    proptest! {
        #[test]
        fn it_finds_exactly_what_matches(
            texts in vec(patterns(), 0..40),
            removed in vec(any::<bool>(), 40),
            topic in tokens(&["a", "b", "c"]),
        ) {
            let mut index = PatternIndex::new();
            for (value, text) in texts.iter().enumerate() {
                index.insert(&pattern(text), value);
            }
            for (value, text) in texts.iter().enumerate().filter(|(value, _)| removed[*value]) {
                prop_assert!(index.remove(&pattern(text), &value));
            }
            let wanted = Topic::new(&topic).unwrap();
            let expected: Vec<_> = (0..texts.len())
                .filter(|value| !removed[*value] && pattern(&texts[*value]).matches(&wanted))
                .collect();
            prop_assert_eq!(found(&index, &topic), expected);
        }
    }
}
