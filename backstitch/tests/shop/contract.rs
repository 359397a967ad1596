//! What the port says of itself.

use serde_json::Value;

use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn the_port_serves_the_description_that_is_checked_in() {
    let shop = World::start().await;
    let served: Value = serde_json::from_str(&shop.client.text("/openapi.json").await.unwrap()).unwrap();
    let checked_in: Value = serde_json::from_str(include_str!("../../../schemas/openapi.json")).unwrap();
    let differing: Vec<&String> =
        paths(&served).filter(|path| served["paths"][path] != checked_in["paths"][path]).collect();
    assert_eq!(differing, Vec::<&String>::new(), "run `cargo run -p schemas -- write`");
    assert!(served == checked_in, "something beside the paths differs: run `cargo run -p schemas -- write`");
}

fn paths(document: &Value) -> impl Iterator<Item = &String> {
    document["paths"].as_object().unwrap().keys()
}
