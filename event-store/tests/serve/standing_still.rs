//! Clients that stand still, say nothing or speak something else: they keep nobody else out, and the server can stop.

use read::CountOption::Count;
use read::all_options::AllOption;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::Code;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Endpoint;
use tonic_prost::ProstCodec;

use super::*;

/// Subscriptions that are not read: more than there was room for in the log's queue of reads, fewer than one connection may have.
const STANDING_STILL: usize = 400;
/// Reads that one connection may have open, as documented.
const READS_PER_CONNECTION: usize = 512;

impl Served {
    /// A client that takes 64 KiB and then no more, unless it is read.
    async fn small_client(&self) -> StreamsClient<Channel> {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address)).unwrap();
        let small = endpoint.initial_connection_window_size(65_535).initial_stream_window_size(65_535);
        StreamsClient::new(small.connect().await.unwrap())
    }
}

fn from_the_start() -> read_req::Options {
    options(of_all(AllOption::Start(())), FOLLOW, false)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_reads_nothing_blocks_no_other_reader_and_no_stop_of_the_server() {
    let served = Served::start().await;
    for first in (0..3_000).step_by(500) {
        served.append("order-1", first, 500).await;
    }
    let mut still = served.small_client().await;
    let mut subscriptions = Vec::new();
    for _ in 0..STANDING_STILL {
        subscriptions.push(within(start_read(&mut still, from_the_start())).await.unwrap());
    }
    let mut client = served.client().await;
    for _ in 0..30 {
        let found = within(read_all(&mut client, options(of_all(AllOption::Start(())), Count(600), false))).await;
        assert_eq!(places(&found).len(), 600);
        within(served.store.probe(PATIENCE)).await.unwrap();
    }
    let answer = within(append(&mut client, "order-2", Wish::NoStream(()), vec![proposed(1)])).await.unwrap();
    assert_eq!(done(answer).0, 0);
    // One connection has no more than its share, and is told so.
    let refused = loop {
        match within(start_read(&mut still, from_the_start())).await {
            Ok(subscription) => subscriptions.push(subscription),
            Err(status) => break status,
        }
    };
    assert_eq!((subscriptions.len(), refused.code()), (READS_PER_CONNECTION, Code::ResourceExhausted), "{refused:?}");
    assert!(refused.message().contains("on this connection"), "{refused:?}");
    // Those that are read after all miss nothing.
    let mut one = subscriptions.remove(0);
    drop(subscriptions);
    let mut seen = 0;
    while seen < 3_001 {
        seen += usize::from(place(&next(&mut one).await).is_some());
    }
    within(served.stop()).await;
    drop(one);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_stops_while_a_client_reads_nothing_of_what_it_is_sent() {
    let served = Served::start().await;
    for first in (0..3_000).step_by(500) {
        served.append("order-1", first, 500).await;
    }
    let mut still = served.small_client().await;
    let mut subscriptions = Vec::new();
    for _ in 0..STANDING_STILL {
        subscriptions.push(within(start_read(&mut still, from_the_start())).await.unwrap());
    }
    let store = Arc::downgrade(&served.store);
    within(served.stop()).await;
    // The connection is cut, so that nothing of the server is left.
    within(async {
        for subscription in &mut subscriptions {
            while let Ok(Some(_)) = subscription.message().await {}
        }
    })
    .await;
    within(async {
        while store.strong_count() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_say_nothing_are_closed_and_one_address_cannot_take_all() {
    let served = Served::start().await;
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(TcpStream::connect(served.address).await.unwrap());
    }
    // Half of a preface is as good as nothing.
    silent[0].write_all(b"PRI * HT").await.unwrap();
    let endpoint = Endpoint::from_shared(format!("http://{}", served.address)).unwrap();
    let elsewhere = endpoint.local_address(Some([127, 0, 0, 2].into()));
    let mut client = StreamsClient::new(within(elsewhere.connect()).await.unwrap());
    within(append(&mut client, "order-1", Wish::NoStream(()), vec![proposed(1)])).await.unwrap();
    for mut connection in silent {
        let mut said = Vec::new();
        // It ends, by a reset or well.
        let _ = within(connection.read_to_end(&mut said)).await;
    }
    // The connection that was used is kept, and the address is welcome again.
    within(append(&mut client, "order-1", Wish::Revision(0), vec![proposed(2)])).await.unwrap();
    let mut again = served.client().await;
    within(append(&mut again, "order-1", Wish::Revision(1), vec![proposed(3)])).await.unwrap();
    served.stop().await;
}

#[tokio::test]
async fn http_1_is_answered_in_http_1_and_an_unknown_call_with_the_served_ones() {
    let served = Served::start().await;
    let mut browser = TcpStream::connect(served.address).await.unwrap();
    browser.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut said = String::new();
    within(browser.read_to_string(&mut said)).await.unwrap();
    assert!(said.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{said}");
    let (head, body) = said.split_once("\r\n\r\n").unwrap();
    assert!(body.contains("gRPC") && head.contains(&format!("Content-Length: {}", body.len())), "{said}");

    let channel = Channel::from_shared(format!("http://{}", served.address)).unwrap().connect().await.unwrap();
    for path in [
        "/event_store.client.persistent_subscriptions.PersistentSubscriptions/List",
        "/event_store.client.streams.Streams/Nope",
    ] {
        let mut grpc = tonic::client::Grpc::new(channel.clone());
        grpc.ready().await.unwrap();
        let codec = ProstCodec::<(), ()>::default();
        let refused = grpc.unary(tonic::Request::new(()), PathAndQuery::from_static(path), codec).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unimplemented, "{refused:?}");
        assert!(refused.message().contains("BatchAppend") && refused.message().contains(path), "{refused:?}");
    }
    served.stop().await;
}
