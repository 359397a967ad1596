//! A lean HTTP/1.1 load generator: raw sockets, keep-alive, requests written from prepared bytes, answers parsed no
//! further than needed. It runs on one thread of its own, since it shares the machine with what it measures.

use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use futures_util::future::try_join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout_at;
use tokio_util::sync::CancellationToken;

use super::machine;
use super::report::Latencies;

/// The largest answer that is read, head and body: ours have under 2 kB, problems under 4 kB.
const MAX_ANSWER: usize = 64 * 1024;

/// What a run of the generator did.
#[derive(Debug, Clone)]
pub struct Load {
    /// Answers with a 2xx status.
    pub done: u64,
    /// How long each took.
    pub latencies: Latencies,
    /// From the first request to the last answer.
    pub wall: Duration,
    /// The generator's own processor time.
    pub generator_cpu: Duration,
}

/// Writes the `n`-th request of client `client` into the buffer.
pub type Write = fn(client: usize, n: u64, into: &mut Vec<u8>);

/// What is sent, over how many connections, for how long.
#[derive(Debug, Clone)]
pub struct Plan {
    /// To whom.
    pub address: SocketAddr,
    /// The number of the first client; the others follow it.
    pub first_client: usize,
    /// Connections; each sends its next request as soon as its last is answered.
    pub connections: usize,
    /// For how long.
    pub duration: Duration,
    /// Writes a request.
    pub write: Write,
    /// One permit is used up by each request; the holder of the other end gives more. `None`: no limit.
    pub gate: Option<Arc<Semaphore>>,
}

/// Carries out a plan on a thread of its own; blocks until it is done.
///
/// # Errors
/// If a connection breaks, or an answer is not 2xx: a bench that is refused measures nothing.
pub fn run(plan: Plan) -> anyhow::Result<Load> {
    let generator = std::thread::Builder::new().name("generator".to_owned());
    let thread = generator.spawn(move || {
        machine::as_generator();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let cpu = machine::thread_cpu();
        let begin = Instant::now();
        let clients = plan.first_client..plan.first_client + plan.connections;
        let clients = clients.map(|client| connection(&plan, client, begin + plan.duration));
        let latencies = Latencies::of(runtime.block_on(try_join_all(clients))?);
        let (wall, generator_cpu) = (begin.elapsed(), machine::thread_cpu().saturating_sub(cpu));
        Ok(Load { done: latencies.len(), latencies, wall, generator_cpu })
    });
    match thread.context("no thread for the generator")?.join() {
        Ok(load) => load,
        Err(_) => bail!("the generator panicked"),
    }
}

async fn connection(plan: &Plan, client: usize, until: Instant) -> anyhow::Result<Latencies> {
    let mut wire = Wire::open(plan.address).await?;
    let mut latencies = Latencies::default();
    let mut request = Vec::with_capacity(2048);
    let mut n = 0;
    while Instant::now() < until {
        if let Some(gate) = &plan.gate {
            match timeout_at(until.into(), gate.acquire()).await {
                Ok(permit) => permit?.forget(),
                Err(_) => break, // The time is over.
            }
        }
        request.clear();
        (plan.write)(client, n, &mut request);
        let begin = Instant::now();
        wire.exchange(&request).await?;
        latencies.add(begin.elapsed());
        n += 1;
    }
    Ok(latencies)
}

/// Clients that keep a server as busy as they can, whatever it answers, on a thread of their own.
#[derive(Debug)]
pub struct Flood {
    stop: CancellationToken,
    thread: JoinHandle<anyhow::Result<u64>>,
}

impl Flood {
    /// Opens the connections and sends requests over each, until the flood is ended.
    ///
    /// # Errors
    /// If there is no thread for it.
    pub fn begin(address: SocketAddr, connections: usize, write: Write) -> anyhow::Result<Self> {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let flood = std::thread::Builder::new().name("flood".to_owned());
        let thread = flood.spawn(move || {
            machine::as_generator();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let answers = Cell::new(0);
            let clients = (0..connections).map(|client| flood_connection(address, client, write, &answers));
            runtime.block_on(async {
                tokio::select! {
                    () = stopped.cancelled() => Ok(answers.get()),
                    ended = try_join_all(clients) => ended.map(|_| answers.get()),
                }
            })
        });
        Ok(Self { stop, thread: thread.context("no thread for the flood")? })
    }

