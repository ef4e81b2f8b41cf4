//! Every way to tamper with a log, and whether it is named.

use proptest::prelude::*;

use super::*;
use crate::{
    Filter, Record, Signer, generate_key,
    proof::{prove_storage, verify_proof},
    record::{Sheet, Stamp, moment, parse, render},
    storage::memory::{Memory, Trouble},
    testing::{Bench, DAY, append, draft},
};

/// Two days, a recovery after a write that went half-way, and a closed end.
///
/// Its files in the order of their records: `audit-20261120.jsonl` (seq 0 to 3 and void bytes),
/// `audit-20261120.1.jsonl` (4 to 6), `audit-20261121.jsonl` (7 to 10).
fn written() -> Bench {
    let bench = Bench::new();
    let log = bench.open().unwrap();
    for id in ["a", "b", "c"] {
        append(&log, id).unwrap();
    }
    bench.storage.plan(0, 1, Trouble::Half);
    assert!(append(&log, "half").is_err());
    for id in ["d", "e"] {
        append(&log, id).unwrap();
    }
    bench.advance(DAY);
    for id in ["f", "g", "h"] {
        append(&log, id).unwrap();
    }
    log.close().unwrap();
    bench
}

const FILES: [(&str, u64); 3] = [
    ("audit-20261120.jsonl", 0),
    ("audit-20261120.1.jsonl", 4),
    ("audit-20261121.jsonl", 7),
];
const SIZE: u64 = 11;

/// Returns the lines of a file that count, with their newlines.
fn lines(storage: &Memory, file: &str) -> Vec<Vec<u8>> {
    let bytes = storage.get(file);
    let lines = bytes.split_inclusive(|byte| *byte == b'\n');
    lines
        .filter(|line| line.ends_with(b"\n"))
        .map(<[u8]>::to_vec)
        .collect()
}

/// Returns the fault of a log whose file has these lines instead.
fn fault_with(bench: &Bench, file: &str, lines: &[Vec<u8>]) -> VerifyError {
    let bench = bench.on(bench.storage.copy());
    bench.storage.put(file, &lines.concat());
    bench.verify().unwrap_err()
}

fn assert_names(error: &VerifyError, file: &str, line: usize) {
    match error {
        VerifyError::Record {
            file: found,
            line: at,
            ..
        } => {
            assert_eq!((found.as_str(), *at), (file, line as u64), "{error}");
        }
        other => panic!("{file} line {line}: {other}"),
    }
}

#[test]
fn the_log_under_test_is_whole() {
    let bench = written();
    let report = bench.verify().unwrap();
    assert_eq!(
        (report.records, report.files, report.closed),
        (SIZE, 3, true)
    );
    assert!(report.voided_bytes > 0 && report.signed);
    assert!(report.first < report.last);
    let unsigned = verify_storage(&bench.storage, None, &[]).unwrap();
    assert!(!unsigned.signed);
    for (file, first) in FILES {
        let line = lines(&bench.storage, file).remove(0);
        assert_eq!(parse(line.trim_ascii_end()).unwrap().seq, first);
    }
}

#[test]
fn every_flipped_byte_is_found_and_its_record_named() {
    let bench = written();
    for (file, _) in FILES {
        let bytes = bench.storage.get(file);
        let (mut start, storage) = (0, bench.storage.copy());
        for (number, line) in lines(&bench.storage, file).iter().enumerate() {
            for at in start..start + line.len() {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1;
                storage.put(file, &flipped);
                let error = bench.on(storage.clone()).verify().unwrap_err();
                assert_names(&error, file, number + 1);
            }
            start += line.len();
        }
    }
}

#[test]
fn every_flipped_byte_of_the_checkpoint_is_found() {
    let bench = written();
    let note = bench.storage.get("checkpoint");
    for at in 0..note.len() {
        let mut flipped = note.clone();
        flipped[at] ^= 1;
        let bench = bench.on(bench.storage.copy());
        bench.storage.put("checkpoint", &flipped);
        assert!(
            matches!(bench.verify(), Err(VerifyError::Checkpoint(_))),
            "{at}"
        );
    }
}

