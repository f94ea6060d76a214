//! Right handlers pass the check attribute, and stay plain functions.

use bus_api::{
    Context, Envelope, Event as _, FromRef, HandlerError, HandlerResult, Metadata, Raw, Request,
    State,
};
use bus_derive::{Event, handler};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Event)]
#[event(crate = "bus_api", type = "order.placed", topic = "orders.placed")]
struct Placed;

#[derive(Serialize, Deserialize, Event)]
#[event(crate = "bus_api", type = "changed.{T}", topic = "changes")]
struct Changed<T>(T);

#[derive(Serialize, Deserialize, Event)]
#[event(crate = "bus_api", type = "price.query", topic = "prices")]
struct Query;

impl Request for Query {
    type Reply = Result<u64, String>;
}

#[derive(Clone)]
struct App {
    number: u8,
}

#[derive(Clone)]
#[allow(dead_code, reason = "only its type matters")]
struct Part(u8);

impl FromRef<App> for Part {
    fn from_ref(app: &App) -> Self {
        Self(app.number)
    }
}

type Alias = Envelope<Placed>;

#[handler(crate = "bus_api")]
async fn event(_: Placed) {}

#[handler(crate = "bus_api")]
async fn envelope(_: Envelope<Placed>, _: Metadata, _: Context) -> HandlerResult {
    Ok(())
}

#[handler(crate = "bus_api")]
async fn alias(_: Alias) -> Result<(), std::io::Error> {
    Ok(())
}

#[handler(crate = "bus_api")]
async fn raw(_: Raw, State(number): State<u8>) -> Result<(), HandlerError> {
    Err(number.to_string().into())
}

#[handler(state = App, crate = "bus_api")]
async fn parts(_: Placed, _: State<Part>, _: State<App>) -> Result<(), String> {
    Ok(())
}

#[handler(crate = "bus_api")]
async fn many(_: Vec<Placed>) {}

#[handler(crate = "bus_api")]
async fn many_envelopes(_: Vec<Envelope<Placed>>) -> Vec<Result<(), String>> {
    Vec::new()
}

#[handler(responder, crate = "bus_api")]
async fn answer(_: Query) -> HandlerResult<Result<u64, String>> {
    Ok(Ok(7))
}

#[handler(responder, crate = "bus_api")]
async fn sure_answer(_: Envelope<Query>) -> Result<u64, String> {
    Ok(7)
}

#[handler(crate = "bus_api")]
async fn generic<T>(_: Changed<T>) -> Result<(), String>
where
    T: bus_api::EventName + Serialize + DeserializeOwned + Send + Sync + 'static,
{
    Ok(())
}

#[test]
fn handlers_are_taken_by_a_worker_and_are_plain_functions() {
    let _ = |bus: bus_api::BusClient| {
        bus.worker("a")
            .state(App { number: 7 })
            .on(event)
            .on(envelope)
            .on(alias)
            .on(parts)
            .on_batch(8, std::time::Duration::ZERO, many)
            .on_batch(8, std::time::Duration::ZERO, many_envelopes)
            .respond(answer)
            .respond(sure_answer)
            .on(generic::<Placed>)
    };
    let _ = (event(Placed), raw as fn(_, _) -> _);
    let _ = Placed::types();
}
