//! A real Apache Kafka for tests: one that all tests of a process share, or a broker of the test's own that it may kill.
//!
//! `script/kafka fetch` gets it (once, into a cache folder); here it is started from there in about a second. Each broker
//! has a folder in `/tmp/backstitch-test-kafka-<uid>/<n>`, locked while it is used and emptied by the next user, and the
//! ports that belong to it. It dies with the test process, however that ends.

use std::fs::{self, File};
use std::io;
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::KafkaError;
use tokio::sync::OnceCell;

/// The settings of a broker; `script/kafka` fills in the same ones.
const SETTINGS: &str = include_str!("../kafka/server.properties");
/// The most brokers at once on this machine. Beyond it something leaks, which should be seen.
const MOST: u16 = 64;
/// The port of folder 0. Below 32768, from where on Linux gives ports to outgoing connections.
const FIRST_PORT: u16 = 21_000;
/// How long a broker may take until it answers; measured 1 s, and 10 s on a machine that does much else.
const READY_BOUND: Duration = Duration::from_secs(60);
/// How often the port is tried until it answers.
const TRY_EVERY: Duration = Duration::from_millis(10);
/// How long an administrator's request may take.
const ADMIN_BOUND: Duration = Duration::from_secs(30);

/// Why there is no Kafka for a test.
#[derive(Debug, thiserror::Error)]
pub enum TestKafkaError {
    /// It was never fetched.
    #[error("there is no Apache Kafka in `{home}`; run `script/kafka fetch` (script/test does)")]
    NotFetched {
        /// The cache folder that was looked into.
        home: PathBuf,
    },
    /// A file could not be read or written.
    #[error("`{path}` cannot be used for a test's Kafka")]
    File {
        /// Which one.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It started and did not answer.
    #[error("Kafka in `{folder}` did not answer on port {port}; its last words: {last_words}")]
    Silent {
        /// The broker's folder.
        folder: PathBuf,
        /// Where it should have answered.
        port: u16,
        /// The end of its log.
        last_words: String,
    },
    /// A topic was refused.
    #[error("Kafka did not make the topic `{topic}`: {reason}")]
    Topic {
        /// Which one.
        topic: String,
        /// What Kafka says.
        reason: String,
    },
}

/// A broker. Dropping it kills it.
#[derive(Debug)]
pub struct Kafka {
    folder: PathBuf,
    port: u16,
    brokers: String,
    topics: AtomicU32,
    /// Held for a signal or the reaping of a killed process only.
    process: Mutex<Option<Child>>,
    _lock: File,
}

static SHARED: OnceCell<Kafka> = OnceCell::const_new();

impl Kafka {
    /// The broker that all tests of this process share; nobody may kill or pause it. Take topics from [`Self::topic`].
    ///
    /// # Errors
    /// [`TestKafkaError`].
    pub async fn shared() -> Result<&'static Self, TestKafkaError> {
        SHARED.get_or_try_init(Self::start).await
    }

    /// A broker of the test's own, empty, ready when this returns.
    ///
    /// # Errors
    /// [`TestKafkaError`].
    pub async fn start() -> Result<Self, TestKafkaError> {
        let home = home();
        if !home.join("complete").exists() {
            return Err(TestKafkaError::NotFetched { home });
        }
        let (folder, port, lock) = claim()?;
        prepare(&home, &folder, port)?;
        let kafka = Self {
            brokers: format!("127.0.0.1:{port}"),
            folder,
            port,
            topics: AtomicU32::new(0),
            process: Mutex::new(None),
            _lock: lock,
        };
        kafka.restart().await?;
        Ok(kafka)
    }

    /// What clients are given as `bootstrap.servers`.
    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    /// A new topic whose name begins with `name` and is no other test's.
    ///
    /// # Errors
    /// [`TestKafkaError::Topic`].
    pub async fn topic(&self, name: &str, partitions: u16) -> Result<String, TestKafkaError> {
        let topic = format!("{name}-{}", self.topics.fetch_add(1, Ordering::Relaxed));
        self.create_topic(&topic, partitions, &[]).await?;
        Ok(topic)
    }

