//! What is refused, with key, place and remedy.

use bus::{Config, ErrorKind};

use super::{file, hermetic};

fn refused(loader: bus::ConfigLoader, parts: &[&str]) {
    let error = loader.load().unwrap_err();
    let text = error.to_string();
    let kind = error.kind();
    assert!(
        matches!(kind, ErrorKind::InvalidConfig | ErrorKind::InvalidTopic),
        "{text}"
    );
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
    assert!(!text.contains("hunter2"), "{text}");
    assert!(!text.contains('\n'), "{text}");
}

#[test]
fn files() {
    for (text, parts) in [
        (
            "[bus]\nnamespcae = 'a'",
            &[
                "`namespcae`",
                "did you mean `namespace`?",
                "bus.namespcae",
                "bus.toml",
            ][..],
        ),
        (
            "[bsu]\nnamespace = 'a'",
            &["unknown section `bsu`", "did you mean `bus`?"],
        ),
        ("namespace = 'a'", &["outside of a section", "[bus]"]),
        (
            "[bus]\nwindow = 'hunter2'",
            &["`window`", "a number of messages", "bus.window"],
        ),
        (
            "[bus]\nwindow = [1]",
            &["a text, a number or a boolean", "bus.window"],
        ),
        (
            "[bus]\nretention.age = 7",
            &["`retention.age`", "250ms", "bus.retention.age"],
        ),
        (
            "[bus]\nnamespace = 'No Such'",
            &["a-z 0-9 -", "bus.namespace"],
        ),
        (
            "[memory]\npassword = 'hunter2'",
            &["unknown option `password`"],
        ),
        (
            "[memory]\nmax_payload = 'hunter2'",
            &["`max_payload`", "memory.max_payload"],
        ),
        (
            "[workers.mail]\nconcurency = 1",
            &["did you mean `concurrency`?", "workers.mail.concurency"],
        ),
        (
            "[workers.mail]\nconcurrency = 0",
            &["`concurrency`", "more than 0"],
        ),
        (
            "[bus]\nurl = 'hunter2'",
            &["starts with a scheme", "bus.url"],
        ),
        ("[bus]\n\npassword = 'hunter2", &["no TOML", "line 3"]),
        ("[bus]\nsource = 'a'\nsource = 'b'", &["no TOML", "line 3"]),
    ] {
        let (_directory, path) = file(text);
        let environment = [("BUS__BUS__SOURCE", "test")];
        let loader = Config::loader().file(path).environment(environment);
        let parts = [parts, &["bus.toml"]].concat();
        let loader = if text.contains("url") {
            loader
        } else {
            loader.url("memory://")
        };
        refused(loader, &parts);
    }
}

#[test]
fn environment() {
    for (variable, value, parts) in [
        (
            "BUS__BUS__NAMESPCAE",
            "a",
            &["did you mean `namespace`?", "BUS__BUS__NAMESPCAE"][..],
        ),
        (
            "BUS__REDSI__DATABASE",
            "a",
            &["did you mean `redis`?", "BUS__REDSI__DATABASE"],
        ),
        ("BUS__NAMESPACE", "a", &["outside of a section"]),
        (
            "BUS__BUS__WINDOW",
            "hunter2",
            &["`window`", "BUS__BUS__WINDOW"],
        ),
        ("BUS_URL", "memory://u:hunter2@h:x", &["a port", "BUS_URL"]),
        (
            "BUS_URL",
            "memory://?max_paylod=1",
            &["did you mean `max_payload`?", "BUS_URL"],
        ),
        (
            "BUS_CONFIG",
            "/no/such/bus.toml",
            &["cannot be read", "/no/such/bus.toml"],
        ),
    ] {
        // The first of a name counts.
        let variables = [(variable, value), ("BUS_URL", "memory://")];
        refused(Config::loader().environment(variables), parts);
    }
}

#[test]
fn nothing_to_connect_to() {
    refused(hermetic(), &["BUS_URL", "[bus]", "redis://localhost:6379"]);
}

#[cfg(feature = "redis")]
#[test]
fn sections_of_other_transports() {
    for (key, value, parts) in [
        (
            "redis.databse",
            "7",
            &["did you mean `database`?", "redis.databse", "code"][..],
        ),
        (
            "redis.database",
            "hunter2",
            &["the number of a database", "redis.database"],
        ),
        ("redis.namespace", "a", &["belongs to the section [bus]"]),
    ] {
        refused(hermetic().url("memory://").set(key, value), parts);
    }
}
