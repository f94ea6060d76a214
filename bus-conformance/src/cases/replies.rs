//! Q: replies, late or astray.

use std::collections::BTreeSet;

use bus_api::{ErrorKind, Message, ReplyTo, Requests, ResponderSpec};

use crate::case::{Case, case};
use crate::context::Context;
use crate::factory::Control;
use crate::outcome::{Violation, ensure, ensure_eq};
use crate::probe::{Answer, Diary, Question, Say, eventually, ms, post, secs};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(q3_a_late_reply_is_dropped),
        case!(q3_requesters_leave_nothing_behind).with(&[Control::Leftovers]),
        case!(q3_a_requester_that_dies_leaves_nothing_behind)
            .with(&[Control::Leftovers, Control::Kill]),
        case!(q6_a_made_up_reply_address_is_refused).with(&[Control::ForgeRequest]),
        case!(q6_reply_addresses_cannot_be_guessed),
    ]
}

/// The responder is the adapter's own, because a worker does not reply after the deadline at all.
async fn q3_a_late_reply_is_dropped(context: Context) -> Result<(), Violation> {
    let (client, responder) = (context.client().await?, context.client().await?);
    let mut requests = responder
        .connection
        .bus
        .respond(spec("p", Question::TOPIC)?)
        .await?;
    // What requests need is made for the first one, which may take longer than the late one has.
    let (outcome, request) = tokio::join!(client.ask(0), async {
        let request = requests.receiver.receive(1).await?.remove(0);
        let answer = reply(&request.message, 0)?;
        send(&requests, vec![(request.reply_to, answer)]).await
    });
    request?;
    outcome?;
    let asked = client.request(&Question { number: 1 }).timeout(secs(1));
    let (outcome, received) = tokio::join!(asked, requests.receiver.receive(1));
    let late = received?.remove(0);
    match outcome {
        Err(error) if error.kind() == ErrorKind::Timeout => {}
        other => return Err(Violation::new(format_args!("no reply gave {other:?}"))),
    }
    for number in 2..20 {
        let (outcome, answered) = tokio::join!(client.ask(number), async {
            let request = requests.receiver.receive(1).await?.remove(0);
            // The late reply comes just before the one that is waited for.
            let batch = vec![
                (late.reply_to.clone(), reply(&late.message, 1)?),
                (request.reply_to, reply(&late.message, number)?),
            ];
            send(&requests, batch).await
        });
        answered?;
        outcome?;
    }
    Ok(())
}

/// An answer as a message like this request.
fn reply(request: &Message, number: u64) -> Result<Message, Violation> {
    let answer: Result<Answer, String> = Ok(Answer {
        number,
        by: "p".to_owned(),
    });
    let mut message = request.clone();
    message.payload = serde_json::to_vec(&answer).map_err(Violation::new)?.into();
    message.metadata.content_type = Some("application/json".into());
    Ok(message)
}

async fn send(requests: &Requests, batch: Vec<(ReplyTo, Message)>) -> Result<(), Violation> {
    for result in requests.replier.reply(batch).await {
        result?;
    }
    Ok(())
}

async fn q3_requesters_leave_nothing_behind(context: Context) -> Result<(), Violation> {
    let factory = context.factory().clone();
    let responder = context.client().await?;
    let crew = responder
        .answer(post("p"), &Diary::new(), |_| Say::Answer)
        .await?;
    for round in 0..3 {
        let requester = context.client().await?;
        for number in 0..10 {
            requester.ask(round * 10 + number).await?;
        }
        requester.close().await?;
    }
    crew.shutdown().await?;
    responder.close().await?;
    eventually("requesters that have closed left nothing", async || {
        Ok(factory.leftovers(context.namespace()).await?.is_empty())
    })
    .await
    .map_err(|violation| violation.because("topics, streams, groups, consumers or keys are left"))
}

async fn q3_a_requester_that_dies_leaves_nothing_behind(context: Context) -> Result<(), Violation> {
    let factory = context.factory().clone();
    let (responder, diary) = (context.client().await?, Diary::new());
    let crew = responder
        .answer(post("p"), &diary, |run| {
            if run.number == 2 {
                Say::Nothing
            } else {
                Say::Answer
            }
        })
        .await?;
    let doomed = context.client().await?;
    doomed.ask(1).await?;
    // It dies with a request outstanding.
    let asking = tokio::spawn({
        let bus = doomed.bus.clone();
        async move { bus.request(&Question { number: 2 }).await.is_ok() }
    });
    diary.until_runs(2).await?;
    doomed.connection.disturb.kill().await;
    asking.abort();
    drop(doomed);
    crew.drain(ms(10)).await?;
    responder.close().await?;
    eventually("a requester that died left nothing", async || {
        Ok(factory.leftovers(context.namespace()).await?.is_empty())
    })
    .await
}

async fn q6_a_made_up_reply_address_is_refused(context: Context) -> Result<(), Violation> {
    let (client, diary) = (context.client().await?, Diary::new());
    let crew = client.answer(post("p"), &diary, |_| Say::Answer).await?;
    client.ask(1).await?;
    let sent = context
        .factory()
        .forge_request(context.namespace(), Question::TOPIC, secs(2))
        .await?;
    ensure!(
        !sent,
        "a reply was sent to an address that the bus did not make"
    );
    // It serves others as before.
    client.ask(2).await?;
    crew.shutdown().await
}

async fn q6_reply_addresses_cannot_be_guessed(context: Context) -> Result<(), Violation> {
    let responder = context.client().await?;
    let mut requests = responder
        .connection
        .bus
        .respond(spec("p", Question::TOPIC)?)
        .await?;
    let mut addresses = BTreeSet::new();
    for number in 0..8 {
        let requester = context.client().await?;
        let bus = requester.bus.clone();
        let asking = tokio::spawn(async move { bus.request(&Question { number }).await.is_ok() });
        for request in requests.receiver.receive(64).await? {
            addresses.insert(request.reply_to.as_str().to_owned());
        }
        asking.abort();
    }
    ensure_eq!(addresses.len(), 8, "addresses of eight requesters");
    // What two neighbours in order share is what one knows of the other: after that, 64 bits and more.
    let sorted: Vec<String> = addresses.into_iter().collect();
    for pair in sorted.windows(2) {
        let shared = pair[0]
            .bytes()
            .zip(pair[1].bytes())
            .take_while(|(left, right)| left == right)
            .count();
        ensure!(
            pair[0].len() >= shared + 12,
            "two reply addresses differ in their last {} characters only",
            pair[0].len() - shared
        );
    }
    Ok(())
}

fn spec(group: &str, pattern: &str) -> Result<ResponderSpec, Violation> {
    Ok(ResponderSpec {
        group: group.parse()?,
        pattern: pattern.parse()?,
        max_in_flight: 64,
    })
}
