//! The words of the run: one step after the other.

use std::collections::BTreeMap;
use std::time::Duration;

use bus::BusUrl;
use console::style;

use crate::ci;
use crate::crew::Crew;
use crate::dead_letters::Reason;
use crate::notify::Notifier;
use crate::plan::Plan;
use crate::report::{Question, Report};
use crate::screen::Screen;
use crate::table::thousands;

/// How many of the most frequent kinds are named.
const NAMED: usize = 4;

pub fn title(screen: Screen, url: &str, plan: &Plan) -> anyhow::Result<()> {
    // Parsed, because the text of a URL may hold a password.
    let url: BusUrl = url.parse()?;
    screen.title(
        &format!("{} GitHub webhooks", thousands(plan.published)),
        &format!("over {url}"),
    );
    Ok(())
}

pub fn publish(screen: Screen, plan: &Plan, took: Duration) {
    let (messages, topics) = (thousands(plan.published), thousands(plan.topics));
    let text = format!(
        "{messages} events to {topics} topics, {} with a key, all handled {}",
        thousands(plan.keyed),
        after(took)
    );
    screen.step(true, "publish", &text);
}

pub fn audit(screen: Screen, kinds: &BTreeMap<String, u64>, right: bool) {
    let text = format!(
        "{} kinds, counted by broadcast: {}",
        kinds.len(),
        most_frequent(kinds)
    );
    screen.step(right, "audit", &text);
}

pub fn ci(screen: Screen, crew: &Crew, right: bool) {
    let each: Vec<_> = crew
        .members
        .iter()
        .map(|member| thousands(member.done()))
        .collect();
    let total = thousands(crew.builds.tally.distinct());
    let text = format!(
        "{total} builds by {} competing members ({})",
        ci::MEMBERS,
        each.join(" + ")
    );
    screen.step(right, "ci", &text);
    let order = if right {
        "in order, one at a time per topic and repository"
    } else {
        "not in order"
    };
    screen.more(order);
}

pub fn notify(screen: Screen, notifier: &Notifier, reasons: &[Reason], right: bool) {
    let (posted, retried) = (
        thousands(notifier.posted.distinct()),
        thousands(notifier.retried()),
    );
    let dead: u64 = reasons.iter().map(|reason| reason.count).sum();
    let text = format!(
        "{posted} posted, {retried} tried again with backoff, {} dead letters:",
        thousands(dead)
    );
    screen.step(right, "notify", &text);
    for reason in reasons {
        let times = if reason.attempts == 1 {
            "attempt"
        } else {
            "attempts"
        };
        let count = style(format!("{:>6}", thousands(reason.count))).yellow();
        screen.more(&format!(
            "{count} × {}, {} {times}",
            reason.reason, reason.attempts
        ));
        screen.more(&format!(
            "{:>9}{}",
            "",
            style(most_frequent(&reason.kinds)).dim()
        ));
    }
}

pub fn questions(screen: Screen, questions: &[Question], right: bool) {
    let widths = questions
        .iter()
        .map(|question| question.question.chars().count());
    let width = widths.max().unwrap_or(0);
    for (index, question) in questions.iter().enumerate() {
        let text = format!(
            "{:width$}  {}",
            question.question,
            style(&question.answer).cyan()
        );
        if index == 0 {
            screen.step(right, "request", &text);
        } else {
            screen.more(&text);
        }
    }
}

pub fn redrive(screen: Screen, redriven: u64, again: u64, others: u64, right: bool) {
    let text = format!(
        "handler repaired, {} dead letters sent back",
        thousands(redriven)
    );
    screen.step(right, "redrive", &text);
    screen.more(&format!(
        "handled again: notify {}, everybody else {}",
        thousands(again),
        thousands(others)
    ));
}

pub fn report(screen: Screen, report: &Report) {
    screen.table(&report.table());
    let wrong: Vec<_> = report.checks.wrong().collect();
    if wrong.is_empty() {
        let text = format!("all {} counts are right", report.checks.len());
        let took = after(Duration::from_secs_f64(report.seconds));
        screen.line(&format!(
            "  {} {} {}",
            style("✔").green(),
            style(text).green().bold(),
            style(took).dim()
        ));
    } else {
        let text = format!(
            "{} of {} counts are wrong",
            wrong.len(),
            report.checks.len()
        );
        screen.line(&format!(
            "  {} {}",
            style("✘").red(),
            style(text).red().bold()
        ));
        for check in wrong {
            screen.line(&format!(
                "    {}: {} instead of {}",
                check.name, check.found, check.expected
            ));
        }
    }
    screen.line("");
}

fn most_frequent(kinds: &BTreeMap<String, u64>) -> String {
    let mut kinds: Vec<_> = kinds.iter().collect();
    kinds.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let mut text: Vec<_> = kinds
        .iter()
        .take(NAMED)
        .map(|(kind, count)| format!("{kind} {}", thousands(**count)))
        .collect();
    if kinds.len() > NAMED {
        text.push("…".to_owned());
    }
    text.join(", ")
}

fn after(took: Duration) -> String {
    if took < Duration::from_secs(1) {
        format!("in {} ms", took.as_millis())
    } else {
        format!("in {:.1} s", took.as_secs_f64())
    }
}