#[test]
fn a_dropped_line_is_named() {
    let bench = written();
    for (file, first) in FILES {
        let whole = lines(&bench.storage, file);
        for at in 0..whole.len() {
            let mut dropped = whole.clone();
            dropped.remove(at);
            let seq = first + at as u64;
            let error = fault_with(&bench, file, &dropped);
            let expected = Fault::Dropped { expected: seq };
            match &error {
                VerifyError::Record {
                    fault, seq: stated, ..
                } if *fault == expected => {
                    assert_eq!(*stated, Some(seq + 1));
                }
                // The last record of all: nothing comes after it.
                VerifyError::Truncated {
                    size, checkpoint, ..
                } => {
                    assert_eq!((*size, *checkpoint, seq), (SIZE - 1, SIZE, SIZE - 1));
                }
                // The head of the recovery file: what it declared void counts again.
                VerifyError::Record {
                    fault: Fault::Torn,
                    line: 5,
                    ..
                } => assert_eq!(seq, 4),
                other => panic!("{file} {at}: {other}"),
            }
        }
    }
}

#[test]
fn swapped_and_repeated_lines_are_named() {
    let bench = written();
    for (file, first) in FILES {
        let whole = lines(&bench.storage, file);
        for at in 0..whole.len() {
            // After the last line of the first file come void bytes, whatever they are.
            if (file, at + 1) != (FILES[0].0, whole.len()) {
                let mut repeated = whole.clone();
                repeated.insert(at, whole[at].clone());
                let error = fault_with(&bench, file, &repeated);
                assert_names(&error, file, at + 2);
                assert!(error.to_string().contains("duplicated"), "{error}");
            }
            for other in at + 1..whole.len() {
                let mut swapped = whole.clone();
                swapped.swap(at, other);
                let error = fault_with(&bench, file, &swapped);
                if (file, at) == (FILES[1].0, 0) {
                    // Without its head the recovery file declares nothing void.
                    assert_names(&error, FILES[0].0, 5);
                    continue;
                }
                assert_names(&error, file, at + 1);
                let expected = first + at as u64;
                assert!(
                    matches!(error, VerifyError::Record { fault: Fault::Reordered { expected: e }, .. } if e == expected),
                    "{error}"
                );
            }
        }
    }
}

#[test]
fn a_log_cut_off_anywhere_is_found() {
    let bench = written();
    let (file, first) = FILES[2];
    let bytes = bench.storage.get(file);
    for cut in 0..bytes.len() {
        let bench = bench.on(bench.storage.copy());
        bench.storage.put(file, &bytes[..cut]);
        let left = bytes[..cut].iter().filter(|byte| **byte == b'\n').count();
        match bench.verify().unwrap_err() {
            VerifyError::Truncated {
                size, checkpoint, ..
            } => {
                assert!(cut == 0 || bytes[cut - 1] == b'\n');
                assert_eq!((size, checkpoint), (first + left as u64, SIZE));
            }
            VerifyError::Record {
                line,
                seq,
                fault: Fault::Torn,
                ..
            } => {
                assert_eq!((line, seq), (left as u64 + 1, Some(first + left as u64)));
            }
            other => panic!("{cut}: {other}"),
        }
    }
}

