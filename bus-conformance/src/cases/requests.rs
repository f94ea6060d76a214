//! Q: request and reply.

use std::collections::BTreeSet;

use bus_api::{ErrorKind, Message, RemoteFailure, ResponderSpec};
use futures_util::future::{join_all, try_join_all};
use tokio::time::Instant;

use crate::case::{Case, case};
use crate::context::Context;
use crate::factory::Control;
use crate::outcome::{Violation, ensure, ensure_eq};
use crate::probe::{
    Answer, Bounds, Diary, Gate, Note, PATIENCE, QUIET, Question, Run, Say, broadcast, eventually,
    group, ms, post, secs,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(q1_the_typed_reply_comes_back),
        case!(q1_no_responders_is_said),
        case!(q1_a_responder_that_is_too_slow_is_a_timeout),
        case!(q1_a_failed_responder_is_remote_with_kind_and_text),
        case!(q2_responders_of_one_group_share_the_requests),
        case!(q2_each_request_gets_its_own_reply).within(secs(60)),
        case!(q3_a_late_reply_is_dropped),
        case!(q3_requesters_leave_nothing_behind).with(&[Control::Leftovers]),
        case!(q3_a_requester_that_dies_leaves_nothing_behind)
            .with(&[Control::Leftovers, Control::Kill]),
        case!(q4_a_request_is_never_seen_by_subscriptions),
        case!(q4_a_group_sees_a_request_once),
        case!(q4_a_request_is_never_handed_over_late),
        case!(q4_the_first_reply_wins),
        case!(q4_a_failed_request_is_not_tried_again),
        case!(q5_requests_after_respond_reach_it),
        case!(q6_a_made_up_reply_address_is_refused).with(&[Control::ForgeRequest]),
        case!(q6_reply_addresses_cannot_be_guessed),
    ]
}

async fn q1_the_typed_reply_comes_back(context: Context) -> Result<(), Violation> {
    let (here, there) = (context.client().await?, context.client().await?);
    let diary = Diary::new();
    let crew = there
        .answer(post("p"), &diary, |run| match run.number {
            2 => Say::No("unknown sku".into()),
            _ => Say::Answer,
        })
        .await?;
    let answer = here.ask(1).await?;
    ensure_eq!(answer.by, "p", "who answered");
    // An error of the domain is data.
    let refused = here.request(&Question { number: 2 }).await?;
    ensure_eq!(
        refused,
        Err("unknown sku".to_owned()),
        "the reply of the domain"
    );
    let runs = diary.runs();
    ensure_eq!(runs.len(), 2, "questions that arrived");
    let asked = &runs[0].message;
    ensure_eq!(
        asked.topic.as_str(),
        Question::TOPIC,
        "the topic of the request"
    );
    ensure_eq!(
        asked.metadata.event_type.as_deref(),
        Some("conformance.question"),
        "the type of the request"
    );
    crew.shutdown().await
}

async fn q1_no_responders_is_said(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    let patience = secs(4);
    for round in ["before any responder was there", "after one has left"] {
        let begun = Instant::now();
        let asked = client.request(&Question { number: 1 }).timeout(patience);
        match asked.await {
            Err(error) if error.kind() == ErrorKind::NoResponders => {}
            other => {
                return Err(Violation::new(format_args!(
                    "asking nobody, {round}, gave {other:?}"
                )));
            }
        }
        let took = begun.elapsed();
        let limit = if client.capabilities().immediate_no_responders {
            secs(1)
        } else {
            patience + Bounds::of(&context).prompt
        };
        ensure!(took < limit, "{round}: NoResponders after {took:?}");
        let crew = client
            .answer(post("p"), &Diary::new(), |_| Say::Answer)
            .await?;
        client.ask(2).await?;
        crew.shutdown().await?;
    }
    Ok(())
}

