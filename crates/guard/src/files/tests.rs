//! What gets out, what gets in, and what two writers do to each other.
#![cfg(unix)]

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

struct Place {
    _folder: tempfile::TempDir,
    root: PathBuf,
    files: FileOperations,
}

fn place_with(limits: Limits) -> Place {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    std::fs::create_dir(&root).unwrap();
    std::fs::create_dir(folder.path().join("outside")).unwrap();
    std::fs::write(folder.path().join("outside/secret.txt"), "secret").unwrap();
    let files = FileOperations::open(&root, limits).unwrap();
    Place {
        _folder: folder,
        root,
        files,
    }
}

fn place() -> Place {
    place_with(Limits {
        max_file_bytes: 64,
        max_depth: 4,
        max_entries: 50,
    })
}

fn paths(entries: &[Entry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.path.as_str()).collect()
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn make_fifo(path: &Path) {
    let status = std::process::Command::new("mkfifo")
        .arg(path)
        .status()
        .unwrap();
    assert!(status.success());
}

#[test]
fn what_is_written_is_read_back() {
    let place = place();
    let written = place.files.write("a/b/note.txt", b"hello", false).unwrap();
    assert_eq!(
        written,
        Written {
            bytes: 5,
            created: true
        }
    );
    assert_eq!(place.files.read("a/b/note.txt").unwrap(), b"hello");
    assert_eq!(mode(&place.root.join("a/b/note.txt")), 0o600);
    assert_eq!(mode(&place.root.join("a/b")), 0o700);
    assert!(place.files.exists("a/b").unwrap());
    assert!(!place.files.exists("a/c").unwrap());
    assert!(!place.files.exists("a/b/note.txt/x").unwrap());
    let entry = place.files.entry("a/b/note.txt").unwrap().unwrap();
    assert_eq!((entry.kind.as_str(), entry.size), ("file", 5));
    assert!(entry.modified.unwrap() > Timestamp::from_unix_seconds(1_700_000_000));
}

#[test]
fn a_file_is_replaced_only_when_asked() {
    let place = place();
    assert!(place.files.write("note", b"one", true).unwrap().created);
    assert!(matches!(
        place.files.write("note", b"two", false),
        Err(FileError::AlreadyExists { .. })
    ));
    assert_eq!(place.files.read("note").unwrap(), b"one");
    assert!(!place.files.write("note", b"two", true).unwrap().created);
    assert_eq!(place.files.read("note").unwrap(), b"two");
    assert_eq!(
        paths(&place.files.list("", false).unwrap()),
        ["note"],
        "nothing unfinished stays"
    );
    assert_eq!(std::fs::read_dir(&place.root).unwrap().count(), 1);
}

#[test]
fn no_operation_leaves_the_root() {
    let place = place();
    symlink("../outside", place.root.join("out")).unwrap();
    symlink("../outside/secret.txt", place.root.join("file-out")).unwrap();
    symlink("/etc", place.root.join("etc")).unwrap();
    symlink("/proc/self/root", place.root.join("proc")).unwrap();
    symlink("out", place.root.join("chain1")).unwrap();
    symlink("chain1", place.root.join("chain2")).unwrap();
    symlink("loop", place.root.join("loop")).unwrap();
    symlink("../outside/new.txt", place.root.join("dangling")).unwrap();
    for path in [
        "out/secret.txt",
        "file-out",
        "etc/passwd",
        "proc/etc/passwd",
        "chain1/secret.txt",
        "chain2/secret.txt",
        "loop",
        "loop/x",
        "dangling",
        "../outside/secret.txt",
        "/etc/passwd",
        "out/../x",
        "a\0",
        "..\\outside",
        "/proc/self/root/etc/passwd",
        "out/new.txt",
        "chain2/new.txt",
    ] {
        assert!(place.files.read(path).is_err(), "read {path:?}");
        assert!(
            place.files.write(path, b"x", false).is_err(),
            "write {path:?}"
        );
        assert!(
            place.files.write(path, b"x", true).is_err(),
            "overwrite {path:?}"
        );
        assert!(
            !place.files.exists(path).unwrap_or_default(),
            "exists {path:?}"
        );
        assert!(place.files.list(path, true).is_err(), "list {path:?}");
    }
    assert!(matches!(
        place.files.read("out/secret.txt"),
        Err(FileError::Escapes { .. })
    ));
    assert!(matches!(
        place.files.read("file-out"),
        Err(FileError::SymbolicLink { .. })
    ));
    assert!(matches!(
        place.files.list("out", false),
        Err(FileError::SymbolicLink { .. })
    ));
    assert_eq!(
        paths(&place.files.list("", true).unwrap()),
        [""; 0],
        "links are not listed"
    );
    let outside = place.root.parent().unwrap().join("outside");
    assert_eq!(
        std::fs::read_dir(outside).unwrap().count(),
        1,
        "nothing was made outside"
    );
}

#[test]
fn links_that_stay_beneath_the_root_are_ways_not_ends() {
    let place = place();
    place.files.write("v2/data.txt", b"x", false).unwrap();
    symlink("v2", place.root.join("current")).unwrap();
    symlink("data.txt", place.root.join("v2/alias")).unwrap();
    assert_eq!(place.files.read("current/data.txt").unwrap(), b"x");
    assert!(matches!(
        place.files.read("v2/alias"),
        Err(FileError::SymbolicLink { .. })
    ));
    assert!(matches!(
        place.files.write("v2/alias", b"y", true),
        Err(FileError::SymbolicLink { .. })
    ));
    assert_eq!(place.files.read("v2/data.txt").unwrap(), b"x");
}

#[test]
fn a_file_has_its_time_from_the_start() {
    let place = place();
    place.files.write("key", b"old", false).unwrap();
    let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000);
    let written = place.files.replace_dated("key", b"new", time).unwrap();
    assert!(!written.created);
    let path = place.root.join("key");
    assert_eq!(std::fs::read(&path).unwrap(), b"new");
    let found = std::fs::metadata(&path).unwrap();
    assert_eq!(found.modified().unwrap(), time);
    // Nothing can fail once it is there: it was never there with another time.
    symlink(&path, place.root.join("link")).unwrap();
    let refused = place.files.replace_dated("link", b"x", time);
    assert!(matches!(refused, Err(FileError::SymbolicLink { .. })));
    assert_eq!(std::fs::read_dir(&place.root).unwrap().count(), 2);
}

