//! Which handler takes a message.

use std::any::Any;
use std::borrow::Cow;
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::contract::{Message, Pattern};
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Codecs, Event, EventType};
use crate::worker::call::{Call, Handled};
use crate::worker::error::HandlerResult;

/// What a call of a handler returns.
pub(crate) type Running = Pin<Box<dyn Future<Output = HandlerResult<Handled>> + Send>>;

/// A handler without its types.
pub(crate) struct Route {
    /// What it takes; empty takes everything that no other one does.
    pub(crate) types: Vec<EventType>,
    pub(crate) decode: Decode,
    pub(crate) run: Run,
    pub(crate) kind: Kind,
}

/// What a handler is called with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// One event.
    Event,
    /// Up to so many events at once, the first of which waited at most so long.
    Batch(usize, Duration),
    /// A request.
    Request,
}

/// Calls a handler, its time-out included.
pub(crate) type Run = Arc<dyn Fn(Call) -> Running + Send + Sync>;

type Decode = fn(&Message, Option<&str>, &Codecs) -> Result<Box<dyn Any + Send>>;

/// Reads the event `E` out of a message; `matched` is its type when the message itself names none.
pub(crate) fn decode<E: Event>(
    message: &Message,
    matched: Option<&str>,
    codecs: &Codecs,
) -> Result<Box<dyn Any + Send>> {
    let event = match matched {
        None => E::from_message(message, codecs)?,
        Some(name) => {
            let codec = codecs.for_content_type(message.metadata.content_type.as_deref())?;
            E::decode(Some(name), &message.payload, codec.as_ref())?
        }
    };
    Ok(Box::new(event))
}

/// All handlers of a worker.
pub(crate) struct Routes {
    routes: Vec<Route>,
    events: Index,
    requests: Index,
}

/// Finds handlers of events, or of requests.
#[derive(Default)]
struct Index {
    by_type: HashMap<Cow<'static, str>, Place>,
    /// The types of all handlers, for messages that name none.
    types: Vec<(EventType, Place)>,
    rest: Option<usize>,
}

/// A handler, and which of all types it is called for.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Place {
    route: usize,
    type_number: usize,
}

/// Who takes a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found<'a> {
    pub(crate) route: usize,
    /// The number of the type among [`Routes::type_names`]; none for what the fallback gets.
    pub(crate) type_number: Option<usize>,
    /// The type that the topic stands for, when the message names none.
    pub(crate) matched: Option<&'a str>,
}

impl Routes {
    /// # Errors
    /// `InvalidConfig` when two handlers take the same type.
    pub(crate) fn new(routes: Vec<Route>) -> Result<Self> {
        let (mut events, mut requests) = (Index::default(), Index::default());
        let mut types = 0;
        for (number, route) in routes.iter().enumerate() {
            let index = if route.kind == Kind::Request {
                &mut requests
            } else {
                &mut events
            };
            index.add(number, types, &route.types)?;
            types += route.types.len();
        }
        Ok(Self {
            routes,
            events,
            requests,
        })
    }

    pub(crate) fn get(&self, route: usize) -> Option<&Route> {
        self.routes.get(route)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Route> {
        self.routes.iter()
    }

    /// The names of all types, handler by handler.
    pub(crate) fn type_names(&self) -> impl Iterator<Item = &str> {
        let types = self.routes.iter().flat_map(|route| &route.types);
        types.map(|event_type| &*event_type.name)
    }

    pub(crate) fn of_event(&self, message: &Message) -> Option<Found<'_>> {
        self.events.find(message)
    }

    pub(crate) fn of_request(&self, message: &Message) -> Option<Found<'_>> {
        self.requests.find(message)
    }

    /// The topics of all types that are handled, each once.
    pub(crate) fn patterns(&self, requests: bool) -> Vec<Pattern> {
        let index = if requests {
            &self.requests
        } else {
            &self.events
        };
        let mut patterns: Vec<Pattern> = Vec::new();
        for (event_type, _) in &index.types {
            if !patterns.contains(&event_type.pattern) {
                patterns.push(event_type.pattern.clone());
            }
        }
        patterns
    }
}

impl Index {
    fn add(&mut self, route: usize, first: usize, types: &[EventType]) -> Result<()> {
        if types.is_empty() && self.rest.replace(route).is_some() {
            return Err(Error::new(
                ErrorKind::InvalidConfig,
                "two handlers take every message that no other one takes; one can",
            ));
        }
        for (type_number, event_type) in (first..).zip(types) {
            let place = Place { route, type_number };
            let names = std::iter::once(&event_type.name).chain(&event_type.aliases);
            for name in names {
                let earlier = self.by_type.insert(name.clone(), place);
                if earlier.is_some_and(|earlier| earlier.route != route) {
                    let text = "two handlers of one worker take the same type; give each its own";
                    return Err(Error::new(ErrorKind::InvalidConfig, text).with("type", name));
                }
            }
            self.types.push((event_type.clone(), place));
        }
        Ok(())
    }

