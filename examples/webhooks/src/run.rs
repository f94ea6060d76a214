//! The run: everybody is started, everything is published, handled, repaired, drained and counted.

use std::sync::atomic::Ordering;
use std::time::Instant;

use anyhow::Result;

use crate::checks::Checks;
use crate::ci;
use crate::connect::{clear, connect};
use crate::crew::Crew;
use crate::dead_letters;
use crate::input::Input;
use crate::plan::Plan;
use crate::questions;
use crate::report::Report;
use crate::repository_info;
use crate::screen::Screen;
use crate::show;

/// Sends `input` so many times over the bus at `url`, and reports what became of it.
pub async fn run(url: &str, input: Input, repeat: u32, screen: Screen) -> Result<Report> {
    let started = Instant::now();
    let plan = Plan::of(&input.events, repeat)?;
    let bus = connect(url).await?;
    show::title(screen, url, &plan)?;
    let mut checks = Checks::default();
    let mut crew = Crew::start(&bus, &plan, repository_info::known(&input.events)).await?;

    let publishing = Instant::now();
    crew.work(&bus, &plan, &input, repeat, screen.is_live())
        .await?;
    show::publish(screen, &plan, publishing.elapsed());
    show::audit(
        screen,
        &crew.audit.kinds(),
        checks.holds("audit: counts per kind", crew.audit.kinds() == plan.kinds),
    );
    show::ci(screen, &crew, crew.check_order(&mut checks));

    let reasons = dead_letters::reasons(&bus).await?;
    let dead = reasons.iter().map(|reason| reason.count).sum();
    let right = checks.count("notify: dead-lettered", plan.given_up, dead);
    show::notify(screen, &crew.notifier, &reasons, right);

    let questions = questions::ask(&bus, &crew.known, &mut checks).await?;
    show::questions(screen, &questions, checks.all_right());

    let before = crew.seen_by_others();
    let redriven = crew.repair(&bus, &plan).await?;
    crew.stop(&mut checks).await?;
    let others = crew.seen_by_others() - before;
    let again = crew.notifier.again.distinct();
    let right = checks.count("notify: redriven", plan.given_up, redriven)
        & checks.count("notify: handled again", plan.given_up, again)
        & checks.count("others: handled again", 0, others);
    show::redrive(screen, redriven, again, others, right);

    let groups = crew.groups(&plan, dead, redriven, &mut checks);
    let published = crew.confirmed.load(Ordering::Relaxed);
    checks.count("published", plan.published, published);
    clear(&bus).await?;
    bus.close().await?;
    Ok(Report {
        right: checks.all_right(),
        transport: bus.adapter().name(),
        skipped: input.skipped,
        published,
        topics: plan.topics,
        kinds: crew.audit.kinds(),
        groups,
        members: crew.members.iter().map(ci::Member::done).collect(),
        dead_letters: reasons,
        questions,
        checks,
        seconds: started.elapsed().as_secs_f64(),
    })
}
