use fastmcp_guard::random::OsRandom;
use fastmcp_protocol::args::ArgsLimits;
use serde_json::{Value, json};

use super::*;

struct Place {
    folder: tempfile::TempDir,
    provider: FilesystemProvider,
}

fn place() -> Place {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    fs::create_dir(&root).unwrap();
    fs::write(folder.path().join("secret.txt"), "secret").unwrap();
    let options = Options {
        limits: Limits {
            max_file_bytes: 64,
            max_depth: 3,
            max_entries: 20,
        },
        ..Options::default()
    };
    let provider = FilesystemProvider::open(&root, options, Arc::new(OsRandom)).unwrap();
    Place { folder, provider }
}

impl Place {
    fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    async fn call(
        &self,
        tenant: &str,
        endpoint: &str,
        args: Value,
    ) -> Result<Value, ProviderError> {
        let args = Args::of(&args, &ArgsLimits::default()).unwrap();
        let scopes = [SCOPE_READ.to_owned(), SCOPE_WRITE.to_owned()];
        let grant = grant::internal(PROVIDER_ID, &OsRandom)?;
        let call = Call {
            grant: &grant,
            operation_id: "op",
            tenant,
            scopes: &scopes,
            timeout: Duration::from_secs(20),
        };
        let raw = self.provider.call(endpoint, &args, &call).await?;
        Ok(raw.decode().unwrap())
    }

    async fn refusal(&self, endpoint: &str, args: Value) -> String {
        let error = self.call("acme", endpoint, args.clone()).await.unwrap_err();
        assert!(error.invalid_argument, "{args}: {error:?}");
        assert_eq!(error.effect, Effect::None, "{args}");
        error.message
    }
}

#[tokio::test]
async fn files_are_written_listed_and_read() {
    let place = place();
    let written = place
        .call(
            "acme",
            WRITE_FILE,
            json!({"path": "a/note.txt", "content": "héllo"}),
        )
        .await
        .unwrap();
    assert_eq!(
        written,
        json!({"path": "a/note.txt", "bytes": 6, "created": true})
    );
    let read = place
        .call("acme", READ_FILE, json!({"path": "a/note.txt"}))
        .await
        .unwrap();
    assert_eq!(
        read,
        json!({"path": "a/note.txt", "size": 6, "content": "héllo"})
    );
    let read = place
        .call(
            "acme",
            READ_FILE,
            json!({"path": "a/note.txt", "as_base64": true}),
        )
        .await
        .unwrap();
    assert_eq!(
        read,
        json!({"path": "a/note.txt", "size": 6, "content_base64": "aMOpbGxv"})
    );
    let listed = place
        .call(
            "acme",
            LIST_DIRECTORY,
            json!({"path": ".", "recursive": true}),
        )
        .await
        .unwrap();
    let paths: Vec<_> = listed["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| {
            (
                entry["path"].as_str().unwrap(),
                entry["type"].as_str().unwrap(),
                entry["size"].as_u64().unwrap(),
            )
        })
        .collect();
    assert_eq!(paths, [("a", "directory", 0), ("a/note.txt", "file", 6)]);
    assert!(
        listed["entries"][1]["modified"]
            .as_str()
            .unwrap()
            .ends_with('Z')
    );
}

#[tokio::test]
async fn bytes_that_are_no_text_travel_as_base64() {
    let place = place();
    let args = json!({"path": "b.bin", "content_base64": "AP+A"});
    place.call("acme", WRITE_FILE, args).await.unwrap();
    assert_eq!(
        fs::read(place.root().join("acme/b.bin")).unwrap(),
        [0, 255, 128]
    );
    assert!(
        place
            .refusal(READ_FILE, json!({"path": "b.bin"}))
            .await
            .contains("`as_base64: true`")
    );
}

#[tokio::test]
async fn tenants_do_not_see_each_other() {
    let place = place();
    place
        .call(
            "acme",
            WRITE_FILE,
            json!({"path": "x", "content": "acme's"}),
        )
        .await
        .unwrap();
    for other in ["other", "public", "ACME", "acme/", "../acme", ""] {
        let error = place
            .call(other, READ_FILE, json!({"path": "x"}))
            .await
            .unwrap_err();
        assert!(error.message.contains("does not exist"), "{other}: {error}");
        let error = place
            .call(other, READ_FILE, json!({"path": "../acme/x"}))
            .await
            .unwrap_err();
        assert!(error.invalid_argument, "{other}: {error}");
    }
    let mut made: Vec<_> = fs::read_dir(place.root())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    made.sort();
    assert_eq!(made.len(), 7);
    assert!(
        made.iter()
            .all(|name| name.len() == 65 && name.starts_with('_')
                || ["acme", "other", "public"].contains(&name.as_str()))
    );
}

