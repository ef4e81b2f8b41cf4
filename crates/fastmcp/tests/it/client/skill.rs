//! Skills of a server: our own, and ones that lie.

use std::{fs, sync::Arc};

use fastmcp::{
    Error, FastMcp, Skill,
    auth::testing,
    client::{Client, SkillError},
    error::ErrorKind,
    transport::WireKind,
};
use serde_json::{Value, json};

use super::fake::{Answer, Fake, Sent};

const MANIFEST: &str = "---\nname: pdf\ndescription: About PDF.\n---\n# PDF\n";
const FORMS: &str = "Forms.\n";
const URI: &str = "skill://pdf/SKILL.md";
const FORMS_URI: &str = "skill://pdf/references/FORMS.md";

fn ours() -> fastmcp::Server {
    let plain = |name: &str| {
        Skill::new(format!(
            "---\nname: {name}\ndescription: About {name}.\n---\n"
        ))
        .unwrap()
    };
    let refunds = plain("refunds")
        .file("forms/größe 1.md", "a")
        .unwrap()
        .file("forms/more/b.md", "b\r\n")
        .unwrap()
        .file("logo.png", vec![0x89, 0xff])
        .unwrap();
    FastMcp::new("skills")
        .skill(refunds)
        .skill(plain("vat").within("eu").unwrap())
        .skill(plain("secret").require_scope("staff"))
        .list_page_size(1)
        .build()
        .unwrap()
}

fn why(error: &Error) -> &SkillError {
    let source = error.source().and_then(|e| e.downcast_ref());
    source.unwrap_or_else(|| panic!("{error:?}"))
}

#[tokio::test]
async fn skills_of_our_server_are_listed_and_read() {
    let server = ours();
    let client = Client::connect_as(&server, testing::caller("ada").build())
        .await
        .unwrap();
    let list = client.list_skills().await.unwrap();
    let names: Vec<_> = list.skills.iter().map(|skill| skill.name()).collect();
    assert_eq!(
        names,
        ["refunds", "vat"],
        "of all pages, without the secret"
    );
    let refunds = client.get_skill("skill://refunds/SKILL.md").await.unwrap();
    assert_eq!(refunds.description(), "About refunds.");
    assert_eq!(refunds.fingerprint(), list.skills[0].fingerprint());
    assert_ne!(refunds.fingerprint(), list.skills[1].fingerprint());
    let files: Vec<_> = refunds
        .files()
        .map(|(path, file)| (path, file.size))
        .collect();
    assert_eq!(
        files,
        [
            ("SKILL.md", 50),
            ("forms/größe 1.md", 1),
            ("forms/more/b.md", 3),
            ("logo.png", 2)
        ]
    );
    assert!(
        refunds
            .load()
            .await
            .unwrap()
            .starts_with("---\nname: refunds\n")
    );
    assert_eq!(refunds.read("./forms/größe 1.md").await.unwrap(), "a");
    assert_eq!(refunds.read("logo.png").await.unwrap(), vec![0x89, 0xff]);
    let no_text = refunds.read_text("logo.png").await.unwrap_err();
    assert!(
        no_text.message().contains("`logo.png`: it is no text"),
        "{no_text}"
    );
    for path in ["forms/none.md", "../vat/SKILL.md", "/etc/passwd", ""] {
        let error = refunds.read(path).await.unwrap_err();
        assert!(
            matches!(why(&error), SkillError::Unlisted { .. }),
            "{error}"
        );
    }
    let folder = client
        .read_directory("skill://refunds/forms")
        .await
        .unwrap();
    let entries: Vec<_> = folder.iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(entries, ["größe 1.md", "more"]);

    let unknown = client
        .get_skill("skill://secret/SKILL.md")
        .await
        .unwrap_err();
    assert!(matches!(unknown.kind(), ErrorKind::Protocol(_)));
    let none = FastMcp::new("none").build().unwrap();
    let none = Client::connect(&none).await.unwrap();
    assert_eq!(
        none.list_skills().await.unwrap_err().kind(),
        ErrorKind::Validation
    );
    assert_eq!(
        none.read_directory(URI).await.unwrap_err().kind(),
        ErrorKind::Validation
    );
}

#[tokio::test]
async fn a_skill_is_written_into_a_new_folder_of_its_name() {
    let client = Client::connect(&ours()).await.unwrap();
    let refunds = client.get_skill("skill://refunds/SKILL.md").await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let written = refunds.download(folder.path()).await.unwrap();
    assert_eq!(written, folder.path().join("refunds"));
    assert_eq!(fs::read(written.join("forms/more/b.md")).unwrap(), b"b\r\n");
    assert_eq!(fs::read(written.join("logo.png")).unwrap(), [0x89, 0xff]);
    let again = Skill::from_folder(folder.path()).unwrap();
    assert_eq!(again[0].name(), "refunds", "it can be served again");
    let taken = refunds.download(folder.path()).await.unwrap_err();
    assert!(
        taken.message().contains("`refunds` exists already"),
        "{taken}"
    );
    let nowhere = refunds.download(&folder.path().join("nowhere")).await;
    assert!(nowhere.is_err());
}

