//! The log under load, under failures, and after crashes at every single operation.

use std::{collections::HashSet, thread};

use super::*;
use crate::{
    Fault, Record, Signer, VerifyError, generate_key,
    storage::memory::{Left, Memory, Trouble},
    testing::{Bench, DAY, SECOND, append, draft},
    verify,
};

fn actions(records: &[Record]) -> Vec<&str> {
    records
        .iter()
        .map(|record| record.action.as_str())
        .collect()
}

fn corr_ids(bench: &Bench) -> HashSet<String> {
    let records = bench.records();
    records
        .into_iter()
        .filter_map(|record| record.corr_id)
        .collect()
}

fn damage(result: Result<Log, AuditError>) -> VerifyError {
    match result {
        Err(AuditError::Damaged(error)) => (*error).clone(),
        other => panic!("expected a damaged log: {other:?}"),
    }
}

#[test]
fn a_log_is_opened_written_closed_and_opened_again() {
    let bench = Bench::new();
    let log = bench.open().unwrap();
    assert!(log.health().ready);
    assert_eq!(append(&log, "a").unwrap(), 1);
    assert_eq!(log.health().size, 2);
    log.close().unwrap();
    log.close().unwrap();
    assert!(!log.health().ready);
    assert!(matches!(append(&log, "b"), Err(AuditError::Closed)));
    assert!(matches!(log.checkpoint().wait(), Err(AuditError::Closed)));
    bench.open().unwrap().close().unwrap();
    assert_eq!(
        actions(&bench.records()),
        [
            "audit.opened",
            "tools.invoke",
            "audit.closed",
            "audit.opened",
            "audit.closed"
        ]
    );
    let report = bench.verify().unwrap();
    assert_eq!((report.records, report.checkpoint.size), (5, 5));
    assert!(report.signed && report.closed);
    assert_eq!(report.root, report.checkpoint.root);
    assert_eq!(bench.storage.segments(), ["audit-20261120.jsonl"]);
}

#[test]
fn the_real_disk_works_as_the_one_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("audit");
    let bench = Bench::new();
    let log = Log::open(&dir, bench.options()).unwrap();
    assert!(matches!(
        Log::open(&dir, bench.options()),
        Err(AuditError::Locked { folder }) if folder.ends_with("audit")
    ));
    thread::scope(|scope| {
        for worker in 0..8 {
            let log = &log;
            scope.spawn(move || {
                for number in 0..40 {
                    append(log, &format!("{worker}-{number}")).unwrap();
                }
            });
        }
    });
    log.close().unwrap();
    drop(log);
    let log = Log::open(&dir, bench.options()).unwrap();
    assert_eq!(append(&log, "again").unwrap(), 323);
    drop(log);
    let report = verify(&dir, Some(&bench.key())).unwrap();
    assert_eq!(
        (report.records, report.files, report.closed),
        (325, 1, true)
    );
}

#[test]
fn calls_that_wait_together_share_one_sync() {
    let bench = Bench::new();
    let log = bench.open().unwrap();
    let before = bench.storage.operations();
    let held = bench.storage.hold();
    let acks: Vec<_> = (0..500)
        .map(|n| log.append(&draft(&n.to_string())))
        .collect();
    drop(held);
    let mut seqs: Vec<_> = acks.into_iter().map(|ack| ack.wait().unwrap()).collect();
    // The first batch is what was there when the writer looked; the second is all the rest.
    assert!(bench.storage.operations() - before <= 4);
    seqs.dedup();
    assert_eq!(seqs.len(), 500);
}

#[test]
fn receipts_name_what_is_in_the_log() {
    let bench = Bench::new();
    let log = bench.open().unwrap();
    let receipts: Vec<_> = thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|worker| {
                let log = &log;
                scope.spawn(move || {
                    let appends = (0..50).map(|n| format!("{worker}-{n}"));
                    appends
                        .map(|id| (log.append(&draft(&id)).wait().unwrap(), id))
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap())
            .collect()
    });
    log.close().unwrap();
    let records = bench.records();
    assert_eq!(receipts.len(), 200);
    for (receipt, id) in receipts {
        let Receipt::Durable { seq, event_hash } = receipt else {
            panic!("{receipt:?}");
        };
        let record = &records[usize::try_from(seq).unwrap()];
        assert_eq!(record.corr_id, Some(id));
        assert_eq!(record.event_hash, event_hash);
    }
}

