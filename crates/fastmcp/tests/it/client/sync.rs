//! All skills of a server, kept in a folder.

use std::{fs, path::Path};

use fastmcp::{Client, FastMcp, Server, Skill};

fn skill(name: &str, text: &str) -> Skill {
    Skill::new(format!(
        "---\nname: {name}\ndescription: About {name}.\n---\n{text}\n"
    ))
    .unwrap()
}

fn server(skills: impl IntoIterator<Item = Skill>) -> Server {
    let server = FastMcp::new("skills").list_page_size(1);
    let server = skills.into_iter().fold(server, FastMcp::skill);
    server.build().unwrap()
}

async fn sync(server: &Server, folder: &Path) -> fastmcp::client::SkillSync {
    let client = Client::connect(server).await.unwrap();
    client.sync_skills(folder).await.unwrap()
}

#[tokio::test]
async fn a_folder_follows_what_the_server_has() {
    let folder = tempfile::tempdir().unwrap();
    let file = |path: &str| folder.path().join(path);
    let forms = |text: &str| {
        let skill = skill("refunds", "# Refunds");
        let skill = skill.file("forms/größe 1.md", text.to_owned()).unwrap();
        skill.file("logo.png", vec![0x89, 0xff]).unwrap()
    };
    let vat = || skill("vat", "# VAT").within("eu").unwrap();
    let first = sync(&server([forms("a"), vat()]), folder.path()).await;
    assert_eq!(first.added, ["refunds", "vat"]);
    assert!(first.updated.is_empty() && first.unchanged.is_empty() && first.failed.is_empty());
    assert_eq!(fs::read(file("refunds/logo.png")).unwrap(), [0x89, 0xff]);
    let again = Skill::from_folder(folder.path()).unwrap();
    assert_eq!(again.len(), 2, "they can be served again");

    // What is of somebody else, and what the last try left behind.
    fs::write(file("notes.txt"), "mine").unwrap();
    fs::create_dir_all(file(".refunds.new/half")).unwrap();
    let second = sync(
        &server([forms("b"), vat(), skill("new", "")]),
        folder.path(),
    )
    .await;
    assert_eq!(
        (second.added, second.updated, second.unchanged),
        (
            vec!["new".to_owned()],
            vec!["refunds".to_owned()],
            vec!["vat".to_owned()]
        )
    );
    assert_eq!(
        fs::read_to_string(file("refunds/forms/größe 1.md")).unwrap(),
        "b"
    );
    assert!(!file(".refunds.new").exists());

    // A file less, a file too many, and one that was changed here.
    fs::write(file("vat/more.md"), "by hand").unwrap();
    fs::write(file("new/SKILL.md"), "by hand").unwrap();
    let third = sync(
        &server([skill("refunds", "# Refunds"), vat(), skill("new", "")]),
        folder.path(),
    )
    .await;
    assert_eq!(third.updated, ["refunds", "vat", "new"]);
    assert!(!file("refunds/logo.png").exists() && !file("vat/more.md").exists());
    let fourth = sync(&server([vat()]), folder.path()).await;
    assert_eq!(fourth.unchanged, ["vat"]);
    assert!(
        file("refunds/SKILL.md").exists(),
        "what is listed no longer stays"
    );
    assert_eq!(fs::read_to_string(file("notes.txt")).unwrap(), "mine");
}

#[tokio::test]
async fn what_cannot_be_had_is_told_and_keeps_nobody_back() {
    let folder = tempfile::tempdir().unwrap();
    let file = |path: &str| folder.path().join(path);
    fs::write(file("taken"), "a file").unwrap();
    let twins = [
        skill("one", "").within("a").unwrap(),
        skill("one", "other").within("b").unwrap(),
        skill("taken", ""),
        skill("fine", ""),
    ];
    let done = sync(&server(twins), folder.path()).await;
    let mut added = done.added.clone();
    added.sort();
    assert_eq!(added, ["fine", "one"]);
    let why = |uri: &str| {
        let failed = done.failed.iter().find(|failed| failed.uri == uri);
        failed.unwrap().why.message().to_owned()
    };
    assert_eq!(done.failed.len(), 2);
    assert!(why("skill://b/one/SKILL.md").contains("another skill of the server"));
    assert!(
        why("skill://taken/SKILL.md").contains("not a folder"),
        "{}",
        why("skill://taken/SKILL.md")
    );
    assert_eq!(fs::read_to_string(file("taken")).unwrap(), "a file");

    let none = FastMcp::new("none").build().unwrap();
    let client = Client::connect(&none).await.unwrap();
    let error = client.sync_skills(folder.path()).await.unwrap_err();
    assert!(error.message().contains("has no skills"), "{error}");
    let client = Client::connect(&server([skill("one", "")])).await.unwrap();
    assert!(client.sync_skills(&file("nowhere")).await.is_err());
}

#[cfg(unix)]
#[tokio::test]
async fn links_are_not_written_through() {
    let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(outside.path().join("SKILL.md"), "theirs").unwrap();
    std::os::unix::fs::symlink(outside.path(), folder.path().join("one")).unwrap();
    let done = sync(&server([skill("one", "")]), folder.path()).await;
    assert_eq!(done.failed.len(), 1);
    let theirs = fs::read_to_string(outside.path().join("SKILL.md")).unwrap();
    assert_eq!(theirs, "theirs");
}