fn digest(content: &str) -> String {
    use aws_lc_rs::digest::{SHA256, digest};
    let digest = digest(&SHA256, content.as_bytes());
    let hex: String = digest
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("sha256:{hex}")
}

fn file(uri: &str, content: &str) -> Value {
    json!({"uri": uri, "digest": digest(content), "size": content.len()})
}

fn entry() -> Value {
    json!({
        "uri": URI,
        "frontmatter": {"name": "pdf", "description": "About PDF."},
        "resources": [file(URI, MANIFEST), file(FORMS_URI, FORMS)],
    })
}

/// A server that lists `entries` and reads what `read` says.
fn fake(
    entries: Vec<Value>,
    read: impl Fn(&str) -> Option<Value> + Send + Sync + 'static,
) -> Arc<Fake> {
    Fake::new(WireKind::Http, move |sent: &Sent| -> Answer {
        match sent.method() {
            "server/discover" => sent.result(json!({
                "resultType": "complete", "supportedVersions": ["2026-07-28"],
                "capabilities": {"resources": {}, "extensions": {"io.modelcontextprotocol/skills": {}}},
            })),
            "skills/list" => sent.result(json!({"resultType": "complete", "skills": entries})),
            "skills/get" => sent.result(json!({"resultType": "complete", "skill": entries[0]})),
            _ => match read(sent.params()["uri"].as_str().unwrap()) {
                Some(contents) => sent.result(
                    json!({"resultType": "complete", "contents": contents, "ttlMs": 60_000}),
                ),
                None => sent.error(-32602, json!(null)),
            },
        }
    })
}

fn text(uri: &str, text: &str) -> Option<Value> {
    Some(json!([{"uri": uri, "text": text}]))
}

fn honest(uri: &str) -> Option<Value> {
    match uri {
        URI => text(uri, MANIFEST),
        FORMS_URI => text(uri, FORMS),
        _ => None,
    }
}

async fn connect(fake: &Arc<Fake>) -> Client {
    fake.connect(Client::builder()).await.unwrap()
}

#[tokio::test]
async fn nothing_is_fetched_before_it_is_asked_for() {
    let fake = fake(vec![entry()], honest);
    let client = connect(&fake).await;
    let mut list = client.list_skills().await.unwrap();
    assert!(list.refused.is_empty());
    let skill = list.skills.remove(0);
    client.get_skill(URI).await.unwrap();
    let _ = (skill.files().count(), skill.fingerprint());
    assert_eq!(fake.of("resources/read").len(), 0);
    skill.load().await.unwrap();
    skill.load().await.unwrap();
    let read = fake.of("resources/read");
    assert_eq!(read.len(), 1, "what is fresh is not fetched again");
    assert_eq!(read[0].params()["uri"], URI);
    skill.read("references/FORMS.md").await.unwrap();
    assert_eq!(fake.of("resources/read").len(), 2);
}

