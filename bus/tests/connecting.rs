//! From a URL to a client.

use std::sync::Arc;

use bus::{Bus, BusUrl, Connector, Error, ErrorKind, Result, Settings};

#[tokio::test]
async fn the_transports_that_were_compiled_in_are_known() {
    assert!(Connector::new().schemes().any(|scheme| scheme == "memory"));
    let bus = bus::connect("memory://?namespace=shop").await.unwrap();
    assert_eq!(bus.adapter().name(), "memory");
    assert_eq!(bus.settings().namespace.as_str(), "shop");
}

#[tokio::test]
async fn an_unknown_scheme_or_option_names_the_nearest() {
    for (url, hint) in [
        ("memroy://", "did you mean `memory`?"),
        ("memory://?namespcae=shop", "did you mean `namespace`?"),
    ] {
        let error = bus::connect(url).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{url}");
        assert!(error.to_string().contains(hint), "{url}: {error}");
    }
}

#[tokio::test]
async fn a_scheme_without_a_neighbour_lists_what_there_is() {
    let error = bus::connect("carrier-pigeon://loft").await.unwrap_err();
    let text = error.to_string();
    let (_, known) = text.split_once("known are ").unwrap();
    assert!(
        known.split(", ").any(|scheme| scheme == "memory"),
        "{error}"
    );
}

#[tokio::test]
async fn a_transport_of_a_third_party_is_one_more_scheme() {
    async fn open(_: BusUrl, settings: Settings) -> Result<Arc<dyn Bus>> {
        assert_eq!(settings.namespace.as_str(), "shop");
        Err(Error::new(ErrorKind::Unavailable, "away"))
    }
    let connector = Connector::new().with("Pulsar", open);
    let error = connector
        .connect("pulsar://host?namespace=shop")
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    connector.connect("memory://").await.unwrap();
}
