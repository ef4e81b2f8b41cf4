//! Child processes.

use std::{sync::Arc, time::Duration};

use bytestring::ByteString;
use fastmcp_transport::{Incoming, StdioWire, StdioWireConfig, Wire, WireError};
use futures_util::{StreamExt as _, future::join_all};
use http::HeaderMap;
use rustix::process::{Pid, test_kill_process};
use serde_json::Value;

use crate::server::{notification, request, response};

/// Answers every request by an empty result.
const ECHO: &str = r#"
while IFS= read -r line; do
    case $line in
        *'"id":'*)
            id=${line#*\"id\":}
            printf '{"jsonrpc":"2.0","id":%s,"result":{}}\n' "${id%%,*}" ;;
        *) printf '%s\n' "$line" ;;
    esac
done
"#;

fn shell(script: &str) -> StdioWireConfig {
    let mut config = StdioWireConfig::new("/bin/sh", ["-c", script]).env("PATH", "/usr/bin:/bin");
    config.grace = Duration::from_millis(200);
    config
}

fn start(script: &str) -> StdioWire {
    StdioWire::spawn(&shell(script)).unwrap()
}

async fn next(incoming: &mut Incoming) -> Result<ByteString, WireError> {
    incoming.messages.next().await.unwrap()
}

/// Says `params` in a notification, where `"` may stand as it is.
fn say(params: &str) -> String {
    format!("cat <<-END\n{{\"jsonrpc\":\"2.0\",\"method\":\"said\",\"params\":{params}}}\nEND\n")
}

/// What the first notification says.
async fn said(wire: &StdioWire) -> Value {
    let mut heard = wire.listen(HeaderMap::new()).await.unwrap();
    let message: Value = serde_json::from_str(&next(&mut heard).await.unwrap()).unwrap();
    message["params"].clone()
}

