//! Durable audit records a second, with so many clients that each wait for their own record.
//!
//! Run with: `cargo run --release --bin audit-log -- --folder /somewhere/on/the/disk`

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use clap::Parser;
use fastmcp_audit::{Draft, Log, Mode, Options, Signer, generate_key, verify};
use serde_json::json;

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
}

/// What one number of clients came to.
struct Measured {
    records: u64,
    seconds: f64,
    waits: Vec<Duration>,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    println!("| clients | records/s | wait p50 | p99 |");
    println!("| ---: | ---: | ---: | ---: |");
    for clients in &arguments.clients {
        ensure!(*clients > 0, "at least one client");
        let folder = arguments.folder.join(format!("audit-{clients}"));
        ensure!(!folder.exists(), "`{}` is there already", folder.display());
        let measured = measure(&arguments, *clients, &folder);
        std::fs::remove_dir_all(&folder)
            .with_context(|| format!("cannot remove `{}`", folder.display()))?;
        let Measured {
            records,
            seconds,
            mut waits,
        } = measured?;
        waits.sort_unstable();
        let at = |part: usize| {
            let wait = waits.get(waits.len() * part / 100).copied();
            wait.unwrap_or_default().as_secs_f64() * 1e3
        };
        let rate = records as f64 / seconds;
        println!(
            "| {clients} | {rate:.0} | {:.2} ms | {:.2} ms |",
            at(50),
            at(99)
        );
    }
    Ok(())
}

fn measure(
    arguments: &Arguments,
    clients: usize,
    folder: &std::path::Path,
) -> anyhow::Result<Measured> {
    let signer = Signer::for_instance("bench", &generate_key()?)?;
    let key = signer.verifier();
    let mut options = Options::new("bench", signer);
    if arguments.buffered {
        options.mode = Mode::Buffered;
    }
    let log = Arc::new(Log::open(folder, options)?);
    let (stop, records) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let begun = Instant::now();
    let threads: Vec<_> = (0..clients)
        .map(|client| {
            let (log, stop, records) = (Arc::clone(&log), Arc::clone(&stop), Arc::clone(&records));
            thread::spawn(move || work(client, &log, &stop, &records))
        })
        .collect();
    thread::sleep(Duration::from_secs(arguments.seconds));
    stop.store(true, Ordering::Relaxed);
    let mut waits = Vec::new();
    for thread in threads {
        let waited = thread.join().ok().context("a client ended in a panic")?;
        waits.extend(waited?);
    }
    let seconds = begun.elapsed().as_secs_f64();
    let records = records.load(Ordering::Relaxed);
    log.close()?;
    // What was counted is there: with the records that open and close the log.
    let report = verify(folder, Some(&key))?;
    ensure!(
        report.records == records + 2,
        "{} records were acknowledged, {} are there",
        records + 2,
        report.records
    );
    Ok(Measured {
        records,
        seconds,
        waits,
    })
}

/// Writes records as a gateway does, one after the other.
fn work(
    client: usize,
    log: &Log,
    stop: &AtomicBool,
    records: &AtomicU64,
) -> anyhow::Result<Vec<Duration>> {
    let mut draft = Draft::intent("tools.invoke");
    draft.tool_id = Some("database:executeQuery".to_owned());
    draft.resource_type = Some("tool".to_owned());
    draft.sub = Some(format!("agent-{client}"));
    draft.tenant = Some("public".to_owned());
    draft.ip_address = Some("127.0.0.1".to_owned());
    draft.request_hash = Some(format!("hmac-sha256:{}", "0".repeat(64)));
    draft.policy_decision = Some("allow".to_owned());
    draft.policy_ids = vec!["data-analysts-read".to_owned()];
    draft.details = json!({"attributes": {"roles": ["data-analyst"], "safety_tags": []}})
        .as_object()
        .cloned();
    let mut waits = Vec::new();
    for n in 0_u64.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        draft.corr_id = Some(format!("c-{client}-{n}"));
        let asked = Instant::now();
        match log.append(&draft).wait() {
            Ok(_) => {}
            // Buffered, it is faster than the disk by design: that is refused, and not counted.
            Err(fastmcp_audit::AuditError::Full { .. }) => continue,
            Err(error) => return Err(error.into()),
        }
        waits.push(asked.elapsed());
        records.fetch_add(1, Ordering::Relaxed);
    }
    Ok(waits)
}
