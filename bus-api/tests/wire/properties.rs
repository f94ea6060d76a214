//! What holds for every input.

use std::sync::Arc;

use bus_api::cloudevents::{self, Decoded, Extent, Style};
use bus_api::{DeadLetter, DeadLetterId, ErrorKind, Failure};
use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::inputs::{
    bytes, message, origin, subscription, text, time, wire_name, wire_payload, wire_value,
};
use crate::{STYLES, known, position, read, written};

proptest! {
    #[test]
    fn a_message_leads_back_to_itself(message in message(), backwards in any::<bool>()) {
        let position = position();
        for (style, extent) in STYLES.iter().flat_map(|s| [(*s, Extent::Usual), (*s, Extent::Whole)]) {
            let mut pairs = written(&message, style, extent);
            let mut known = known(&position);
            match (extent, style) {
                (Extent::Usual, Style::Kafka) => known.key = message.key.clone(),
                (Extent::Usual, _) => known.topic = message.topic.clone(),
                (Extent::Whole, _) => {}
            }
            if backwards {
                pairs.reverse();
            }
            let Decoded { message: mut found, malformed } =
                read(style, extent, &pairs, &message.payload, &known).unwrap();
            prop_assert_eq!(malformed, None);
            for (name, value) in message.headers.iter() {
                prop_assert_eq!(found.headers.get(name), Some(value), "{:?}", style);
            }
            if backwards && found.headers.len() == message.headers.len() {
                found.headers = message.headers.clone();
            }
            prop_assert_eq!(&found, &message, "{:?}", style);
        }
    }

    #[test]
    fn a_structured_event_leads_back_to_itself(mut message in message(), json in any::<bool>()) {
        if json {
            message.payload = "{\"a\" : [1.0, \"é\"]}".into();
            message.metadata.content_type = Some("application/json".into());
        }
        let position = position();
        let event = cloudevents::to_structured(&message).unwrap();
        let pairs = vec![("content-type".into(), "Application/CloudEvents+JSON; a=b".into())];
        let read = read(Style::Kafka, Extent::Usual, &pairs, &event, &known(&position));
        let Decoded { message: found, malformed } = read.unwrap();
        prop_assert_eq!(malformed, None);
        prop_assert_eq!(found.metadata, message.metadata);
        prop_assert_eq!(found.payload, message.payload);
    }

    #[test]
    fn a_dead_letter_leads_back_to_itself(
        message in message(),
        (subscription, origin) in (subscription(), origin()),
        (generation, attempts, kind, text) in (any::<u32>(), any::<u32>(), text(), text()),
        (first_failure, last_failure) in (time(), time()),
    ) {
        let id = &message.metadata.id;
        let topic = message.topic.as_str();
        let entry = DeadLetter {
            id: DeadLetterId::derive(&subscription, topic, id, &origin, generation),
            subscription,
            message: Arc::new(message),
            origin,
            generation,
            attempts,
            error: Failure::new(kind.into_string(), text),
            first_failure,
            last_failure,
        };
        let details = cloudevents::dead_letter_details(&entry);
        let found = cloudevents::dead_letter_from(&details, entry.message.clone()).unwrap();
        prop_assert_eq!(found, entry);
    }

    /// And what was read can be written and leads back, as a redrive does it.
    #[test]
    fn nothing_that_arrives_panics(
        mut pairs in vec((wire_name(), wire_value()), 0..8),
        payload in wire_payload(),
        structured in any::<bool>(),
    ) {
        if structured {
            pairs.push(("content-type".into(), "application/cloudevents+json".into()));
        }
        let position = position();
        for (style, extent) in STYLES.iter().flat_map(|s| [(*s, Extent::Usual), (*s, Extent::Whole)]) {
            let message = match read(style, extent, &pairs, &payload, &known(&position)) {
                Ok(read) => read.message,
                Err(error) => {
                    prop_assert_eq!(error.kind(), ErrorKind::Unsupported);
                    continue;
                }
            };
            let again = written(&message, style, Extent::Whole);
            let again = read(style, Extent::Whole, &again, &message.payload, &known(&position));
            prop_assert_eq!(again.unwrap(), Decoded { message, malformed: None });
        }
    }

    #[test]
    fn no_stored_dead_letter_panics(details in bytes(64), version in 0_u8..3) {
        let position = position();
        let read = read(Style::Kafka, Extent::Usual, &Vec::new(), &Bytes::new(), &known(&position));
        let blob = [&[version], &details[..]].concat();
        let found = cloudevents::dead_letter_from(&blob, Arc::new(read.unwrap().message));
        prop_assert!(found.is_err());
    }
}
