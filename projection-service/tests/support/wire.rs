//! The way to a Postgres whose host vanishes without a word: a connection on which something certain is asked is silent
//! from then on, in both directions, and stays open. Connections that are made later lead to a server that answers.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::BOUND;

/// So many of the latest bytes are looked at together: a statement may come in parts.
const TOGETHER: usize = 16 * 1024;

/// At what a connection falls silent.
#[derive(Debug, Clone, Copy)]
pub enum Asked {
    /// A statement with these words, when it is sent for the first time on a connection.
    Words(&'static str),
    /// Whether the connection lives (a `Sync` alone), as sqlx asks when it is given back to its pool.
    Ping,
}

impl Asked {
    fn is_in(self, latest: &[u8], read: &[u8]) -> bool {
        match self {
            Self::Words(words) => latest.windows(words.len()).any(|part| part == words.as_bytes()),
            Self::Ping => read == b"S\0\0\0\x04",
        }
    }
}

pub struct Wire {
    /// How the database is reached over the wire.
    pub url: String,
    /// How many connections may still fall silent.
    left: watch::Receiver<usize>,
    _carries: JoinSet<()>,
}

impl Wire {
    /// Over it, `times` connections to the database (by TCP, as `tcp_url` gives it) fall silent when this is asked.
    pub async fn to(tcp_url: &str, asked: Asked, times: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let own = listener.local_addr().expect("it is bound");
        let (before, rest) = tcp_url.split_once("@127.0.0.1:").expect("a URL over TCP");
        let (port, database) = rest.split_once('/').expect("a database");
        let server = SocketAddr::from(([127, 0, 0, 1], port.parse().expect("a port")));
        let url = format!("{before}@{own}/{database}?sslmode=disable");
        let (counts, left) = watch::channel(times);
        let counts = Arc::new(counts);
        let mut carries = JoinSet::new();
        carries.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let counts = Arc::clone(&counts);
                open.spawn(async move {
                    if let Ok(server) = TcpStream::connect(server).await {
                        carry(client, server, asked, &counts).await;
                    }
                });
            }
        });
        Self { url, left, _carries: carries }
    }

    /// Waits until as many connections as may are silent.
    pub async fn fell_silent(&self) {
        let mut left = self.left.clone();
        let fell = tokio::time::timeout(BOUND, left.wait_for(|left| *left == 0)).await;
        fell.expect("what was to be sent was sent").expect("the wire lives");
    }
}

async fn carry(client: TcpStream, server: TcpStream, silent_at: Asked, left: &watch::Sender<usize>) {
    let (mut asked, mut answers_to) = client.into_split();
    let (mut answered, mut asks) = server.into_split();
    let there = async {
        let (mut latest, mut bytes) = (Vec::new(), vec![0; 64 * 1024]);
        while let Ok(read @ 1..) = asked.read(&mut bytes).await {
            latest.extend_from_slice(&bytes[..read]);
            let falls = silent_at.is_in(&latest, &bytes[..read]);
            if falls && left.send_if_modified(|left| std::mem::replace(left, left.saturating_sub(1)) > 0) {
                return true;
            }
            latest.drain(..latest.len().saturating_sub(TOGETHER));
            if asks.write_all(&bytes[..read]).await.is_err() {
                return false;
            }
        }
        false
    };
    let silent = tokio::select! {
        silent = there => silent,
        _ = tokio::io::copy(&mut answered, &mut answers_to) => false,
    };
    if silent {
        drop((asks, answered)); // What the server was doing is gone with it, its locks too.
        std::future::pending::<()>().await; // The client's socket stays open.
    }
}
