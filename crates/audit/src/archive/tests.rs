//! What goes, what stays provable, and that no crash in between loses or forges anything.

use std::collections::HashSet;

use super::*;
use crate::{
    Log, Options, Report,
    proof::{prove_storage, verify_proof},
    storage::memory::{Left, Memory, Trouble},
    testing::{Bench, DAY, append, draft},
    verify::verify_storage,
};

const COLD: &str = "cold";

fn retention(days: u32, to: Option<&str>) -> Retention {
    Retention {
        days,
        to: to.map(PathBuf::from),
    }
}

/// Four days with three records each, and one opened on each of them but the first.
fn four_days(bench: &Bench) -> Log {
    let log = bench.open().unwrap();
    for day in 0..4 {
        if day > 0 {
            bench.advance(DAY);
        }
        for n in 0..3 {
            append(&log, &format!("{day}-{n}")).unwrap();
        }
    }
    log.checkpoint().wait().unwrap();
    log
}

fn report(bench: &Bench) -> Report {
    bench.verify().unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn old_days_go_and_the_rest_is_proved_as_before() {
    let bench = Bench::new();
    let log = four_days(&bench);
    let kept = log.checkpoint().wait().unwrap();
    let archive = log.archive(&retention(1, None)).unwrap();
    let names: Vec<_> = archive.files.iter().map(|f| f.segment.as_str()).collect();
    assert_eq!(names, ["audit-20261120.jsonl", "audit-20261121.jsonl"]);
    // The first day has the record that opened the log as well.
    assert_eq!((archive.first_kept, archive.records()), (7, 7));
    assert_eq!(
        bench.storage.segments(),
        [
            "audit-20261122.jsonl",
            "audit-20261123.1.jsonl",
            "audit-20261123.jsonl"
        ]
    );
    append(&log, "after").unwrap();
    log.close().unwrap();

    let found = report(&bench);
    let days = (Date::constant(2026, 11, 20), Date::constant(2026, 11, 21));
    assert_eq!(found.archived, Some((7, days.0, days.1)));
    assert_eq!((found.records, found.closed), (16, true));
    let checked = verify_storage(
        &bench.storage,
        Some(&bench.key()),
        std::slice::from_ref(&kept),
    )
    .unwrap();
    assert_eq!(
        checked.records, 16,
        "what was signed before is still held against it"
    );
    let proof = prove_storage(&bench.storage, 7).unwrap();
    assert_eq!(verify_proof(&proof, &bench.key()).unwrap().record.seq, 7);
    let gone = prove_storage(&bench.storage, 6).unwrap_err();
    assert!(
        matches!(gone, VerifyError::Archived { seq: 6, first: 7 }),
        "{gone}"
    );
    drop(log);
    // It is opened again, from its tiles alone and from its records.
    bench.open().unwrap().close().unwrap();
    bench.storage.delete("tile/0/000.p");
    let refused = bench.open().map(drop).unwrap_err();
    assert!(
        matches!(refused, AuditError::Damaged(_)),
        "the hashes of what is gone are nowhere else: {refused}"
    );
}

#[test]
fn tiles_above_the_leaves_are_made_anew_without_the_records() {
    let bench = Bench::new();
    let log = bench.open().unwrap();
    for n in 0..300 {
        drop(log.append(&draft(&n.to_string())));
    }
    log.checkpoint().wait().unwrap();
    bench.advance(3 * DAY);
    append(&log, "today").unwrap();
    log.checkpoint().wait().unwrap();
    assert_eq!(log.archive(&retention(1, None)).unwrap().records(), 301);
    log.close().unwrap();
    drop(log);
    bench.storage.delete("tile/1");
    bench.open().unwrap().close().unwrap();
    assert_eq!(
        report(&bench).archived.map(|(records, ..)| records),
        Some(301)
    );
}

#[test]
fn nothing_goes_that_no_checkpoint_covers_or_that_is_not_what_was_signed() {
    let bench = Bench::new();
    let mut options = bench.options();
    options.checkpoint_records = 1 << 20;
    options.checkpoint_interval = std::time::Duration::from_secs(3600);
    let log = bench.open_with(options).unwrap();
    append(&log, "unsigned").unwrap();
    bench.advance(5 * DAY);
    // This log signs at once what it finds unsigned after an hour; the plan is made by itself.
    let checkpoint = checkpoint::read(&bench.storage, Some(&bench.key())).unwrap();
    assert_eq!(checkpoint.size, 1);
    let before = Date::constant(2026, 11, 25);
    append(&log, "today").unwrap();
    let signed = Checkpoint::open(checkpoint.note.as_bytes(), &bench.key()).unwrap();
    let none = plan(&bench.storage, &signed, before).unwrap();
    assert!(none.files.is_empty(), "{none:?}");
    log.checkpoint().wait().unwrap();

    let file = "audit-20261120.jsonl";
    let whole = bench.storage.get(file);
    let forged = String::from_utf8(whole.clone())
        .unwrap()
        .replacen("agent-1", "agent-2", 1);
    bench.storage.put(file, forged.as_bytes());
    let refused = log.archive(&retention(1, None)).unwrap_err();
    assert!(
        matches!(refused, AuditError::Damaged(_)),
        "evidence stays: {refused}"
    );
    assert!(bench.storage.segments().contains(&file.to_owned()));
    bench.storage.put(file, &whole);
    assert_eq!(log.archive(&retention(1, None)).unwrap().files.len(), 1);
    assert!(log.archive(&retention(0, None)).is_err());
}

#[test]
fn what_is_moved_can_be_put_back_and_verifies() {
    let bench = Bench::new();
    let log = four_days(&bench);
    let archive = log.archive(&retention(1, Some(COLD))).unwrap();
    log.close().unwrap();
    let cold = |name: &str| bench.storage.get(&format!("{COLD}/{name}"));
    for file in &archive.files {
        let bytes = cold(&file.segment);
        assert_eq!(
            (file.sha256, file.bytes),
            (Hash::of(&[&bytes]), bytes.len() as u64)
        );
    }
    let restored = bench.on(bench.storage.copy());
    // The younger file alone, and then both.
    for (name, gone) in [
        ("audit-20261121.jsonl", Some(4)),
        ("audit-20261120.jsonl", None),
    ] {
        restored.storage.put(name, &cold(name));
        assert_eq!(
            report(&restored).archived.map(|(records, ..)| records),
            gone
        );
    }
    let forged = String::from_utf8(cold("audit-20261120.jsonl"))
        .unwrap()
        .replacen("agent-1", "agent-2", 1);
    restored
        .storage
        .put("audit-20261120.jsonl", forged.as_bytes());
    assert!(restored.verify().is_err());
    // In the log itself it is taken away again.
    restored
        .storage
        .put("audit-20261120.jsonl", &cold("audit-20261120.jsonl"));
    let log = restored.open().unwrap();
    assert_eq!(log.archive(&retention(1, Some(COLD))).unwrap().again, 2);
    assert_eq!(
        report(&restored).archived.map(|(records, ..)| records),
        Some(7)
    );
}

#[test]
fn a_beginning_that_nobody_signed_away_is_missing() {
    let bench = Bench::new();
    let log = four_days(&bench);
    log.archive(&retention(2, None)).unwrap();
    log.close().unwrap();
    drop(log);
    let more = bench.on(bench.storage.copy());
    more.storage.delete("audit-20261121.jsonl");
    let error = more.verify().unwrap_err();
    assert!(
        matches!(
            &error,
            VerifyError::Record {
                fault: Fault::Dropped { .. },
                ..
            }
        ),
        "one file more than the record says: {error}"
    );
    assert!(more.open().is_err());

    // Somebody without the key writes the record himself, after the last checkpoint.
    let stranger = Bench::new();
    let log = four_days(&stranger);
    log.close().unwrap();
    drop(log);
    let signed = stranger.storage.get(checkpoint::FILE);
    let log = stranger.open().unwrap();
    log.archive(&retention(1, None)).unwrap();
    log.close().unwrap();
    stranger.storage.put(checkpoint::FILE, &signed);
    assert!(
        stranger.verify().is_err(),
        "the record is not covered by what was signed"
    );
}

#[test]
fn names_of_what_is_gone_are_not_used_for_what_a_void_is_about() {
    let bench = Bench::new();
    let log = bench.open().unwrap();
    append(&log, "a").unwrap();
    // The rest of the first file is void, which a file of the next day says.
    bench.storage.plan(0, 1_000, Trouble::Fail);
    assert!(append(&log, "half").is_err());
    // Refused only once the first try to go on has failed as well; the next one is a second later.
    assert!(append(&log, "refused").is_err());
    bench.storage.heal();
    bench.advance(DAY);
    append(&log, "b").unwrap();
    log.checkpoint().wait().unwrap();
    bench.advance(DAY);
    append(&log, "c").unwrap();
    log.checkpoint().wait().unwrap();
    log.archive(&retention(1, None)).unwrap();
    assert!(
        !bench
            .storage
            .segments()
            .contains(&"audit-20261120.jsonl".to_owned())
    );
    log.close().unwrap();
    drop(log);
    // The clock goes back to the day of the file that is gone.
    bench.advance(-2 * DAY);
    let log = bench.open().unwrap();
    append(&log, "d").unwrap();
    log.close().unwrap();
    assert!(
        !bench
            .storage
            .segments()
            .contains(&"audit-20261120.jsonl".to_owned())
    );
    report(&bench);
}

#[test]
fn what_is_void_goes_with_the_file_that_says_so() {
    let bench = Bench::new();
    let log = bench.open().unwrap();
    append(&log, "a").unwrap();
    // Signed, so that the writer has nothing left to do that would be counted below.
    log.checkpoint().wait().unwrap();
    bench.advance(DAY);
    // A crash leaves half a line of a new day: the whole file is void, which the next one says.
    bench.storage.plan(2, 1, Trouble::Crash);
    assert!(append(&log, "half").is_err());
    drop(log);
    let bench = bench.on(bench.storage.reboot(Left::Half));
    let log = bench.open().unwrap();
    let void = "audit-20261121.jsonl".to_owned();
    let segments = bench.storage.segments();
    assert!(segments.contains(&void) && segments.contains(&"audit-20261121.1.jsonl".to_owned()));
    assert_eq!(bench.records().last().unwrap().action, "audit.recovered");
    // As many files as go at once, without that one.
    for day in 0..MAX_FILES {
        append(&log, &day.to_string()).unwrap();
        bench.advance(DAY);
    }
    append(&log, "new").unwrap();
    log.checkpoint().wait().unwrap();
    let mut taken = Vec::new();
    loop {
        let archive = log.archive(&retention(1, Some(COLD))).unwrap();
        assert!(archive.files.len() <= MAX_FILES);
        // Whenever somebody looks, it verifies.
        report(&bench);
        if archive.files.is_empty() {
            break;
        }
        taken.extend(archive.files.into_iter().map(|file| file.segment));
    }
    assert_eq!((taken.len(), taken.first()), (MAX_FILES + 1, Some(&void)));
    assert!(!bench.storage.segments().contains(&void));
    log.close().unwrap();
    report(&bench);
}

#[test]
fn a_long_file_is_followed_by_another_of_the_day() {
    let bench = Bench::new();
    let mut options = bench.options();
    options.segment_bytes = 1 << 16;
    let log = bench.open_with(options).unwrap();
    let mut long = draft("long");
    long.reason = Some("x".repeat(4_000));
    for _ in 0..50 {
        log.append(&long).wait().unwrap();
    }
    log.close().unwrap();
    drop(log);
    let found = report(&bench);
    assert_eq!((found.records, found.files), (52, 4));
    assert!(
        bench
            .storage
            .segments()
            .contains(&"audit-20261120.3.jsonl".to_owned())
    );
    bench.open().unwrap().close().unwrap();
    assert_eq!(report(&bench).records, 54);
}

/// A run that archives, on a log of four days. Collects what was acknowledged.
fn story(
    bench: &Bench,
    to: Option<&str>,
    acknowledged: &mut Vec<String>,
) -> Result<(), AuditError> {
    let log = bench.open()?;
    if append(&log, "before").is_ok() {
        acknowledged.push("before".to_owned());
    }
    let _ = log.archive(&retention(1, to));
    if append(&log, "after").is_ok() {
        acknowledged.push("after".to_owned());
    }
    log.close()
}

/// The requests of all records, archived ones included.
fn everything(bench: &Bench) -> HashSet<String> {
    let mut ids: HashSet<_> = bench
        .records()
        .into_iter()
        .filter_map(|r| r.corr_id)
        .collect();
    for name in bench.storage.names() {
        if let Some(file) = name.strip_prefix("cold/") {
            let copy = bench.on(Memory::new());
            copy.storage.put(file, &bench.storage.get(&name));
            ids.extend(copy.records().into_iter().filter_map(|r| r.corr_id));
        }
    }
    ids
}

/// Ends the story at each of its operations, and looks what became of the log.
fn crash_at_any_operation(base: &Bench) {
    let before = everything(base);
    for operation in 0.. {
        let bench = base.on(base.storage.copy());
        let mut acknowledged: Vec<_> = before.iter().cloned().collect();
        bench.storage.plan(operation, 1, Trouble::Crash);
        let done = story(&bench, Some(COLD), &mut acknowledged);
        if !bench.storage.crashed() {
            assert!(done.is_ok() && operation > 15, "{operation}: {done:?}");
            break;
        }
        for left in [Left::Nothing, Left::Half, Left::Hole, Left::All] {
            let again = bench.on(bench.storage.reboot(left));
            let log = again
                .open()
                .unwrap_or_else(|e| panic!("{operation} {left:?}: {e:?}"));
            let archived = log.archive(&retention(1, Some(COLD)));
            archived.unwrap_or_else(|e| panic!("{operation} {left:?}: {e:?}"));
            log.close().unwrap();
            let report = again
                .verify()
                .unwrap_or_else(|e| panic!("{operation} {left:?}: {e}"));
            assert_eq!(
                report.archived.map(|(records, ..)| records),
                Some(7),
                "{operation} {left:?}"
            );
            let found = everything(&again);
            assert!(
                acknowledged.iter().all(|id| found.contains(id)),
                "{operation} {left:?}"
            );
        }
    }
}

#[test]
fn a_crash_at_any_operation_loses_nothing_and_is_finished_later() {
    let base = Bench::new();
    four_days(&base).close().unwrap();
    crash_at_any_operation(&base);
}

#[test]
fn a_crash_while_a_log_is_archived_again_loses_nothing_either() {
    let base = Bench::new();
    let log = four_days(&base);
    let first = log.archive(&retention(2, Some(COLD))).unwrap();
    assert!(!first.files.is_empty());
    log.close().unwrap();
    crash_at_any_operation(&base);
}

#[test]
fn any_one_failed_operation_leaves_a_log_that_verifies() {
    let base = Bench::new();
    four_days(&base).close().unwrap();
    for (trouble, to) in [
        (Trouble::Fail, None),
        (Trouble::Half, None),
        (Trouble::Half, Some(COLD)),
    ] {
        for operation in 0..60 {
            let bench = base.on(base.storage.copy());
            bench.storage.plan(operation, 1, trouble);
            let _ = story(&bench, to, &mut Vec::new());
            bench.storage.heal();
            let log = bench
                .open()
                .unwrap_or_else(|e| panic!("{operation} {trouble:?}: {e:?}"));
            log.archive(&retention(1, to))
                .unwrap_or_else(|e| panic!("{operation} {trouble:?}: {e:?}"));
            log.close().unwrap();
            report(&bench);
        }
    }
}

#[test]
fn the_real_disk_moves_files_and_refuses_to_replace_others() {
    let folder = tempfile::tempdir().unwrap();
    let (dir, cold) = (folder.path().join("audit"), folder.path().join("cold"));
    let bench = Bench::new();
    let options = |bench: &Bench| -> Options { bench.options() };
    let log = Log::open(&dir, options(&bench)).unwrap();
    append(&log, "old").unwrap();
    bench.advance(3 * DAY);
    append(&log, "new").unwrap();
    log.checkpoint().wait().unwrap();
    let before = Date::constant(2026, 11, 22);
    let planned = plan_archive(&dir, Some(&bench.key()), before).unwrap();
    assert_eq!((planned.files.len(), planned.records()), (1, 2));
    std::fs::create_dir(&cold).unwrap();
    std::fs::write(cold.join("audit-20261120.jsonl"), "another").unwrap();
    let to = Retention {
        days: 1,
        to: Some(cold.clone()),
    };
    assert!(log.archive(&to).is_err());
    assert!(dir.join("audit-20261120.jsonl").exists());
    std::fs::remove_file(cold.join("audit-20261120.jsonl")).unwrap();
    log.archive(&to).unwrap();
    assert!(
        !dir.join("audit-20261120.jsonl").exists() && cold.join("audit-20261120.jsonl").exists()
    );
    log.close().unwrap();
    let found = crate::verify(&dir, Some(&bench.key())).unwrap();
    assert_eq!(found.archived.map(|(records, ..)| records), Some(2));
}
