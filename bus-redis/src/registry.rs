//! Which topics there are, and who wants to know of them.

use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bus_api::{Pattern, PatternIndex, Result, Topic};
use redis::Pipeline;

use crate::core::Core;
use crate::link;
use crate::value::Take;

/// Someone who is told of topics that were written.
pub(crate) trait Interest: Send + Sync {
    /// The topics that it is told of.
    fn pattern(&self) -> &Pattern;

    /// A topic of its pattern is new or has new messages.
    fn hinted(&self, topic: &Topic);

    /// Something else happened to a subscription of this broker name on a root.
    fn stirred(&self, root: &str, sub: &str);

    /// Hints may have been missed.
    fn missed(&self);
}

/// Who is interested, by number.
#[derive(Default)]
struct Interests {
    all: HashMap<u64, (Pattern, Weak<dyn Interest>)>,
    /// Thousands of patterns are not asked one by one for each topic that was written.
    index: PatternIndex<u64>,
    next: u64,
}

impl Interests {
    fn add(&mut self, interest: &Arc<dyn Interest>) {
        let gone = self
            .all
            .extract_if(|_, (_, known)| known.strong_count() == 0);
        for (number, (pattern, _)) in gone {
            self.index.remove(&pattern, &number);
        }
        let pattern = interest.pattern().clone();
        self.index.insert(&pattern, self.next);
        self.all
            .insert(self.next, (pattern, Arc::downgrade(interest)));
        self.next += 1;
    }
}

/// What is known of the namespace's topics.
#[derive(Default)]
pub(crate) struct Registry {
    topics: Mutex<BTreeSet<Topic>>,
    interests: Mutex<Interests>,
}

impl Registry {
    pub(crate) fn register(&self, interest: &Arc<dyn Interest>) {
        self.interests().add(interest);
    }

    pub(crate) fn forget_interests(&self) {
        *self.interests() = Interests::default();
    }

    fn interests(&self) -> MutexGuard<'_, Interests> {
        self.interests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn topics(&self) -> MutexGuard<'_, BTreeSet<Topic>> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn interested(&self) -> Vec<Arc<dyn Interest>> {
        let interests = self.interests();
        let all = interests.all.values();
        all.filter_map(|(_, interest)| interest.upgrade()).collect()
    }

    /// Tells whoever wants to know of `topic`.
    fn tell(&self, topic: &Topic) {
        let interested: Vec<Arc<dyn Interest>> = {
            let interests = self.interests();
            let found = interests.index.matching(topic);
            let found = found.filter_map(|number| interests.all.get(number));
            found
                .filter_map(|(_, interest)| interest.upgrade())
                .collect()
        };
        for interest in interested {
            interest.hinted(topic);
        }
    }

    /// The topics that are known here and match, and the exact topic of `pattern`, known or not.
    pub(crate) fn matching(&self, pattern: &Pattern) -> BTreeSet<Topic> {
        // Those that begin alike lie together.
        let literal = pattern.as_str().split(['*', '>']).next();
        let literal = literal.unwrap_or_default().trim_end_matches('.');
        let first = Topic::new(literal).ok();
        let from = first.as_ref().map_or(Bound::Unbounded, Bound::Included);
        let topics = self.topics();
        let mut found: BTreeSet<Topic> = topics
            .range::<Topic, _>((from, Bound::Unbounded))
            .take_while(|topic| topic.as_str().starts_with(literal))
            .filter(|topic| pattern.matches(topic))
            .cloned()
            .collect();
        found.extend(pattern.exact());
        found
    }

    /// Whether a topic is known here.
    pub(crate) fn knows(&self, topic: &Topic) -> bool {
        self.topics().contains(topic)
    }

    fn learn(&self, topic: &Topic) {
        let mut topics = self.topics();
        if !topics.contains(topic) {
            topics.insert(topic.clone());
        }
    }

    /// A message of a channel of hints.
    pub(crate) fn hint(&self, root: &str, text: &str) {
        let mut words = text.split(' ');
        match words.next() {
            Some("t") => {
                for topic in words.filter_map(|word| Topic::new(word).ok()) {
                    self.learn(&topic);
                    self.tell(&topic);
                }
            }
            Some("m") => {
                let interested = self.interested();
                for sub in words {
                    for interest in &interested {
                        interest.stirred(root, sub);
                    }
                }
            }
            _ => {}
        }
    }

    /// Tells everybody that hints may have been missed.
    pub(crate) fn missed(&self) {
        for interest in self.interested() {
            interest.missed();
        }
    }

    /// Reads the registry and tells of topics that were not known.
    pub(crate) async fn refresh(&self, core: &Core) -> Result<()> {
        const WHAT: &str = "reading the registry";
        let command = redis::cmd("SMEMBERS").arg(core.keys.roots()).take();
        let mut roots = Vec::new();
        for root in core.control.run(&command).await?.array(WHAT)? {
            roots.push(root.text(WHAT)?);
        }
        let mut pipeline = Pipeline::new();
        for root in &roots {
            pipeline
                .cmd("ZRANGE")
                .arg(core.keys.topics(root))
                .arg(0)
                .arg(-1);
        }
        let mut found = Vec::new();
        for reply in core.control.run_all(&pipeline).await? {
            for topic in link::ok(reply)?.array(WHAT)? {
                found.extend(Topic::new(topic.text(WHAT)?).ok());
            }
        }
        {
            let mut topics = self.topics();
            found.retain(|topic| topics.insert(topic.clone()));
        }
        for topic in &found {
            self.tell(topic);
        }
        Ok(())
    }

    /// Makes a topic known: its root first, then the topic, then a hint.
    pub(crate) async fn add(&self, core: &Core, topics: &[&Topic]) -> Result<()> {
        let roots: BTreeSet<&str> = topics.iter().map(|topic| topic.root()).collect();
        let command = redis::cmd("SADD").arg(core.keys.roots()).arg(&roots).take();
        core.control.run(&command).await?;
        let mut pipeline = Pipeline::new();
        for root in roots {
            let (key, channel) = (core.keys.topics(root), core.keys.channel(root));
            let mut call = crate::script::call(&crate::script::HINT, [key.as_str()]);
            call.arg(channel);
            for topic in topics.iter().filter(|topic| topic.root() == root) {
                call.arg(topic.as_str());
            }
            pipeline.add_command(call);
        }
        for reply in core.control.run_all(&pipeline).await? {
            link::ok(reply)?;
        }
        for topic in topics {
            self.learn(topic);
        }
        Ok(())
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").finish_non_exhaustive()
    }
}