async fn closed(wire: &StdioWire) -> String {
    match wire.request(request(1, "ping")).await {
        Ok(mut answer) => match next(&mut answer).await {
            Err(WireError::Closed(reason)) => reason,
            other => panic!("{other:?}"),
        },
        Err(WireError::Closed(reason)) => reason,
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test]
async fn requests_are_answered_beside_noise() {
    let wire = start(&format!("echo starting up; echo '{{}}'; {ECHO}"));
    let answers = join_all((0..50).map(|id| wire.request(request(id, "ping")))).await;
    for (id, answer) in (0..).zip(answers) {
        let mut answer = answer.unwrap();
        assert_eq!(
            (answer.status, &*next(&mut answer).await.unwrap()),
            (200, &*response(id))
        );
        assert!(answer.messages.next().await.is_none());
    }
    wire.close(HeaderMap::new()).await;
    assert_eq!(closed(&wire).await, "it was closed on this side");
}

#[tokio::test]
async fn what_is_sent_is_one_line_and_what_is_unasked_is_heard() {
    let wire: Arc<dyn Wire> = Arc::new(start(ECHO));
    let mut heard = wire.listen(HeaderMap::new()).await.unwrap();
    let mut note = notification("said");
    note.body = "{\"jsonrpc\":\"2.0\",\r\n \"method\":\"said\"\n}".into();
    wire.notify(note).await.unwrap();
    let heard = next(&mut heard).await.unwrap();
    assert_eq!(heard, "{\"jsonrpc\":\"2.0\",   \"method\":\"said\" }");
}

#[tokio::test]
async fn the_environment_is_what_was_given() {
    let script = format!(
        "vars=$(env | cut -d= -f1 | sort | tr '\\n' ' ')\n{}",
        say(r#"{"vars":"$vars","given":"$GIVEN"}"#)
    );
    let mut config = shell(&script).env("GIVEN", "yes");
    config = config.inherit(std::env::vars_os());
    config.env.remove(std::ffi::OsStr::new("HOME"));
    assert!(std::env::vars_os().any(|(name, _)| name == "CARGO_MANIFEST_DIR"));
    let said = said(&StdioWire::spawn(&config).unwrap()).await;
    assert_eq!(said["given"], "yes");
    let vars = said["vars"].as_str().unwrap();
    assert!(vars.contains("PATH "), "{vars}");
    assert!(!vars.contains("CARGO") && !vars.contains("HOME"), "{vars}");
}

#[tokio::test]
async fn the_folder_is_what_was_given() {
    let folder = std::env::temp_dir().canonicalize().unwrap();
    let config = shell(&say(r#"{"pwd":"$(pwd -P)"}"#)).directory(&folder);
    let said = said(&StdioWire::spawn(&config).unwrap()).await;
    assert_eq!(said["pwd"], folder.to_str().unwrap());
}

#[tokio::test]
async fn a_process_that_ends_says_why() {
    let wire = start("echo one >&2; printf 'no\\033such key' >&2; exit 3");
    let reason = closed(&wire).await;
    assert_eq!(
        reason,
        "process `sh` ended with exit status: 3; it said: one | no such key"
    );
    assert_eq!(closed(&wire).await, reason, "it stays so");
    assert_eq!(wire.stderr(), ["one", "no\u{1b}such key"]);
    assert!(matches!(
        wire.listen(HeaderMap::new()).await,
        Err(WireError::Closed(_))
    ));
}

#[tokio::test]
async fn the_last_words_of_a_process_are_heard() {
    let wire = start(&format!(
        "read -r line; {} exit 0",
        "echo '{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}';"
    ));
    let mut answer = wire.request(request(1, "ping")).await.unwrap();
    let mut other = wire.request(request(2, "ping")).await.unwrap();
    assert_eq!(next(&mut answer).await.unwrap(), response(1));
    let error = next(&mut other).await.unwrap_err();
    assert!(
        matches!(&error, WireError::Closed(reason) if reason.contains("exit status: 0")),
        "{error}"
    );
}

#[tokio::test]
async fn complaints_are_kept_within_bounds() {
    let wire = start(
        "i=0; while [ $i -lt 150 ]; do echo \"line $i\" >&2; i=$((i+1)); done; head -c 100000 /dev/zero | tr '\\0' x >&2; exit 1",
    );
    closed(&wire).await;
    let lines = wire.stderr();
    assert_eq!(lines.len(), 100);
    assert_eq!(lines[98], "line 149");
    assert_eq!(lines[99].len(), 4096);
}

/// Whether there is such a process, and it is more than an entry that nobody has waited for.
fn alive(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    let is_zombie = stat.is_ok_and(|stat| stat.contains(") Z "));
    test_kill_process(pid).is_ok() && !is_zombie
}

/// A process that started another, and ends neither when its input does nor when it is asked to.
async fn stubborn() -> (StdioWire, Pid) {
    let script = format!(
        "trap '' TERM\nsleep 1000 </dev/null &\nchild=$!\n{}\nwhile :; do wait; done",
        say(r#"{"pid":$child}"#)
    );
    let wire = start(&script);
    let pid = said(&wire).await["pid"].as_i64().unwrap();
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    assert!(alive(pid));
    (wire, pid)
}

async fn dies(pid: Pid) {
    let gone = async {
        while alive(pid) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone)
        .await
        .unwrap();
}

#[tokio::test]
async fn what_a_process_started_ends_with_it() {
    let (wire, pid) = stubborn().await;
    wire.close(HeaderMap::new()).await;
    dies(pid).await;
    let (wire, pid) = stubborn().await;
    drop(wire);
    dies(pid).await;
    let script = format!("sleep 1000 </dev/null &\n{}", say(r#"{"pid":$!}"#));
    let wire = start(&script);
    let pid = said(&wire).await["pid"].as_i64().unwrap();
    assert!(closed(&wire).await.contains("exit status: 0"));
    dies(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap()).await;
}

#[test]
fn a_runtime_that_goes_takes_its_processes_with_it() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (wire, pid) = runtime.block_on(stubborn());
    drop(runtime);
    while alive(pid) {
        std::thread::yield_now();
    }
    drop(wire);
}

#[tokio::test]
async fn closing_is_friendly_first() {
    let folder = tempfile::tempdir().unwrap();
    let ended = |name: &str| folder.path().join(name).exists();
    let by_itself = "cat >/dev/null; : > by-itself";
    let mut config = shell(by_itself).directory(folder.path());
    config.grace = Duration::from_secs(30);
    let wire = StdioWire::spawn(&config).unwrap();
    wire.close(HeaderMap::new()).await;
    assert!(ended("by-itself"));
    let asked = format!(
        "trap ': > asked; exit 0' TERM\n{}\nwhile :; do sleep 0.01; done",
        say("{}")
    );
    let mut config = shell(&asked).directory(folder.path());
    config.grace = Duration::from_secs(5);
    let wire = StdioWire::spawn(&config).unwrap();
    said(&wire).await;
    wire.close(HeaderMap::new()).await;
    assert!(ended("asked"));
}

#[tokio::test]
async fn a_message_without_end_ends_what_waits_and_no_more() {
    let script = format!("read -r line; head -c 100000 /dev/zero | tr '\\0' x; echo; {ECHO}");
    let mut config = shell(&script);
    config.message_bytes = 1_000;
    let wire = StdioWire::spawn(&config).unwrap();
    let mut answer = wire.request(request(1, "ping")).await.unwrap();
    let error = next(&mut answer).await.unwrap_err();
    assert!(
        matches!(&error, WireError::Unreadable(text) if text.contains("1000 bytes")),
        "{error}"
    );
    let mut answer = wire.request(request(2, "ping")).await.unwrap();
    assert_eq!(next(&mut answer).await.unwrap(), response(2));
}

#[tokio::test]
async fn a_process_that_does_not_read_makes_its_callers_wait() {
    let wire = start("while :; do sleep 1000; done");
    let mut large = notification("said");
    large.body = format!(r#"{{"jsonrpc":"2.0","method":"{}"}}"#, "x".repeat(100_000)).into();
    let mut sent = 0;
    while tokio::time::timeout(Duration::from_millis(200), wire.notify(large.clone()))
        .await
        .is_ok()
    {
        sent += 1;
        assert!(sent < 100, "all of it is kept in memory");
    }
    wire.close(HeaderMap::new()).await;
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named() {
    let config = StdioWireConfig::new("no-such-program-anywhere", ["x"]);
    let error = StdioWire::spawn(&config).unwrap_err();
    assert!(matches!(error, WireError::Unreachable(_)));
    assert!(
        error
            .to_string()
            .contains("process `no-such-program-anywhere` does not start"),
        "{error}"
    );
}
