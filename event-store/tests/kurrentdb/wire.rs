//! A wire between client and server that can be cut, frozen, or made to swallow what the server says.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How the wire is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Both hear each other.
    Whole,
    /// The server hears the client, but not the other way round.
    Deaf,
    /// Nobody hears anybody; connections are taken and stay open.
    Frozen,
}

/// A wire.
pub struct Wire {
    pub address: SocketAddr,
    mode: watch::Sender<Mode>,
    /// Each change ends all connections that there are.
    cuts: watch::Sender<u64>,
    /// Each change freezes for ever all connections that there are.
    sticks: watch::Sender<u64>,
    /// Bytes of the server that were swallowed.
    swallowed: watch::Sender<usize>,
    _running: JoinSet<()>,
}

impl Wire {
    /// A wire to the server at this address.
    pub async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (mode, cuts) = (watch::Sender::new(Mode::Whole), watch::Sender::new(0));
        let (sticks, swallowed) = (watch::Sender::new(0), watch::Sender::new(0));
        let mut running = JoinSet::new();
        let (of_mode, of_cuts, of_sticks) = (mode.subscribe(), cuts.subscribe(), sticks.subscribe());
        let told = swallowed.clone();
        running.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                client.set_nodelay(true).unwrap();
                let (mode, told) = (of_mode.clone(), told.clone());
                let (mut cuts, mut sticks) = (of_cuts.clone(), of_sticks.clone());
                cuts.mark_unchanged();
                sticks.mark_unchanged();
                connections.spawn(async move {
                    let mut joined = std::pin::pin!(join(client, server, mode, told));
                    tokio::select! {
                        _ = cuts.changed() => {}
                        // Neither closed nor read from any more.
                        _ = sticks.changed() => drop(cuts.changed().await),
                        () = &mut joined => {}
                    }
                });
            }
        });
        Self { address, mode, cuts, sticks, swallowed, _running: running }
    }

    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// Ends all connections.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Freezes the connections that there are for ever; new ones are well.
    pub fn stick(&self) {
        self.sticks.send_modify(|sticks| *sticks += 1);
    }

    /// Waits until the server has said something that the client did not hear.
    pub async fn has_swallowed(&self) {
        let before = *self.swallowed.borrow();
        self.swallowed.subscribe().wait_for(|swallowed| *swallowed > before).await.unwrap();
    }
}

async fn join(client: TcpStream, server: SocketAddr, mode: watch::Receiver<Mode>, swallowed: watch::Sender<usize>) {
    let Ok(server) = TcpStream::connect(server).await else { return };
    server.set_nodelay(true).unwrap();
    let ((client_in, client_out), (server_in, server_out)) = (client.into_split(), server.into_split());
    tokio::select! {
        () = carry(client_in, server_out, mode.clone(), &[Mode::Whole, Mode::Deaf], None) => {}
        () = carry(server_in, client_out, mode, &[Mode::Whole], Some(swallowed)) => {}
    }
}

/// Carries bytes one way while the mode allows it. What a deaf client does not hear is gone.
async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut mode: watch::Receiver<Mode>,
    in_modes: &[Mode],
    swallowed: Option<watch::Sender<usize>>,
) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        if mode.wait_for(|mode| *mode != Mode::Frozen).await.is_err() {
            return;
        }
        let count = tokio::select! {
            read = from.read(&mut buffer) => match read {
                Ok(0) | Err(_) => return,
                Ok(count) => count,
            },
            _ = mode.changed() => continue,
        };
        if in_modes.contains(&*mode.borrow()) {
            if to.write_all(&buffer[..count]).await.is_err() {
                return;
            }
        } else if let Some(swallowed) = &swallowed {
            swallowed.send_modify(|bytes| *bytes += count);
        }
    }
}
