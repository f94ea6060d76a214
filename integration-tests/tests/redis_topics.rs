//! Redis: what a message costs from publish to handled, in one topic and in ten thousand under one pattern.

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bus_api::{BusClient, Raw, Start};
use integration_tests::redis::server::{Server, message};
use tokio::time::timeout;

const TOPICS: usize = 10_000;
const MESSAGES: usize = TOPICS;
const LIMIT: Duration = Duration::from_secs(120);
/// How much more a message may cost in many topics.
const FACTOR: f64 = 3.0;

/// Publishes to `topics` topics in turn and handles everything in one subscription to all of them.
async fn run(bus: &BusClient, root: &str, topics: usize) -> Result<Duration> {
    let mut inbox = bus
        .subscribe::<Raw>("g")
        .pattern(format!("{root}.>"))
        .start_at(Start::Latest)
        .max_in_flight(1_000)
        .await?;
    let begun = Instant::now();
    let publisher = bus.publisher();
    let publishing = async {
        for number in 0..MESSAGES {
            let topic = format!("{root}.t{}", number % topics);
            drop(publisher.send(&message(&topic, "x")?).await?);
        }
        publisher.flush().await.map_err(anyhow::Error::from)
    };
    let handling = async {
        let mut handled = 0;
        while handled < MESSAGES {
            for received in inbox.next_batch(256).await.context("it ended")?? {
                // Settled in the background, many at once.
                drop(received.ack());
                handled += 1;
            }
        }
        Ok(())
    };
    timeout(LIMIT, async { tokio::try_join!(publishing, handling) }).await??;
    let took = begun.elapsed();
    inbox.close().await?;
    Ok(took)
}

/// Shown with `--nocapture`.
fn say(one: Duration, many: Duration) -> Result<()> {
    let each = |took: Duration| took.as_secs_f64() * 1e6 / MESSAGES as f64;
    let mut out = std::io::stdout();
    writeln!(
        out,
        "µs a message: one topic {:.1}, {TOPICS} topics {:.1}",
        each(one),
        each(many)
    )?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_topics_cost_at_most_three_times_as_much_as_one() -> Result<()> {
    let server = Server::start(["appendonly no".to_owned()]).await?;
    let bus = server.client("").await?;
    // Once for nothing: topics are registered and found once in their life.
    run(&bus, "many", TOPICS).await?;
    run(&bus, "one", 1).await?;
    let mut best: Option<f64> = None;
    for _ in 0..2 {
        let one = run(&bus, "one", 1).await?;
        let many = run(&bus, "many", TOPICS).await?;
        let factor = many.as_secs_f64() / one.as_secs_f64();
        say(one, many)?;
        best = Some(best.map_or(factor, |best| best.min(factor)));
    }
    let best = best.context("nothing was measured")?;
    ensure!(
        best <= FACTOR,
        "a message of many topics costs {best:.1} times as much"
    );
    Ok(())
}
