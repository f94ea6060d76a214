//! Which topics there are, and who wants to know of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bus_api::{Result, Topic};
use redis::Pipeline;

use crate::core::Core;
use crate::link;
use crate::value::Take;

/// Someone who is told of topics that were written.
pub(crate) trait Interest: Send + Sync {
    /// A topic is new or has new messages.
    fn hinted(&self, topic: &Topic);

    /// Something else happened to a subscription of this broker name on a root.
    fn stirred(&self, root: &str, sub: &str);

    /// Hints may have been missed.
    fn missed(&self);
}

/// What is known of the namespace's topics.
#[derive(Default)]
pub(crate) struct Registry {
    topics: Mutex<BTreeMap<String, BTreeSet<Topic>>>,
    interests: Mutex<Vec<Weak<dyn Interest>>>,
}

impl Registry {
    pub(crate) fn register(&self, interest: Weak<dyn Interest>) {
        let mut interests = self
            .interests
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        interests.retain(|known| known.strong_count() > 0);
        interests.push(interest);
    }

    pub(crate) fn forget_interests(&self) {
        self.interests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    fn interested(&self) -> Vec<Arc<dyn Interest>> {
        let interests = self
            .interests
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        interests.iter().filter_map(Weak::upgrade).collect()
    }

    /// All topics that are known here.
    pub(crate) fn all(&self) -> Vec<Topic> {
        let topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        topics.values().flatten().cloned().collect()
    }

    fn learn(&self, topic: &Topic) {
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        if !topics.contains_key(topic.root()) {
            topics.insert(topic.root().to_owned(), BTreeSet::new());
        }
        if let Some(known) = topics.get_mut(topic.root())
            && !known.contains(topic)
        {
            known.insert(topic.clone());
        }
    }

    /// A message of a channel of hints.
    pub(crate) fn hint(&self, root: &str, text: &str) {
        let interested = self.interested();
        let mut words = text.split(' ');
        match words.next() {
            Some("t") => {
                for topic in words.filter_map(|word| Topic::new(word).ok()) {
                    self.learn(&topic);
                    for interest in &interested {
                        interest.hinted(&topic);
                    }
                }
            }
            Some("m") => {
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
        let mut found: BTreeMap<String, BTreeSet<Topic>> = BTreeMap::new();
        let replies = core.control.run_all(&pipeline).await?;
        for (root, reply) in roots.into_iter().zip(replies) {
            let mut topics = BTreeSet::new();
            for topic in link::ok(reply)?.array(WHAT)? {
                topics.extend(Topic::new(topic.text(WHAT)?).ok());
            }
            found.insert(root, topics);
        }
        let mut new = Vec::new();
        {
            let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
            for (root, found) in found {
                let known = topics.entry(root).or_default();
                for topic in found {
                    if known.insert(topic.clone()) {
                        new.push(topic);
                    }
                }
            }
        }
        let interested = self.interested();
        for topic in &new {
            for interest in &interested {
                interest.hinted(topic);
            }
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
