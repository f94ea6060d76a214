//! A web service: a route publishes, `/healthz` says how the bus is.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use bus::{BusClient, Event, HealthStatus};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize, Event)]
#[event(type = "order.placed", topic = "orders.placed", key = "id")]
struct OrderPlaced {
    id: u64,
}

async fn place(State(bus): State<BusClient>, Path(id): Path<u64>) -> (StatusCode, String) {
    match bus.publish(&OrderPlaced { id }).await {
        Ok(stored) => (StatusCode::ACCEPTED, stored.id.to_string()),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
    }
}

async fn healthz(State(bus): State<BusClient>) -> (StatusCode, String) {
    let health = bus.health().await;
    match health.status {
        HealthStatus::Down => (StatusCode::SERVICE_UNAVAILABLE, health.problems.join("; ")),
        status => (StatusCode::OK, status.to_string()),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let bus = bus::connect("memory://").await?;
    let app = axum::Router::new().route("/orders/{id}", post(place));
    let app = app.route("/healthz", get(healthz)).with_state(bus);
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:3000".into());
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("listening on http://{}", listener.local_addr()?);
    Ok(axum::serve(listener, app).await?)
}