#[test]
fn a_deleted_or_renamed_day_is_found() {
    let bench = written();
    let without = |file: &str| {
        let bench = bench.on(bench.storage.copy());
        bench.storage.delete(file);
        bench.verify().unwrap_err()
    };
    assert!(matches!(
        without(FILES[0].0),
        VerifyError::Record {
            seq: Some(4),
            fault: Fault::Dropped { expected: 0 },
            ..
        }
    ));
    // What the second file declared void is in the first.
    assert_names(&without(FILES[1].0), FILES[0].0, 5);
    assert!(matches!(
        without(FILES[2].0),
        VerifyError::Truncated {
            size: 7,
            checkpoint: 11,
            ..
        }
    ));
    assert!(matches!(
        without("checkpoint"),
        VerifyError::CheckpointMissing
    ));
    assert!(matches!(without("tile"), VerifyError::Tile { .. }));

    let renamed = |to: &str| {
        let bench = bench.on(bench.storage.copy());
        bench.storage.put(to, &bench.storage.get(FILES[2].0));
        bench.storage.delete(FILES[2].0);
        bench.verify().unwrap_err()
    };
    let error = renamed("audit-20261122.jsonl");
    assert!(
        matches!(
            error,
            VerifyError::Record {
                line: 1,
                fault: Fault::Day,
                ..
            }
        ),
        "{error}"
    );
    assert!(matches!(
        renamed("audit-2026.jsonl"),
        VerifyError::UnexpectedFile { .. }
    ));
}

/// Writes the log anew from `seq` on, with every hash right, as somebody with the disk could.
fn rewrite(bench: &Bench, seq: u64) -> Bench {
    let rewritten = bench.on(bench.storage.copy());
    let mut prev = Hash::ZERO;
    for (file, _) in FILES {
        let mut bytes = Vec::new();
        for line in lines(&bench.storage, file) {
            let record = parse(line.trim_ascii_end()).unwrap();
            if record.seq < seq {
                bytes.extend_from_slice(&line);
                prev = record.event_hash;
                continue;
            }
            prev = forge(&record, record.seq == seq, prev, &mut bytes);
            bytes.push(b'\n');
        }
        rewritten.storage.put(file, &bytes);
    }
    rewritten
}

fn forge(record: &Record, change: bool, prev_hash: Hash, to: &mut Vec<u8>) -> Hash {
    let mut draft = draft("forged");
    draft.phase = record.phase;
    draft.action.clone_from(&record.action);
    draft.status = record.status;
    draft.corr_id.clone_from(&record.corr_id);
    draft.details = record.details.clone().map(|mut details| {
        details.remove("voided");
        details.into()
    });
    if change {
        draft.reason = Some("forged".to_owned());
    }
    let stamp = Stamp {
        seq: record.seq,
        ts: &moment(record.ts),
        instance: "gw-1",
        prev_hash,
    };
    let mut sheet = Sheet::default();
    let event_hash = sheet.write(&stamp, &render(&draft).unwrap());
    to.extend_from_slice(sheet.line());
    event_hash
}

#[test]
fn a_rewritten_chain_is_held_against_the_checkpoint() {
    let bench = written();
    for seq in 0..SIZE {
        let rewritten = rewrite(&bench, seq);
        match rewritten.verify().unwrap_err() {
            VerifyError::Record {
                seq: found,
                fault: Fault::Rewritten,
                ..
            } => {
                assert_eq!(found, Some(seq));
            }
            other => panic!("{seq}: {other}"),
        }
        // With the tiles gone the record cannot be named, but the log is still refused.
        rewritten.storage.delete("tile");
        assert!(matches!(
            rewritten.verify(),
            Err(VerifyError::Root { size: SIZE, .. })
        ));
        assert!(rewritten.open().is_err());
    }
}

#[test]
fn a_forged_checkpoint_is_of_no_use_without_the_key() {
    let bench = written();
    let rewritten = rewrite(&bench, 2);
    rewritten.storage.delete("tile");
    let Err(VerifyError::Root { found, .. }) = rewritten.verify() else {
        panic!("expected another root");
    };
    let thief = Signer::for_instance("gw-1", &generate_key().unwrap()).unwrap();
    let forged = Checkpoint::sign(&thief, SIZE, found).unwrap();
    rewritten.storage.put("checkpoint", forged.note.as_bytes());
    assert!(matches!(
        rewritten.verify(),
        Err(VerifyError::Checkpoint(_))
    ));
}