#[test]
fn folder_names_are_safe_and_distinct() {
    let names = [
        "acme",
        "Acme",
        "_acme",
        "a b",
        ".",
        "..",
        "",
        "con/nul",
        "é",
        &"x".repeat(65),
    ]
    .map(folder_name);
    assert_eq!(names[0], "acme");
    assert!(names[1..].iter().all(|name| name.len() == 65), "{names:?}");
    let distinct: std::collections::HashSet<_> =
        names.iter().map(|name| name.to_lowercase()).collect();
    assert_eq!(distinct.len(), names.len());
}

#[tokio::test]
async fn what_is_refused_names_its_field() {
    let place = place();
    place
        .call("acme", WRITE_FILE, json!({"path": "x", "content": "1"}))
        .await
        .unwrap();
    std::os::unix::fs::symlink(
        place.folder.path().join("secret.txt"),
        place.root().join("acme/link"),
    )
    .unwrap();
    std::os::unix::fs::symlink(place.folder.path(), place.root().join("acme/up")).unwrap();
    for (endpoint, args, named) in [
        (READ_FILE, json!({"path": "../../secret.txt"}), "`path`"),
        (READ_FILE, json!({"path": "/etc/passwd"}), "`path`"),
        (READ_FILE, json!({"path": "link"}), "symbolic link"),
        (READ_FILE, json!({"path": "up/secret.txt"}), "leads out"),
        (
            READ_FILE,
            json!({"path": "missing"}),
            "`missing` does not exist",
        ),
        (READ_FILE, json!({"path": "a\u{0}b"}), "`path`"),
        (READ_FILE, json!({"path": 1}), "path"),
        (READ_FILE, json!({}), "`path`"),
        (READ_FILE, json!({"path": "x", "mode": "r"}), "`mode`"),
        (LIST_DIRECTORY, json!({"path": "x"}), "not a folder"),
        (LIST_DIRECTORY, json!({"path": "a/b/c/d"}), "`path`"),
        (WRITE_FILE, json!({"path": "y"}), "`content` is missing"),
        (
            WRITE_FILE,
            json!({"path": "y", "content": "a", "content_base64": "YQ=="}),
            "not both",
        ),
        (
            WRITE_FILE,
            json!({"path": "y", "content_base64": "*"}),
            "`content_base64` is not base64",
        ),
        (
            WRITE_FILE,
            json!({"path": "y", "content": "z".repeat(65)}),
            "more than 64 bytes",
        ),
        (
            WRITE_FILE,
            json!({"path": "x", "content": "2"}),
            "exists already",
        ),
        (
            WRITE_FILE,
            json!({"path": "link", "content": "2", "overwrite": true}),
            "symbolic link",
        ),
        ("deleteFile", json!({"path": "x"}), "`deleteFile`"),
    ] {
        let message = place.refusal(endpoint, args.clone()).await;
        assert!(message.contains(named), "{args}: {message}");
    }
    assert_eq!(
        fs::read_to_string(place.folder.path().join("secret.txt")).unwrap(),
        "secret"
    );
    assert_eq!(
        fs::read_to_string(place.root().join("acme/x")).unwrap(),
        "1"
    );
}

#[tokio::test]
async fn overwriting_is_destructive_and_replaces() {
    let place = place();
    let args = json!({"path": "x", "content": "2", "overwrite": true});
    place
        .call("acme", WRITE_FILE, json!({"path": "x", "content": "1"}))
        .await
        .unwrap();
    let written = place.call("acme", WRITE_FILE, args.clone()).await.unwrap();
    assert_eq!(written["created"], json!(false));
    let demands = |args: &Value| {
        let args = Args::of(args, &ArgsLimits::default()).unwrap();
        place.provider.demands(WRITE_FILE, &args)
    };
    assert_eq!(demands(&args).unwrap().safety_tags, ["destructive"]);
    assert_eq!(
        demands(&json!({"path": "x", "content": "1"})).unwrap(),
        Demands {
            writes: true,
            ..Demands::default()
        }
    );
    assert!(
        demands(&json!({"path": "x", "overwrite": "yes"}))
            .unwrap_err()
            .invalid_argument
    );
}

#[tokio::test]
async fn a_folder_that_was_removed_is_made_again() {
    let place = place();
    let args = json!({"path": "x", "content": "1"});
    for _ in 0..2 {
        place.call("acme", WRITE_FILE, args.clone()).await.unwrap();
        assert_eq!(fs::read(place.root().join("acme/x")).unwrap(), b"1");
        fs::remove_dir_all(place.root().join("acme")).unwrap();
    }
}

#[tokio::test]
async fn the_root_must_be_there_and_is_looked_at() {
    let place = place();
    assert_eq!(place.provider.ready().await, Ok(()));
    fs::remove_dir_all(place.root()).unwrap();
    assert!(place.provider.ready().await.is_err());
    let error = FilesystemProvider::open(&place.root(), Options::default(), Arc::new(OsRandom))
        .unwrap_err();
    assert!(error.to_string().contains("`FILESYSTEM_ROOT`"), "{error}");
}
