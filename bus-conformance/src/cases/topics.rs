//! T1 and T2: topics and patterns.

use std::collections::BTreeSet;

use bus_api::{ErrorKind, Group, Namespace, Pattern, Topic};
use futures_util::future::try_join_all;

use crate::case::{Case, case};
use crate::context::{Client, Context};
use crate::outcome::{Violation, ensure, ensure_eq};
use crate::probe::{Ledger, Note, PATIENCE, ack_all, group, numbers, within};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(t1_a_wrong_topic_names_its_token),
        case!(t1_the_limits_are_exact),
        case!(t1_a_group_is_one_token),
        case!(t1_a_wrong_topic_is_refused_before_the_broker_is_asked),
        case!(t1_every_legal_topic_travels),
        case!(t2_patterns_follow_the_truth_table),
        case!(t2_patterns_follow_the_truth_table_on_later_topics),
        case!(t2_wildcards_stand_only_where_they_may),
    ]
}

fn refused(result: bus_api::Result<impl Sized>, what: &str, named: &str) -> Result<(), Violation> {
    match result {
        Ok(_) => Err(Violation::new(format_args!("{what:?} was accepted"))),
        Err(error) => {
            ensure_eq!(error.kind(), ErrorKind::InvalidTopic, "{what:?}");
            ensure!(
                error.to_string().contains(named),
                "{error} does not name {named}"
            );
            Ok(())
        }
    }
}

async fn t1_a_wrong_topic_names_its_token(_: Context) -> Result<(), Violation> {
    for (text, token) in [
        ("a..b", "\"\""),
        (".a", "\"\""),
        ("a.", "\"\""),
        ("a.b c", "b c"),
        ("a.*", "*"),
        ("a.>", ">"),
        ("é", "é"),
        ("a.b/c", "b/c"),
        ("a.b\0", "b\\0"),
        ("a.b:c", "b:c"),
        ("a.\u{661}", "\u{661}"),
    ] {
        refused(Topic::new(text), text, token)?;
    }
    Ok(())
}

async fn t1_the_limits_are_exact(_: Context) -> Result<(), Violation> {
    let long = "a".repeat(64);
    let bytes_200 = format!("{long}.{long}.{long}.bbbbb");
    for right in ["a", &long, &vec!["a"; 16].join("."), &bytes_200] {
        Topic::new(right)?;
        Pattern::new(right)?;
    }
    for (wrong, named) in [
        (String::new(), "at least one"),
        (format!("x.{long}a"), "65"),
        (vec!["a"; 17].join("."), "17"),
        (format!("{bytes_200}b"), "201"),
    ] {
        refused(Topic::new(&wrong), &wrong, named)?;
        refused(Pattern::new(&wrong), &wrong, named)?;
    }
    Ok(())
}

async fn t1_a_group_is_one_token(_: Context) -> Result<(), Violation> {
    for right in ["a", "A-1_b", &"g".repeat(64)] {
        Group::new(right)?;
    }
    for (wrong, named) in [("", "\"\""), ("a.b", "a.b"), ("*", "*"), ("é", "é")] {
        refused(Group::new(wrong), wrong, named)?;
    }
    for wrong in ["", "A", "a.b", "a_b", &"n".repeat(33)] {
        refused(Namespace::new(wrong), wrong, "namespace")?;
    }
    Ok(())
}

async fn t1_a_wrong_topic_is_refused_before_the_broker_is_asked(
    context: Context,
) -> Result<(), Violation> {
    let client = context.client().await?;
    for wrong in ["a..b", "a.*", "a b"] {
        refused(client.publish(&Note::new(wrong, 1)).await, wrong, "")?;
        refused(client.join(group("g", "a.>.b")).await, "a.>.b", ">")?;
        refused(client.join(group("g.h", "a")).await, "g.h", "g.h")?;
    }
    let topics = client.connection.bus.admin().topics().await?;
    ensure_eq!(topics, Vec::new(), "topics known after refused publishes");
    let subscriptions = client.connection.bus.admin().subscriptions().await?;
    ensure_eq!(
        subscriptions,
        Vec::new(),
        "subscriptions known after refused ones"
    );
    Ok(())
}

/// A broker that folds case, trims or cuts names loses some of these or delivers them elsewhere, which
/// every receipt checks.
async fn t1_every_legal_topic_travels(context: Context) -> Result<(), Violation> {
    let long = "x".repeat(64);
    let topics = [
        "a".to_owned(),
        "A".to_owned(),
        "0".to_owned(),
        "-".to_owned(),
        "_".to_owned(),
        "-a-.-b-".to_owned(),
        "__.--".to_owned(),
        "a-b.c".to_owned(),
        "a.b-c".to_owned(),
        "a_b.c".to_owned(),
        "a.b_c".to_owned(),
        "a--b".to_owned(),
        "a__b".to_owned(),
        vec!["t"; 16].join("."),
        format!("{long}.{long}.{long}.yyyyy"),
        "con.nul.aux".to_owned(),
        "0190d6c4-3c2a-7a5e-8000-000000000001".to_owned(),
    ];
    let client = context.client().await?;
    let ledger = Ledger::new();
    for (number, topic) in (0..).zip(&topics) {
        client.publish(&Note::new(topic, number)).await?;
        ledger.publish([number]);
    }
    let mut all = client.join(group("all", ">")).await?;
    all.take_all(&ledger).await?;
    let exact = (0..).zip(&topics).map(async |(number, topic)| {
        let mut exact = client.join(group("exact", topic)).await?;
        let token = exact.next().await?;
        ensure_eq!(
            token.number(),
            number,
            "what an exact pattern of {topic} gets"
        );
        token.ack().await?;
        exact.leave().await
    });
    try_join_all(exact).await.map(drop)
}

