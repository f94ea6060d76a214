//! Secrets in files of their own.

use bus::Config;

use super::{file, hermetic};

const SECRET: &str = "hunter2";

#[cfg(feature = "redis")]
#[test]
fn a_password_is_read_from_its_file() {
    let (directory, _) = file("");
    let path = directory.path().join("password");
    std::fs::write(&path, format!("{SECRET}\n")).unwrap();
    let config = hermetic()
        .url("redis://svc@localhost")
        .set("redis.password_file", path.display())
        .load()
        .unwrap();
    assert_eq!(config.url().user(), Some("svc"));
    assert_eq!(config.url().password().unwrap().expose(), SECRET);
    assert!(!format!("{config:?}").contains(SECRET), "{config:?}");
    assert_eq!(config.url().options().names().count(), 0);
}

#[cfg(feature = "redis")]
#[test]
fn a_later_password_replaces_an_earlier_file() {
    let (_directory, path) = file("[redis]\nuser = 'svc'\npassword_file = '/no/such/file'");
    let load = |variable: &str, value: &str| {
        Config::loader()
            .file(&path)
            .environment([("BUS_URL", "redis://localhost"), (variable, value)])
            .load()
    };
    for (variable, value) in [
        ("BUS__REDIS__PASSWORD", SECRET),
        ("BUS_URL", "redis://svc:hunter2@localhost"),
    ] {
        let config = match variable {
            "BUS_URL" => Config::loader()
                .file(&path)
                .environment([(variable, value)])
                .load(),
            _ => load(variable, value),
        };
        let config = config.unwrap();
        assert_eq!(config.url().password().unwrap().expose(), SECRET);
        assert!(!format!("{config:?}").contains(SECRET), "{config:?}");
        let shown = config.values().iter().find(|v| v.key == "redis.password");
        assert_eq!(shown.unwrap().value, "***");
    }
    let error = load("BUS__BUS__WINDOW", "1").unwrap_err().to_string();
    assert!(
        error.contains("/no/such/file") && error.contains("redis.password_file"),
        "{error}"
    );
}

#[cfg(feature = "redis")]
#[test]
fn two_passwords_of_one_place_are_refused() {
    let (_directory, path) = file("[redis]\npassword = 'hunter2'\npassword_file = 'x'");
    let loader = Config::loader()
        .file(path)
        .environment([("BUS_URL", "redis://localhost")]);
    let error = loader.load().unwrap_err().to_string();
    assert!(
        error.contains("both given") && !error.contains(SECRET),
        "{error}"
    );
}

/// The secrets of a transport that is not used need not be on the machine.
#[test]
fn the_file_of_another_transport_is_not_read() {
    hermetic()
        .url("memory://")
        .set("redis.password_file", "/no/such/file")
        .load()
        .unwrap();
}