    /// A new topic of exactly this name, with settings such as `("cleanup.policy", "compact")`.
    ///
    /// # Errors
    /// [`TestKafkaError::Topic`], also when it is there already.
    pub async fn create_topic(
        &self,
        topic: &str,
        partitions: u16,
        settings: &[(&str, &str)],
    ) -> Result<(), TestKafkaError> {
        let refused = |reason: String| TestKafkaError::Topic { topic: topic.to_owned(), reason };
        let admin = self.admin().map_err(|error| refused(error.to_string()))?;
        let mut new = NewTopic::new(topic, i32::from(partitions), TopicReplication::Fixed(1));
        new.config = settings.to_vec();
        let options = AdminOptions::new().operation_timeout(Some(ADMIN_BOUND)).request_timeout(Some(ADMIN_BOUND));
        let made = admin.create_topics([&new], &options).await.map_err(|error| refused(error.to_string()))?;
        made.into_iter().try_for_each(|one| one.map(|_| ()).map_err(|(_, code)| refused(code.to_string())))
    }

    /// An administrator's client.
    ///
    /// # Errors
    /// What librdkafka says.
    pub fn admin(&self) -> Result<AdminClient<DefaultClientContext>, KafkaError> {
        ClientConfig::new().set("bootstrap.servers", &self.brokers).create()
    }

    /// Kills it as `kill -9` does. What was acknowledged stays in its folder: the page cache outlives a process.
    pub fn kill(&self) {
        let mut process = self.process.lock();
        if let Some(mut child) = process.take() {
            let _ = child.kill(); // It can only have ended already.
            let _ = child.wait();
        }
    }

    /// Stops it in its tracks (SIGSTOP): connections stay open and nothing answers, as with a machine that hangs.
    pub fn pause(&self) {
        self.signal(libc::SIGSTOP);
    }

    /// Lets it go on after [`Self::pause`].
    pub fn resume(&self) {
        self.signal(libc::SIGCONT);
    }

    /// Starts it on the same port and folder after [`Self::kill`] (a living one is killed first); ready when this
    /// returns. After a kill it takes another 1.5 s to have a leader again: until its session of before has ended.
    ///
    /// # Errors
    /// [`TestKafkaError`].
    pub async fn restart(&self) -> Result<(), TestKafkaError> {
        self.kill();
        let child = spawn(&home(), &self.folder).await?;
        *self.process.lock() = Some(child);
        let began = Instant::now();
        while tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
            if began.elapsed() > READY_BOUND || self.has_ended() {
                return Err(self.silent());
            }
            tokio::time::sleep(TRY_EVERY).await;
        }
        Ok(())
    }

    /// As [`Self::restart`], with another topic's records in a topic: as if it had been deleted and filled anew while
    /// nobody could look.
    ///
    /// # Errors
    /// [`TestKafkaError`].
    pub async fn restart_with_records_of(
        &self,
        other: &str,
        topic: &str,
        partitions: u32,
    ) -> Result<(), TestKafkaError> {
        self.kill();
        for partition in 0..partitions {
            let of = |topic: &str| self.folder.join("log").join(format!("{topic}-{partition}"));
            let (from, to) = (of(other), of(topic));
            // What belongs to the records, and nothing of what says which topic it is.
            let files = |folder: &Path| -> Result<Vec<PathBuf>, TestKafkaError> {
                let entries = fs::read_dir(folder).map_err(failed(folder))?;
                let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
                let is_theirs =
                    |path: &PathBuf| path.file_name().is_some_and(|name| name.as_encoded_bytes()[0] == b'0');
                Ok(paths.filter(is_theirs).collect())
            };
            for path in files(&to)? {
                fs::remove_file(&path).map_err(failed(&path))?;
            }
            for path in files(&from)? {
                let copy = to.join(path.file_name().unwrap_or_default());
                fs::copy(&path, &copy).map_err(failed(&copy))?;
            }
        }
        self.restart().await
    }

    fn signal(&self, signal: i32) {
        let process = self.process.lock();
        if let Some(pid) = process.as_ref().and_then(|child| i32::try_from(child.id()).ok()) {
            // SAFETY: kill(2) takes any two numbers; the child is not reaped while we hold it, so the pid is its own.
            unsafe { libc::kill(pid, signal) };
        }
    }

    fn has_ended(&self) -> bool {
        let mut process = self.process.lock();
        process.as_mut().is_none_or(|child| child.try_wait().is_ok_and(|status| status.is_some()))
    }

    fn silent(&self) -> TestKafkaError {
        let log = fs::read_to_string(self.folder.join("kafka.log")).unwrap_or_default();
        let from = log.char_indices().rev().nth(2_000).map_or(0, |(at, _)| at);
        TestKafkaError::Silent { folder: self.folder.clone(), port: self.port, last_words: log[from..].to_owned() }
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        self.kill();
        let _ = fs::remove_dir_all(&self.folder); // The next user empties it too.
    }
}

