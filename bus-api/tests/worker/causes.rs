//! What handlers publish names its cause.

use bus_api::{Context, Envelope, HandlerResult, Retry, State, TraceContext};

use crate::support::*;

async fn cascade(_: Placed, ctx: Context) -> HandlerResult {
    ctx.publish(&MailSent { id: 1 }).await?;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn causation_correlation_and_trace_are_passed_on() {
    within(async {
        let bus = bus();
        let (noter, mut notes) = notes();
        let _orders = bus.worker("mail").on(cascade).start().await.unwrap();
        let _mails = bus
            .worker("audit")
            .state(noter)
            .on(
                async |e: Envelope<MailSent>, State(n): State<Noter<bus_api::Metadata>>| {
                    n.note(e.metadata);
                },
            )
            .start()
            .await
            .unwrap();
        let placed = bus.publish(&Placed { id: 1 }).await.unwrap();
        let caused = notes.next().await;
        assert_eq!(
            caused.causation_id.as_deref(),
            Some(&*placed.id.to_string())
        );
        assert_eq!(
            caused.correlation_id.as_deref(),
            Some(&*placed.id.to_string())
        );
        assert_eq!(caused.trace, None);

        let trace = TraceContext {
            traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into(),
            tracestate: None,
        };
        let publish = bus.publish(&Placed { id: 1 }).correlation_id("visit-7");
        let placed = publish.trace(trace.clone()).await.unwrap();
        let caused = notes.next().await;
        assert_eq!(
            caused.causation_id.as_deref(),
            Some(&*placed.id.to_string())
        );
        assert_eq!(caused.correlation_id.as_deref(), Some("visit-7"));
        assert_eq!(caused.trace, Some(trace));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn once_means_the_same_id_on_a_retry() {
    within(async {
        let bus = bus();
        let (noter, mut notes) = notes();
        let (received, mut receives) = crate::support::notes();
        let worker = bus
            .worker("mail")
            .state(noter)
            .retry(Retry::exponential(ms(10), ms(10)).attempts(3));
        let _orders = worker
            .on(
                async |_: Placed,
                       ctx: Context,
                       State(n): State<Noter<(bus_api::MessageId, bool)>>| {
                    let first = ctx.publish(&MailSent { id: 1 }).once().await?;
                    let other = ctx.publish(&MailSent { id: 2 }).once().await?;
                    assert_ne!(first.id, other.id);
                    n.note((first.id, first.duplicate));
                    if ctx.attempt() < 3 {
                        Err("again")?
                    } else {
                        HandlerResult::Ok(())
                    }
                },
            )
            .start()
            .await
            .unwrap();
        let _mails = bus
            .worker("audit")
            .state(received)
            .on(async |e: MailSent, State(n): State<Noter<u64>>| n.note(e.id))
            .start()
            .await
            .unwrap();
        bus.publish(&Placed { id: 1 }).await.unwrap();
        let tries = notes.take(3).await;
        assert!(tries.iter().all(|(id, _)| *id == tries[0].0));
        assert_eq!(
            tries
                .iter()
                .map(|(_, duplicate)| *duplicate)
                .collect::<Vec<_>>(),
            [false, true, true]
        );
        assert_eq!(receives.take(2).await, [1, 2]);
        settled(&bus, "audit").await;
        assert!(receives.none());
        bus.publish(&Placed { id: 1 }).await.unwrap();
        assert_ne!(
            notes.next().await.0,
            tries[0].0,
            "another message, another id"
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_handler_is_a_plain_function() {
    within(async {
        let bus = bus();
        let event = Placed { id: 1 };
        let context = Context::for_test(&bus, &event).unwrap().with_attempt(2);
        assert_eq!((context.attempt(), context.is_cancelled()), (2, false));
        assert_eq!(context.message().topic.as_str(), "orders.placed");
        cascade(event, context.clone()).await.unwrap();
        let once = context.publish(&MailSent { id: 1 }).once().await.unwrap();
        let again = context.publish(&MailSent { id: 1 }).once().await.unwrap();
        assert_eq!((once.id, again.duplicate), (again.id, true));
    })
    .await;
}
