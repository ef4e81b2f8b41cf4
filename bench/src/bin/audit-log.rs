//! Durable audit records a second, with so many clients that each wait for their own record, and what a record costs.
//!
//! Beside it what the disk gives to a program that does nothing else: as many lines as there are clients, of the length of the
//! log's, written and synced at once, again and again.
//!
//! Clients are tasks of a runtime, as the calls of a gateway are; `--threads` makes each a thread of its own, and what
//! is measured then is mostly how the system wakes threads. `--work` is what a client does between two records: with it, on
//! one core (`taskset -c 0`), this is what a busy gateway is to the log.
//!
//! Run with: `cargo run --release --bin audit-log -- --folder /somewhere/on/the/disk`

use std::{
    any::Any,
    fs::{self, File},
    hint,
    io::{self, Read, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use clap::Parser;
use fastmcp_audit::{
    AuditError, Draft, FileStorage, Log, Mode, Options, Receipt, Segment, Signer, Status, Storage,
    generate_key, verify,
};
use serde_json::json;
use tokio::runtime::{Builder, Runtime};

/// A record of the log itself, written and synced alone: the first and the last.
const OWN: u64 = 2;

/// What a tick of `/proc` is, in seconds. Source: proc_pid_stat(5), and sysconf(_SC_CLK_TCK) of every Linux in use.
const TICK: f64 = 0.01;

/// What the disk alone is given to write, again and again.
const RAW_BYTES: usize = 1 << 26;

/// Measures group commit: clients that write at the same moment share one sync of the disk.
#[derive(Debug, Parser)]
struct Arguments {
    /// A folder on the disk that is measured; what is written there is removed again.
    #[arg(long)]
    folder: PathBuf,
    /// How many clients; may be repeated.
    #[arg(long, default_values_t = [1, 32, 64, 128])]
    clients: Vec<usize>,
    /// How long each number of clients is measured.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Answers when a record is queued, not when it is durable.
    #[arg(long)]
    buffered: bool,
    /// Makes each client a thread instead of a task.
    #[arg(long)]
    threads: bool,
    /// How long those are waited for who wrote together before, in microseconds; the log's own default.
    #[arg(long)]
    gather: Option<u64>,
    /// How long a client computes between two records, in microseconds.
    #[arg(long, default_value_t = 0)]
    work: u64,
    /// How long a client waits between two records, in microseconds.
    #[arg(long, default_value_t = 0)]
    pause: u64,
    /// Does not measure the disk alone.
    #[arg(long)]
    no_disk: bool,
}

/// What one number of clients came to.
struct Measured {
    records: u64,
    seconds: f64,
    /// The records that the disk alone takes in a second.
    raw: f64,
    /// How often the log synced the file of records.
    syncs: u64,
    /// CPU of the whole process, in seconds: the clients, the log and the system on their behalf.
    cpu: Cpu,
    waits: Vec<Duration>,
}

/// CPU in seconds.
#[derive(Clone, Copy)]
struct Cpu {
    all: f64,
    kernel: f64,
}

/// What all clients share.
struct Shared {
    log: Log,
    /// Rounds of [`compute`] between two records.
    work: u64,
    pause: Duration,
    stop: AtomicBool,
    records: AtomicU64,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let folder = arguments.folder.join("audit-log");
    ensure!(!folder.exists(), "`{}` is there already", folder.display());
    let report = report(&arguments, &folder);
    // Only now: what is removed makes the files slow that come after it.
    fs::remove_dir_all(&folder).with_context(|| format!("cannot remove `{}`", folder.display()))?;
    report
}

fn report(arguments: &Arguments, folder: &Path) -> anyhow::Result<()> {
    println!(
        "| clients | records/s | the disk alone | records a sync | CPU a record | in the kernel | wait p50 | p99 |"
    );
    println!("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    for clients in &arguments.clients {
        ensure!(*clients > 0, "at least one client");
        let Measured {
            records,
            seconds,
            raw,
            syncs,
            cpu,
            mut waits,
        } = measure(arguments, *clients, &folder.join(clients.to_string()))?;
        waits.sort_unstable();
        let at = |part: usize| {
            let wait = waits.get(waits.len() * part / 100).copied();
            wait.unwrap_or_default().as_secs_f64() * 1e3
        };
        println!(
            "| {clients} | {:.0} | {raw:.0} | {:.1} | {:.1} µs | {:.1} µs | {:.2} ms | {:.2} ms |",
            records as f64 / seconds,
            records as f64 / syncs.max(1) as f64,
            cpu.all * 1e6 / records.max(1) as f64,
            cpu.kernel * 1e6 / records.max(1) as f64,
            at(50),
            at(99)
        );
    }
    Ok(())
}

fn measure(arguments: &Arguments, clients: usize, folder: &Path) -> anyhow::Result<Measured> {
    let signer = Signer::for_instance("bench", &generate_key()?)?;
    let key = signer.verifier();
    let mut options = Options::new("bench", signer);
    if arguments.buffered {
        options.mode = Mode::Buffered;
    }
    if let Some(gather) = arguments.gather {
        options.gather = Duration::from_micros(gather);
    }
    let syncs = Arc::new(AtomicU64::new(0));
    let disk = Counting {
        files: FileStorage::new(folder),
        syncs: Arc::clone(&syncs),
    };
    let shared = Arc::new(Shared {
        log: Log::open_in(Arc::new(disk), options)?,
        work: rounds(arguments.work),
        pause: Duration::from_micros(arguments.pause),
        stop: AtomicBool::new(false),
        records: AtomicU64::new(0),
    });
    let runtime = Builder::new_multi_thread().enable_time().build()?;
    let (begun, cpu) = (Instant::now(), cpu_seconds()?);
    let run = if arguments.threads {
        as_threads
    } else {
        as_tasks
    };
    let waits = run(
        &runtime,
        &shared,
        clients,
        Duration::from_secs(arguments.seconds),
    )?;
    let (seconds, spent) = (begun.elapsed().as_secs_f64(), cpu_seconds()?);
    let cpu = Cpu {
        all: spent.all - cpu.all,
        kernel: spent.kernel - cpu.kernel,
    };
    let syncs = syncs.load(Ordering::Relaxed).saturating_sub(OWN - 1);
    let records = shared.records.load(Ordering::Relaxed);
    shared.log.close()?;
    // What was counted is there: with the records that open and close the log.
    let report = verify(folder, Some(&key))?;
    ensure!(
        report.records == records + OWN,
        "{} records were acknowledged, {} are there",
        records + OWN,
        report.records
    );
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().ends_with(".jsonl") {
            bytes += entry.metadata()?.len();
        }
    }
    let line = usize::try_from(bytes / report.records.max(1))?;
    let raw = if arguments.no_disk {
        0.0
    } else {
        raw(&folder.join("raw"), clients * line, arguments.seconds)?
    };
    Ok(Measured {
        records,
        seconds,
        raw: raw * clients as f64,
        syncs,
        cpu,
        waits,
    })
}

/// Writes and syncs so many bytes again and again; returns how often a second.
fn raw(path: &Path, bytes: usize, seconds: u64) -> anyhow::Result<f64> {
    let mut file = File::create(path)?;
    file.write_all(&vec![0; RAW_BYTES])?;
    file.sync_all()?;
    let (lines, most) = (vec![b'x'; bytes], RAW_BYTES / bytes.max(1));
    let (begun, mut syncs) = (Instant::now(), 0_u32);
    while begun.elapsed() < Duration::from_secs(seconds) {
        if (syncs as usize).is_multiple_of(most) {
            file.seek(SeekFrom::Start(0))?;
        }
        file.write_all(&lines)?;
        file.sync_data()?;
        syncs += 1;
    }
    Ok(f64::from(syncs) / begun.elapsed().as_secs_f64())
}

fn as_tasks(
    runtime: &Runtime,
    shared: &Arc<Shared>,
    clients: usize,
    time: Duration,
) -> anyhow::Result<Vec<Duration>> {
    let tasks: Vec<_> = (0..clients)
        .map(|client| {
            let shared = Arc::clone(shared);
            runtime.spawn(async move {
                let mut work = Work::new(client);
                while !shared.stop.load(Ordering::Relaxed) {
                    let asked = Instant::now();
                    let answer = shared.log.append(work.next()).await;
                    work.note(asked, answer, &shared.records)?;
                    compute(shared.work);
                    if !shared.pause.is_zero() {
                        tokio::time::sleep(shared.pause).await;
                    }
                }
                anyhow::Ok(work.waits)
            })
        })
        .collect();
    thread::sleep(time);
    shared.stop.store(true, Ordering::Relaxed);
    let mut waits = Vec::new();
    for task in tasks {
        waits.extend(
            runtime
                .block_on(task)
                .context("a client ended in a panic")??,
        );
    }
    Ok(waits)
}

fn as_threads(
    _: &Runtime,
    shared: &Arc<Shared>,
    clients: usize,
    time: Duration,
) -> anyhow::Result<Vec<Duration>> {
    let threads: Vec<_> = (0..clients)
        .map(|client| {
            let shared = Arc::clone(shared);
            thread::spawn(move || {
                let mut work = Work::new(client);
                while !shared.stop.load(Ordering::Relaxed) {
                    let asked = Instant::now();
                    let answer = shared.log.append(work.next()).wait();
                    work.note(asked, answer, &shared.records)?;
                    compute(shared.work);
                    if !shared.pause.is_zero() {
                        thread::sleep(shared.pause);
                    }
                }
                anyhow::Ok(work.waits)
            })
        })
        .collect();
    thread::sleep(time);
    shared.stop.store(true, Ordering::Relaxed);
    let mut waits = Vec::new();
    for thread in threads {
        let waited = thread.join().ok().context("a client ended in a panic")?;
        waits.extend(waited?);
    }
    Ok(waits)
}

/// What one client writes: the intents and the outcomes of its calls, one after the other.
struct Work {
    client: usize,
    number: u64,
    intent: Draft,
    outcome: Draft,
    waits: Vec<Duration>,
}

impl Work {
    fn new(client: usize) -> Self {
        let mut intent = Draft::intent("tools.invoke");
        intent.tool_id = Some("database:executeQuery".to_owned());
        intent.resource_type = Some("tool".to_owned());
        intent.resource_id = Some("database:executeQuery".to_owned());
        intent.sub = Some(format!("agent-{client}"));
        intent.tenant = Some("public".to_owned());
        intent.ip_address = Some("127.0.0.1".to_owned());
        intent.request_hash = Some(format!("hmac-sha256:{}", "0".repeat(64)));
        intent.policy_decision = Some("allow".to_owned());
        intent.policy_ids = vec!["data-analysts-read".to_owned()];
        intent.policy_version = Some("3".to_owned());
        intent.details = json!({"attributes": {
            "roles": ["data-analyst"], "scopes": ["mcp.tools.database.read"], "claims": {},
            "provider_id": "database", "resource_tenant": "public", "safety_tags": [], "required_scopes": [],
        }})
        .as_object()
        .cloned()
        .map(Into::into);
        let mut outcome = intent.clone();
        let Draft { phase, status, .. } = Draft::outcome("tools.invoke", Status::Success);
        (outcome.phase, outcome.status) = (phase, status);
        outcome.result_hash.clone_from(&intent.request_hash);
        Self {
            client,
            number: 0,
            intent,
            outcome,
            waits: Vec::new(),
        }
    }

    fn next(&mut self) -> &Draft {
        let (call, half) = (self.number / 2, self.number % 2);
        self.number += 1;
        let draft = if half == 0 {
            &mut self.intent
        } else {
            &mut self.outcome
        };
        draft.corr_id = Some(format!("c-{}-{call}", self.client));
        draft
    }

    fn note(
        &mut self,
        asked: Instant,
        answer: Result<Receipt, AuditError>,
        records: &AtomicU64,
    ) -> anyhow::Result<()> {
        match answer {
            Ok(_) => {}
            // Buffered, it is faster than the disk by design: that is refused, and not counted.
            Err(AuditError::Full { .. }) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        self.waits.push(asked.elapsed());
        records.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// Computes for so many rounds. Not for so long by the clock: that would go on while others have the core.
fn compute(rounds: u64) {
    for round in 0..rounds {
        hint::black_box(round);
    }
}

/// Returns how many rounds of [`compute`] take so many microseconds of a core.
fn rounds(microseconds: u64) -> u64 {
    const TRIED: u64 = 1 << 20;
    let tries = (0..20).map(|_| {
        let begun = Instant::now();
        compute(TRIED);
        begun.elapsed().as_nanos().max(1)
    });
    // Others had the core in all but the quickest.
    let least = u64::try_from(tries.min().unwrap_or(1)).unwrap_or(u64::MAX);
    microseconds * 1_000 * TRIED / least
}

/// CPU that this process has taken so far.
fn cpu_seconds() -> anyhow::Result<Cpu> {
    let stat = fs::read_to_string("/proc/self/stat").context("cannot read /proc/self/stat")?;
    // After the name, which may hold spaces: state is the first field, utime and stime are 12 and 13.
    let rest = stat
        .rsplit_once(')')
        .context("no name in /proc/self/stat")?;
    let fields = rest.1.split_whitespace().skip(11).take(2);
    let ticks: Option<Vec<u64>> = fields.map(|field| field.parse().ok()).collect();
    let &[user, kernel] = ticks.as_deref().unwrap_or_default() else {
        anyhow::bail!("no times in /proc/self/stat");
    };
    Ok(Cpu {
        all: (user + kernel) as f64 * TICK,
        kernel: kernel as f64 * TICK,
    })
}

/// The disk, with a count of the syncs of files of records.
#[derive(Debug)]
struct Counting {
    files: FileStorage,
    syncs: Arc<AtomicU64>,
}

impl Counting {
    fn counted(&self, file: Box<dyn Segment>) -> Box<dyn Segment> {
        Box::new(Counted {
            file,
            syncs: Arc::clone(&self.syncs),
        })
    }
}

impl Storage for Counting {
    fn place(&self) -> String {
        self.files.place()
    }

    fn lock(&self) -> io::Result<Box<dyn Any + Send>> {
        self.files.lock()
    }

    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        self.files.list()
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn Read + Send>> {
        self.files.open(name)
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn Segment>> {
        Ok(self.counted(self.files.create(name)?))
    }

    fn resume(&self, name: &str, durable: u64, len: u64) -> io::Result<Box<dyn Segment>> {
        Ok(self.counted(self.files.resume(name, durable, len)?))
    }

    fn replace(&self, name: &str, content: &[u8]) -> io::Result<()> {
        self.files.replace(name, content)
    }

    fn replace_all(&self, files: &[(String, Vec<u8>)]) -> io::Result<()> {
        self.files.replace_all(files)
    }

    fn copy_to(&self, name: &str, folder: &Path) -> io::Result<()> {
        self.files.copy_to(name, folder)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.files.remove(name)
    }
}

#[derive(Debug)]
struct Counted {
    file: Box<dyn Segment>,
    syncs: Arc<AtomicU64>,
}

impl Segment for Counted {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.append(bytes)
    }

    fn reserve(&mut self) {
        self.file.reserve();
    }

    fn sync(&mut self) -> io::Result<()> {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        self.file.sync()
    }

    fn trim(&mut self) -> io::Result<()> {
        self.file.trim()
    }
}