#[test]
fn an_old_copy_of_the_folder_is_held_against_a_kept_checkpoint() {
    let bench = written();
    let old = bench.on(bench.storage.copy());
    let log = bench.open().unwrap();
    append(&log, "i").unwrap();
    let kept = log.checkpoint().wait().unwrap();
    log.close().unwrap();
    let key = bench.key();
    let against =
        |bench: &Bench| verify_storage(&bench.storage, Some(&key), std::slice::from_ref(&kept));
    assert!(against(&bench).is_ok());
    // By itself the old copy is a perfect log.
    assert!(old.verify().is_ok());
    assert!(matches!(
        against(&old),
        Err(VerifyError::Truncated {
            size: SIZE,
            checkpoint: 13,
            ..
        })
    ));
    // A log that went another way from there on is caught too, though it is longer.
    let log = old.open().unwrap();
    for n in 0..5 {
        append(&log, &n.to_string()).unwrap();
    }
    log.close().unwrap();
    assert!(old.verify().is_ok());
    assert!(matches!(
        against(&old),
        Err(VerifyError::Root { size: 13, .. })
    ));
}

#[test]
fn kept_checkpoints_must_be_signed() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::new();
    let log = crate::Log::open(folder.path(), bench.options()).unwrap();
    let kept = log.checkpoint().wait().unwrap();
    log.close().unwrap();
    let report = verify_against(folder.path(), &bench.key(), std::slice::from_ref(&kept)).unwrap();
    assert_eq!(report.records, 2);
    let mut forged = kept;
    forged.note = forged.note.replacen("\n1\n", "\n2\n", 1);
    assert!(matches!(
        verify_against(folder.path(), &bench.key(), &[forged]),
        Err(VerifyError::Checkpoint(_))
    ));
}

#[test]
fn every_record_is_proved_and_no_other_bytes_are() {
    let bench = written();
    let key = bench.key();
    for record in bench.records() {
        let proof = prove_storage(&bench.storage, record.seq).unwrap();
        let proved = verify_proof(&proof, &key).unwrap();
        assert_eq!(proved.record, record);
        assert_eq!(proved.checkpoint.size, SIZE);
    }
    let proof = prove_storage(&bench.storage, 5).unwrap();
    for at in 0..proof.len() {
        let mut flipped = proof.clone();
        flipped[at] ^= 1;
        assert!(verify_proof(&flipped, &key).is_err(), "{at}");
    }
    let other = Bench::new().key();
    assert!(matches!(
        verify_proof(&proof, &other),
        Err(VerifyError::Checkpoint(_))
    ));
    let long = [proof, vec![b' '; 1 << 19]].concat();
    assert!(matches!(
        verify_proof(&long, &key),
        Err(VerifyError::Proof { .. })
    ));
}

#[test]
fn what_cannot_be_proved_is_said() {
    let bench = Bench::new();
    let log = bench.open().unwrap();
    append(&log, "a").unwrap();
    let prove = |seq| prove_storage(&bench.storage, seq).unwrap_err();
    assert!(matches!(
        prove(1),
        VerifyError::NotCovered { seq: 1, size: 1 }
    ));
    assert!(matches!(prove(2), VerifyError::NoRecord { seq: 2 }));
    log.close().unwrap();
    bench.storage.put("tile/0/000.p/3", &[0; 96]);
    assert!(matches!(prove(1), VerifyError::Proof { .. }));
}

#[test]
fn an_older_checkpoint_is_shown_to_be_a_prefix() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::new();
    let log = crate::Log::open(folder.path(), bench.options()).unwrap();
    let mut kept = Vec::new();
    for n in 0..20 {
        append(&log, &n.to_string()).unwrap();
        kept.push(log.checkpoint().wait().unwrap());
    }
    for old in kept {
        let (path, new) = crate::prove_consistency(folder.path(), old.size).unwrap();
        assert!(crate::tree::verify_consistency(
            old.size, new.size, &path, &old.root, &new.root
        ));
    }
    assert!(matches!(
        crate::prove_consistency(folder.path(), 22),
        Err(VerifyError::NotCovered { seq: 22, size: 21 })
    ));
}

