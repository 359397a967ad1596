//! Who may call, over which connection; and what clients ask first: `ServerFeatures` and `Gossip`.
//!
//! The certificates in `tls/` are made for these tests: an authority whose key is lost, and a server called `localhost`
//! that it vouches for until the year 2125.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use event_store::serve::ServeError;
use eventstore_client::proto::gossip::gossip_client::GossipClient;
use eventstore_client::proto::server_features::server_features_client::ServerFeaturesClient;
use read::CountOption::Count;
use read::all_options::AllOption;
use tonic::Code;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};
use tonic_prost::ProstCodec;

use super::*;

fn tls(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/serve/tls").join(file)
}

fn with_password() -> EventStoreConfig {
    let (user, password) = (Some("shop".to_owned()), Some(password()));
    EventStoreConfig { user, password, ..EventStoreConfig::default() }
}

/// Adds the name and the password to every call.
fn as_user(given: Option<&str>) -> impl tonic::service::Interceptor + Clone + use<> {
    let header: Option<MetadataValue<Ascii>> =
        given.map(|given| format!("Basic {}", STANDARD.encode(given)).parse().unwrap());
    move |mut request: tonic::Request<()>| {
        if let Some(header) = &header {
            request.metadata_mut().insert("authorization", header.clone());
        }
        Ok(request)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_no_password_holds_no_connection_however_he_calls() {
    let served = Served::start_with(with_password()).await;
    let url = format!("http://{}", served.address);
    let right = as_user(Some(&format!("shop:{PASSWORD}")));
    let elsewhere = Endpoint::from_shared(url.clone()).unwrap().local_address(Some([127, 0, 0, 2].into()));
    let mut kept = StreamsClient::with_interceptor(within(elsewhere.connect()).await.unwrap(), right.clone());
    let all = || ReadReq { options: Some(options(of_all(AllOption::Start(())), Count(1), false)) };
    within(kept.read(all())).await.unwrap();
    // All the connections that one address may have, each with a call of its own kind. They go on answering pings.
    let mut strangers = Vec::new();
    for number in 0..256 {
        let channel = Channel::from_shared(url.clone()).unwrap().connect().await.unwrap();
        match number % 4 {
            0 => _ = within(StreamsClient::new(channel.clone()).read(all())).await.unwrap_err(),
            1 => _ = within(ServerFeaturesClient::new(channel.clone()).get_supported_methods(())).await.unwrap(),
            2 => _ = within(GossipClient::new(channel.clone()).read(())).await.unwrap(),
            _ => {
                let mut grpc = tonic::client::Grpc::new(channel.clone());
                grpc.ready().await.unwrap();
                let path = PathAndQuery::from_static("/event_store.client.streams.Streams/Nope");
                let codec = ProstCodec::<(), ()>::default();
                let refused = within(grpc.unary(tonic::Request::new(()), path, codec)).await.unwrap_err();
                assert_eq!(refused.code(), Code::Unimplemented);
            }
        }
        strangers.push(channel);
    }
    // Asked now and then: a client that comes as fast as it can keeps the server from everybody else.
    let ask = || async {
        let channel = Channel::from_shared(url.clone()).unwrap().connect().await.ok()?;
        StreamsClient::with_interceptor(channel, right.clone()).read(all()).await.ok()
    };
    let let_in = async {
        while tokio::time::timeout(Duration::from_secs(5), ask()).await.ok().flatten().is_none() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    within(let_in).await;
    // Who was admitted keeps his connection, whatever he did meanwhile.
    within(kept.read(all())).await.unwrap();
    drop(strangers);
    served.stop().await;
}

#[tokio::test]
async fn with_a_password_every_call_needs_it_and_appends_are_made_in_its_owner_s_name() {
    let served = Served::start_with(with_password()).await;
    let channel = Channel::from_shared(format!("http://{}", served.address)).unwrap().connect().await.unwrap();
    for (given, code) in [
        (None, Code::Unauthenticated),
        (Some("shop:falsch"), Code::Unauthenticated),
        (Some("shop:geheim-geheim-geheim-geheim"), Code::Ok),
    ] {
        let mut client = StreamsClient::with_interceptor(channel.clone(), as_user(given));
        let code_of = |status: Option<tonic::Status>| status.map_or(Code::Ok, |status| status.code());
        let all = options(of_all(AllOption::Start(())), Count(1), false);
        assert_eq!(code_of(client.read(ReadReq { options: Some(all) }).await.err()), code, "{given:?}");
        let events = tokio_stream::iter(request("order-1", Wish::Any(()), vec![proposed(1)]));
        assert_eq!(code_of(client.append(events).await.err()), code, "{given:?}");
        let call = client.batch_append(tokio_stream::empty()).await;
        assert_eq!(code_of(call.err()), code, "{given:?}");
    }
    let log = served.log().await;
    assert_eq!(log.len(), 1);
    assert_eq!(log[0].metadata.actor, "shop");
    served.stop().await;
}

#[tokio::test]
async fn over_tls_only_who_trusts_the_certificate_and_speaks_tls_gets_an_answer() {
    let (tls_cert, tls_key) = (Some(tls("server.pem")), Some(tls("server-key.pem")));
    let served = Served::start_with(EventStoreConfig { tls_cert, tls_key, ..with_password() }).await;
    let trusting = ClientTlsConfig::new()
        .domain_name("localhost")
        .ca_certificate(Certificate::from_pem(std::fs::read(tls("ca.pem")).unwrap()));
    let endpoint = |url: String| Endpoint::from_shared(url).unwrap();
    let channel =
        endpoint(format!("https://{}", served.address)).tls_config(trusting).unwrap().connect().await.unwrap();
    let all = || options(of_all(AllOption::Start(())), Count(1), false);
    let status = StreamsClient::new(channel).read(ReadReq { options: Some(all()) }).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated, "it is the server that says no: {status:?}");
    let trusting_others = ClientTlsConfig::new().domain_name("localhost").with_native_roots();
    let endpoint_of_others = endpoint(format!("https://{}", served.address)).tls_config(trusting_others).unwrap();
    assert!(within(endpoint_of_others.connect()).await.is_err());
    let mut in_the_clear = StreamsClient::new(endpoint(format!("http://{}", served.address)).connect_lazy());
    assert!(within(in_the_clear.read(ReadReq { options: Some(all()) })).await.is_err());
    served.stop().await;
}

#[test]
fn an_open_log_is_not_served_to_a_network_and_half_a_pair_of_settings_is_named() {
    let listen = Some("0.0.0.0:0".parse().unwrap());
    let open = ServeOptions::from_config(&EventStoreConfig { listen, ..EventStoreConfig::default() });
    assert!(matches!(open, Err(ServeError::Open(_))), "{open:?}");
    let closed = ServeOptions::from_config(&EventStoreConfig { listen, ..with_password() }).unwrap().unwrap();
    assert!(closed.is_in_the_clear(), "worth a warning");
    assert!(ServeOptions::from_config(&EventStoreConfig::default()).unwrap().is_none(), "off by default");
    let listen = Some("127.0.0.1:0".parse().unwrap());
    let half = |config: EventStoreConfig| ServeOptions::from_config(&config).unwrap_err().to_string();
    let user = half(EventStoreConfig { listen, password: None, ..with_password() });
    assert!(user.contains("`user`") && user.contains("`password`"), "{user}");
    let cert = half(EventStoreConfig { listen, tls_cert: Some(tls("server.pem")), ..EventStoreConfig::default() });
    assert!(cert.contains("`tls_key`"), "{cert}");
    let (tls_cert, tls_key) = (Some(tls("missing.pem")), Some(tls("server-key.pem")));
    let missing = half(EventStoreConfig { listen, tls_cert, tls_key, ..EventStoreConfig::default() });
    assert!(missing.contains("missing.pem"), "{missing}");
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let served = Served::start().await;
    let options = ServeOptions::on(served.address).unwrap();
    let error = Server::bind(served.store.clone(), options).await.unwrap_err().to_string();
    assert!(error.contains(&served.address.to_string()), "{error}");
    served.stop().await;
}

#[tokio::test]
async fn clients_are_told_what_there_is_and_the_address_at_which_they_came() {
    let served = Served::start_with(with_password()).await;
    let channel = Channel::from_shared(format!("http://{}", served.address)).unwrap().connect().await.unwrap();
    let features = ServerFeaturesClient::new(channel.clone()).get_supported_methods(()).await.unwrap().into_inner();
    assert!(features.event_store_server_version.split('.').all(|part| part.parse::<u32>().is_ok()));
    let batch = features.methods.iter().find(|method| method.method_name == "batchappend").unwrap();
    assert_eq!(batch.service_name, "event_store.client.streams.streams");
    assert_eq!(batch.features, ["deadline_duration"]);
    let members = GossipClient::new(channel).read(()).await.unwrap().into_inner().members;
    let [member] = &members[..] else { panic!("{members:?}") };
    assert!(member.is_alive);
    assert_eq!(member.state, 8, "it leads");
    let reached = member.http_end_point.as_ref().unwrap();
    assert_eq!(format!("{}:{}", reached.address, reached.port), served.address.to_string());
    served.stop().await;
}

#[tokio::test]
async fn a_lone_append_over_a_connection_with_nagle_s_delay_is_not_held_up() {
    let served = Served::start().await;
    let endpoint = Endpoint::from_shared(format!("http://{}", served.address)).unwrap().tcp_nodelay(false);
    let mut client = StreamsClient::new(endpoint.connect().await.unwrap());
    let began = std::time::Instant::now();
    for number in 0..50 {
        append(&mut client, "order-1", Wish::Any(()), vec![proposed(number)]).await.unwrap();
    }
    // 50 delayed acknowledgements would take 2.2 s; without, a call takes about a millisecond, on a busy machine some.
    assert!(began.elapsed() < Duration::from_millis(1_500), "{:?}", began.elapsed());
    served.stop().await;
}
