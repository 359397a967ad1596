//! No secret of the settings is shown: every setting whose type is secret holds a canary here, and everything that the
//! processes write and answer is searched for it.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufReader, Read as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use backstitch::cli::processes::PROCESSES;
use service_kit::config::Shown;
use tempfile::TempDir;

use super::backstitch;

/// Part of every secret below. It has no character that a URL escapes.
const CANARY: &str = "canary4d1f9c";

/// Settings with a canary in each that is secret. Nobody answers at port 1.
fn settings() -> String {
    let key = format!("{CANARY}-with-more-than-24-bytes");
    format!(
        r#"
[http]
listen = "127.0.0.1:0"
[postgres]
url = "postgres://127.0.0.1:1/shop?user=shop&password={CANARY}&sslpassword={CANARY}"
[provider]
webhook_secret = ["{key}-1", "{key}-2"]
[event_store]
url = "kurrentdb://shop:{CANARY}@127.0.0.1:1?tls=false"
user = "shop"
password = "{key}"
[bus]
brokers = "127.0.0.1:1"
client = {{ sasl_username = "shop", sasl_password = "{CANARY}", ssl_key_pem = "{CANARY}", sasl_oauthbearer_config = "{CANARY}" }}
"#
    )
}

#[track_caller]
fn silent(what: &str, text: &str) {
    let line = text.lines().find(|line| line.contains(CANARY));
    assert!(line.is_none(), "{what} shows a secret: {line:?}");
}

fn file(folder: &TempDir, text: &str) -> String {
    let path = folder.path().join("backstitch.toml");
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn every_setting_that_is_secret_is_shown_without_its_secret() {
    let folder = TempDir::new().unwrap();
    let path = file(&folder, &settings());
    let output = backstitch(&["config", "show", "--config", &path, "--json"]);
    let shown = String::from_utf8(output.stdout).unwrap();
    silent("config show --json", &shown);
    silent("config show", &String::from_utf8(backstitch(&["config", "show", "--config", &path]).stdout).unwrap());
    // A new secret setting gets its canary: then these tests know of it.
    let values: serde_json::Value = serde_json::from_str(&shown).unwrap();
    let values = values["items"].as_array().unwrap();
    let of_file: BTreeSet<&str> = values
        .iter()
        .filter(|value| value["from"] == path.as_str())
        .filter_map(|value| value["key"].as_str())
        .collect();
    for process in PROCESSES {
        let keys = (process.keys)();
        let secret = keys.iter().filter(|key| (process.shown)(key) != Shown::Plain);
        let without: Vec<&String> = secret.filter(|key| !of_file.contains(key.as_str())).collect();
        assert!(without.is_empty(), "{} reads secrets that have no canary here: {without:?}", process.name);
    }
}

#[test]
fn an_error_about_a_secret_names_the_setting_and_not_the_secret() {
    let folder = TempDir::new().unwrap();
    for (text, key) in [
        (format!("[event_store]\nuser = \"shop\"\npassword = \"{CANARY}\"\n"), "event_store.password"),
        (format!("[provider]\nwebhook_secret = \"whsec_{CANARY}\"\n"), "provider.webhook_secret"),
        (format!("[postgres]\nurl = [\"{CANARY}\"]\n"), "postgres.url"),
        (format!("[provider]\nwebhook_secret = \"{CANARY}\nmode = 1\n"), "line 2"),
    ] {
        let output = backstitch(&["config", "check", &file(&folder, &text)]);
        let said = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(key), "{key}: {said}");
        silent("config check", &said);
    }
    let secret = folder.path().join("secret");
    fs::write(&secret, "whsec_\n").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_backstitch"))
        .args(["config", "check"])
        .env("BACKSTITCH__PROVIDER__WEBHOOK_SECRET_FILE", &secret)
        .env("BACKSTITCH__EVENT_STORE__PASSWORD", "")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    for named in ["BACKSTITCH__PROVIDER__WEBHOOK_SECRET_FILE", "BACKSTITCH__EVENT_STORE__PASSWORD", "has 0"] {
        assert!(said.contains(named), "{named}: {said}");
    }
}

/// A process whose output is read as it comes.
pub(crate) struct Running(pub Child);

