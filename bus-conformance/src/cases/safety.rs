//! B: bad input, and what errors say.

use std::collections::BTreeSet;

use bus_api::{BusUrl, DeadLetterId, ErrorKind, Group, Namespace, Pattern, Position, Raw, Topic};
use bytes::Bytes;
use rand::Rng;
use rand::rngs::SmallRng;

use crate::case::{Case, case};
use crate::context::Context;
use crate::factory::{Control, Foreign};
use crate::outcome::{Violation, ensure, ensure_eq};
use crate::probe::{Act, Diary, Note, eventually, group, job, notes};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(b1_any_text_is_a_name_or_a_typed_error),
        case!(b1_arbitrary_foreign_bytes_stop_nothing).with(&[Control::Foreign]),
        case!(b1_malformed_messages_stop_nothing).with(&[Control::Foreign]),
        case!(b1_errors_carry_no_payload),
        case!(b1_errors_carry_no_secret),
        case!(b2_an_unknown_option_names_the_nearest),
        case!(b2_an_unreadable_value_names_its_key),
        case!(b4_what_exists_works_without_the_right_to_create),
    ]
}

fn random_text(random: &mut SmallRng) -> String {
    const PIECES: [&str; 24] = [
        "a",
        "orders",
        ".",
        "..",
        "*",
        ">",
        " ",
        "",
        "\u{e9}",
        "\u{1f600}",
        "\0",
        "\n",
        "-",
        "_",
        "0",
        "@",
        "%2e",
        "%zz",
        "://",
        "?",
        "&",
        "=",
        "#",
        "\u{202e}",
    ];
    (0..random.random_range(0..12))
        .map(|_| PIECES[random.random_range(0..PIECES.len())])
        .collect()
}

async fn b1_any_text_is_a_name_or_a_typed_error(context: Context) -> Result<(), Violation> {
    let mut random = context.random();
    for _ in 0..20_000 {
        let text = random_text(&mut random);
        let errors = [
            (Topic::new(&text).err(), ErrorKind::InvalidTopic),
            (Pattern::new(&text).err(), ErrorKind::InvalidTopic),
            (Group::new(&text).err(), ErrorKind::InvalidTopic),
            (Namespace::new(&text).err(), ErrorKind::InvalidTopic),
            (text.parse::<BusUrl>().err(), ErrorKind::InvalidConfig),
            (text.parse::<Position>().err(), ErrorKind::InvalidArgument),
            (
                text.parse::<DeadLetterId>().err(),
                ErrorKind::InvalidArgument,
            ),
        ];
        for (error, kind) in errors {
            if let Some(error) = error {
                ensure_eq!(error.kind(), kind, "the kind of {error} for {text:?}");
                ensure!(
                    error.message().len() > 10,
                    "{error} does not say what would be right"
                );
            }
        }
    }
    Ok(())
}

async fn b1_arbitrary_foreign_bytes_stop_nothing(context: Context) -> Result<(), Violation> {
    const ALL: u64 = 60;
    let (client, diary) = (context.client().await?, Diary::new());
    client.publish(&Note::new("b.a", 0)).await?;
    let crew = client
        .employ(job(group("g", "b.a")), &diary, |_| Act::Done)
        .await?;
    let mut random = context.random();
    for number in 1..=ALL {
        let payload: Vec<u8> = (0..random.random_range(0..200))
            .map(|_| random.random())
            .collect();
        let message = match number % 3 {
            0 => Foreign::Plain {
                payload: payload.into(),
                headers: vec![
                    ("Content-Type".into(), random_text(&mut random)),
                    ("ce_id".into(), random_text(&mut random)),
                    (format!("x-{number}"), random_text(&mut random)),
                ],
            },
            1 => Foreign::Structured {
                json: format!(
                    "{{\"specversion\":\"1.0\",\"id\":{:?},\"time\":\"{}\",\"data\":{}}}",
                    random_text(&mut random),
                    number,
                    String::from_utf8_lossy(&payload)
                )
                .into(),
            },
            _ => Foreign::Structured {
                json: payload.into(),
            },
        };
        let stored = context
            .factory()
            .publish_foreign(context.namespace(), "b.a", message)
            .await;
        match stored {
            // Not every kind of foreign message exists on every transport.
            Err(error) if error.kind() == ErrorKind::Unsupported => {}
            stored => stored?,
        }
        client.publish(&Note::new("b.a", number)).await?;
    }
    diary.until_done(0..=ALL).await?;
    client.until_settled("g", "b.a").await?;
    diary.exactly(0..=ALL)?;
    crew.shutdown().await
}

