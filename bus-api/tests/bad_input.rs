//! No text panics what reads it, and no secret comes back out of it.
//!
//! `PROPTEST_CASES=1000000 cargo test -p bus-api --release --test bad_input` reads a million texts of each kind.

use bus_api::{BusUrl, Group, Headers, Namespace, Pattern, Settings, Topic};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

const SECRET: &str = "s3cr3t-Xq";

/// Text that is nearly right, which gets deeper than noise does.
fn nearly(pieces: &'static [&'static str]) -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => select(pieces).prop_map(str::to_owned),
        1 => "(?s).{0,6}",
    ];
    prop_oneof![
        4 => vec(piece, 0..24).prop_map(|pieces| pieces.concat()),
        1 => "(?s).{0,64}",
    ]
}

fn url() -> impl Strategy<Value = String> {
    nearly(&[
        "memory",
        "redis",
        "nats",
        "kafka",
        "://",
        ":",
        "/",
        "//",
        "?",
        "&",
        "=",
        "@",
        ",",
        "%",
        "%4",
        "%zz",
        "%c3",
        "[",
        "]",
        "::1",
        "host",
        "6379",
        "99999",
        "user",
        "namespace=",
        "shop",
        "lease=",
        "5s",
        "retention=",
        "limits",
        "window=",
        "1e9",
        "-1",
        "18446744073709551616",
        "#",
        " ",
        "é",
        "\0",
    ])
}

fn name() -> impl Strategy<Value = String> {
    nearly(&[
        "a", "orders", ".", "..", "*", ">", "-", "_", "%", " ", "é", "\0", "A9",
    ])
}

proptest! {
    #[test]
    fn no_url_panics(text in url()) {
        if let Ok(mut url) = text.parse::<BusUrl>() {
            let shown = url.to_string();
            prop_assert!(shown.starts_with(url.scheme()));
            let _ = Settings::take(url.options_mut());
        }
    }

    #[test]
    fn no_error_of_a_url_shows_its_password(before in url(), after in url()) {
        let text = format!("redis://user:{SECRET}@{before}?{after}");
        let said = match text.parse::<BusUrl>() {
            Ok(mut url) => {
                let shown = format!("{url} {url:?}");
                match Settings::take(url.options_mut()) {
                    Ok(settings) => format!("{shown} {settings:?}"),
                    Err(error) => format!("{shown} {error} {error:?}"),
                }
            }
            Err(error) => format!("{error} {error:?}"),
        };
        prop_assert!(!said.contains(SECRET), "{}", said);
    }

    #[test]
    fn no_name_panics_and_what_is_taken_stays_as_it_is(text in name(), other in name()) {
        if let Ok(topic) = Topic::new(&text) {
            prop_assert_eq!(topic.as_str(), &text);
            prop_assert!(Pattern::new(&text).is_ok_and(|exact| exact.matches(&topic)));
            prop_assert!(Pattern::all().matches(&topic));
        }
        if let (Ok(one), Ok(two)) = (Pattern::new(&text), Pattern::new(&other)) {
            prop_assert_eq!(one.as_str(), &text);
            prop_assert_eq!(one.overlaps(&two), two.overlaps(&one));
        }
        let _ = (Group::new(&text), Namespace::new(&text));
        let _ = Headers::new().insert(&text, other);
    }
}
