//! `deploy/kubernetes`: the base, and an overlay that brings along what the base stands on.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::started::Started;
use crate::yaml::{documents, entries, files_below, none, pairs, text, word, words};

const FOLDER: &str = "deploy/kubernetes";
const NAME: &str = "/metadata/labels/app.kubernetes.io~1name";

/// Every object with the file that has it.
fn objects() -> Vec<(String, Value)> {
    let files = files_below(FOLDER).into_iter().filter(|path| !path.ends_with("/kustomization.yaml"));
    files.flat_map(|path| documents(&path).into_iter().map(move |document| (path.clone(), document))).collect()
}

fn of_kind(kind: &str) -> Vec<(String, Value)> {
    let found: Vec<_> = objects().into_iter().filter(|(_, object)| word(object, "/kind") == kind).collect();
    assert!(!found.is_empty(), "no {kind} was found");
    found
}

fn named<'a>(objects: &'a [(String, Value)], name: &str) -> Option<&'a Value> {
    objects.iter().map(|(_, object)| object).find(|object| word(object, "/metadata/name") == name)
}

/// A pod as it is started, with what stands around it.
struct Pod {
    name: String,
    kind: String,
    object: Value,
    template: Value,
    started: Started,
}

impl Pod {
    fn container(&self) -> &Value {
        self.template.pointer("/spec/containers/0").unwrap()
    }

    /// The number behind a port's name.
    fn port(&self, name: &str) -> Option<u16> {
        let port = entries(self.container(), "/ports").find(|port| word(port, "/name") == name)?;
        port.pointer("/containerPort")?.as_u64()?.try_into().ok()
    }
}

fn pods() -> Vec<Pod> {
    let settings = of_kind("ConfigMap");
    let kinds = ["Deployment", "StatefulSet", "Job"];
    let found = objects().into_iter().filter(|(_, object)| kinds.contains(&word(object, "/kind")));
    let pods: Vec<Pod> = found
        .map(|(path, object)| {
            let template = object.pointer("/spec/template").unwrap().clone();
            assert_eq!(entries(&template, "/spec/containers").count(), 1, "{path}");
            let container = template.pointer("/spec/containers/0").unwrap();
            let own = entries(container, "/env")
                .map(|entry| (word(entry, "/name").to_owned(), word(entry, "/value").to_owned()))
                .collect::<BTreeMap<_, _>>();
            let lists = entries(container, "/envFrom").map(|from| word(from, "/configMapRef/name"));
            let shared = lists.flat_map(|list| {
                let data = named(&settings, list).unwrap_or_else(|| panic!("{path}: no ConfigMap `{list}`"));
                pairs(data, "/data").map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()))
            });
            let environment = shared.chain(own.clone()).collect();
            let name = word(&template, NAME).to_owned();
            let started = Started {
                name: format!("{path}, {name}"),
                image: word(container, "/image").to_owned(),
                command: words(container, "/command"),
                own: own.into_keys().collect(),
                environment,
            };
            Pod { name, kind: word(&object, "/kind").to_owned(), template, started, object }
        })
        .collect();
    assert!(pods.len() > 8, "pods were found: {}", pods.len());
    pods
}

fn ours() -> Vec<Pod> {
    pods().into_iter().filter(|pod| pod.started.is_ours()).collect()
}

/// The images that are named.
pub fn images() -> Vec<(String, String)> {
    let overlays = files_below(FOLDER).into_iter().filter(|path| path.ends_with("/kustomization.yaml"));
    let replaced = overlays.flat_map(|path| {
        let file = documents(&path).remove(0);
        let images = entries(&file, "/images").map(|it| format!("{}:{}", word(it, "/name"), word(it, "/newTag")));
        images.map(|image| (path.clone(), image)).collect::<Vec<_>>()
    });
    pods().into_iter().map(|pod| (pod.started.name, pod.started.image)).chain(replaced).collect()
}

#[test]
fn every_file_is_listed_and_every_listed_file_is_there() {
    let all: BTreeSet<String> = files_below(FOLDER).into_iter().collect();
    let mut listed = BTreeSet::new();
    for path in all.iter().filter(|path| path.ends_with("/kustomization.yaml")) {
        let folder = path.trim_end_matches("/kustomization.yaml");
        let file = documents(path).remove(0);
        assert_eq!(word(&file, "/kind"), "Kustomization", "{path}");
        for resource in words(&file, "/resources") {
            if resource == "../../base" {
                assert!(all.contains(&format!("{FOLDER}/base/kustomization.yaml")));
            } else {
                assert!(all.contains(&format!("{folder}/{resource}")), "{path} lists {resource}, which is not there");
                listed.insert(format!("{folder}/{resource}"));
            }
        }
        listed.insert(path.clone());
    }
    none("files that no kustomization lists", all.difference(&listed).cloned());
}

