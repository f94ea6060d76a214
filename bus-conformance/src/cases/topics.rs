//! T: namespaces, topics and patterns.

use bus_api::{ErrorKind, Topic};

use crate::case::{Case, case};
use crate::context::Context;
use crate::outcome::{Violation, ensure, ensure_eq};

pub(crate) fn cases() -> Vec<Case> {
    vec![case!(t1_a_wrong_topic_names_its_token)]
}

async fn t1_a_wrong_topic_names_its_token(_: Context) -> Result<(), Violation> {
    for (text, token) in [
        ("a..b", "\"\""),
        ("a.b c", "b c"),
        ("a.*", "*"),
        ("a.>", ">"),
        ("é", "é"),
    ] {
        match Topic::new(text) {
            Ok(_) => {
                return Err(Violation::new(format_args!(
                    "{text:?} was taken for a topic"
                )));
            }
            Err(error) => {
                ensure_eq!(error.kind(), ErrorKind::InvalidTopic, "topic {text:?}");
                ensure!(
                    error.to_string().contains(token),
                    "{error} does not name {token}"
                );
            }
        }
    }
    Ok(())
}