async fn q1_a_responder_that_is_too_slow_is_a_timeout(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    let diary = Diary::new();
    let crew = client.answer(post("p"), &diary, |_| Say::Nothing).await?;
    let (begun, timeout) = (Instant::now(), ms(700));
    match client
        .request(&Question { number: 1 })
        .timeout(timeout)
        .await
    {
        Err(error) if error.kind() == ErrorKind::Timeout => {}
        other => {
            return Err(Violation::new(format_args!(
                "a slow responder gave {other:?}"
            )));
        }
    }
    let took = begun.elapsed();
    ensure!(
        took + ms(2) >= timeout && took <= timeout + Bounds::of(&context).prompt,
        "Timeout after {took:?}; asked for {timeout:?}"
    );
    ensure_eq!(diary.runs().len(), 1, "questions that arrived");
    crew.drain(ms(10)).await?;
    Ok(())
}

async fn q1_a_failed_responder_is_remote_with_kind_and_text(
    context: Context,
) -> Result<(), Violation> {
    let client = context.client().await?;
    let crew = client
        .answer(post("p"), &Diary::new(), |run| match run.number {
            1 => Say::Fail("the index is gone".into()),
            2 => Say::Panic,
            _ => Say::Answer,
        })
        .await?;
    for (number, kind, text) in [(1, "handler", "the index is gone"), (2, "panic", "")] {
        let error = match client.request(&Question { number }).await {
            Err(error) if error.kind() == ErrorKind::Remote => error,
            other => {
                return Err(Violation::new(format_args!(
                    "a responder that ends with {kind} gave {other:?}"
                )));
            }
        };
        let Some(failure) = error.downcast_source::<RemoteFailure>() else {
            return Err(Violation::new(format_args!(
                "{error} has no remote failure"
            )));
        };
        ensure_eq!(failure.kind(), kind, "the responder's kind");
        ensure!(
            failure.text().contains(text),
            "the responder's text is {:?}",
            failure.text()
        );
    }
    client.ask(3).await?;
    crew.shutdown().await
}

async fn q2_responders_of_one_group_share_the_requests(context: Context) -> Result<(), Violation> {
    let (client, diary) = (context.client().await?, Diary::new());
    let mut crews = Vec::new();
    for name in ["p1", "p2", "p3"] {
        let member = context.client().await?;
        let crew = member
            .answer(post("p").named(name), &diary, |_| Say::Answer)
            .await?;
        crews.push((member, crew));
    }
    try_join_all((0..300).map(|number| client.ask(number))).await?;
    diary.exactly(0..300)?;
    ensure_eq!(diary.runs().len(), 300, "hand-overs of 300 requests");
    for (_, crew) in crews {
        crew.shutdown().await?;
    }
    Ok(())
}

/// Two requesters with 500 requests each, all outstanding together; the replies come in another order.
async fn q2_each_request_gets_its_own_reply(context: Context) -> Result<(), Violation> {
    let (left, right) = (context.client().await?, context.client().await?);
    let (diary, gates) = (Diary::new(), [Gate::new(), Gate::new(), Gate::new()]);
    let waiting = gates.clone();
    let responder = context.client().await?;
    let crew = responder
        .answer(post("p").concurrency(2_000), &diary, move |run: &Run| {
            Say::When(waiting[(run.number % 3) as usize].clone())
        })
        .await?;
    let asked = join_all((0..1_000).map(|number| {
        let client = if number % 2 == 0 { &left } else { &right };
        client.ask(number)
    }));
    let release = async {
        diary.until_runs(1_000).await?;
        for gate in gates.iter().rev() {
            gate.open();
            tokio::task::yield_now().await;
        }
        Ok::<_, Violation>(())
    };
    let (answers, released) = tokio::join!(asked, release);
    released?;
    for answer in answers {
        answer?;
    }
    diary.exactly(0..1_000)?;
    ensure_eq!(diary.runs().len(), 1_000, "hand-overs of 1,000 requests");
    crew.shutdown().await
}

