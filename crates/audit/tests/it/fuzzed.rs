//! What holds for every input of the log's readers: run over the committed corpora here, and over
//! whatever libFuzzer thinks of in `fuzz/`.

use std::{fs, io, str};

use fastmcp_audit::{Checkpoint, Filter, MAX_LINE, VerifierKey, read, verify, verify_proof};

/// The public half of the key that signed the seeds.
const KEY: &str = "gw-1/audit+f6cf8800+AZEuUTmROrGbjLMcb2EEMpUbKHBhBmvKHdyTg5BJkiRt";
/// The longest log that is tried, in bytes: some lines of the greatest length.
const MAX_LOG: usize = 4 * MAX_LINE;

/// Records come out in the order of their numbers until the first line that is none; and a log
/// that verifies can be read to its end.
///
/// The input is a file of records, or one with a line `==` and the checkpoint behind it.
pub(crate) fn audit_line(bytes: &[u8]) {
    if bytes.len() <= MAX_LOG {
        let outcome = log(bytes);
        assert!(outcome.is_ok(), "the temporary folder fails: {outcome:?}");
    }
}

fn log(bytes: &[u8]) -> io::Result<()> {
    let mark = b"\n==\n";
    let (records, note) = match bytes.windows(mark.len()).position(|four| four == mark) {
        Some(at) => (bytes.get(..=at), bytes.get(at + mark.len()..)),
        None => (Some(bytes), None),
    };
    let folder = tempfile::tempdir()?;
    fs::write(
        folder.path().join("audit-20261120.jsonl"),
        records.unwrap_or_default(),
    )?;
    if let Some(note) = note {
        fs::write(folder.path().join("checkpoint"), note)?;
    }
    let Ok(found) = read(folder.path(), Filter::default()) else {
        return Ok(());
    };
    let mut count = 0;
    let mut whole = true;
    for record in found {
        match record {
            Ok(_) => count += 1,
            Err(_) => whole = false,
        }
    }
    let key: Option<VerifierKey> = KEY.parse().ok();
    if let Ok(report) = verify(folder.path(), key.as_ref()) {
        assert!(whole);
        assert_eq!(report.records, count);
        assert!(verify(folder.path(), None).is_ok());
    }
    Ok(())
}

/// What is proved is covered by its checkpoint.
pub(crate) fn audit_proof(bytes: &[u8]) {
    let Ok(key) = KEY.parse::<VerifierKey>() else {
        unreachable!("the key is one");
    };
    if let Ok(proved) = verify_proof(bytes, &key) {
        let checkpoint = proved.checkpoint;
        assert!(proved.record.seq < checkpoint.size);
        let note = checkpoint.note.clone();
        assert_eq!(Checkpoint::open(note.as_bytes(), &key), Ok(checkpoint));
    }
}

/// A checkpoint keeps its note, and a signature changes nothing about what the note says. A key
/// that is read is written as it was.
pub(crate) fn audit_checkpoint(bytes: &[u8]) {
    if let Ok(Ok(key)) = str::from_utf8(bytes).map(str::parse::<VerifierKey>) {
        assert_eq!(key.to_string().as_bytes(), bytes);
    }
    let read = Checkpoint::open_unverified(bytes);
    if let Ok(checkpoint) = &read {
        assert_eq!(checkpoint.note.as_bytes(), bytes);
        let begins = format!("{}\n{}\n", checkpoint.origin, checkpoint.size);
        assert!(checkpoint.note.starts_with(&begins));
    }
    let Ok(key) = KEY.parse::<VerifierKey>() else {
        unreachable!("the key is one");
    };
    if let Ok(signed) = Checkpoint::open(bytes, &key) {
        assert_eq!(signed.origin, key.name());
        assert_eq!(read, Ok(signed));
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    fn over(corpus: &str, check: fn(&[u8])) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../fuzz/corpus")
            .join(corpus);
        let mut files = 0;
        for entry in fs::read_dir(folder).unwrap() {
            check(&fs::read(entry.unwrap().path()).unwrap());
            files += 1;
        }
        assert!(files > 0, "the corpus `{corpus}` is empty");
    }

    #[test]
    fn the_corpora_hold() {
        over("audit_line", super::audit_line);
        over("audit_proof", super::audit_proof);
        over("audit_checkpoint", super::audit_checkpoint);
    }
}
