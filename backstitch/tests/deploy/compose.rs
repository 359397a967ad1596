//! `docker-compose.yml`.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::started::Started;
use crate::yaml::{documents, entries, none, pairs, text, word, words};

const FILE: &str = "docker-compose.yml";

fn file() -> Value {
    documents(FILE).remove(0)
}

/// The services, and the process that each starts.
fn services() -> Vec<(String, Value, Started)> {
    let file = file();
    let services = pairs(&file, "/services").map(|(name, service)| {
        let environment = pairs(service, "/environment").map(|(name, value)| {
            let value =
                value.as_str().unwrap_or_else(|| panic!("{name} of {service} is quoted, so that it stays text"));
            (name.clone(), value.to_owned())
        });
        let environment: std::collections::BTreeMap<_, _> = environment.collect();
        let started = Started {
            name: format!("{FILE}, {name}"),
            image: word(service, "/image").to_owned(),
            command: words(service, "/command"),
            own: environment.keys().cloned().collect(),
            environment,
        };
        (name.clone(), service.clone(), started)
    });
    let services: Vec<_> = services.collect();
    assert!(services.len() > 10, "services were found: {}", services.len());
    services
}

/// The images that are named.
pub fn images() -> Vec<(String, String)> {
    services().into_iter().map(|(_, _, started)| (started.name, started.image)).collect()
}

fn ours() -> Vec<Started> {
    services().into_iter().map(|(_, _, started)| started).filter(Started::is_ours).collect()
}

#[test]
fn every_command_is_one_of_ours() {
    none("commands that nobody understands", ours().iter().filter_map(Started::wrong_command));
}

#[test]
fn every_variable_is_read_by_the_process_that_it_is_given_to() {
    none("variables that do not fit", ours().iter().flat_map(Started::wrong_variables));
    let suite = "event-store/tests/kurrentdb/main.rs";
    let (read, test) = (text(suite), services().into_iter().find(|(name, _, _)| name == "store-test").unwrap().2);
    none(
        "variables that the suite does not read",
        test.environment.into_keys().filter(|name| !read.contains(&format!("\"{name}\""))),
    );
}

#[test]
fn every_address_is_one_where_somebody_listens() {
    let services = services();
    none(
        "addresses where nobody listens",
        services
            .iter()
            .flat_map(|(_, _, started)| started.reaches().into_iter().map(move |to| (started, to)))
            .filter_map(|(started, (host, port))| {
                let found = services.iter().find(|(name, _, _)| *name == host);
                let listens = found.is_some_and(|(_, _, to)| to.ports().contains(&port));
                // Kafka's controller is Kafka's own business.
                let own = started.name.ends_with(", kafka");
                (!listens && !own).then(|| format!("{}: {host}:{port}", started.name))
            }),
    );
    for (name, service, started) in &services {
        for port in words(service, "/ports") {
            let inner: u16 = port.rsplit(':').next().unwrap().parse().unwrap();
            assert!(port.starts_with("127.0.0.1:"), "{name} is published beyond this machine: {port}");
            assert!(started.ports().contains(&inner), "{name} does not listen on {inner}");
        }
    }
}

#[test]
fn every_process_is_asked_for_its_health_where_it_listens() {
    // What the image asks where a service says nothing of its own.
    let of_image = crate::image::health_check();
    for (name, service, started) in services() {
        if !started.is_ours() {
            // The suite ends by itself. KurrentDB's image brings its own.
            assert!(
                service.get("healthcheck").is_some() || started.image.contains("/kurrentdb:") || name == "store-test",
                "{name}"
            );
            continue;
        }
        let own: Vec<String> = words(&service, "/healthcheck/test").into_iter().skip(1).collect();
        let asked = if own.is_empty() { of_image.clone() } else { own };
        crate::image::is_health_check(&asked);
        let port: u16 = asked.last().unwrap().rsplit(':').next().unwrap().parse().unwrap();
        assert!(started.ports().contains(&port), "{name} is asked at {port} and does not listen there");
    }
}

#[test]
fn who_waits_for_somebody_waits_until_he_is_healthy() {
    let services = services();
    let names: BTreeSet<&str> = services.iter().map(|(name, _, _)| name.as_str()).collect();
    for (name, service, started) in &services {
        let waits: Vec<&String> = pairs(service, "/depends_on").map(|(on, _)| on).collect();
        for (on, how) in pairs(service, "/depends_on") {
            assert!(names.contains(on.as_str()), "{name} waits for `{on}`, which is not there");
            assert_eq!(word(how, "/condition"), "service_healthy", "{name} → {on}");
        }
        for (host, _) in started.reaches() {
            // The bank calls the front door when there is something to tell: neither waits for the other.
            let webhooks = name == "provider" && host == "gateway";
            let own = name == "kafka";
            assert!(own || webhooks || waits.contains(&&host), "{name} reaches {host} and does not wait for it");
        }
    }
}

#[test]
fn secrets_lie_in_files_that_script_secrets_draws_and_git_ignores() {
    let (file, script) = (file(), text("script/secrets"));
    assert!(text(".gitignore").lines().any(|line| line == "/deploy/secrets"));
    let named: BTreeSet<&String> = pairs(&file, "/secrets").map(|(name, _)| name).collect();
    for (name, secret) in pairs(&file, "/secrets") {
        assert_eq!(word(secret, "/file"), format!("deploy/secrets/{name}"));
        assert!(script.contains(&format!("keep {name} ")), "script/secrets does not draw `{name}`");
    }
    for (service, value, started) in services() {
        none("secrets that stand in the file", started.open_secrets());
        let given: BTreeSet<String> = words(&value, "/secrets").into_iter().collect();
        assert!(given.iter().all(|secret| named.contains(secret)), "{service}: {given:?}");
        let read = started.environment.values().filter_map(|value| value.strip_prefix("/run/secrets/"));
        let read: BTreeSet<String> = read.map(str::to_owned).collect();
        assert_eq!(read, given, "{service} reads the secrets that it is given");
    }
}

#[test]
fn no_container_has_capabilities_that_it_does_not_name() {
    for (name, service, started) in services().into_iter().filter(|(name, ..)| name != "store-test") {
        assert_eq!(words(&service, "/cap_drop"), ["ALL"], "{name}");
        assert_eq!(words(&service, "/security_opt"), ["no-new-privileges:true"], "{name}");
        let added = words(&service, "/cap_add");
        assert!(added.is_empty() || (name == "postgres" && !started.is_ours()), "{name} has {added:?}");
    }
}

#[test]
fn our_processes_may_do_no_more_than_they_need() {
    for (name, service, started) in services().into_iter().filter(|(_, _, started)| started.is_ours()) {
        assert_eq!(service.pointer("/read_only"), Some(&Value::Bool(true)), "{name}");
        assert_eq!(words(&service, "/cap_drop"), ["ALL"], "{name}");
        assert!(words(&service, "/security_opt").contains(&"no-new-privileges:true".to_owned()), "{name}");
        assert!(started.image.ends_with(env!("CARGO_PKG_VERSION")), "{name}: {}", started.image);
    }
    let file = file();
    assert_eq!(file.pointer("/networks/cluster/internal"), Some(&Value::Bool(true)));
    // Two replicas of each service, and two relays.
    for service in ["command-service", "projection-service", "saga-orchestrator", "relay"] {
        assert!(file.pointer(&format!("/services/{service}-1")).is_some(), "{service}");
        assert!(file.pointer(&format!("/services/{service}-2")).is_some(), "{service}");
    }
    assert_eq!(entries(&file, "/services/store-test/profiles").collect::<Vec<_>>(), ["test"]);
}
