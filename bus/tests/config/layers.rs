//! What wins.

use bus::{Config, ErrorKind};

use super::{file, hermetic};

fn namespace(config: &Config) -> &str {
    config.url().options().get("namespace").unwrap_or("-")
}

const FILE: &str = r#"
    [bus]
    url = "memory://?namespace=query"
    namespace = "file"
    window = 7
    connect_lazily = true

    [bus.retention]
    mode = "settled"
    age = "1d"

    [memory]
    max_payload = "4KiB"
"#;

#[test]
fn the_later_wins() {
    let (_directory, path) = file(FILE);
    let with = |variables: &[(&str, &str)]| {
        let variables: Vec<(String, String)> = variables
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        Config::loader().file(&path).environment(variables)
    };
    let load = |variables: &[(&str, &str)]| with(variables).load().unwrap();

    let config = load(&[]);
    assert_eq!(namespace(&config), "query");
    assert_eq!(config.url().options().get("retention"), Some("settled"));
    assert_eq!(config.url().options().get("retention.age"), Some("1d"));
    assert_eq!(config.url().options().get("window"), Some("7"));

    let section = ("BUS__BUS__NAMESPACE", "variable");
    assert_eq!(namespace(&load(&[section])), "variable");
    // The query of another URL is gone with it.
    assert_eq!(namespace(&load(&[("BUS_URL", "memory://")])), "file");
    let both = [section, ("BUS_URL", "memory://?namespace=variable-query")];
    assert_eq!(namespace(&load(&both)), "variable-query");
    let given = with(&both).url("memory://?namespace=given");
    assert_eq!(namespace(&given.clone().load().unwrap()), "given");
    let code = given.set("bus.namespace", "code").load().unwrap();
    assert_eq!(namespace(&code), "code");
}

#[test]
fn every_value_says_where_it_came_from() {
    let (_directory, path) = file(FILE);
    let config = Config::loader()
        .file(&path)
        .environment([
            ("BUS__MEMORY__MEMORY_LIMIT", "1GiB"),
            ("BUS_URL", "memory://a"),
        ])
        .set("bus.source", "test")
        .load()
        .unwrap();
    let from = |key: &str| {
        let found = config.values().iter().find(|value| value.key == key);
        found.map_or("-", |value| value.from.as_str()).to_owned()
    };
    assert_eq!(from("bus.window"), path.display().to_string());
    assert_eq!(from("memory.memory_limit"), "BUS__MEMORY__MEMORY_LIMIT");
    assert_eq!(from("bus.source"), "code");
    assert_eq!(config.url().hosts()[0].host, "a");
    assert!(config.values().iter().all(|value| value.applies));
}

#[cfg(feature = "redis")]
#[test]
fn only_the_section_of_the_scheme_applies() {
    let load = |url: &str| {
        hermetic()
            .url(url)
            .set("redis.database", 7)
            .set("redis.max_payload", "1MiB")
            .set("memory.max_payload", "2MiB")
            .load()
            .unwrap()
    };
    let redis = load("redis://localhost");
    assert_eq!(redis.url().options().get("database"), Some("7"));
    assert_eq!(redis.url().options().get("max_payload"), Some("1MiB"));
    let memory = load("memory://");
    assert_eq!(memory.url().options().get("database"), None);
    assert_eq!(memory.url().options().get("max_payload"), Some("2MiB"));
    let idle = memory
        .values()
        .iter()
        .filter(|value| !value.applies)
        .count();
    assert_eq!(idle, 2);
}

#[tokio::test]
async fn it_takes_effect() {
    let (_directory, path) = file(FILE);
    let config = Config::loader()
        .file(&path)
        .environment(Vec::<(String, String)>::new())
        .load()
        .unwrap();
    let bus = config.connect().await.unwrap();
    assert_eq!(bus.settings().namespace.as_str(), "query");
    assert_eq!(bus.settings().window, 7);
    assert_eq!(bus.capabilities().max_payload, 4096);
}

#[tokio::test]
async fn a_transport_of_a_third_party_gets_the_options_of_its_url() {
    let config = hermetic()
        .url("pulsar://h?lanes=2&namespace=a")
        .load()
        .unwrap();
    assert_eq!(config.url().options().get("lanes"), Some("2"));
    let error = config.connect().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
}