/// Where `script/kafka` put it: the same rule as there.
fn home() -> PathBuf {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = || set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache"))).unwrap_or_default();
    set("BACKSTITCH_KAFKA").unwrap_or_else(|| cache().join("backstitch/kafka"))
}

/// The first folder that no other test uses, with the port that belongs to it (its controller's is the next). The lock
/// is ours as long as the file is open.
fn claim() -> Result<(PathBuf, u16, File), TestKafkaError> {
    // SAFETY: geteuid has no preconditions and cannot fail (geteuid(2)).
    let root = PathBuf::from(format!("/tmp/backstitch-test-kafka-{}", unsafe { libc::geteuid() }));
    fs::create_dir_all(&root).map_err(failed(&root))?;
    for number in 0..MOST {
        let path = root.join(format!("{number}.lock"));
        let file = File::create(&path).map_err(failed(&path))?;
        let port = FIRST_PORT + 2 * number;
        let free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if file.try_lock().is_ok() && free(port) && free(port + 1) {
            return Ok((root.join(number.to_string()), port, file));
        }
    }
    let busy = io::Error::other("all folders or ports are in use: end the test processes that hold them");
    Err(TestKafkaError::File { path: root, source: busy })
}

/// An empty, formatted log and its settings.
fn prepare(home: &Path, folder: &Path, port: u16) -> Result<(), TestKafkaError> {
    let _ = fs::remove_dir_all(folder); // What a killed test left; that nothing was there is as well.
    let log = folder.join("log");
    fs::create_dir_all(&log).map_err(failed(&log))?;
    let formatted = home.join("formatted");
    for entry in fs::read_dir(&formatted).map_err(failed(&formatted))? {
        let from = entry.map_err(failed(&formatted))?.path();
        let to = log.join(from.file_name().unwrap_or_default());
        fs::copy(&from, &to).map_err(failed(&to))?;
    }
    let settings = SETTINGS
        .replace("@PORT@", &port.to_string())
        .replace("@CONTROLLER_PORT@", &(port + 1).to_string())
        .replace("@DIR@", &folder.to_string_lossy());
    let path = folder.join("server.properties");
    fs::write(&path, settings).map_err(failed(&path))
}

/// Asks for a process; answered with it.
type Birth = (Command, tokio::sync::oneshot::Sender<io::Result<Child>>);

/// The thread that gives birth to all brokers of this process. A child's death signal fires when the *thread* that
/// started it ends (prctl(2)), and a test's own thread ends with the test; this one never does.
fn births() -> &'static Sender<Birth> {
    static BIRTHS: OnceLock<Sender<Birth>> = OnceLock::new();
    BIRTHS.get_or_init(|| {
        let (asked, inbox) = channel::<Birth>();
        let _detached = std::thread::spawn(move || {
            for (mut command, reply) in inbox {
                if let Err(Ok(mut orphan)) = reply.send(command.spawn()) {
                    let _ = orphan.kill(); // The caller is gone.
                    let _ = orphan.wait();
                }
            }
        });
        asked
    })
}

async fn spawn(home: &Path, folder: &Path) -> Result<Child, TestKafkaError> {
    let named = home.join("java");
    let java = fs::read_to_string(&named).map_err(failed(&named))?;
    let log = folder.join("kafka.log");
    let output = File::options().create(true).append(true).open(&log).map_err(failed(&log))?;
    let errors = output.try_clone().map_err(failed(&log))?;
    let mut command = Command::new(java.trim());
    command.arg(format!("@{}", home.join("java.args").display())).arg("kafka.Kafka");
    command.arg(folder.join("server.properties")).stdin(Stdio::null()).stdout(output).stderr(errors);
    // SAFETY: prctl(2) is a plain system call, allowed between fork and exec.
    unsafe {
        command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        });
    }
    let (reply, born) = tokio::sync::oneshot::channel();
    let gone = || TestKafkaError::File { path: named.clone(), source: io::Error::other("its thread has ended") };
    births().send((command, reply)).map_err(|_| gone())?;
    born.await.map_err(|_| gone())?.map_err(failed(Path::new(java.trim())))
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> TestKafkaError {
    let path = path.to_owned();
    |source| TestKafkaError::File { path, source }
}
