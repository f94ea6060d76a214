//! Server-side scripts: loaded whenever a connection is made, called by their hash.

use std::sync::LazyLock;

use redis::{Cmd, Pipeline, Script};

macro_rules! scripts {
    ($($name:ident = $file:literal),* $(,)?) => {
        $(pub(crate) static $name: LazyLock<Script> =
            LazyLock::new(|| Script::new(include_str!(concat!("scripts/", $file, ".lua"))));)*

        /// Loads all of them.
        pub(crate) fn load_all() -> Pipeline {
            let mut pipeline = Pipeline::new();
            $(pipeline.cmd("SCRIPT").arg("LOAD")
                .arg(include_str!(concat!("scripts/", $file, ".lua")));)*
            pipeline
        }
    };
}

scripts! {
    BEAT = "beat",
    DUE = "due",
    HINT = "hint",
    LAG = "lag",
    MOVE = "move",
    OWN = "own",
    PART = "part",
    PRESENCE = "presence",
    PUBLISH_DEDUP = "publish_dedup",
    READ = "read",
    RECREATE = "recreate",
    REMOVE = "remove",
    REQUEST = "request",
    RESET = "reset",
    SETTLE = "settle",
    STAY = "stay",
    TRIM = "trim",
}

/// A call of `script` with its keys; arguments are added to the command.
pub(crate) fn call<'a>(script: &Script, keys: impl IntoIterator<Item = &'a str>) -> Cmd {
    let keys: Vec<&str> = keys.into_iter().collect();
    let mut command = redis::cmd("EVALSHA");
    command.arg(script.get_hash()).arg(keys.len());
    for key in keys {
        command.arg(key);
    }
    command
}
