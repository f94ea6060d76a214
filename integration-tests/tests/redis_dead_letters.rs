//! Redis: many dead letters are counted and paged without holding the server up (R6).

use anyhow::{Context, Result, ensure};
use bus_api::{Filter, Raw};
use integration_tests::redis::server::{PATIENCE, Server, message};
use tokio::time::timeout;

const ENTRIES: u64 = 100_000;
const AT_ONCE: u64 = 5_000;
const STREAM: &str = "bus:{d}:d:g";
/// Copies the first entry.
const COPY: &str = "local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1][2] \
     for _ = 1, ARGV[1] do redis.call('XADD', KEYS[1], '*', unpack(first)) end";
/// Longer than any command of the bus may keep the server from others, in microseconds; a machine that is busy
/// with other things adds to it.
const SLOW: &str = "200000";

#[tokio::test]
async fn a_hundred_thousand_are_paged_without_holding_the_server_up() -> Result<()> {
    let server = Server::start(["appendonly no".to_owned()]).await?;
    let bus = server.client("").await?;
    let mut inbox = bus.subscribe::<Raw>("g").pattern("d").await?;
    bus.publish(&message("d", "of no use")?).await?;
    let received = timeout(PATIENCE, inbox.next())
        .await?
        .context("it ended")??;
    received.dead_letter("of no use").await?;
    let mut copies = ENTRIES - 1;
    while copies > 0 {
        let part = copies.min(AT_ONCE);
        server
            .run(&["EVAL", COPY, "1", STREAM, &part.to_string()])
            .await?;
        copies -= part;
    }
    server
        .run(&["CONFIG", "SET", "slowlog-log-slower-than", SLOW])
        .await?;
    server.run(&["SLOWLOG", "RESET"]).await?;
    let dead = bus.dead_letters("g");
    ensure!(dead.count(&Filter::default()).await? == ENTRIES);
    let (mut seen, mut cursor) = (0, None);
    loop {
        let page = dead.page(&Filter::default(), cursor.as_ref(), 500).await?;
        seen += page.entries.len();
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    ensure!(seen as u64 == ENTRIES, "{seen} were seen");
    let slow = server.run(&["SLOWLOG", "GET"]).await?;
    ensure!(slow == redis::Value::Array(Vec::new()), "{slow:?}");
    bus.close().await?;
    Ok(())
}
