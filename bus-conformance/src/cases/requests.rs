//! Q: who asks gets the answer.

use bus_api::{ErrorKind, RemoteFailure};
use futures_util::future::{join_all, try_join_all};
use tokio::time::Instant;

use crate::case::{Case, case};
use crate::context::Context;
use crate::outcome::{Violation, ensure, ensure_eq};
use crate::probe::{Bounds, Diary, Gate, Question, Run, Say, ms, post, secs};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(q1_the_typed_reply_comes_back),
        case!(q1_no_responders_is_said),
        case!(q1_a_responder_that_is_too_slow_is_a_timeout),
        case!(q1_a_failed_responder_is_remote_with_kind_and_text),
        case!(q2_responders_of_one_group_share_the_requests),
        case!(q2_each_request_gets_its_own_reply).within(secs(60)),
        case!(q5_requests_after_respond_reach_it),
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
    let crew = client
        .answer(post("p"), &diary, |run| match run.number {
            0 => Say::Answer,
            _ => Say::Nothing,
        })
        .await?;
    // The first request pays for what requests need of the broker.
    let first = client.request(&Question { number: 0 }).await?;
    ensure!(first.is_ok(), "the first request got {first:?}");
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
    ensure_eq!(diary.runs().len(), 2, "questions that arrived");
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
