//! What idle clients cost: sessions that nobody uses and streams on which nothing happens. And whether
//! the gateway loses anything when it is killed a thousand times.
//!
//! Opens them against a server that runs as it is built, reads the server's memory from `/proc`,
//! closes them, and opens them again, twice: what was not given back shows in the last round. The
//! allocator keeps most of what is freed instead of handing it to the system, so it is the use of it
//! that is looked at, not the size of the process after closing.

mod client;

use std::{fs, path::PathBuf, process::Command, thread, time::Duration};

use anyhow::{Context as _, ensure};

use crate::{
    ci::{
        process::{Stopwatch, run as run_command},
        server::Server,
    },
    house::{House, say},
    soak::client::{Connection, Stream},
};

/// What `cargo xtask soak` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The server; by default the one that `cargo xtask ci --only build` built.
    #[arg(long, value_name = "PROGRAM")]
    server: Option<PathBuf>,
    /// How many sessions of 2025-11-25 are opened; a server allows 10,000 by default.
    #[arg(long, default_value_t = 10_000)]
    sessions: u32,
    /// How many streams of 2026-07-28 are opened (`subscriptions/listen`); a server allows 1,024 by default.
    #[arg(long, default_value_t = 1_000)]
    streams: u32,
    /// The most bytes that a session may take.
    #[arg(long, default_value_t = 4_096)]
    session_bytes: u64,
    /// The most bytes that a stream may take, its connection included.
    #[arg(long, default_value_t = 49_152)]
    stream_bytes: u64,
    /// How often the gateway is killed under load, after that; needs Node.
    #[arg(long, default_value_t = 1_000)]
    kills: u32,
    /// Writes the figures into bench/RESULTS.md.
    #[arg(long)]
    record: bool,
}

impl Default for Arguments {
    fn default() -> Self {
        Self {
            server: None,
            sessions: 10_000,
            streams: 1_000,
            session_bytes: 4_096,
            stream_bytes: 49_152,
            // Within `cargo xtask ci` they are among the peers.
            kills: 0,
            record: false,
        }
    }
}

/// How much more the third round may take than the second: what the allocator scatters. The second
/// takes more than the first, which finds memory that nothing has cut up.
const GROWTH_PER_CENT: u64 = 10;
/// How long the server may take to notice that streams were closed.
const NOTICE: Duration = Duration::from_secs(30);
/// How often it is looked at meanwhile.
const GLANCE: Duration = Duration::from_millis(20);
/// What is opened and closed first, so that code and tables are in memory already.
const WARM: u32 = 50;
/// What one kill and the start before it may take.
const LIFE: Duration = Duration::from_secs(20);

/// Resident bytes at the steps of one round.
#[derive(Clone, Copy, Debug)]
struct Round {
    before: u64,
    sessions: u64,
    streams: u64,
    after: u64,
}

