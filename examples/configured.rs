//! Configuration: `bus.toml`, the environment and code decide where the bus is and how workers behave.
//!
//! Try `BUS__BUS__NAMESPACE=other` or `BUS_URL=redis://localhost` (with the feature `redis`) in front of it.

use bus::Config;

#[tokio::main]
async fn main() -> bus::Result<()> {
    let config = Config::loader()
        .file(concat!(env!("CARGO_MANIFEST_DIR"), "/bus.toml"))
        .set("bus.source", "example")
        .load()?;
    for value in config.values() {
        println!("{} = {} ({})", value.key, value.value, value.from);
    }
    let bus = config.connect().await?;
    println!("connected: {}", bus.health().await.connected);
    Ok(())
}
