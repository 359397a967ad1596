//! A process that cannot have one of its ports does not start, and leaves nothing behind.

use std::net::TcpListener;
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// A port that another process has.
struct Taken {
    _listener: TcpListener,
    address: String,
}

impl Taken {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        Self { _listener: listener, address }
    }
}

#[test]
fn a_start_without_one_of_its_ports_makes_no_data_folder() {
    let taken = Taken::new();
    let address = taken.address.as_str();
    let any = "127.0.0.1:0";
    let serve = ["serve", "--data", "shop", "--no-projections", "--listen"];
    let store = ["store", "serve", "--data", "log", "--listen"];
    let bank = ["provider-sim", "--ledger", "bank/ledger.jsonl", "--listen"];
    let none: &[(&str, &str)] = &[];
    for (arguments, listen, more, environment) in [
        (&serve[..], address, &[][..], none),
        (&serve[..], any, &["--event-store-listen", address], none),
        (&serve[..], any, &[], &[("BACKSTITCH__GRPC__LISTEN", address)]),
        (&serve[..], any, &[], &[("BACKSTITCH__HTTP__ADMIN_LISTEN", address)]),
        (&store[..], address, &[], none),
        (
            &bank[..],
            address,
            &[],
            &[("BACKSTITCH__PROVIDER__WEBHOOK_SECRET", "at-least-24-bytes-and-the-same-for-both")],
        ),
    ] {
        let folder = TempDir::new().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_backstitch"));
        command.args(arguments).arg(listen).args(more).envs(environment.iter().copied());
        command.env_remove("DATABASE_URL").current_dir(folder.path()).stdin(Stdio::null());
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        let case = format!("{arguments:?} {more:?} {environment:?}: {said}");
        assert_eq!(output.status.code(), Some(2), "{case}");
        assert!(said.contains(address) && said.contains("\n\nhint: "), "{case}");
        let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(left.is_empty(), "{left:?} was left behind: {case}");
    }
}