#[test]
fn readers_stop_before_a_time() {
    let bench = written();
    let before = Filter {
        until: Some(bench.records()[7].ts),
        from_seq: Some(5),
        ..Filter::default()
    };
    let seqs: Vec<_> = bench.read(before).iter().map(|record| record.seq).collect();
    assert_eq!(seqs, [5, 6]);
}

#[test]
fn readers_find_what_they_ask_for() {
    let bench = written();
    let seqs = |filter| {
        bench
            .read(filter)
            .iter()
            .map(|record| record.seq)
            .collect::<Vec<_>>()
    };
    assert_eq!(seqs(Filter::default()), (0..SIZE).collect::<Vec<_>>());
    assert_eq!(
        seqs(Filter {
            from_seq: Some(5),
            to_seq: Some(9),
            ..Filter::default()
        }),
        [5, 6, 7, 8]
    );
    assert_eq!(
        seqs(Filter {
            from_seq: Some(10),
            ..Filter::default()
        }),
        [10]
    );
    assert_eq!(
        seqs(Filter {
            corr_id: Some("g".to_owned()),
            ..Filter::default()
        }),
        [8]
    );
    assert_eq!(
        seqs(Filter {
            action: Some("audit.recovered".to_owned()),
            ..Filter::default()
        }),
        [4]
    );
    let sunday = bench.records()[7].ts;
    assert_eq!(
        seqs(Filter {
            since: Some(sunday),
            ..Filter::default()
        }),
        [7, 8, 9, 10]
    );
    let all = Filter {
        tool_id: Some("database:listTables".to_owned()),
        sub: Some("agent-1".to_owned()),
        tenant: Some("acme".to_owned()),
        status: Some(crate::Status::Pending),
        ..Filter::default()
    };
    assert_eq!(seqs(all.clone()), [1, 2, 3, 5, 6, 7, 8, 9]);
    assert!(
        seqs(Filter {
            sub: Some("agent-2".to_owned()),
            ..all.clone()
        })
        .is_empty()
    );
    assert!(
        seqs(Filter {
            operation_id: Some("x".to_owned()),
            ..all
        })
        .is_empty()
    );
}

#[test]
fn a_reader_stops_at_the_first_bad_line_and_before_a_torn_one() {
    let bench = written();
    let (file, _) = FILES[2];
    let mut bytes = bench.storage.get(file);
    bytes.extend_from_slice(b"{\"seq\":11");
    bench.storage.put(file, &bytes);
    assert_eq!(bench.records().len() as u64, SIZE);
    bytes[20] ^= 1;
    bench.storage.put(file, &bytes);
    let storage = std::sync::Arc::new(bench.storage.clone());
    let found: Vec<_> = crate::read::read_storage(storage, Filter::default())
        .unwrap()
        .collect();
    assert_eq!(found.len(), 8);
    assert_names(found[7].as_ref().unwrap_err(), file, 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any few bytes of any file of records, replaced by any others.
    #[test]
    fn no_edit_goes_unnoticed(
        file in 0..3_usize, at in any::<prop::sample::Index>(), edit in prop::collection::vec(any::<u8>(), 1..20),
    ) {
        let bench = written();
        let whole = lines(&bench.storage, FILES[file].0).concat();
        let at = at.index(whole.len());
        let mut edited = bench.storage.get(FILES[file].0);
        edited.splice(at..(at + edit.len()).min(whole.len()), edit);
        prop_assume!(edited[..whole.len().min(edited.len())] != whole);
        bench.storage.put(FILES[file].0, &edited);
        prop_assert!(bench.verify().is_err());
    }
}
