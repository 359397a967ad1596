//! What a connection string means.

use super::*;

fn node(host: &str, port: u16) -> Node {
    Node { host: host.to_owned(), port }
}

#[test]
fn a_connection_string_of_an_official_client_is_understood() {
    let text = "kurrentdb+discover://admin:ch%40nge:it@node1:2113,node2,[::1]:3000/?tls=true&tlsVerifyCert=False\
        &tlsCaFile=%2Fca.pem&keepAliveInterval=-1&keepAliveTimeout=2000&defaultDeadline=3000&maxDiscoverAttempts=4\
        &discoveryInterval=50&gossipTimeout=700&nodePreference=ReadOnlyReplica&connectionName=shop&userCertFile=a&userKeyFile=b";
    let settings: Settings = text.parse().unwrap();
    assert_eq!(settings.nodes, [node("node1", 2113), node("node2", 2113), node("::1", 3000)]);
    assert!(settings.discover && settings.tls && !settings.tls_verify);
    let credentials = Credentials { user: "admin".to_owned(), password: "ch@nge:it".to_owned() };
    assert_eq!(settings.credentials, Some(credentials));
    assert_eq!(settings.tls_ca_file.as_deref(), Some(std::path::Path::new("/ca.pem")));
    assert_eq!(settings.identity, Some(("a".into(), "b".into())));
    assert_eq!((settings.keep_alive_interval, settings.keep_alive_timeout), (None, Duration::from_secs(2)));
    assert_eq!(settings.deadline, Duration::from_secs(3));
    assert_eq!((settings.max_discover_attempts, settings.discovery_interval), (4, Duration::from_millis(50)));
    assert_eq!(settings.gossip_timeout, Duration::from_millis(700));
    assert_eq!(settings.preference, NodePreference::ReadOnlyReplica);
    assert_eq!(settings.connection_name.as_deref(), Some("shop"));
    assert_eq!(settings.to_string(), "kurrentdb+discover://node1:2113,node2:2113,[::1]:3000");
}

#[test]
fn what_is_not_said_is_as_official_clients_have_it() {
    for scheme in ["kurrentdb", "kurrent", "kdb", "esdb"] {
        let settings: Settings = format!("{scheme}://localhost").parse().unwrap();
        assert_eq!(settings.nodes, [node("localhost", 2113)]);
        assert!(settings.tls && settings.tls_verify && !settings.discovers());
        assert_eq!(settings.preference, NodePreference::Leader);
    }
    assert!("esdb+discover://cluster".parse::<Settings>().unwrap().discovers());
    assert!("esdb://a,b".parse::<Settings>().unwrap().discovers());
    assert_eq!("kurrentdb://h:1?tls=false".parse(), Ok(Settings::plain("h", 1)));
}

#[test]
fn what_is_wrong_is_named() {
    let cases = [
        ("http://h", "not with `http://`"),
        ("secret@h", "begins with `kurrentdb://`"),
        ("kurrentdb://", "`` is no host"),
        ("kurrentdb://a,,b", "`` is no host"),
        ("kurrentdb://h:0", "`h:0` is no host"),
        ("kurrentdb://h:x", "`h:x` is no host"),
        ("kurrentdb://[::1", "`[::1` is no host"),
        ("kurrentdb://h/db", "a path, `/db`"),
        ("kurrentdb://h?tsl=false", "unknown parameter `tsl`; known are tls,"),
        ("kurrentdb://h?tls=no", "`tls` of the event store's address is `no`, but it must be `true` or `false`"),
        ("kurrentdb://h?defaultDeadline=-1", "`defaultDeadline` of the event store's address is `-1`"),
        ("kurrentdb://h?keepAliveInterval=0", "or -1 for never"),
        ("kurrentdb://h?maxDiscoverAttempts=0", "a number from 1 on"),
        ("kurrentdb://h?nodePreference=best", "`readOnlyReplica` or `random`"),
        ("kurrentdb://h?userKeyFile=k", "belong together"),
    ];
    for (text, says) in cases {
        let error = text.parse::<Settings>().unwrap_err().to_string();
        assert!(error.contains(says), "{text}: {error}");
        assert!(!error.contains("secret"), "{error}");
    }
}

#[test]
fn a_password_is_never_shown() {
    let settings: Settings = "kurrentdb://admin:geheim@h".parse().unwrap();
    assert!(!format!("{settings:?} {settings}").contains("geheim"));
}