#[test]
fn only_regular_files_are_read_and_replaced() {
    let place = place();
    make_fifo(&place.root.join("pipe"));
    let _socket = std::os::unix::net::UnixListener::bind(place.root.join("socket")).unwrap();
    std::fs::create_dir(place.root.join("folder")).unwrap();
    for path in ["pipe", "socket", "folder"] {
        assert!(
            matches!(place.files.read(path), Err(FileError::NotAFile { .. })),
            "read {path}"
        );
        assert!(
            matches!(
                place.files.write(path, b"", true),
                Err(FileError::NotAFile { .. })
            ),
            "write {path}"
        );
    }
    assert_eq!(paths(&place.files.list(".", false).unwrap()), ["folder"]);
    place.files.write("file", b"", false).unwrap();
    assert!(matches!(
        place.files.list("file", false),
        Err(FileError::NotADirectory { .. })
    ));
    assert!(matches!(
        place.files.read("file/x"),
        Err(FileError::NotADirectory { .. })
    ));
    assert!(matches!(
        place.files.write("file/x", b"", false),
        Err(FileError::NotADirectory { .. })
    ));
}

#[test]
fn size_is_bounded_both_ways() {
    let place = place();
    let (fits, too_many) = ([7_u8; 64], [7_u8; 65]);
    place.files.write("fits", &fits, false).unwrap();
    assert_eq!(place.files.read("fits").unwrap(), fits);
    assert!(matches!(
        place.files.write("big", &too_many, false),
        Err(FileError::TooLarge { max_bytes: 64, .. })
    ));
    assert!(!place.files.exists("big").unwrap());
    std::fs::write(place.root.join("grown"), too_many).unwrap();
    assert!(matches!(
        place.files.read("grown"),
        Err(FileError::TooLarge { max_bytes: 64, .. })
    ));
    std::fs::File::create(place.root.join("sparse"))
        .unwrap()
        .set_len(1 << 40)
        .unwrap();
    assert!(matches!(
        place.files.read("sparse"),
        Err(FileError::TooLarge { .. })
    ));
}

#[test]
fn depth_is_bounded_before_folders_are_made() {
    let place = place();
    place.files.write("1/2/3/file", b"", false).unwrap();
    assert!(matches!(
        place.files.write("x/2/3/4/file", b"", false),
        Err(FileError::InvalidPath { .. })
    ));
    assert!(!place.root.join("x").exists());
    std::fs::create_dir_all(place.root.join("1/2/3/4/5")).unwrap();
    let listed = place.files.list("1", true).unwrap();
    assert_eq!(
        paths(&listed),
        ["1/2", "1/2/3", "1/2/3/4", "1/2/3/file"],
        "what cannot be named is not listed"
    );
}