impl Running {
    pub fn start(filter: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_backstitch"));
        command.args(arguments).env("RUST_LOG", filter).env_remove("DATABASE_URL");
        Self(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    /// What it wrote up to a line with `word`; all of it, if it ends before.
    pub fn until(reader: &mut impl std::io::BufRead, word: &str) -> String {
        let mut text = String::new();
        while !text.lines().last().is_some_and(|line| line.contains(word)) {
            if reader.read_line(&mut text).unwrap() == 0 {
                break;
            }
        }
        text
    }

    pub fn terminate(mut self, mut rest: impl std::io::Read) -> String {
        // SAFETY: the process is ours and was not waited for, so the number is still its own.
        unsafe { libc::kill(i32::try_from(self.0.id()).unwrap(), libc::SIGTERM) };
        let mut text = String::new();
        rest.read_to_string(&mut text).unwrap();
        self.0.wait().unwrap();
        text
    }
}

/// The answer of a server to a GET.
pub(crate) fn get(address: &str, path: &str) -> String {
    use std::io::Write as _;
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 "), "{text}");
    text
}

pub(crate) fn address_of(text: &str) -> String {
    let rest = text.split("http://").nth(1).unwrap_or_else(|| panic!("no address in {text}"));
    rest.chars().take_while(|char| char.is_ascii_digit() || ".:".contains(*char)).collect()
}

/// Each setting with who said it, its options included, and no secret.
fn tells_its_settings(address: &str, file: &str) {
    let url = format!("http://{address}");
    for arguments in [&["--server", "--json"][..], &["--server"]] {
        let arguments = [&["config", "show", "--url", &url][..], arguments].concat();
        silent("config show --server", &String::from_utf8(backstitch(&arguments).stdout).unwrap());
    }
    let output = backstitch(&["config", "show", "--url", &url, "--json"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains(&url), "it says whose settings they are: {output:?}");
    let shown: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let of = |key: &str| {
        let found = shown["items"].as_array().unwrap().iter().find(|setting| setting["key"] == key).unwrap();
        (found["value"].as_str().unwrap_or_default().to_owned(), found["from"].as_str().unwrap().to_owned())
    };
    assert_eq!(of("event_store.listen"), ("127.0.0.1:0".to_owned(), "--event-store-listen".to_owned()));
    assert_eq!(of("data.dir").1, "--data");
    assert_eq!(of("http.listen"), ("127.0.0.1:0".to_owned(), file.to_owned()));
    assert_eq!(of("event_store.password"), ("***".to_owned(), file.to_owned()));
    assert_eq!(of("log.filter"), ("debug".to_owned(), "RUST_LOG".to_owned()));
    assert_eq!(of("limits.body_bytes").1, "default");
}

#[test]
fn a_server_shows_no_secret_in_its_banner_logs_health_and_metrics() {
    let folder = TempDir::new().unwrap();
    let alone = settings().lines().filter(|line| !line.starts_with("url = \"kurrentdb")).collect::<Vec<_>>().join("\n");
    let (path, data) = (file(&folder, &alone), folder.path().join("data"));
    let data = data.to_str().unwrap();
    let mut server =
        Running::start("debug", &["serve", "--config", &path, "--data", data, "--event-store-listen", "127.0.0.1:0"]);
    let mut stdout = BufReader::new(server.0.stdout.take().unwrap());
    let stderr = server.0.stderr.take().unwrap();
    let log = std::thread::scope(|scope| {
        let reading = scope.spawn(|| std::io::read_to_string(stderr).unwrap());
        let banner = Running::until(&mut stdout, "Ctrl-C stops");
        silent("the banner", &banner);
        assert!(banner.contains("Postgres at 127.0.0.1:1/shop"), "{banner}");
        let address = address_of(&banner);
        for path in [
            "/health",
            "/health/ready",
            "/metrics",
            "/settings",
            "/v1/orders",
            "/v1/projections",
            "/v1/provider/ledger",
        ] {
            silent(path, &get(&address, path));
        }
        tells_its_settings(&address, &path);
        silent("stdout", &server.terminate(stdout));
        reading.join().unwrap()
    });
    assert!(log.contains("stopped"), "{log}");
    silent("the log", &log);
}

#[test]
fn services_of_a_cluster_show_no_secret_while_nothing_they_need_answers() {
    let folder = TempDir::new().unwrap();
    let path = file(&folder, &settings());
    for arguments in [&["relay"][..], &["projection-service"], &["saga-orchestrator"], &["projection", "prepare"]] {
        let mut process = Running::start("debug", &[arguments, &["--config", &path]].concat());
        let mut stderr = BufReader::new(process.0.stderr.take().unwrap());
        let begun = Running::until(&mut stderr, "kurrentdb://");
        silent(arguments[0], &begun);
        let stdout = process.0.stdout.take().unwrap();
        let rest = std::thread::scope(|scope| {
            let reading = scope.spawn(|| std::io::read_to_string(stderr).unwrap());
            silent(arguments[0], &process.terminate(stdout));
            reading.join().unwrap()
        });
        silent(arguments[0], &rest);
    }
}
