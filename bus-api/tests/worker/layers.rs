//! Tower layers around handlers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context as TaskContext, Poll};

use bus_api::{Call, Context, HandlerError, Retry, State};
use tower::Service;
use tower::layer::layer_fn;
use tower::limit::ConcurrencyLimitLayer;
use tower::util::{MapRequestLayer, MapResultLayer};

use crate::support::*;

#[tokio::test(start_paused = true)]
async fn a_layer_sees_every_call_with_its_context() {
    within(async {
        let bus = bus();
        let (noter, mut notes) = notes();
        let seen = noter.clone();
        let layer = MapRequestLayer::new(move |call: Call| {
            for context in call.contexts() {
                seen.note(format!("layer {}", context.message().topic));
            }
            call
        });
        let worker = bus.worker("mail").state(noter).layer(layer);
        let _worker = worker
            .on(async |_: Placed, State(n): State<Noter<String>>| n.note("handler".into()))
            .start()
            .await
            .unwrap();
        bus.publish(&Placed { id: 1 }).await.unwrap();
        assert_eq!(notes.take(2).await, ["layer orders.placed", "handler"]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_layer_added_later_is_outside_and_its_errors_are_failures() {
    within(async {
        let bus = bus();
        let order = Arc::new(AtomicUsize::new(0));
        let (inner, outer) = (order.clone(), order.clone());
        let worker = bus
            .worker("mail")
            .on(async |_: Placed| {})
            .retry(Retry::never());
        let worker = worker
            .layer(MapResultLayer::new(
                move |result: Result<_, HandlerError>| {
                    assert_eq!(inner.fetch_add(1, Ordering::Relaxed), 0);
                    result
                },
            ))
            .layer(MapResultLayer::new(move |_| {
                assert_eq!(outer.fetch_add(1, Ordering::Relaxed), 1);
                Err(HandlerError::new("the layer does not like it"))
            }));
        let _worker = worker.start().await.unwrap();
        bus.publish(&Placed { id: 1 }).await.unwrap();
        assert_eq!(dead_letters(&bus, "mail", 1).await, [("handler".into(), 1)]);
        assert_eq!(order.load(Ordering::Relaxed), 2);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_layer_is_a_failure() {
    within(async {
        let bus = bus();
        let worker = bus
            .worker("mail")
            .on(async |_: Placed| {})
            .retry(Retry::never());
        let layer = MapRequestLayer::new(|_: Call| -> Call { panic!("no call passes") });
        let _worker = worker.layer(layer).start().await.unwrap();
        bus.publish(&Placed { id: 1 }).await.unwrap();
        assert_eq!(dead_letters(&bus, "mail", 1).await, [("panic".into(), 1)]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn limits_hold_messages_back_instead_of_failing_them() {
    within(async {
        let bus = bus();
        let most = Arc::new(AtomicUsize::new(0));
        let now = Arc::new(AtomicUsize::new(0));
        let handler = {
            let (most, now) = (most.clone(), now.clone());
            move |_: Placed| {
                let (most, now) = (most.clone(), now.clone());
                async move {
                    most.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                    tokio::time::sleep(ms(10)).await;
                    now.fetch_sub(1, Ordering::Relaxed);
                }
            }
        };
        let limits = ConcurrencyLimitLayer::new(2);
        let worker = bus
            .worker("mail")
            .pattern("orders.>")
            .on(handler)
            .layer(limits);
        let running = worker.start().await.unwrap();
        for id in 0..20 {
            bus.publish(&Placed { id }).await.unwrap();
        }
        settled(&bus, "mail").await;
        assert_eq!(most.load(Ordering::Relaxed), 2);
        assert_eq!(running.shutdown(secs(1)).await.handled, 20);
    })
    .await;
}

/// Is ready once it is told to be.
#[derive(Clone)]
struct Gated<T>(T, Arc<AtomicUsize>);

impl<T: Service<Call>> Service<Call> for Gated<T> {
    type Response = T::Response;
    type Error = T::Error;
    type Future = T::Future;

    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), T::Error>> {
        if self.1.load(Ordering::Relaxed) == 0 {
            let waker = cx.waker().clone();
            tokio::spawn(async move {
                tokio::time::sleep(ms(10)).await;
                waker.wake();
            });
            return Poll::Pending;
        }
        self.0.poll_ready(cx)
    }

    fn call(&mut self, call: Call) -> T::Future {
        self.0.call(call)
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_taken_before_the_layers_are_ready() {
    within(async {
        let bus = bus();
        let ready = Arc::new(AtomicUsize::new(0));
        let (noter, mut notes) = notes();
        let start = async || {
            let (noter, ready) = (noter.clone(), ready.clone());
            let worker = bus.worker("mail").state(noter).on(note_attempt);
            let layer = layer_fn(move |handlers| Gated(handlers, ready.clone()));
            worker.layer(layer).start().await.unwrap()
        };
        let running = start().await;
        bus.publish(&Placed { id: 1 }).await.unwrap();
        tokio::time::sleep(secs(100)).await;
        assert!(notes.none());
        let report = running.shutdown(secs(1)).await;
        assert_eq!((report.handled, report.failed), (0, 0));
        ready.store(1, Ordering::Relaxed);
        let _running = start().await;
        assert_eq!(notes.next().await, 1, "it was the first attempt");
    })
    .await;
}

async fn note_attempt(_: Placed, context: Context, State(noter): State<Noter<u32>>) {
    noter.note(context.attempt());
}