/// Opens, measures, closes, three times.
///
/// # Errors
///
/// When the server refuses what it must allow, or takes more memory than the bounds say.
pub(crate) fn run(house: &House, arguments: &Arguments) -> anyhow::Result<()> {
    let program = match &arguments.server {
        Some(program) => program.clone(),
        None => house.target().join("ci").join("conformance-server"),
    };
    ensure!(
        program.exists(),
        "`{}` is missing: run `cargo xtask ci --only build` first",
        program.display()
    );
    let watch = Stopwatch::start();
    // A stream is a file to the server, and the limit of files is often 1,024.
    let mut command = Command::new("sh");
    command
        .args(["-c", r#"ulimit -n "$(ulimit -Hn)"; exec "$0" "$@""#])
        .arg(&program)
        .args(["--bind", "127.0.0.1:0"]);
    let server = Server::start(&mut command, house.target().join("soak").join("server.log"))?;
    round(&server, WARM, WARM)?;
    let first = round(&server, arguments.sessions, arguments.streams)?;
    let second = round(&server, arguments.sessions, arguments.streams)?;
    let third = round(&server, arguments.sessions, arguments.streams)?;
    let per_session = each(first.before, first.sessions, arguments.sessions);
    let per_stream = each(first.sessions, first.streams, arguments.streams);
    let report = report(
        arguments,
        [&first, &second, &third],
        per_session,
        per_stream,
    );
    say(&report);
    say(&format!("took {} s", watch.elapsed().as_secs()));
    if arguments.record {
        record(house, &report)?;
    }
    ensure!(
        per_session <= arguments.session_bytes,
        "a session takes {per_session} bytes, at most {} are allowed",
        arguments.session_bytes
    );
    ensure!(
        per_stream <= arguments.stream_bytes,
        "a stream takes {per_stream} bytes, at most {} are allowed",
        arguments.stream_bytes
    );
    ensure!(
        third.streams * 100 <= second.streams * (100 + GROWTH_PER_CENT),
        "the third round takes {} where the second took {}: something is not given back",
        mebibytes(third.streams),
        mebibytes(second.streams)
    );
    kill(house, arguments.kills)
}

/// Kills the gateway under load, and looks for effects without an intent and effects that happened twice.
fn kill(house: &House, kills: u32) -> anyhow::Result<()> {
    if kills == 0 {
        return Ok(());
    }
    let gateway = house.target().join("ci").join("fastmcp");
    ensure!(
        gateway.exists(),
        "`{}` is missing: run `cargo xtask ci --only build` first",
        gateway.display()
    );
    let mut command = Command::new("node");
    command
        .arg(house.root().join("e2e").join("kills.mjs"))
        .arg("--binary")
        .arg(gateway)
        .args(["--kills", &kills.to_string()]);
    run_command(&mut command, LIFE * kills)
}

/// Opens `sessions` and `streams`, sees that they live, and closes them.
fn round(server: &Server, sessions: u32, streams: u32) -> anyhow::Result<Round> {
    let before = resident(server)?;
    let files = open_files(server)?;
    let mut connection = Connection::open(server.port())?;
    let ids = (0..sessions)
        .map(|nth| {
            connection
                .initialize()
                .with_context(|| format!("session {nth}"))
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    let with_sessions = resident(server)?;
    let open = (0..streams)
        .map(|nth| Stream::listen(server.port()).with_context(|| format!("stream {nth}")))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let with_streams = resident(server)?;
    // The first and the last are there still: what was measured is what was asked for.
    let mut connection = Connection::open(server.port())?;
    for id in ids.first().into_iter().chain(ids.last()) {
        connection.ping(id)?;
    }
    for stream in &open {
        stream.is_open()?;
    }
    drop(open);
    for id in &ids {
        connection.end(id)?;
    }
    drop(connection);
    let watch = Stopwatch::start();
    while open_files(server)? > files {
        ensure!(
            watch.elapsed() < NOTICE,
            "the server holds connections that were closed {} s ago",
            NOTICE.as_secs()
        );
        thread::park_timeout(GLANCE);
    }
    Ok(Round {
        before,
        sessions: with_sessions,
        streams: with_streams,
        after: resident(server)?,
    })
}

/// The server's resident bytes.
fn resident(server: &Server) -> anyhow::Result<u64> {
    let path = format!("/proc/{}/status", server.pid());
    let status = fs::read_to_string(&path).with_context(|| format!("cannot read `{path}`"))?;
    let kibibytes = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next())
        .with_context(|| format!("`{path}` has no VmRSS"))?;
    Ok(kibibytes.parse::<u64>().context("VmRSS is no number")? * 1_024)
}

fn open_files(server: &Server) -> anyhow::Result<usize> {
    let path = format!("/proc/{}/fd", server.pid());
    let files = fs::read_dir(&path).with_context(|| format!("cannot read `{path}`"))?;
    Ok(files.count())
}

fn each(before: u64, after: u64, count: u32) -> u64 {
    after.saturating_sub(before) / u64::from(count.max(1))
}

fn mebibytes(bytes: u64) -> String {
    let tenths = bytes * 10 / (1_024 * 1_024);
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}

fn report(arguments: &Arguments, rounds: [&Round; 3], per_session: u64, per_stream: u64) -> String {
    let Arguments {
        sessions, streams, ..
    } = arguments;
    let row = |what: &str, bytes: fn(&Round) -> u64| {
        let [first, second, third] = rounds.map(|round| mebibytes(bytes(round)));
        format!("| {what} | {first} | {second} | {third} |\n")
    };
    [
        format!(
            "## Idle clients\n\nRepeat with `cargo xtask soak`: the server of the conformance suite, profile `ci`; \
             sessions of 2025-11-25 after `initialize`, streams of 2026-07-28 after `subscriptions/listen`, each on a connection of its own.\n\n\
             - memory of a session: **{per_session} bytes**, at most {} wanted\n- memory of a stream with its connection: **{per_stream} bytes**, at most {} wanted\n\n",
            arguments.session_bytes, arguments.stream_bytes
        ),
        "| resident | first round | second round | third round |\n| --- | ---: | ---: | ---: |\n".to_owned(),
        row("before", |round| round.before),
        row(&format!("with {sessions} sessions"), |round| round.sessions),
        row(&format!("and {streams} streams"), |round| round.streams),
        row("all closed", |round| round.after),
    ]
    .concat()
}

/// Puts the report between its marks in bench/RESULTS.md.
fn record(house: &House, report: &str) -> anyhow::Result<()> {
    const BEGIN: &str = "<!-- begin soak -->\n";
    const END: &str = "<!-- end soak -->\n";
    let path = house.root().join("bench").join("RESULTS.md");
    let whole =
        fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
    let block = format!("{BEGIN}{}\n{END}", report.trim());
    let written = match (whole.split_once(BEGIN), whole.split_once(END)) {
        (Some((before, _)), Some((_, after))) => format!("{before}{block}{after}"),
        _ => format!("{}\n\n{block}", whole.trim_end()),
    };
    fs::write(&path, written).with_context(|| format!("cannot write `{}`", path.display()))
}

#[cfg(test)]
mod tests {
    use super::{each, mebibytes};

    #[test]
    fn figures_are_for_people() {
        assert_eq!(mebibytes(3 * 1_024 * 1_024 / 2), "1.5 MiB");
        assert_eq!(each(100, 1_100, 10), 100);
        assert_eq!(each(100, 50, 0), 0);
    }
}