    fn find(&self, message: &Message) -> Option<Found<'_>> {
        let typed = match message.metadata.event_type.as_deref() {
            Some(name) => self.by_type.get(name).map(|&place| Found::new(place, None)),
            None => self.by_topic(message),
        };
        typed.or(self.rest.map(|route| Found {
            route,
            type_number: None,
            matched: None,
        }))
    }

    /// The handler that alone covers the topic; its type when only one of its types does.
    fn by_topic(&self, message: &Message) -> Option<Found<'_>> {
        let mut covering = self
            .types
            .iter()
            .filter(|(event_type, _)| event_type.pattern.matches(&message.topic));
        let (event_type, place) = covering.next()?;
        let mut matched = Some(&*event_type.name);
        for (_, other) in covering {
            if other.route != place.route {
                return None;
            }
            matched = None;
        }
        Some(Found::new(*place, matched))
    }
}

impl<'a> Found<'a> {
    fn new(place: Place, matched: Option<&'a str>) -> Self {
        Self {
            route: place.route,
            type_number: Some(place.type_number),
            matched,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use bytes::Bytes;

    use super::*;
    use crate::contract::{MessageId, Metadata, Topic};
    use crate::event::Raw;

    fn route(types: &[(&'static str, &'static str)]) -> Route {
        let types = types.iter().map(|(name, pattern)| {
            let mut event_type = EventType::new(*name, Pattern::new(pattern).unwrap());
            event_type.aliases = vec![format!("old.{name}").into()];
            event_type
        });
        Route {
            types: types.collect(),
            decode: decode::<Raw>,
            run: Arc::new(|_| Box::pin(async { Err("not called".into()) })),
            kind: Kind::Event,
        }
    }

    fn message(topic: &str, event_type: Option<&str>) -> Message {
        let mut metadata =
            Metadata::new(MessageId::new("1"), "test".into(), SystemTime::UNIX_EPOCH);
        metadata.event_type = event_type.map(|name| name.to_owned().into());
        Message::new(Topic::new(topic).unwrap(), metadata, Bytes::new())
    }

    fn found(
        routes: &Routes,
        topic: &str,
        event_type: Option<&str>,
    ) -> Option<(usize, Option<String>)> {
        let message = message(topic, event_type);
        let found = routes.of_event(&message)?;
        Some((found.route, found.matched.map(str::to_owned)))
    }

    #[test]
    fn the_type_and_its_names_of_old_find_the_handler() {
        let routes = Routes::new(vec![
            route(&[("a", "t.a")]),
            route(&[("b", "t.b"), ("c", "t.c")]),
        ])
        .unwrap();
        for (name, expected) in [("a", 0), ("old.a", 0), ("b", 1), ("old.c", 1)] {
            assert_eq!(
                found(&routes, "elsewhere", Some(name)),
                Some((expected, None)),
                "{name}"
            );
        }
        assert_eq!(found(&routes, "t.a", Some("unknown")), None);
        assert_eq!(routes.patterns(false).len(), 3);
        assert!(routes.patterns(true).is_empty());
    }

    #[test]
    fn without_a_type_the_topic_finds_the_only_handler_that_covers_it() {
        let routes = Routes::new(vec![
            route(&[("a", "t.a"), ("a2", "t.x")]),
            route(&[("b", "t.*.b")]),
            route(&[("c", "t.*.*"), ("d", "u.*"), ("e", "u.>")]),
        ])
        .unwrap();
        assert_eq!(found(&routes, "t.a", None), Some((0, Some("a".into()))));
        assert_eq!(found(&routes, "t.1.b", None), None, "two handlers cover it");
        assert_eq!(found(&routes, "t.1.c", None), Some((2, Some("c".into()))));
        assert_eq!(
            found(&routes, "u.1", None),
            Some((2, None)),
            "one handler, two types"
        );
        assert_eq!(found(&routes, "v", None), None);
    }

    #[test]
    fn the_fallback_takes_the_rest() {
        let routes = Routes::new(vec![route(&[("a", "t.a")]), route(&[])]).unwrap();
        assert_eq!(found(&routes, "t.a", Some("a")), Some((0, None)));
        assert_eq!(found(&routes, "t.a", Some("b")), Some((1, None)));
        assert_eq!(found(&routes, "t.b", None), Some((1, None)));
    }

    #[test]
    fn two_handlers_of_one_type_are_refused_by_name() {
        for other in ["a", "old.a"] {
            let error = Routes::new(vec![route(&[("a", "t.a")]), route(&[(other, "t.b")])]);
            let error = error.err().unwrap();
            assert_eq!(error.kind(), ErrorKind::InvalidConfig);
            assert!(error.to_string().contains(other), "{error}");
        }
        assert!(Routes::new(vec![route(&[]), route(&[])]).is_err());
    }
}