/// Patterns with the topics that match them, written out by hand: the table is the contract, not what
/// `Pattern::matches` says.
const TABLE: [(&str, &[&str]); 19] = [
    ("a", &["a"]),
    ("a.b", &["a.b"]),
    ("a.b.c", &["a.b.c"]),
    ("*", &["a", "b", "A", "ab"]),
    ("*.b", &["a.b"]),
    ("a.*", &["a.b", "a.bc", "a.B"]),
    ("*.*", &["a.b", "a.bc", "a.B", "b.a", "b.c"]),
    ("a.*.c", &["a.b.c", "a.bc.c"]),
    ("a.b.*", &["a.b.c", "a.b.d"]),
    ("*.b.*", &["a.b.c", "a.b.d"]),
    (">", &TOPICS),
    (
        "a.>",
        &[
            "a.b",
            "a.bc",
            "a.B",
            "a.b.c",
            "a.b.d",
            "a.bc.c",
            "a.b.c.d",
            "a.b.c.d.e",
        ],
    ),
    ("a.b.>", &["a.b.c", "a.b.d", "a.b.c.d", "a.b.c.d.e"]),
    (
        "a.*.>",
        &["a.b.c", "a.b.d", "a.bc.c", "a.b.c.d", "a.b.c.d.e"],
    ),
    ("*.*.c.>", &["a.b.c.d", "a.b.c.d.e"]),
    ("*.>", &DEEPER),
    // Wildcards at a depth that a prefix does not tell.
    ("a.b.*.d", &["a.b.c.d"]),
    ("*.*.*.*", &["a.b.c.d"]),
    ("a.b.c.*.e", &["a.b.c.d.e"]),
];

const TOPICS: [&str; 14] = [
    "a",
    "b",
    "A",
    "ab",
    "a.b",
    "a.bc",
    "a.B",
    "b.a",
    "b.c",
    "a.b.c",
    "a.b.d",
    "a.bc.c",
    "a.b.c.d",
    "a.b.c.d.e",
];

const DEEPER: [&str; 10] = [
    "a.b",
    "a.bc",
    "a.B",
    "b.a",
    "b.c",
    "a.b.c",
    "a.b.d",
    "a.bc.c",
    "a.b.c.d",
    "a.b.c.d.e",
];

async fn publish_table(client: &Client) -> Result<(), Violation> {
    for (number, topic) in (0..).zip(TOPICS) {
        client.publish(&Note::new(topic, number)).await?;
    }
    Ok(())
}

/// What the pattern of this row gets, exactly: each matching topic once and no other.
async fn check_row(
    mut inbox: crate::probe::Inbox,
    pattern: &str,
    topics: &[&str],
) -> Result<(), Violation> {
    let expected: BTreeSet<&str> = topics.iter().copied().collect();
    let held = inbox
        .hold(expected.len())
        .await
        .map_err(|violation| violation.because(format_args!("pattern {pattern}")))?;
    let got: BTreeSet<&str> = held.iter().map(|token| &*token.note().topic).collect();
    ensure_eq!(got, expected, "what pattern {pattern} gets");
    ack_all(held).await?;
    inbox
        .quiet()
        .await
        .map_err(|violation| violation.because(format_args!("pattern {pattern}")))?;
    inbox.leave().await
}

async fn t2_patterns_follow_the_truth_table(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    publish_table(&client).await?;
    let rows = TABLE.map(|(pattern, topics)| {
        let client = client.clone();
        async move {
            // One group for all: its patterns are subscriptions of their own (S4).
            let inbox = client.join(group("table", pattern)).await?;
            check_row(inbox, pattern, topics).await
        }
    });
    for row in futures_util::future::join_all(rows).await {
        row?;
    }
    Ok(())
}

async fn t2_patterns_follow_the_truth_table_on_later_topics(
    context: Context,
) -> Result<(), Violation> {
    let client = context.client().await?;
    let mut rows = Vec::new();
    for (pattern, topics) in TABLE {
        let inbox = client.join(group("table", pattern).latest()).await?;
        rows.push(check_row(inbox, pattern, topics));
    }
    publish_table(&client).await?;
    for row in within(
        PATIENCE * 2,
        "the table",
        futures_util::future::join_all(rows),
    )
    .await?
    {
        row?;
    }
    Ok(())
}

async fn t2_wildcards_stand_only_where_they_may(context: Context) -> Result<(), Violation> {
    for (wrong, named) in [
        ("a.>.b", ">"),
        (">.a", ">"),
        ("a>", "a>"),
        ("a*", "a*"),
        ("*a.b", "*a"),
        ("a.**", "**"),
        ("a.>>", ">>"),
        ("a.#", "#"),
    ] {
        refused(Pattern::new(wrong), wrong, named)?;
        refused(
            context.client().await?.join(group("g", wrong)).await,
            wrong,
            named,
        )?;
    }
    for right in ["*.*.*", "*.a.*.>", "*", ">"] {
        Pattern::new(right)?;
    }
    // `*` is one token, also at the root: two messages, one of them deeper.
    let client = context.client().await?;
    let mut inbox = client.join(group("g", "*.x").latest()).await?;
    client.publish(&Note::new("a.x", 1)).await?;
    client.publish(&Note::new("a.b.x", 2)).await?;
    client.publish(&Note::new("b.x", 3)).await?;
    let held = inbox.hold(2).await?;
    ensure_eq!(numbers(&held), vec![1, 3], "what *.x gets");
    inbox.quiet().await
}
