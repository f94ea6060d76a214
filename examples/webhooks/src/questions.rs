//! Asking: an answer, an error of the domain, a late responder, a missing one.

use std::time::{Duration, Instant};

use bus::{BusClient, ErrorKind};

use crate::checks::Checks;
use crate::report::Question;
use crate::repository_info::{
    HISTORY_TAKES, Known, RepositoryHistory, RepositoryInfo, RepositoryTraffic,
};

/// Nobody has this one.
const UNKNOWN: &str = "nobody/nothing";

/// Asks everything and checks the answers.
pub async fn ask(
    bus: &BusClient,
    known: &Known,
    checks: &mut Checks,
) -> bus::Result<Vec<Question>> {
    let busiest = known.iter().max_by_key(|(_, facts)| facts.webhooks);
    let name = busiest.map_or(UNKNOWN, |(name, _)| name.as_str());
    let full_name = || name.to_owned();
    let mut questions = Vec::new();

    if let Some((_, expected)) = busiest {
        let asked = Instant::now();
        let facts = bus
            .request(&RepositoryInfo {
                full_name: full_name(),
            })
            .await?;
        let took = asked.elapsed();
        checks.holds("repository info is right", facts.as_ref() == Ok(expected));
        questions.push(question(
            "info",
            name,
            match facts {
                Ok(facts) => {
                    let access = if facts.private { "private" } else { "public" };
                    format!("{access}, {} webhooks (after {took:.0?})", facts.webhooks)
                }
                Err(_) => "unknown repository".to_owned(),
            },
        ));
    }

    let nothing = bus
        .request(&RepositoryInfo {
            full_name: UNKNOWN.to_owned(),
        })
        .await?;
    checks.holds("an unknown repository is an answer", nothing.is_err());
    questions.push(question(
        "info",
        UNKNOWN,
        "unknown repository, which is an answer, too".to_owned(),
    ));

    let patience = HISTORY_TAKES / 5;
    let late = bus
        .request(&RepositoryHistory {
            full_name: full_name(),
        })
        .timeout(patience)
        .await;
    questions.push(failed(
        "history",
        name,
        late.err(),
        ErrorKind::Timeout,
        checks,
    ));

    let patience = Duration::from_secs(1);
    let missing = bus
        .request(&RepositoryTraffic {
            full_name: full_name(),
        })
        .timeout(patience)
        .await;
    questions.push(failed(
        "traffic",
        name,
        missing.err(),
        ErrorKind::NoResponders,
        checks,
    ));
    Ok(questions)
}

fn question(what: &str, name: &str, answer: String) -> Question {
    Question {
        question: format!("{what} of {name}?"),
        answer,
    }
}

fn failed(
    what: &str,
    name: &str,
    error: Option<bus::Error>,
    expected: ErrorKind,
    checks: &mut Checks,
) -> Question {
    let kind = error.as_ref().map(bus::Error::kind);
    checks.holds(format!("{what} is {expected}"), kind == Some(expected));
    let answer = match error {
        Some(error) => format!("{}: {}", error.kind(), error.message()),
        None => "an answer that nobody expected".to_owned(),
    };
    question(what, name, answer)
}
