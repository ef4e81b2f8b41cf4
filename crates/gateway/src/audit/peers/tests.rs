//! Two and three gateways around one folder.

use std::sync::Arc;

use fastmcp_audit::{Filter, Log, Options, Record, Signer, Status, generate_key, read};
use fastmcp_guard::clock::SystemClock;
use serde_json::json;
use tempfile::TempDir;

use super::*;

struct Replica {
    folder: TempDir,
    secret: Vec<u8>,
    name: &'static str,
    audit: Audit,
    watch: Watch,
}

impl Replica {
    fn new(name: &'static str, shared: &Path) -> Self {
        let (folder, secret) = (
            tempfile::tempdir().unwrap(),
            generate_key().unwrap().to_vec(),
        );
        let audit = open(folder.path(), name, &secret);
        let watch = watch(shared);
        Self {
            folder,
            secret,
            name,
            audit,
            watch,
        }
    }

    async fn look(&mut self) {
        self.watch.look(&self.audit).await.unwrap();
    }

    fn size(&self) -> u64 {
        self.audit.health().size
    }

    fn notes(&self) -> Vec<Record> {
        let filter = Filter {
            action: Some("audit.peer_checkpoint".to_owned()),
            ..Filter::default()
        };
        read(self.folder.path(), filter)
            .unwrap()
            .map(Result::unwrap)
            .collect()
    }
}

fn watch(shared: &Path) -> Watch {
    Watch::new(Peers {
        folder: shared.to_owned(),
        every: Duration::from_secs(1),
    })
}

fn open(folder: &Path, name: &str, secret: &[u8]) -> Audit {
    let signer = Signer::for_instance(name, secret).unwrap();
    let log = Log::open(folder, Options::new(name, signer)).unwrap();
    Audit::new(log, b"salt", Arc::new(SystemClock))
}

#[tokio::test]
async fn replicas_write_each_other_down_and_come_to_rest() {
    let shared = tempfile::tempdir().unwrap();
    let mut all = ["gw/1", "gw:1", "gw-3"].map(|name| Replica::new(name, shared.path()));
    for _ in 0..5 {
        for replica in &mut all {
            replica.look().await;
        }
    }
    assert_eq!(
        std::fs::read_dir(shared.path()).unwrap().count(),
        3,
        "one file each"
    );
    for replica in &all {
        let notes = replica.notes();
        let others: Vec<_> = notes
            .iter()
            .map(|n| n.resource_id.clone().unwrap())
            .collect();
        assert_eq!(others.len(), 2, "{others:?}");
        assert!(notes.iter().all(|note| note.status == Status::Success));
    }
    let sizes = all.each_ref().map(Replica::size);
    for replica in &mut all {
        replica.look().await;
    }
    assert_eq!(
        all.each_ref().map(Replica::size),
        sizes,
        "who has nothing to do writes nothing"
    );

    all[0]
        .audit
        .event("policy.reloaded", Status::Success, json!({}));
    all[0].audit.checkpoint().await.unwrap();
    for _ in 0..3 {
        for replica in &mut all {
            replica.look().await;
        }
    }
    assert_eq!(
        all.each_ref().map(Replica::size),
        [sizes[0] + 1, sizes[1] + 1, sizes[2] + 1]
    );
}

#[tokio::test]
async fn a_peer_that_went_back_is_said_at_once_and_once() {
    let shared = tempfile::tempdir().unwrap();
    let (mut one, mut two) = (
        Replica::new("gw-1", shared.path()),
        Replica::new("gw-2", shared.path()),
    );
    let older = tempfile::tempdir().unwrap();
    one.audit.close_log().unwrap();
    for entry in std::fs::read_dir(one.folder.path()).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), older.path().join(entry.file_name())).unwrap();
        }
    }
    one.audit = open(one.folder.path(), one.name, &one.secret);
    for n in 0..5 {
        one.audit
            .event("policy.reloaded", Status::Success, json!({"n": n}));
    }
    one.look().await;
    two.look().await;
    // Somebody puts the older log back; the gateway starts on it as if nothing had been.
    one.audit.close_log().unwrap();
    one.audit = open(older.path(), one.name, &one.secret);
    one.watch = watch(shared.path());
    one.look().await;
    two.look().await;
    two.look().await;
    let notes = two.notes();
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert_eq!(notes[1].status, Status::Failed);
    let reason = notes[1].reason.clone().unwrap();
    assert!(reason.starts_with("it went back from "), "{reason}");
}

#[tokio::test]
async fn what_is_no_checkpoint_is_passed_over_and_a_missing_folder_is_said() {
    let shared = tempfile::tempdir().unwrap();
    let mut one = Replica::new("gw-1", shared.path());
    std::fs::write(shared.path().join("x.checkpoint"), "nothing").unwrap();
    std::fs::write(shared.path().join("y.checkpoint"), "z".repeat(1 << 20)).unwrap();
    std::fs::create_dir(shared.path().join("d.checkpoint")).unwrap();
    one.look().await;
    assert!(one.notes().is_empty());
    let mut lost = watch(&shared.path().join("nowhere"));
    assert!(lost.look(&one.audit).await.is_err());
}
