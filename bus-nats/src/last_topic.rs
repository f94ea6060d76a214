//! The topics of what comes.

use bus_api::{Result, Topic};

/// Reads topics. Most messages have that of the message before, which needs no check and no memory of its own.
#[derive(Debug, Default)]
pub(crate) struct LastTopic(Option<Topic>);

impl LastTopic {
    /// The topic of this text.
    ///
    /// # Errors
    /// `InvalidTopic` when it is none.
    pub(crate) fn read(&mut self, text: &str) -> Result<Topic> {
        if let Some(known) = self.0.as_ref().filter(|known| known.as_str() == text) {
            return Ok(known.clone());
        }
        let topic = Topic::new(text)?;
        self.0 = Some(topic.clone());
        Ok(topic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_as_without_it_whatever_came_before() {
        let mut last = LastTopic::default();
        for text in ["a.b", "a.b", "a", "no topic", "a", "a.b", ""] {
            assert_eq!(last.read(text).ok(), Topic::new(text).ok(), "{text}");
        }
    }
}