    /// Ends it. How many answers came, of any status; a subscription that is open counts as one.
    ///
    /// # Errors
    /// If the server cannot be reached, or nobody was answered.
    pub fn end(self) -> anyhow::Result<u64> {
        self.stop.cancel();
        let answers = self.thread.join().map_err(|_| anyhow::anyhow!("the flood panicked"))??;
        anyhow::ensure!(answers > 0, "nothing of the flood was answered");
        Ok(answers)
    }
}

/// Sends requests over one connection after the other, for ever.
async fn flood_connection(address: SocketAddr, client: usize, write: Write, answers: &Cell<u64>) -> anyhow::Result<()> {
    let (mut request, mut n) = (Vec::with_capacity(256), 0);
    loop {
        let mut wire = Wire::open(address).await?;
        loop {
            request.clear();
            write(client, n, &mut request);
            n += 1;
            match wire.answer(&request).await {
                Ok(Whole::Yes) => answers.set(answers.get() + 1),
                Ok(Whole::Endless) => {
                    answers.set(answers.get() + 1);
                    wire.swallow().await;
                    break;
                }
                Err(_) => break, // The server may close connections as it likes.
            }
        }
    }
}

/// Whether an answer has been read to its end, or has none.
enum Whole {
    Yes,
    Endless,
}

/// One connection that is kept open.
struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Wire {
    async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("{address} cannot be reached"))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(4096) })
    }

    /// Sends a request and reads its answer to the end.
    async fn exchange(&mut self, request: &[u8]) -> anyhow::Result<()> {
        match self.answer(request).await? {
            Whole::Endless => bail!("an answer without a length: {}", String::from_utf8_lossy(&self.buffer)),
            Whole::Yes if self.buffer.get(9) == Some(&b'2') => Ok(()),
            Whole::Yes => bail!("refused: {}", String::from_utf8_lossy(&self.buffer)),
        }
    }

    /// Sends a request and reads its answer, whatever it is: to the end where it has one.
    async fn answer(&mut self, request: &[u8]) -> anyhow::Result<Whole> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        loop {
            let read = self.stream.read_buf(&mut self.buffer).await?;
            if read == 0 {
                bail!("the server closed the connection");
            }
            match answer_length(&self.buffer)? {
                Length::Open if self.buffer.len() > MAX_ANSWER => bail!("an answer of more than {MAX_ANSWER} bytes"),
                Length::Of(length) if self.buffer.len() >= length => return Ok(Whole::Yes),
                Length::Endless => return Ok(Whole::Endless),
                Length::Open | Length::Of(_) => {}
            }
        }
    }

    /// Reads what comes until the server closes the connection.
    async fn swallow(&mut self) {
        loop {
            self.buffer.clear();
            match self.stream.read_buf(&mut self.buffer).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
    }
}

/// How long an answer is, head and body together.
#[derive(Debug, PartialEq, Eq)]
enum Length {
    /// Not known yet.
    Open,
    Of(usize),
    /// It is sent in pieces.
    Endless,
}

fn answer_length(buffer: &[u8]) -> anyhow::Result<Length> {
    let Some(head) = buffer.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(Length::Open) };
    let name = b"content-length: ";
    let fits = |window: &[u8]| window.eq_ignore_ascii_case(name);
    let Some(at) = buffer[..head].windows(name.len()).position(fits) else {
        return Ok(Length::Endless);
    };
    let digits = buffer[at + name.len()..head].iter().take_while(|byte| byte.is_ascii_digit());
    let length = digits.fold(0_usize, |length, digit| length * 10 + usize::from(digit - b'0'));
    if length > MAX_ANSWER {
        bail!("an answer of {length} bytes");
    }
    Ok(Length::Of(head + 4 + length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_when_its_body_is() {
        let answer = b"HTTP/1.1 201 Created\r\nContent-Length: 5\r\n\r\nhel";
        assert_eq!(answer_length(answer).unwrap(), Length::Of(answer.len() + 2));
        assert_eq!(answer_length(b"HTTP/1.1 201 Cre").unwrap(), Length::Open);
        assert_eq!(answer_length(b"HTTP/1.1 200 OK\r\n\r\n").unwrap(), Length::Endless);
    }
}