/// The responder is the adapter's own, because a worker does not reply after the deadline at all.
async fn q3_a_late_reply_is_dropped(context: Context) -> Result<(), Violation> {
    let (client, responder) = (context.client().await?, context.client().await?);
    let mut requests = responder
        .connection
        .bus
        .respond(spec("p", Question::TOPIC)?)
        .await?;
    let asked = client.request(&Question { number: 1 }).timeout(ms(300));
    let (outcome, received) = tokio::join!(asked, requests.receiver.receive(1));
    let late = received?.remove(0);
    match outcome {
        Err(error) if error.kind() == ErrorKind::Timeout => {}
        other => return Err(Violation::new(format_args!("no reply gave {other:?}"))),
    }
    let reply = |number| -> Result<Message, Violation> {
        let answer: Result<Answer, String> = Ok(Answer {
            number,
            by: "p".to_owned(),
        });
        let mut message = (*late.message).clone();
        message.payload = serde_json::to_vec(&answer).map_err(Violation::new)?.into();
        message.metadata.content_type = Some("application/json".into());
        Ok(message)
    };
    for number in 2..20 {
        let asked = client.request(&Question { number }).timeout(secs(10));
        let answering = async {
            let request = requests.receiver.receive(1).await?.remove(0);
            // The late reply comes just before the one that is waited for.
            let batch = vec![
                (late.reply_to.clone(), reply(1)?),
                (request.reply_to, reply(number)?),
            ];
            for result in requests.replier.reply(batch).await {
                result?;
            }
            Ok::<_, Violation>(())
        };
        let (outcome, answered) = tokio::join!(asked, answering);
        answered?;
        let answer = outcome?.map_err(Violation::new)?;
        ensure_eq!(answer.number, number, "the number in the reply");
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

async fn q4_a_request_is_never_seen_by_subscriptions(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    let mut inboxes = Vec::new();
    for pattern in [">", "ask.>", Question::TOPIC] {
        inboxes.push(client.join(group("g", pattern)).await?);
        inboxes.push(client.join(broadcast(pattern)).await?);
    }
    let crew = client
        .answer(post("p"), &Diary::new(), |_| Say::Answer)
        .await?;
    for number in 0..20 {
        client.ask(number).await?;
    }
    // A message of the same topic shows that the subscriptions work, and comes first.
    client.publish(&Note::new(Question::TOPIC, 7)).await?;
    for inbox in &mut inboxes {
        let token = inbox.next().await?;
        ensure_eq!(token.number(), 7, "the first that a subscription sees");
        token.ack().await?;
        inbox.quiet().await?;
    }
    // Nor are they stored for who comes later.
    let mut late = client.join(group("late", ">")).await?;
    late.next().await?.ack().await?;
    late.quiet().await?;
    crew.shutdown().await
}

/// Nobody answers before every group has had the time to see each request, and to see it twice.
async fn q4_a_group_sees_a_request_once(context: Context) -> Result<(), Violation> {
    const ALL: u64 = 60;
    let (client, gate) = (context.client().await?, Gate::new());
    let (diaries, mut crews) = ([Diary::new(), Diary::new()], Vec::new());
    for (name, diary) in ["p", "q"].into_iter().zip(&diaries) {
        for member in ["a", "b", "c"] {
            let (responder, waiting) = (context.client().await?, gate.clone());
            let crew = responder
                .answer(post(name).named(member), diary, move |_| {
                    Say::When(waiting.clone())
                })
                .await?;
            crews.push((responder, crew));
        }
    }
    let asked = try_join_all((0..ALL).map(|number| client.ask(number)));
    let watch = async {
        for diary in &diaries {
            diary.until_runs(ALL as usize).await?;
        }
        tokio::time::sleep(QUIET).await;
        for (name, diary) in ["p", "q"].into_iter().zip(&diaries) {
            let numbers: BTreeSet<u64> = diary.runs().iter().map(|run| run.number).collect();
            ensure_eq!(
                (diary.runs().len(), numbers.len()),
                (ALL as usize, ALL as usize),
                "hand-overs to group {name}, and different requests among them"
            );
        }
        gate.open();
        Ok::<_, Violation>(())
    };
    let (answers, watched) = tokio::join!(asked, watch);
    watched?;
    answers?;
    for (_, crew) in crews {
        crew.shutdown().await?;
    }
    Ok(())
}

/// One request waits on the broker while the responder is busy, another one in the responder's own hands;
/// when it is their turn, nobody waits for them any more.
async fn q4_a_request_is_never_handed_over_late(context: Context) -> Result<(), Violation> {
    let (client, diary) = (context.client().await?, Diary::new());
    let gates = [Gate::new(), Gate::new()];
    let busy = gates.clone();
    let crew = client
        .answer(post("p").concurrency(1), &diary, move |run| {
            match run.number {
                1 => Say::When(busy[0].clone()),
                3 => Say::When(busy[1].clone()),
                _ => Say::Answer,
            }
        })
        .await?;
    let ask = |number, patience| {
        let bus = client.bus.clone();
        tokio::spawn(async move { bus.request(&Question { number }).timeout(patience).await })
    };
    let is_late = |outcome: Result<_, bus_api::Error>, number| match outcome {
        Err(error) if error.kind() == ErrorKind::Timeout => Ok(()),
        other => Err(Violation::new(format_args!(
            "request {number} in waiting gave {other:?}"
        ))),
    };
    let first = ask(1, PATIENCE);
    diary.until_runs(1).await?;
    let on_the_broker = client.request(&Question { number: 2 }).timeout(ms(400));
    is_late(on_the_broker.await, 2)?;
    // These two are fetched together when the responder is free again.
    let third = ask(3, PATIENCE);
    tokio::time::sleep(ms(100)).await;
    let in_hand = ask(4, secs(3));
    tokio::time::sleep(ms(100)).await;
    gates[0].open();
    diary.until_runs(2).await?;
    is_late(in_hand.await.map_err(Violation::new)?, 4)?;
    // On a virtual clock it would be its turn in the very moment of its deadline.
    tokio::time::sleep(ms(5)).await;
    gates[1].open();
    for asked in [first, third] {
        asked
            .await
            .map_err(Violation::new)??
            .map_err(Violation::new)?;
    }
    client.ask(5).await?;
    for number in [2, 4] {
        ensure!(
            diary.runs_of(number).is_empty(),
            "request {number} was handed to its responder after its deadline"
        );
    }
    crew.shutdown().await
}

async fn q4_the_first_reply_wins(context: Context) -> Result<(), Violation> {
    let (client, gates) = (context.client().await?, [Gate::new(), Gate::new()]);
    let (slow, fast) = (Diary::new(), Diary::new());
    let [late, early] = gates.clone();
    let first = client
        .answer(post("slow"), &slow, move |_| Say::When(late.clone()))
        .await?;
    let second = client
        .answer(post("fast"), &fast, move |_| Say::When(early.clone()))
        .await?;
    let asked = client.ask(1);
    let release = async {
        slow.until_runs(1).await?;
        fast.until_runs(1).await?;
        gates[1].open();
        Ok::<_, Violation>(())
    };
    let (answer, released) = tokio::join!(asked, release);
    released?;
    ensure_eq!(answer?.by, "fast", "who answered first");
    gates[0].open();
    slow.until_done([1]).await?;
    // The second reply is on its way; the next request gets its own.
    for number in 2..10 {
        client.ask(number).await?;
    }
    first.shutdown().await?;
    second.shutdown().await
}

async fn q4_a_failed_request_is_not_tried_again(context: Context) -> Result<(), Violation> {
    let (client, diary) = (context.client().await?, Diary::new());
    let crew = client
        .answer(post("p"), &diary, |run| match run.number {
            1 => Say::Fail("no".into()),
            2 => Say::Panic,
            _ => Say::Answer,
        })
        .await?;
    for number in 1..=2 {
        let asked = client.request(&Question { number }).await;
        ensure!(asked.is_err(), "a failing responder gave {asked:?}");
    }
    client.ask(3).await?;
    crew.shutdown().await?;
    ensure_eq!(diary.runs().len(), 3, "hand-overs of three requests");
    ensure_eq!(
        client.buried_count("p").await?,
        0,
        "dead letters of requests"
    );
    Ok(())
}

/// A responder that is only announced when `respond` returns misses the first question.
async fn q5_requests_after_respond_reach_it(context: Context) -> Result<(), Violation> {
    let client = context.client().await?;
    for number in 0..15 {
        let responder = context.client().await?;
        let crew = responder
            .answer(post("p"), &Diary::new(), |_| Say::Answer)
            .await?;
        client.ask(number).await?;
        crew.shutdown().await?;
    }
    Ok(())
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