async fn b1_malformed_messages_stop_nothing(context: Context) -> Result<(), Violation> {
    let (client, diary) = (context.client().await?, Diary::new());
    client.publish(&Note::new("b.a", 0)).await?;
    let crew = client
        .employ(job(group("g", "b.a")), &diary, |_| Act::Done)
        .await?;
    let payloads: Vec<Bytes> = (0..10_u8)
        .map(|byte| Bytes::from(vec![byte, 0xff, 0]))
        .collect();
    for (number, payload) in (1..).zip(&payloads) {
        let message = Foreign::Malformed {
            payload: payload.clone(),
        };
        context
            .factory()
            .publish_foreign(context.namespace(), "b.a", message)
            .await?;
        client.publish(&Note::new("b.a", number)).await?;
    }
    diary.until_done(0..=10).await?;
    let entries = client.until_buried("g", 10).await?;
    let kept: BTreeSet<Bytes> = entries
        .iter()
        .map(|entry| entry.message.payload.clone())
        .collect();
    ensure_eq!(
        kept,
        payloads.into_iter().collect(),
        "payloads of the dead letters"
    );
    client.until_settled("g", "b.a").await?;
    crew.shutdown().await
}

const MARKER: &str = "s3cr3t-payload";

async fn b1_errors_carry_no_payload(context: Context) -> Result<(), Violation> {
    let (client, diary) = (context.client().await?, Diary::new());
    let crew = client
        .employ(job(group("g", "b.>")), &diary, |_| Act::Done)
        .await?;
    let raw = |payload: String| {
        Ok::<_, Violation>(Raw::new(
            Topic::new("b.a")?,
            Note::TYPE,
            "application/json",
            payload,
        ))
    };
    // A decoder that quotes what it could not read tells the payload to every log.
    let damaged = [
        format!("{{\"number\":\"{MARKER}\",\"topic\":\"b.a\",\"key\":null,\"sum\":1}}"),
        format!("{{\"{MARKER}\":"),
        format!("\"{MARKER}\""),
        MARKER.to_owned(),
    ];
    for payload in &damaged {
        client.publish(&raw(payload.clone())?).await?;
    }
    for entry in client.until_buried("g", damaged.len()).await? {
        ensure!(
            !entry.error.text.contains(MARKER) && !format!("{entry:?}").contains(MARKER),
            "a decode failure tells the payload: {}",
            entry.error
        );
    }
    let most = client.capabilities().max_payload;
    let large = MARKER.repeat(most / MARKER.len() + 1);
    let Err(error) = client.publish(&raw(large)?).await else {
        return Err(Violation::new("a payload that is too large was published"));
    };
    ensure_eq!(error.kind(), ErrorKind::TooLarge, "the kind");
    ensure!(
        !format!("{error} {error:?}").contains(MARKER),
        "{error} tells the payload"
    );
    crew.shutdown().await
}