#[test]
fn a_full_queue_refuses_at_once_or_after_the_wait() {
    let bench = Bench::new();
    let mut options = bench.options();
    options.queue_records = 2;
    options.batch = 1;
    let log = bench.open_with(options).unwrap();
    let held = bench.storage.hold();
    // One record is with the writer, which the disk holds up; two wait.
    let mut acks = vec![log.append(&draft("x"))];
    while log.health().queued > 0 {
        thread::yield_now();
    }
    acks.extend((0..2).map(|_| log.try_append(&draft("x")).unwrap()));
    let refused = log.try_append(&draft("x")).unwrap_err();
    assert!(matches!(refused, AuditError::Full { records: 2 }));
    let waited = log.append_timeout(&draft("x"), Duration::from_millis(1));
    assert!(matches!(waited, Err(AuditError::Full { .. })));
    assert!(matches!(
        log.append(&draft("x")).wait(),
        Err(AuditError::Full { .. })
    ));
    assert_eq!(log.health().refused, 3);
    thread::scope(|scope| {
        let log = &log;
        let waiter = scope.spawn(move || log.append_timeout(&draft("y"), Duration::from_secs(600)));
        drop(held);
        assert!(waiter.join().unwrap().unwrap().wait().is_ok());
    });
    for ack in acks {
        ack.wait().unwrap();
    }
}

#[test]
fn a_draft_that_cannot_be_recorded_is_refused_before_the_queue() {
    let bench = Bench::new();
    let log = bench.open().unwrap();
    let reserved = log.try_append(&crate::Draft::intent("audit.closed"));
    assert!(matches!(
        reserved,
        Err(AuditError::Draft {
            field: "action",
            ..
        })
    ));
    assert_eq!(log.health().size, 1);
}

#[test]
fn options_out_of_range_are_named() {
    let bench = Bench::new();
    type Change = fn(&mut Options);
    let changes: [(&str, Change); 7] = [
        ("instance", |options| {
            options.instance = "gw \"1\"".to_owned()
        }),
        ("instance", |options| options.instance.clear()),
        ("queue_records", |options| options.queue_records = 0),
        ("queue_bytes", |options| options.queue_bytes = 10),
        ("batch", |options| options.batch = 0),
        ("checkpoint_records", |options| {
            options.checkpoint_records = 0
        }),
        ("retry_interval", |options| {
            options.retry_interval = Duration::ZERO
        }),
    ];
    for (name, change) in changes {
        let mut options = bench.options();
        change(&mut options);
        match bench.open_with(options) {
            Err(AuditError::Options { option, .. }) => assert_eq!(option, name),
            other => panic!("{name}: {other:?}"),
        }
    }
    assert!(bench.storage.names().is_empty());
}

#[test]
fn days_have_files_of_their_own_and_one_chain() {
    let bench = Bench::new();
    let log = bench.open().unwrap();
    append(&log, "friday").unwrap();
    bench.advance(DAY);
    append(&log, "saturday").unwrap();
    // The clock is set back: the file of that day is not the last one any more.
    bench.advance(-DAY);
    append(&log, "friday again").unwrap();
    bench.advance(2 * DAY);
    append(&log, "sunday").unwrap();
    log.close().unwrap();
    assert_eq!(
        bench.storage.segments(),
        [
            "audit-20261120.1.jsonl",
            "audit-20261120.jsonl",
            "audit-20261121.jsonl",
            "audit-20261122.jsonl"
        ]
    );
    assert_eq!(bench.verify().unwrap().records, 6);
    drop(log);
    bench.advance(DAY);
    bench.open().unwrap().close().unwrap();
    let report = bench.verify().unwrap();
    assert_eq!((report.records, report.files), (8, 5));
}