#[test]
fn every_command_is_one_of_ours_and_every_variable_is_read() {
    let ours = ours();
    none("commands that nobody understands", ours.iter().filter_map(|pod| pod.started.wrong_command()));
    none("variables that do not fit", ours.iter().flat_map(|pod| pod.started.wrong_variables()));
    let read: BTreeSet<String> = ours.iter().flat_map(|pod| (pod.started.process().keys)()).collect();
    let settings = of_kind("ConfigMap");
    none(
        "settings for all that nobody reads",
        pairs(&settings[0].1, "/data").map(|(name, _)| name.clone()).filter(|name| {
            let key = name.trim_start_matches("BACKSTITCH__").replace("__", ".").to_lowercase();
            !read.contains(&key)
        }),
    );
}

#[test]
fn every_address_is_a_service_whose_pods_listen_there() {
    let (pods, services) = (pods(), of_kind("Service"));
    let listens = |host: &str, port: u16| {
        // `gateway`, or `saga-orchestrator-0.saga-orchestrator`: a pod of a service without an address of its own.
        let (replica, name) = host.split_once('.').map_or((None, host), |(replica, name)| (Some(replica), name));
        let service = named(&services, name)?;
        let pod = pods.iter().find(|pod| {
            Some(pod.name.as_str()) == service.pointer("/spec/selector").map(|it| word(it, "/app.kubernetes.io~1name"))
        })?;
        if let Some(replica) = replica {
            let number: u64 = replica.strip_prefix(&format!("{name}-"))?.parse().ok()?;
            let replicas = pod.object.pointer("/spec/replicas")?.as_u64()?;
            let headless = service.pointer("/spec/clusterIP").and_then(Value::as_str) == Some("None");
            (headless && number < replicas && pod.kind == "StatefulSet").then_some(())?;
        }
        let entry = entries(service, "/spec/ports")
            .find(|it| it.pointer("/port").and_then(Value::as_u64) == Some(port.into()))?;
        let inner = pod.port(word(entry, "/targetPort"))?;
        pod.started.ports().contains(&inner).then_some(())
    };
    none(
        "addresses where nobody listens",
        pods.iter().flat_map(|pod| {
            let addresses = pod.started.reaches().into_iter();
            // Kafka's controller is Kafka's own business.
            let wrong = addresses.filter(|(host, port)| {
                !(pod.name == "kafka" && host == "1@localhost") && listens(host, *port).is_none()
            });
            wrong.map(|(host, port)| format!("{}: {host}:{port}", pod.started.name)).collect::<Vec<_>>()
        }),
    );
}

#[test]
fn every_service_is_probed_where_it_listens_at_paths_that_exist() {
    let paths: BTreeSet<String> = service_kit::health::openapi().paths.paths.into_keys().collect();
    for pod in ours().iter().filter(|pod| pod.kind != "Job") {
        let container = pod.container();
        for entry in entries(container, "/ports") {
            let port = pod.port(word(entry, "/name")).unwrap();
            assert!(pod.started.ports().contains(&port), "{} does not listen on {port}", pod.started.name);
        }
        let probes: &[&str] = if pod.kind == "Deployment" || pod.name != "provider" {
            &["startupProbe", "livenessProbe", "readinessProbe"]
        } else {
            &["startupProbe", "readinessProbe"]
        };
        for probe in probes {
            let asked = container.pointer(&format!("/{probe}/httpGet"));
            let asked = asked.unwrap_or_else(|| panic!("{} has no {probe}", pod.started.name));
            assert!(paths.contains(word(asked, "/path")), "{}: {asked}", pod.started.name);
            assert!(pod.port(word(asked, "/port")).is_some(), "{}: {asked}", pod.started.name);
        }
        let annotations = pod.template.pointer("/metadata/annotations");
        if let Some(port) = annotations.and_then(|it| it.pointer("/prometheus.io~1port")) {
            assert!(pod.started.ports().contains(&port.as_str().unwrap().parse().unwrap()), "{}", pod.started.name);
            let path = word(annotations.unwrap(), "/prometheus.io~1path");
            assert!(text("service-kit/src/metrics.rs").contains(&format!("\"{path}\"")), "{path}");
        }
    }
}

#[test]
fn no_pod_may_do_more_than_it_needs() {
    for pod in pods() {
        let (name, spec, container) = (&pod.started.name, pod.template.pointer("/spec").unwrap(), pod.container());
        let is = |of: &Value, pointer: &str, value: Value| {
            assert_eq!(of.pointer(pointer), Some(&value), "{name}: {pointer}")
        };
        is(spec, "/securityContext/runAsNonRoot", true.into());
        is(spec, "/securityContext/seccompProfile/type", "RuntimeDefault".into());
        is(spec, "/automountServiceAccountToken", false.into());
        is(container, "/securityContext/allowPrivilegeEscalation", false.into());
        is(container, "/securityContext/capabilities/drop/0", "ALL".into());
        assert!(container.pointer("/resources/limits/memory").is_some(), "{name} may take all memory");
        assert!(container.pointer("/resources/requests/cpu").is_some(), "{name} asks for nothing");
        if pod.started.is_ours() && pod.name != "provider" {
            is(container, "/securityContext/readOnlyRootFilesystem", true.into());
        }
        let selected = pod.object.pointer("/spec/selector/matchLabels").map(|it| word(it, "/app.kubernetes.io~1name"));
        assert!(pod.kind == "Job" || selected == Some(&pod.name), "{name} selects {selected:?}");
    }
}

