//! A replica that went back is found by what its peers wrote down.

use std::{fs, path::Path};

use super::*;
use crate::{
    Log, Options, Signer, generate_key,
    testing::{append, draft},
};

struct Gateway {
    folder: PathBuf,
    name: &'static str,
    secret: Vec<u8>,
}

impl Gateway {
    fn new(root: &Path, name: &'static str) -> Self {
        Self {
            folder: root.join(name),
            name,
            secret: generate_key().unwrap().to_vec(),
        }
    }

    fn signer(&self) -> Signer {
        Signer::for_instance(self.name, &self.secret).unwrap()
    }

    fn open(&self) -> Log {
        Log::open(&self.folder, Options::new(self.name, self.signer())).unwrap()
    }

    fn replica(&self) -> Replica {
        Replica {
            folder: self.folder.clone(),
            key: self.signer().verifier(),
        }
    }

    fn note(&self) -> Checkpoint {
        let note = fs::read(self.folder.join("checkpoint")).unwrap();
        Checkpoint::open(&note, &self.signer().verifier()).unwrap()
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[test]
fn a_log_that_was_put_back_and_signed_again_is_found_by_its_peers() {
    let root = tempfile::tempdir().unwrap();
    let [one, two, three] = ["gw-1", "gw-2", "gw-3"].map(|name| Gateway::new(root.path(), name));
    let first = one.open();
    append(&first, "early").unwrap();
    first.close().unwrap();
    drop(first);
    let older = root.path().join("older");
    copy(&one.folder, &older);
    let first = one.open();
    append(&first, "what is to be forgotten").unwrap();
    first.close().unwrap();
    drop(first);
    for peer in [&two, &three] {
        let log = peer.open();
        log.append(&peer_checkpoint(&one.note(), None))
            .wait()
            .unwrap();
        log.close().unwrap();
    }
    let all = || verify_replicas(&[one.replica(), two.replica(), three.replica()]);
    let reports = all();
    let first = reports[0].as_ref().unwrap();
    assert_eq!((first.held_against, first.forged), (2, 0));
    assert!(
        reports[1..]
            .iter()
            .all(|r| r.as_ref().unwrap().held_against == 0)
    );
    let alone = verify_replicas(&[two.replica()]);
    assert_eq!(alone[0].as_ref().unwrap().unknown, ["gw-1/audit"]);

    // Put back, and gone on with: signed, chained, whole. Long enough that nothing is missing.
    fs::remove_dir_all(&one.folder).unwrap();
    copy(&older, &one.folder);
    let rolled = one.open();
    crate::verify(&one.folder, Some(&one.replica().key)).unwrap();
    drop(rolled);
    let short = all();
    for n in 0..5 {
        let log = one.open();
        log.append(&draft(&format!("another past {n}")))
            .wait()
            .unwrap();
        log.close().unwrap();
    }
    crate::verify(&one.folder, Some(&one.replica().key)).unwrap();
    for (reports, is_short) in [(short, true), (all(), false)] {
        let error = reports[0].as_ref().unwrap_err();
        let VerifyError::Peer { by, seq, source } = error else {
            panic!("{error}");
        };
        assert_eq!((by.as_str(), *seq), ("gw-2/audit", 1));
        assert_eq!(
            is_short,
            matches!(**source, VerifyError::Truncated { .. }),
            "{source}"
        );
        assert!(reports[1].is_ok() && reports[2].is_ok());
    }
}

#[test]
fn a_note_that_somebody_else_left_accuses_nobody() {
    let root = tempfile::tempdir().unwrap();
    let [one, two] = ["gw-1", "gw-2"].map(|name| Gateway::new(root.path(), name));
    one.open().close().unwrap();
    let stranger = Signer::for_instance("gw-1", &generate_key().unwrap()).unwrap();
    let forged = Checkpoint::sign(&stranger, 99, crate::Hash::ZERO).unwrap();
    let log = two.open();
    let wrong = Some("it signs another root for 2 records".to_owned());
    log.append(&peer_checkpoint(&forged, wrong)).wait().unwrap();
    log.close().unwrap();
    let reports = verify_replicas(&[one.replica(), two.replica()]);
    let first = reports[0].as_ref().unwrap();
    assert_eq!((first.held_against, first.forged), (0, 1));
    let keys = [one.replica().key, two.replica().key];
    assert_eq!(key_of(&two.folder, &keys).unwrap(), keys[1]);
    assert!(key_of(&two.folder, &keys[..1]).is_err());
}