#[test]
fn a_listing_is_whole_or_refused() {
    let place = place();
    for number in 0..30 {
        std::fs::write(place.root.join(format!("{number:02}")), "x").unwrap();
    }
    std::fs::create_dir(place.root.join("sub")).unwrap();
    std::fs::write(place.root.join("sub/inner"), "x").unwrap();
    std::fs::write(place.root.join("odd\nname"), "x").unwrap();
    let flat = place.files.list("", false).unwrap();
    assert_eq!(flat.len(), 31);
    assert!(flat.is_sorted_by_key(|entry| entry.path.clone()));
    assert_eq!(
        place.files.list("", true).unwrap().last().unwrap().path,
        "sub/inner"
    );
    for number in 30..50 {
        std::fs::write(place.root.join(format!("sub/{number:02}")), "x").unwrap();
    }
    assert!(matches!(
        place.files.list("", true),
        Err(FileError::TooManyEntries {
            max_entries: 50,
            ..
        })
    ));
    assert_eq!(place.files.list("sub", true).unwrap().len(), 21);
    assert!(matches!(
        place.files.list("nowhere", true),
        Err(FileError::NotFound { .. })
    ));
}

#[test]
fn of_many_writers_one_creates() {
    let place = place();
    let files = &place.files;
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..16_u8)
            .map(|writer| {
                scope.spawn(move || {
                    files
                        .write("folder/contested", &[writer; 48], false)
                        .map(|_| writer)
                })
            })
            .collect();
        writers
            .into_iter()
            .map(|writer| writer.join().unwrap())
            .collect()
    });
    let winners: Vec<u8> = outcomes
        .iter()
        .filter_map(|outcome| outcome.as_ref().ok().copied())
        .collect();
    assert_eq!(winners.len(), 1);
    assert!(
        outcomes
            .iter()
            .filter_map(|outcome| outcome.as_ref().err())
            .all(|error| { matches!(error, FileError::AlreadyExists { .. }) })
    );
    assert_eq!(
        place.files.read("folder/contested").unwrap(),
        [winners[0]; 48],
        "and its content is whole"
    );
    assert_eq!(
        std::fs::read_dir(place.root.join("folder"))
            .unwrap()
            .count(),
        1
    );
}

#[test]
fn a_link_planted_meanwhile_leads_nowhere() {
    let place = place();
    let outside = place.root.parent().unwrap().join("outside");
    std::fs::create_dir(place.root.join("real")).unwrap();
    std::fs::write(place.root.join("real/secret.txt"), "harmless").unwrap();
    let way = place.root.join("way");
    symlink("real", &way).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Bounded, so that a failed assertion below is reported and not waited for.
            for _ in 0..100_000 {
                if done.load(Ordering::Relaxed) {
                    break;
                }
                for target in ["../outside", "real"] {
                    symlink(target, place.root.join("next")).unwrap();
                    std::fs::rename(place.root.join("next"), &way).unwrap();
                }
            }
        });
        for round in 0..2_000 {
            if let Ok(content) = place.files.read("way/secret.txt") {
                assert_eq!(content, b"harmless");
            }
            let _ = place.files.write(&format!("way/{}", round % 8), b"x", true);
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(
        std::fs::read_dir(outside).unwrap().count(),
        1,
        "nothing was written outside"
    );
}

#[test]
fn limits_out_of_range_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let good = Limits::default();
    for (limits, field) in [
        (
            Limits {
                max_file_bytes: 0,
                ..good
            },
            "max_file_bytes",
        ),
        (
            Limits {
                max_file_bytes: (1 << 30) + 1,
                ..good
            },
            "max_file_bytes",
        ),
        (
            Limits {
                max_depth: 0,
                ..good
            },
            "max_depth",
        ),
        (
            Limits {
                max_entries: 1_000_001,
                ..good
            },
            "max_entries",
        ),
    ] {
        let message = FileOperations::open(folder.path(), limits)
            .unwrap_err()
            .to_string();
        assert!(message.starts_with(&format!("`{field}` is ")), "{message}");
    }
    let missing = FileOperations::open(&folder.path().join("missing"), good);
    assert!(matches!(missing, Err(FileError::Root { .. })));
}