#[test]
fn a_failed_sync_closes_the_file_and_opens_a_new_one() {
    let bench = Bench::new();
    let log = bench.open().unwrap();
    append(&log, "good").unwrap();
    let valid = bench.storage.get("audit-20261120.jsonl").len();
    bench.storage.plan(1, 1, Trouble::Fail);
    match append(&log, "bad") {
        Err(AuditError::Storage(error)) => {
            assert_eq!(
                (error.operation, error.name.as_str()),
                ("sync", "audit-20261120.jsonl")
            );
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(append(&log, "after").unwrap(), 3);
    let health = log.health();
    assert!(health.ready);
    assert_eq!((health.failures, health.recoveries, health.lost), (1, 1, 0));
    log.close().unwrap();
    let records = bench.records();
    assert_eq!(records[2].action, "audit.recovered");
    let details = records[2].details.clone().unwrap();
    assert_eq!(details["last_acknowledged"], 1);
    assert!(
        details["cause"]
            .as_str()
            .unwrap()
            .starts_with("cannot sync `audit-20261120.jsonl`: ")
    );
    assert_eq!(details["voided"][0]["segment"], "audit-20261120.jsonl");
    assert_eq!(details["voided"][0]["valid_bytes"], valid);
    assert!(!corr_ids(&bench).contains("bad"));
    let report = bench.verify().unwrap();
    assert_eq!((report.records, report.files), (5, 2));
    assert!(report.voided_bytes > 0);
}

#[test]
fn a_disk_that_stays_full_refuses_and_is_tried_once_a_second() {
    let bench = Bench::new();
    let log = bench.open().unwrap();
    bench.storage.plan(0, usize::MAX / 2, Trouble::Fail);
    assert!(matches!(append(&log, "1"), Err(AuditError::Storage(_))));
    // Answered before the first try to recover: an answer that follows it comes after the try.
    assert!(matches!(append(&log, "2"), Err(AuditError::Unavailable(_))));
    let health = log.health();
    assert!(!health.ready);
    assert!(health.failure.unwrap().contains("cannot "));
    let tried = bench.storage.operations();
    assert!(matches!(append(&log, "3"), Err(AuditError::Unavailable(_))));
    bench.advance(SECOND - 1);
    assert!(matches!(append(&log, "4"), Err(AuditError::Unavailable(_))));
    assert_eq!(bench.storage.operations(), tried);
    bench.advance(1);
    assert!(matches!(append(&log, "5"), Err(AuditError::Unavailable(_))));
    assert!(bench.storage.operations() > tried);
    bench.storage.heal();
    bench.advance(SECOND);
    assert_eq!(append(&log, "6").unwrap(), 2);
    assert!(log.health().ready);
    log.close().unwrap();
    assert_eq!(bench.verify().unwrap().records, 4);
    assert_eq!(corr_ids(&bench), HashSet::from(["6".to_owned()]));
}

#[test]
fn a_log_that_cannot_be_written_says_so_when_it_is_closed() {
    let bench = Bench::new();
    let log = bench.open().unwrap();
    append(&log, "good").unwrap();
    bench.storage.plan(0, usize::MAX / 2, Trouble::Fail);
    assert!(log.close().is_err());
    bench.storage.heal();
    drop(log);
    let log = bench.open().unwrap();
    log.close().unwrap();
    let records = bench.records();
    assert_eq!(records[2].action, "audit.recovered");
    assert!(bench.verify().is_ok());
}

#[derive(Debug, Default)]
struct Heard(Mutex<Vec<String>>);

impl Tap for Heard {
    fn durable(&self, line: &str) {
        self.0.lock().unwrap().push(line.to_owned());
    }
}

#[test]
fn a_tap_hears_exactly_what_is_durable() {
    for mode in [Mode::Strict, Mode::Buffered] {
        let bench = Bench::new();
        let heard = Arc::new(Heard::default());
        let mut options = bench.options();
        options.mode = mode;
        options.tap = Some(heard.clone());
        let log = bench.open_with(options).unwrap();
        let mut long = draft("a\u{2028}b");
        long.reason = Some("two\nlines".to_owned());
        drop(log.append(&long).wait());
        drop(log.checkpoint().wait());
        bench.storage.plan(0, 1, Trouble::Half);
        drop(log.append(&draft("half")).wait());
        drop(log.append(&draft("after")).wait());
        log.close().unwrap();
        let heard = heard.0.lock().unwrap().clone();
        let records = bench.records();
        let lines: Vec<_> = records
            .iter()
            .map(|record| serde_json::to_string(record).unwrap())
            .collect();
        assert_eq!(heard, lines, "{mode:?}");
    }
}

#[test]
fn buffered_records_are_answered_at_once_and_flushed_at_the_end() {
    let bench = Bench::new();
    let mut options = bench.options();
    options.mode = Mode::Buffered;
    let log = bench.open_with(options).unwrap();
    let before = bench.storage.operations();
    for n in 0..100 {
        assert_eq!(
            log.append(&draft(&n.to_string())).wait().unwrap(),
            Receipt::Queued
        );
    }
    // A checkpoint makes everything before it durable.
    assert_eq!(log.checkpoint().wait().unwrap().size, 101);
    assert!(bench.storage.operations() > before);
    for n in 100..200 {
        let _queued = log.append(&draft(&n.to_string()));
    }
    log.close().unwrap();
    assert_eq!(bench.verify().unwrap().records, 202);
    assert_eq!(corr_ids(&bench).len(), 200);
    assert_eq!(log.health().lost, 0);
}

#[test]
fn buffered_records_are_synced_when_they_are_many() {
    let bench = Bench::new();
    let mut options = bench.options();
    options.mode = Mode::Buffered;
    let log = bench.open_with(options).unwrap();
    let text = "x".repeat(4_000);
    let long = (0..15).map(|n| (n.to_string(), text.clone().into()));
    let large = Draft {
        details: Some(long.collect()),
        ..draft("large")
    };
    // The clock stands still, so that no time is up.
    for _ in 0..300 {
        let _queued = log.append(&large);
    }
    while log.health().size < 100 {
        thread::yield_now();
    }
    log.close().unwrap();
    assert_eq!(bench.verify().unwrap().records, 302);
}

#[test]
fn buffered_records_that_a_disk_loses_are_counted() {
    let bench = Bench::new();
    let mut options = bench.options();
    options.mode = Mode::Buffered;
    let log = bench.open_with(options).unwrap();
    for n in 0..10 {
        let _queued = log.append(&draft(&n.to_string()));
    }
    assert_eq!(log.checkpoint().wait().unwrap().size, 11);
    // Ten more are written or not; the disk then fails to make them durable, and recovers.
    bench.storage.plan(0, usize::MAX / 2, Trouble::Fail);
    for n in 10..20 {
        let _queued = log.append(&draft(&n.to_string()));
    }
    assert!(log.checkpoint().wait().is_err());
    assert_eq!(log.health().lost, 10);
    bench.storage.heal();
    bench.advance(SECOND);
    assert_eq!(log.checkpoint().wait().unwrap().size, 12);
    log.close().unwrap();
    assert_eq!(corr_ids(&bench).len(), 10);
    assert!(bench.verify().is_ok());
}

#[test]
fn checkpoints_come_by_count_and_by_time() {
    let bench = Bench::new();
    let mut options = bench.options();
    options.checkpoint_records = 10;
    options.checkpoint_interval = Duration::from_secs(5);
    let log = bench.open_with(options).unwrap();
    assert_eq!(log.health().checkpointed, 1);
    for n in 0..9 {
        append(&log, &n.to_string()).unwrap();
    }
    assert_eq!(log.health().checkpointed, 1);
    append(&log, "tenth").unwrap();
    // Records are written while the checkpoint is: it covers the next one, or not.
    append(&log, "next").unwrap();
    while log.health().checkpointed == 1 {
        thread::yield_now();
    }
    assert!((11..=12).contains(&log.health().checkpointed));
    bench.advance(5 * SECOND);
    append(&log, "later").unwrap();
    append(&log, "last").unwrap();
    while log.health().checkpointed < 12 {
        thread::yield_now();
    }
    let checkpoint = log.checkpoint().wait().unwrap();
    assert_eq!(
        (checkpoint.size, checkpoint.origin.as_str()),
        (14, "gw-1/audit")
    );
    assert_eq!(bench.storage.get("checkpoint"), checkpoint.note.as_bytes());
}

#[test]
fn a_panic_of_who_signs_is_told_and_nobody_waits_for_ever() {
    let bench = Bench::new();
    let log = bench.open().unwrap();
    append(&log, "a").unwrap();
    bench.storage.plan(0, 1, Trouble::Panic);
    assert!(matches!(
        log.checkpoint().wait(),
        Err(AuditError::Storage(_))
    ));
    let failure = log.health().checkpoint_failure.unwrap();
    assert!(failure.contains("panic"), "{failure}");
    append(&log, "b").unwrap();
    assert!(matches!(log.checkpoint().wait(), Err(AuditError::Closed)));
    assert!(log.close().is_err(), "what is there is not signed");
    assert_eq!(
        bench.on(bench.storage.copy()).open().unwrap().health().size,
        5
    );
}

#[test]
fn a_checkpoint_that_cannot_be_written_does_not_stop_the_records() {
    let bench = Bench::new();
    let log = bench.open().unwrap();
    append(&log, "a").unwrap();
    bench.storage.plan(0, 1, Trouble::Fail);
    assert!(matches!(
        log.checkpoint().wait(),
        Err(AuditError::Storage(_))
    ));
    let health = log.health();
    assert!(health.ready && health.checkpoint_failure.is_some());
    append(&log, "b").unwrap();
    assert_eq!(log.checkpoint().wait().unwrap().size, 3);
    assert_eq!(log.health().checkpoint_failure, None);
}

/// What every run of a log does in the tests below. Collects what was acknowledged.
fn story(bench: &Bench, acknowledged: &mut Vec<String>, pause: i64) -> Result<(), AuditError> {
    let mut keep = |log: &Log, id: &str| {
        if append(log, id).is_ok() {
            acknowledged.push(id.to_owned());
        }
        bench.advance(pause);
    };
    let log = bench.open()?;
    keep(&log, "a");
    keep(&log, "b");
    let _ = log.checkpoint().wait();
    keep(&log, "c");
    bench.advance(DAY);
    keep(&log, "d");
    let burst: Vec<_> = (0..6)
        .map(|n| (n, log.append(&draft(&format!("burst {n}")))))
        .collect();
    for (n, ack) in burst {
        if ack.wait().is_ok() {
            acknowledged.push(format!("burst {n}"));
        }
    }
    let _ = log.checkpoint().wait();
    bench.advance(pause);
    if append(&log, "e").is_ok() {
        acknowledged.push("e".to_owned());
    }
    log.close()
}

#[test]
fn a_crash_at_any_operation_loses_nothing_that_was_acknowledged() {
    for operation in 0.. {
        let bench = Bench::new();
        let mut acknowledged = Vec::new();
        bench.storage.plan(operation, 1, Trouble::Crash);
        let result = story(&bench, &mut acknowledged, 0);
        if !bench.storage.crashed() {
            assert!(result.is_ok());
            assert!(
                operation > 25,
                "the story has more operations than {operation}"
            );
            break;
        }
        for left in [Left::Nothing, Left::Half, Left::Hole, Left::All] {
            let again = bench.on(bench.storage.reboot(left));
            let log = again
                .open()
                .unwrap_or_else(|error| panic!("{operation} {left:?}: {error:?}"));
            append(&log, "after the crash").unwrap();
            log.close().unwrap();
            let report = again
                .verify()
                .unwrap_or_else(|error| panic!("{operation} {left:?}: {error}"));
            assert!(report.closed);
            let found = corr_ids(&again);
            for id in acknowledged
                .iter()
                .map(String::as_str)
                .chain(["after the crash"])
            {
                assert!(found.contains(id), "{operation} {left:?}: {id} is lost");
            }
        }
    }
}

#[test]
fn a_second_crash_during_recovery_loses_nothing_either() {
    // A log that a crash left with a torn line and unsigned records.
    let bench = Bench::new();
    let log = bench.open().unwrap();
    append(&log, "kept").unwrap();
    bench.storage.plan(0, 1, Trouble::Half);
    let held = bench.storage.hold();
    let lost = log.append(&draft("half"));
    drop(held);
    assert!(lost.wait().is_err());
    let torn = bench.storage.reboot(Left::All);
    drop(log);
    for operation in 0.. {
        let first = bench.on(torn.copy());
        first.storage.plan(operation, 1, Trouble::Crash);
        let done = first.open().map(|log| log.close());
        if !first.storage.crashed() {
            assert!(matches!(done, Ok(Ok(()))));
            assert!(operation > 5);
            break;
        }
        for left in [Left::Nothing, Left::Half, Left::Hole, Left::All] {
            let second = bench.on(first.storage.reboot(left));
            second.open().unwrap().close().unwrap();
            second
                .verify()
                .unwrap_or_else(|error| panic!("{operation} {left:?}: {error}"));
            assert_eq!(corr_ids(&second), HashSet::from(["kept".to_owned()]));
        }
    }
}

#[test]
fn what_a_failed_sync_left_in_memory_alone_is_not_built_on() {
    for operation in 0.. {
        let bench = Bench::new();
        let mut acknowledged = Vec::new();
        bench.storage.plan(operation, 1, Trouble::Lost);
        let result = story(&bench, &mut acknowledged, 0);
        if !bench.storage.crashed() {
            assert!(result.is_ok());
            break;
        }
        for next in 0.. {
            let again = bench.on(bench.storage.killed());
            again.storage.plan(next, 1, Trouble::Crash);
            let mut acknowledged = acknowledged.clone();
            if let Ok(log) = again.open() {
                if append(&log, "again").is_ok() {
                    acknowledged.push("again".to_owned());
                }
                let _ = log.close();
            }
            // Only now the power goes, and with it what was in memory alone.
            for left in [Left::Nothing, Left::Half, Left::Hole, Left::All] {
                let label = format!("{operation} {next} {left:?}");
                let last = bench.on(again.storage.reboot(left));
                let log = last
                    .open()
                    .unwrap_or_else(|error| panic!("{label}: {error:?}"));
                log.close().unwrap();
                last.verify()
                    .unwrap_or_else(|error| panic!("{label}: {error}"));
                let found = corr_ids(&last);
                let kept = acknowledged.iter().all(|id| found.contains(id));
                assert!(kept, "{label}: {acknowledged:?} {found:?}");
            }
            if !again.storage.crashed() {
                break;
            }
        }
    }
}

/// Fails `times` operations from every possible one on; the log must go on afterwards.
fn survives(trouble: Trouble, times: usize) {
    for operation in 0.. {
        let bench = Bench::new();
        // Beginning a log that cannot be written is an error, and nothing to survive.
        bench.open().unwrap().close().unwrap();
        let start = bench.storage.operations();
        let mut acknowledged = Vec::new();
        bench.storage.plan(operation, times, trouble);
        let result = story(&bench, &mut acknowledged, SECOND);
        if bench.storage.operations() - start <= operation {
            assert!(result.is_ok());
            assert_eq!(acknowledged.len(), 11);
            break;
        }
        bench.storage.heal();
        let label = format!("{trouble:?} {times} at {operation}");
        if result.is_ok() {
            bench
                .verify()
                .unwrap_or_else(|error| panic!("{label}: {error}"));
            let found = corr_ids(&bench);
            let expected: HashSet<_> = acknowledged.iter().cloned().collect();
            assert_eq!(found, expected, "{label}");
        }
        bench.advance(SECOND);
        let log = bench
            .open()
            .unwrap_or_else(|error| panic!("{label}: {error:?}"));
        append(&log, "after").unwrap();
        log.close().unwrap();
        bench
            .verify()
            .unwrap_or_else(|error| panic!("{label}: {error}"));
        let found = corr_ids(&bench);
        assert!(acknowledged.iter().all(|id| found.contains(id)), "{label}");
    }
}

#[test]
fn any_one_failed_operation_is_survived() {
    survives(Trouble::Fail, 1);
    survives(Trouble::Half, 1);
}

#[test]
fn failures_in_a_row_are_survived() {
    survives(Trouble::Fail, 3);
    survives(Trouble::Half, 3);
    survives(Trouble::Half, 7);
}

fn written() -> Bench {
    let bench = Bench::new();
    let log = bench.open().unwrap();
    for n in 0..5 {
        append(&log, &n.to_string()).unwrap();
    }
    log.checkpoint().wait().unwrap();
    for n in 5..8 {
        append(&log, &n.to_string()).unwrap();
    }
    // As after a crash: no closing record, and three records that no checkpoint covers.
    let crashed = bench.on(bench.storage.reboot(Left::All));
    let content = crashed.storage.get(FILE);
    let end = content.iter().rposition(|byte| *byte != 0).unwrap();
    assert!(end + 1 < content.len(), "there is room");
    crashed.storage.put(FILE, &content[..=end]);
    crashed
}

const FILE: &str = "audit-20261120.jsonl";

fn lines(bytes: &[u8]) -> Vec<Vec<u8>> {
    bytes
        .split_inclusive(|byte| *byte == b'\n')
        .map(<[u8]>::to_vec)
        .collect()
}

#[test]
fn only_a_torn_tail_is_cut_at_the_start() {
    let bench = written();
    let whole = bench.storage.get(FILE);
    let parts = lines(&whole);
    let signed: usize = parts[..6].iter().map(Vec::len).sum();
    let room = vec![0; 50];
    for (cut, room) in (0..whole.len()).flat_map(|cut| [(cut, &[][..]), (cut, &room)]) {
        let torn = bench.on(bench.storage.copy());
        torn.storage.put(FILE, &[&whole[..cut], room].concat());
        if cut < signed {
            assert!(
                matches!(
                    damage(torn.open()),
                    VerifyError::Truncated { checkpoint: 6, .. }
                ),
                "{cut}"
            );
            continue;
        }
        torn.open().unwrap().close().unwrap();
        let report = torn.verify().unwrap();
        let left = lines(&whole[..cut])
            .iter()
            .filter(|line| line.ends_with(b"\n"))
            .count();
        assert_eq!(report.records, left as u64 + 2, "{cut}");
        assert_eq!(report.files, if whole[cut - 1] == b'\n' { 1 } else { 2 });
    }
}

#[test]
fn what_follows_bytes_that_were_never_written_does_not_count() {
    let bench = written();
    let parts = lines(&bench.storage.get(FILE));
    let start = |line: usize| parts[..line].iter().map(Vec::len).sum::<usize>();
    for (from, to) in [
        (start(6), start(7)),
        (start(6) + 9, start(7)),
        (start(6) + 9, start(7) + 9),
        (start(6) - 1, start(6)),
    ] {
        let mut holed = parts.concat();
        holed[from..to].fill(0);
        let torn = bench.on(bench.storage.copy());
        torn.storage.put(FILE, &holed);
        if from < start(6) {
            // What a checkpoint covers was written.
            assert!(matches!(damage(torn.open()), VerifyError::Truncated { .. }));
            continue;
        }
        torn.open().unwrap().close().unwrap();
        assert_eq!(torn.verify().unwrap().records, 6 + 2);
        assert_eq!(torn.storage.get(FILE), holed, "and is not touched");
    }
}

#[test]
fn a_tail_of_garbage_is_cut_but_an_edited_record_is_not() {
    let bench = written();
    let whole = bench.storage.get(FILE);
    let parts = lines(&whole);
    let garbage = [
        parts[..7].concat(),
        vec![0; 300],
        b"x\n".to_vec(),
        vec![0; 9],
    ]
    .concat();
    let torn = bench.on(bench.storage.copy());
    torn.storage.put(FILE, &garbage);
    torn.open().unwrap().close().unwrap();
    assert_eq!(torn.verify().unwrap().records, 9);

    let with = |edited: Vec<Vec<u8>>| {
        let bench = bench.on(bench.storage.copy());
        bench.storage.put(FILE, &edited.concat());
        damage(bench.open())
    };
    let edit = |at: usize| {
        let text = String::from_utf8(parts[at].clone()).unwrap();
        text.replace("agent-1", "agent-2").into_bytes()
    };
    for at in 1..parts.len() {
        let mut edited = parts.clone();
        edited[at] = edit(at);
        match with(edited) {
            VerifyError::Record {
                file,
                line,
                seq,
                fault: Fault::EventHash,
            } => {
                assert_eq!(
                    (file.as_str(), line, seq),
                    (FILE, at as u64 + 1, Some(at as u64))
                );
            }
            other => panic!("{at}: {other}"),
        }
    }
    let mut dropped = parts.clone();
    dropped.remove(7);
    assert!(matches!(
        with(dropped),
        VerifyError::Record {
            line: 8,
            seq: Some(8),
            fault: Fault::Dropped { expected: 7 },
            ..
        }
    ));
}

#[test]
fn a_log_without_its_checkpoint_or_with_another_key_is_refused() {
    let bench = written();
    let bare = bench.on(bench.storage.copy());
    bare.storage.delete("checkpoint");
    assert!(matches!(
        damage(bare.open()),
        VerifyError::CheckpointMissing
    ));

    let mut options = bench.options();
    options.signer = Signer::for_instance("gw-1", &generate_key().unwrap()).unwrap();
    assert!(matches!(
        damage(bench.open_with(options)),
        VerifyError::Checkpoint(_)
    ));
    // A key that was replaced is named, and the log goes on under the new one.
    let mut options = bench.options();
    options.signer = Signer::for_instance("gw-1", &generate_key().unwrap()).unwrap();
    let key = options.signer.verifier();
    options.trusted = vec![bench.key()];
    bench.open_with(options).unwrap().close().unwrap();
    assert!(crate::verify::verify_storage(&bench.storage, Some(&key), &[]).is_ok());
}

#[test]
fn tiles_that_were_lost_are_made_anew() {
    let bench = Bench::new();
    let log = bench.open().unwrap();
    let acks: Vec<_> = (0..600)
        .map(|n| log.append(&draft(&n.to_string())))
        .collect();
    for ack in acks {
        ack.wait().unwrap();
    }
    drop(log);
    let tiles: Vec<_> = bench.storage.names();
    let tiles: Vec<_> = tiles
        .into_iter()
        .filter(|name| name.starts_with("tile/"))
        .collect();
    assert!(tiles.contains(&"tile/0/000".to_owned()));
    for tile in &tiles {
        let damaged = bench.on(bench.storage.copy());
        let mut bytes = damaged.storage.get(tile);
        bytes[3] ^= 1;
        damaged.storage.put(tile, &bytes);
        let due = tile.starts_with("tile/0/00") && !tile.contains(".p/")
            || tile.ends_with(".p/90")
            || tile.ends_with(".p/2");
        assert_eq!(damaged.verify().is_err(), due, "{tile}");
        let gone = bench.on(bench.storage.copy());
        gone.storage.delete("tile");
        assert!(matches!(gone.verify(), Err(VerifyError::Tile { .. })));
        gone.open().unwrap().close().unwrap();
        assert_eq!(gone.verify().unwrap().records, 604);
    }
}

#[test]
fn an_empty_disk_in_memory_is_no_log() {
    let storage = Memory::new();
    let missing = crate::verify::verify_storage(&storage, None, &[]);
    assert!(matches!(missing, Err(VerifyError::CheckpointMissing)));
}
