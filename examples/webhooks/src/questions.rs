//! Asking: an answer, an error of the domain, a late responder, a missing one.

use std::time::{Duration, Instant};

use bus::{BusClient, Error, ErrorKind, Result};

use crate::checks::Checks;
use crate::report::Question;
use crate::repository_info::{
    Facts, HISTORY_TAKES, Known, RepositoryHistory, RepositoryInfo, RepositoryTraffic,
};

/// Nobody has this one.
const UNKNOWN: &str = "nobody/nothing";

/// Asks everything and checks the answers.
pub async fn ask(bus: &BusClient, known: &Known, checks: &mut Checks) -> Result<Vec<Question>> {
    let mut questions = Vec::new();
    let busiest = known.iter().max_by_key(|(_, facts)| facts.webhooks);
    if let Some((name, facts)) = busiest {
        questions.push(info(bus, name, facts, checks).await?);
    }
    let name = busiest.map_or(UNKNOWN, |(name, _)| name);
    questions.push(unknown(bus, checks).await?);
    questions.push(late(bus, name, checks).await);
    questions.push(missing(bus, name, checks).await);
    Ok(questions)
}

async fn info(bus: &BusClient, name: &str, right: &Facts, checks: &mut Checks) -> Result<Question> {
    let asked = Instant::now();
    let reply = bus.request(&RepositoryInfo::of(name)).await?;
    let took = asked.elapsed();
    checks.holds("repository info", reply.as_ref() == Ok(right));
    let answer = match reply {
        Ok(Facts { private, webhooks }) => {
            let access = if private { "private" } else { "public" };
            format!("{access}, {webhooks} webhooks, answered in {took:.0?}")
        }
        Err(_) => "unknown".to_owned(),
    };
    Ok(Question::new("info", name, answer))
}

async fn unknown(bus: &BusClient, checks: &mut Checks) -> Result<Question> {
    let reply = bus.request(&RepositoryInfo::of(UNKNOWN)).await?;
    checks.holds("an unknown repository is an answer", reply.is_err());
    let answer = "unknown repository: that is an answer, too";
    Ok(Question::new("info", UNKNOWN, answer.to_owned()))
}

async fn late(bus: &BusClient, name: &str, checks: &mut Checks) -> Question {
    let question = RepositoryHistory::of(name);
    let reply = bus.request(&question).timeout(HISTORY_TAKES / 5).await;
    let kind = ErrorKind::Timeout;
    failed("history", name, reply.err(), kind, checks)
}

async fn missing(bus: &BusClient, name: &str, checks: &mut Checks) -> Question {
    let question = RepositoryTraffic::of(name);
    let reply = bus.request(&question).timeout(Duration::from_secs(1)).await;
    let kind = ErrorKind::NoResponders;
    failed("traffic", name, reply.err(), kind, checks)
}

fn failed(
    what: &str,
    name: &str,
    error: Option<Error>,
    expected: ErrorKind,
    checks: &mut Checks,
) -> Question {
    let kind = error.as_ref().map(Error::kind);
    checks.holds(format!("{what} is {expected}"), kind == Some(expected));
    let answer = match error {
        Some(error) => format!("{}: {}", error.kind(), error.message()),
        None => "an answer that nobody expected".to_owned(),
    };
    Question::new(what, name, answer)
}