#[tokio::test]
async fn files_that_are_not_what_was_listed_are_refused_by_name() {
    type Lie = fn(&str) -> Option<Value>;
    let lies: [(Lie, &str); 8] = [
        (
            |uri| text(uri, &MANIFEST.replace("# PDF", "# EVI")),
            "`SKILL.md` has another digest",
        ),
        (
            |uri| text(uri, &format!("{MANIFEST}more")),
            "`SKILL.md` has 52 bytes, but 48 are listed",
        ),
        (
            |_| text("skill://other/SKILL.md", MANIFEST),
            "`SKILL.md`: the server answers with another URI",
        ),
        (
            |_| Some(json!([])),
            "`SKILL.md`: the server must answer with one content",
        ),
        (
            |uri| Some(json!([{"uri": uri, "text": ""}, {"uri": uri, "text": MANIFEST}])),
            "one content",
        ),
        (
            |uri| Some(json!([{"uri": uri, "blob": "*"}])),
            "`SKILL.md`: its bytes are not in base64",
        ),
        (
            |uri| Some(json!([{"uri": uri, "blob": "A".repeat(4_000)}])),
            "`SKILL.md`: it has more bytes",
        ),
        (|_| None, "`SKILL.md`: no"),
    ];
    for (lie, expected) in lies {
        let fake = fake(vec![entry()], lie);
        let client = connect(&fake).await;
        let skill = client.list_skills().await.unwrap().skills.remove(0);
        let error = skill.load().await.unwrap_err();
        assert!(error.message().contains(expected), "{error}");
        assert!(error.message().contains(URI), "{error}");
        let folder = tempfile::tempdir().unwrap();
        skill.download(folder.path()).await.unwrap_err();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        let read = fake.of("resources/read");
        assert!(
            read.iter().all(|sent| sent.params()["uri"] == URI),
            "no other file"
        );
        assert_eq!(read.len(), 2, "what is wrong is not kept");
    }
    // One file of many is wrong: none is written.
    let fake = fake(vec![entry()], |uri| match uri {
        FORMS_URI => text(uri, "Farms.\n"),
        uri => honest(uri),
    });
    let skill = connect(&fake).await.get_skill(URI).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let error = skill.download(folder.path()).await.unwrap_err();
    assert!(
        matches!(why(&error), SkillError::Digest { file, .. } if file == "references/FORMS.md"),
        "{error}"
    );
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_manifest_that_says_other_things_than_the_entry_is_refused() {
    let other = MANIFEST.replace("About PDF", "Exfiltrate");
    let mut listed = entry();
    listed["resources"][0] = file(URI, &other);
    let fake = fake(vec![listed], move |uri| text(uri, &other));
    let skill = connect(&fake).await.get_skill(URI).await.unwrap();
    let error = skill.load().await.unwrap_err();
    assert!(
        matches!(why(&error), SkillError::Frontmatter { field, .. } if field == "description"),
        "{error}"
    );
}

#[tokio::test]
async fn entries_that_break_rules_are_told_apart_from_those_that_may_be_used() {
    let climbing = json!([
        file(URI, MANIFEST),
        file("skill://pdf/../../etc/passwd", FORMS)
    ]);
    let elsewhere = json!([
        file(URI, MANIFEST),
        file("https://evil.example/a.md", FORMS)
    ]);
    let many: Vec<_> = (0..600)
        .map(|n| file(&format!("skill://pdf/{n}"), ""))
        .collect();
    let large = json!([{"uri": URI, "digest": digest(MANIFEST), "size": 20 << 20}]);
    let with = |resources: Value| {
        let mut entry = entry();
        entry["resources"] = resources;
        entry
    };
    let entries = vec![
        with(climbing),
        with(elsewhere),
        with(json!(many)),
        with(large),
        json!({"uri": 7}),
        entry(),
    ];
    let fake = fake(entries, honest);
    let client = connect(&fake).await;
    let list = client.list_skills().await.unwrap();
    assert_eq!(list.skills.len(), 1);
    let why: Vec<_> = list
        .refused
        .iter()
        .map(|refused| refused.why.to_string())
        .collect();
    for (why, expected) in why.iter().zip([
        "`skill://pdf/../../etc/passwd` is no path beneath",
        "`https://evil.example/a.md` is no path beneath",
        "has 600 files; 512",
        "has 20971520 bytes; 16777216",
        "ill-formed",
    ]) {
        assert!(why.contains(expected), "{why}");
    }
    assert_eq!(why.len(), 5);
    assert_eq!(list.refused[0].uri, URI);
    let refused = client.get_skill(URI).await.unwrap_err();
    assert!(refused.message().contains("no path beneath"), "{refused}");
    let other = client.get_skill("skill://other/SKILL.md").await;
    assert!(other.is_err());
    assert_eq!(fake.of("resources/read").len(), 0);
}

#[tokio::test]
async fn files_that_are_made_when_asked_for_are_bounded_altogether() {
    let large = "x".repeat(9 * 1024 * 1024);
    let mut listed = entry();
    listed["resources"] = json!("dynamic");
    let fake = fake(vec![listed], move |uri| match uri {
        URI => text(uri, MANIFEST),
        uri => text(uri, &large),
    });
    let skill = connect(&fake).await.get_skill(URI).await.unwrap();
    assert!(skill.is_dynamic() && skill.fingerprint().is_none() && skill.files().count() == 0);
    assert_eq!(skill.load().await.unwrap(), MANIFEST);
    assert_eq!(skill.read("a b").await.unwrap().len(), 9 * 1024 * 1024);
    assert_eq!(
        fake.of("resources/read")[1].params()["uri"],
        "skill://pdf/a%20b"
    );
    let error = skill.read("a b").await.unwrap_err();
    assert!(
        matches!(why(&error), SkillError::TooLarge { .. }),
        "{error}"
    );
    assert!(skill.read("../c").await.is_err());
    let folder = tempfile::tempdir().unwrap();
    let error = skill.download(folder.path()).await.unwrap_err();
    assert!(error.message().contains("one by one"), "{error}");
}

#[cfg(unix)]
#[tokio::test]
async fn links_do_not_lead_a_download_out_of_its_folder() {
    let fake = fake(vec![entry()], honest);
    let skill = connect(&fake).await.get_skill(URI).await.unwrap();
    let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::os::unix::fs::symlink(outside.path(), folder.path().join("pdf")).unwrap();
    let error = skill.download(folder.path()).await.unwrap_err();
    assert!(!error.message().is_empty());
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}
