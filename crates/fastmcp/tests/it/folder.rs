//! Folders of prompts and resources.

use std::{fs, path::Path, time::Duration};

use fastmcp::{
    folder::Folder,
    prelude::*,
    provider::{ProviderExt as _, ProviderState},
    registry::{Change, Kind},
};
use tempfile::TempDir;
use tokio::sync::broadcast::Receiver;

const REVIEW: &str = "---
title: Review
description: Reviews code.
arguments:
  - name: code
  - name: focus
    description: What matters most.
    required: false
tags: [dev]
---

Review this. {{ focus }} \\{{code}}
{{code}}
";

fn write(folder: &Path, path: &str, text: impl AsRef<[u8]>) {
    let path = folder.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn content() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "prompts/review.md", REVIEW);
    write(folder.path(), "resources/readme.txt", "read me");
    write(folder.path(), "resources/docs/a b.md", "# A");
    write(folder.path(), "resources/docs/logo.bin", [0xff, 0x00]);
    write(folder.path(), "secret.txt", "secret");
    std::os::unix::fs::symlink(
        "../../secret.txt",
        folder.path().join("resources/docs/link"),
    )
    .unwrap();
    folder
}

#[tokio::test]
async fn prompts_and_files_are_served() {
    let folder = content();
    let contents = Folder::open(folder.path()).unwrap().read().unwrap();
    let server = FastMcp::new("folder").folder(contents).build().unwrap();
    let client = Client::connect(&server).await.unwrap();

    let prompts = client.list_prompts().await.unwrap();
    assert_eq!(prompts[0].title.as_deref(), Some("Review"));
    let arguments = prompts[0].arguments.as_ref().unwrap();
    let required: Vec<_> = arguments
        .iter()
        .map(|a| (a.name.as_str(), a.required))
        .collect();
    assert_eq!(required, [("code", Some(true)), ("focus", Some(false))]);
    let prompt = client
        .get_prompt("review", json!({"code": "{{focus}}", "focus": "Speed."}))
        .await
        .unwrap();
    assert_eq!(prompt.description.as_deref(), Some("Reviews code."));
    assert_eq!(
        prompt.messages[0].content.as_text(),
        Some("Review this. Speed. {{code}}\n{{focus}}"),
        "what is put in is not looked at again"
    );
    for (args, why) in [
        (json!({}), "`code`"),
        (json!({"code": "x", "colour": "y"}), "`colour`"),
    ] {
        let error = client.get_prompt("review", args).await.unwrap_err();
        assert!(error.message().contains(why), "{error}");
    }

    let read = async |uri: &str| {
        let read = client.read_resource(uri).await;
        read.map(|result| serde_json::to_value(&result.contents[0]).unwrap())
    };
    assert_eq!(
        read("resource://readme.txt").await.unwrap(),
        json!({"uri": "resource://readme.txt", "mimeType": "text/plain", "text": "read me"})
    );
    assert_eq!(
        read("resource://docs/a%20b.md").await.unwrap()["mimeType"],
        "text/markdown"
    );
    assert_eq!(
        read("resource://docs/logo.bin").await.unwrap()["blob"],
        "/wA="
    );
    // The template answers for what came later, at once.
    write(folder.path(), "resources/docs/new/x.json", "{}");
    assert_eq!(
        read("resource://docs/new/x.json").await.unwrap()["mimeType"],
        "application/json"
    );
    write(folder.path(), "resources/docs/.env", "secret");
    for uri in [
        "resource://docs/link",
        "resource://docs/.env",
        "resource://docs/new",
        "resource://docs/none",
        "resource://docs/..%2F..%2Fsecret.txt",
        "resource://docs/../../secret.txt",
        "resource://docs/%2Fetc%2Fpasswd",
    ] {
        let error = read(uri).await.unwrap_err();
        assert_eq!(error.data(), Some(&json!({"uri": uri})), "{error}");
    }
}

async fn told(changes: &mut Receiver<Change>, wanted: &Change) {
    let heard = async { while changes.recv().await.unwrap() != *wanted {} };
    tokio::time::timeout(Duration::from_secs(600), heard)
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn changes_of_the_folder_are_shown_and_told() {
    let folder = content();
    let server = FastMcp::new("folder").build().unwrap();
    let provider = Folder::open(folder.path()).unwrap();
    let id = server.add_provider(provider).await.unwrap();
    let client = Client::connect(&server).await.unwrap();
    let mut changes = server.registry().subscribe();
    let prompts = async || {
        client
            .list_prompts()
            .await
            .unwrap()
            .into_iter()
            .map(|p| p.name)
            .collect::<Vec<_>>()
    };
    assert_eq!(prompts().await, ["review"]);

    write(
        folder.path(),
        "prompts/greet.md",
        "---\ntitle: Greets\n---\nHello, {{name}}.",
    );
    told(&mut changes, &Change::List(Kind::Prompt)).await;
    assert_eq!(prompts().await, ["greet", "review"]);
    write(folder.path(), "prompts/review.md", "broken");
    told(&mut changes, &Change::List(Kind::Prompt)).await;
    assert_eq!(prompts().await, ["greet"]);
    write(folder.path(), "resources/readme.txt", "read me again");
    let readme = "resource://readme.txt".to_owned();
    told(&mut changes, &Change::Resource(readme)).await;
    fs::remove_file(folder.path().join("resources/readme.txt")).unwrap();
    told(&mut changes, &Change::List(Kind::Resource)).await;
    assert!(client.read_resource("resource://readme.txt").await.is_err());

    assert!(server.remove_provider(id).unwrap());
    assert_eq!(server.registry().snapshot().all().count(), 0);
    server.shutdown().cancel();
    assert!(
        server.finish(Duration::from_secs(600)).await,
        "nothing is left running"
    );
}

#[tokio::test(start_paused = true)]
async fn a_folder_is_a_source_among_others() {
    let folder = content();
    let unfit = Folder::open(folder.path()).unwrap().scheme("1x");
    let server = FastMcp::new("folder")
        .provider(
            Folder::open(folder.path())
                .unwrap()
                .namespace("lib")
                .unwrap(),
        )
        .provider(unfit)
        .build()
        .unwrap();
    let client = Client::connect(&server).await.unwrap();
    let prompts = client.list_prompts().await.unwrap();
    let names: Vec<_> = prompts.iter().map(|prompt| prompt.name.as_str()).collect();
    assert_eq!(names, ["lib_review"]);
    let read = client.read_resource("resource://lib/readme.txt").await;
    assert_eq!(read.unwrap().contents.len(), 1);
    let mut changes = server.registry().subscribe();
    write(folder.path(), "resources/readme.txt", "read me once more");
    let readme = "resource://lib/readme.txt".to_owned();
    told(&mut changes, &Change::Resource(readme)).await;

    // One that cannot be read is told, tried again, and keeps nobody else from being served.
    let states = server.providers();
    let why = match &states[1].state {
        ProviderState::Failed { why, attempts } if *attempts > 0 => why,
        other => panic!("{other:?}"),
    };
    assert!(why.contains("scheme `1x`"), "{why}");
    assert_eq!(states[0].state, ProviderState::Ready);
}