async fn b1_errors_carry_no_secret(context: Context) -> Result<(), Violation> {
    let secret = "hunter2-s3cr3t";
    for text in [
        format!("redis://user:{secret}@host:notaport/"),
        format!("nats://user:{secret}@:4222"),
        format!("kafka://user:{secret}@host:1:2/?x"),
        format!("redis://user:{secret}@host/?namespace=a&namespace=b"),
        format!("user:{secret}@host"),
        format!("redis://us%zzer:{secret}@host"),
    ] {
        let shown = match text.parse::<BusUrl>() {
            Ok(url) => format!("{url} {url:?}"),
            Err(error) => format!("{error} {error:?}"),
        };
        ensure!(!shown.contains(secret), "{shown:?} tells the password");
    }
    let connected = context
        .factory()
        .connect(context.namespace(), &[("dedup_window", secret)])
        .await;
    let Err(error) = connected else {
        return Err(Violation::new("dedup_window=<no length of time> was taken"));
    };
    ensure!(
        !format!("{error} {error:?}").contains(secret),
        "{error} tells a value"
    );
    Ok(())
}

async fn b2_an_unknown_option_names_the_nearest(context: Context) -> Result<(), Violation> {
    for (wrong, nearest) in [
        ("retention.cuont", "retention.count"),
        ("namespcae", "namespace"),
        ("dedup-window", "dedup_window"),
        ("conect_timeout", "connect_timeout"),
        ("windows", "window"),
    ] {
        let connected = context
            .factory()
            .connect(context.namespace(), &[(wrong, "1")])
            .await;
        let Err(error) = connected else {
            return Err(Violation::new(format_args!("the option {wrong} was taken")));
        };
        ensure_eq!(
            error.kind(),
            ErrorKind::InvalidConfig,
            "the kind of {error}"
        );
        let text = error.to_string();
        ensure!(
            text.contains(wrong) && text.contains(nearest),
            "{text} does not name {wrong} and {nearest}"
        );
    }
    let connected = context
        .factory()
        .connect(context.namespace(), &[("zzzzzzzz", "1")])
        .await;
    ensure!(
        connected.is_err_and(|error| error.to_string().contains("zzzzzzzz")),
        "an option like no other was taken or not named"
    );
    Ok(())
}

async fn b2_an_unreadable_value_names_its_key(context: Context) -> Result<(), Violation> {
    for (key, value) in [
        ("retention", "forever"),
        ("retention.age", "a while"),
        ("retention.bytes", "-1"),
        ("retention.count", "many"),
        ("retention.full", "explode"),
        ("dedup_window", "2"),
        ("connect_timeout", "soon"),
        ("connect_lazily", "maybe"),
        ("provision", "perhaps"),
        ("publish_timeout", "1 fortnight"),
        ("window", "wide"),
        ("window", "0"),
        ("window_bytes", "1.5MiB"),
    ] {
        let connected = context
            .factory()
            .connect(context.namespace(), &[(key, value)])
            .await;
        let Err(error) = connected else {
            return Err(Violation::new(format_args!("{key}={value} was taken")));
        };
        ensure_eq!(
            error.kind(),
            ErrorKind::InvalidConfig,
            "the kind of {error}"
        );
        ensure!(
            error.to_string().contains(key),
            "{error} does not name {key}"
        );
    }
    Ok(())
}

async fn b4_what_exists_works_without_the_right_to_create(
    context: Context,
) -> Result<(), Violation> {
    let owner = context.client().await?;
    for note in notes("b.a", 0..5) {
        owner.publish(&note).await?;
    }
    owner.join(group("g", "b.a")).await?.leave().await?;
    for (round, provision) in (0..).zip(["verify", "none"]) {
        let client = context.client_with(&[("provision", provision)]).await?;
        let diary = Diary::new();
        let crew = client
            .employ(job(group("g", "b.a")), &diary, |_| Act::Done)
            .await?;
        client.publish(&Note::new("b.a", 10 + round)).await?;
        diary.until_done([10 + round]).await?;
        eventually(
            format!("all is settled with provision={provision}"),
            async || Ok(owner.info(&group("g", "b.a")).await?.lag == 0),
        )
        .await?;
        crew.shutdown().await?;
    }
    Ok(())
}