#[test]
fn secrets_are_only_named_and_script_secrets_draws_each() {
    let script = text("script/secrets");
    assert!(objects().iter().all(|(_, object)| word(object, "/kind") != "Secret"), "secrets do not belong into files");
    for pod in pods() {
        none("secrets that stand in the file", pod.started.open_secrets());
        let volumes = entries(&pod.template, "/spec/volumes").filter(|it| it.pointer("/secret").is_some());
        let given: BTreeSet<String> = volumes
            .flat_map(|volume| {
                assert_eq!(word(volume, "/secret/secretName"), "backstitch");
                entries(volume, "/secret/items").map(|item| word(item, "/path").to_owned()).collect::<Vec<_>>()
            })
            .collect();
        none(
            "secrets that nobody draws",
            given.iter().filter(|name| !script.contains(&format!("keep {name} "))).cloned(),
        );
        let read = pod.started.environment.values().filter_map(|it| it.strip_prefix("/run/secrets/backstitch/"));
        let read: BTreeSet<String> = read.map(str::to_owned).collect();
        assert_eq!(read, given, "{} reads the secrets that it is given", pod.started.name);
    }
}

#[test]
fn what_there_are_several_of_stays_up_while_nodes_go() {
    let (budgets, scalers) = (of_kind("PodDisruptionBudget"), of_kind("HorizontalPodAutoscaler"));
    let several = ours().into_iter().filter(|pod| pod.kind != "Job" && pod.name != "provider");
    let mut seen = 0;
    for pod in several {
        seen += 1;
        assert!(named(&budgets, &pod.name).is_some(), "{} has no PodDisruptionBudget", pod.name);
        // Either a number, or an autoscaler: both would take it from each other at every rollout.
        let scaled = named(&scalers, &pod.name);
        assert_eq!(scaled.is_none(), pod.object.pointer("/spec/replicas").is_some(), "{}", pod.name);
        if let Some(scaler) = scaled {
            assert_eq!(word(scaler, "/spec/scaleTargetRef/kind"), pod.kind, "{}", pod.name);
            assert_eq!(word(scaler, "/spec/scaleTargetRef/name"), pod.name);
        }
    }
    assert_eq!(seen, 5);
}

#[test]
fn who_reaches_whom_is_allowed_and_every_pod_has_its_rules() {
    let (pods, policies) = (pods(), of_kind("NetworkPolicy"));
    let names: BTreeSet<&str> = pods.iter().map(|pod| pod.name.as_str()).collect();
    for pod in &pods {
        let policy = named(&policies, &pod.name).unwrap_or_else(|| panic!("{} has no NetworkPolicy", pod.name));
        for rule in entries(policy, "/spec/ingress").chain(entries(policy, "/spec/egress")) {
            for peer in entries(rule, "/from").chain(entries(rule, "/to")) {
                let Some(label) = peer.pointer("/podSelector/matchLabels") else { continue };
                let name = word(label, "/app.kubernetes.io~1name");
                assert!(names.contains(name), "{} names `{name}`, which is no pod", pod.name);
            }
        }
        for rule in entries(policy, "/spec/ingress") {
            for port in entries(rule, "/ports").filter_map(|it| it.pointer("/port")?.as_u64()) {
                let port = u16::try_from(port).unwrap();
                assert!(
                    pod.started.ports().contains(&port),
                    "{} lets in at {port} and does not listen there",
                    pod.name
                );
            }
        }
    }
    for (path, policy) in &policies {
        for rule in entries(policy, "/spec/egress").filter(|rule| entries(rule, "/to").next().is_none()) {
            let open = entries(rule, "/ports").filter_map(|it| it.pointer("/port")?.as_u64());
            let to_anywhere: Vec<u64> = open.filter(|port| [53, 80, 443].contains(port)).collect();
            assert!(to_anywhere.is_empty(), "{path}: a way to the internet, at {to_anywhere:?}");
        }
    }
    let everybody = named(&policies, "nothing").unwrap();
    assert_eq!(everybody.pointer("/spec/podSelector"), Some(&serde_json::json!({})));
    assert!(everybody.pointer("/spec/ingress").is_none() && everybody.pointer("/spec/egress").is_none());
}
