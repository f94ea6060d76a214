//! Kafka: what other clients write is delivered, and what the bus writes can be read with them (P5, P6).

use anyhow::{Result, ensure};
use bus_api::{BusClient, MessageId, Raw, Start};
use integration_tests::brokers::kcat;
use integration_tests::kafka::server::{Server, connect};
use integration_tests::trip::{message, next};

const LOG: &str = "bus.t.orders";

async fn start() -> Result<(Server, BusClient)> {
    let server = Server::start(&[], [], &[]).await?;
    let bus = connect(&format!("kafka://{}?partitions=1", server.address())).await?;
    Ok((server, bus))
}

#[tokio::test]
async fn what_the_bus_writes_can_be_read_with_any_client() -> Result<()> {
    let (server, bus) = start().await?;
    bus.publish(&message("orders.placed", "seven")?.with_key("k"))
        .id(MessageId::new("id-7"))
        .header("tenant", "a")
        .await?;
    let arguments = ["--topic", LOG, "--from-beginning", "--max-messages", "1"];
    let format = [
        "--property",
        "print.headers=true",
        "--property",
        "print.key=true",
        "--timeout-ms",
        "20000",
    ];
    let java = server
        .tool(
            "org.apache.kafka.tools.consumer.ConsoleConsumer",
            &[&arguments[..], &format].concat(),
            "",
        )
        .await?;
    let address = server.address();
    let kcat = kcat(
        &[
            "-C",
            "-b",
            &address,
            "-t",
            LOG,
            "-o",
            "beginning",
            "-e",
            "-q",
            "-f",
            "%h\t%k\t%s\n",
        ],
        "",
    )
    .await?;
    for (client, said, colon) in [("java", &java, ":"), ("kcat", &kcat, "=")] {
        for (name, value) in [
            ("ce_specversion", "1.0"),
            ("ce_id", "id-7"),
            ("ce_type", "test.text"),
            ("content-type", "text/plain"),
            ("bus-topic", "orders.placed"),
            ("tenant", "a"),
        ] {
            let header = format!("{name}{colon}{value}");
            ensure!(said.contains(&header), "{client}: no {header} in {said}");
        }
        ensure!(said.trim_end().ends_with("\tk\tseven"), "{client}: {said}");
    }
    Ok(())
}

#[tokio::test]
async fn what_others_write_is_delivered() -> Result<()> {
    let (server, bus) = start().await?;
    let mut inbox = bus
        .subscribe::<Raw>("g")
        .pattern("orders.>")
        .start_at(Start::Earliest)
        .await?;
    let mut root = bus
        .subscribe::<Raw>("root")
        .pattern("orders")
        .start_at(Start::Earliest)
        .await?;
    // Without any header it belongs to the topic of its root.
    server
        .tool(
            "org.apache.kafka.tools.ConsoleProducer",
            &[
                "--topic",
                LOG,
                "--compression-codec",
                "gzip",
                "--property",
                "parse.key=true",
                "--property",
                "key.separator=/",
            ],
            "k/one\n",
        )
        .await?;
    let first = next(&mut root).await?;
    ensure!(first.event().payload == "one");
    ensure!(first.key().is_some_and(|key| key == "k"));
    first.ack().await?;
    // With headers it has a topic, and attributes.
    let address = server.address();
    let arguments = [
        "-P",
        "-b",
        &address,
        "-t",
        LOG,
        "-z",
        "zstd",
        "-H",
        "bus-topic=orders.placed",
        "-H",
        "ce_specversion=1.0",
        "-H",
        "ce_id=id-1",
        "-H",
        "ce_source=elsewhere",
        "-H",
        "ce_type=order.placed",
        "-H",
        "colour=red",
    ];
    kcat(&arguments, "two\n").await?;
    let second = next(&mut inbox).await?;
    ensure!(second.event().payload == "two");
    ensure!(second.headers().get("colour") == Some("red"));
    ensure!(second.metadata().id == MessageId::new("id-1"));
    second.ack().await?;
    Ok(())
}
