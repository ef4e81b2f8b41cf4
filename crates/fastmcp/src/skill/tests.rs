use std::fs;

use super::*;

const MANIFEST_TEXT: &str = "---\nname: refunds\ndescription: How refunds work.\nversion: 1.10\ntags: [a, b]\n---\n# Refunds\n";

fn refused(made: Result<impl std::fmt::Debug>) -> String {
    made.unwrap_err().message().to_owned()
}

#[test]
fn a_skill_describes_each_of_its_files() {
    let skill = Skill::new(MANIFEST_TEXT)
        .unwrap()
        .file("forms/größe 1.md", "abc")
        .unwrap()
        .file("logo.bin", vec![0xff_u8])
        .unwrap()
        .within("billing")
        .unwrap();
    let components = skill.into_components().unwrap();
    let entry = components[0].skill().unwrap();
    assert_eq!(entry.uri, "skill://billing/refunds/SKILL.md");
    assert_eq!(
        serde_json::to_value(&entry.frontmatter).unwrap(),
        serde_json::json!({"name": "refunds", "description": "How refunds work.", "version": 1.1, "tags": ["a", "b"]})
    );
    let SkillFiles::Listed(files) = &entry.resources else {
        panic!("not listed")
    };
    assert_eq!(files.len(), 3);
    assert_eq!(
        files[1],
        SkillFile {
            uri: "skill://billing/refunds/forms/gr%C3%B6%C3%9Fe%201.md".to_owned(),
            // Source: FIPS 180-2, appendix B.1.
            digest: "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
                .to_owned(),
            size: 3,
        }
    );
    let listed: Vec<_> = components.iter().map(Component::is_listed).collect();
    assert_eq!(listed, [true, false, false]);
    let Definition::Resource(manifest) = components[0].definition() else {
        panic!("no resource")
    };
    assert_eq!(manifest.name, "refunds");
    assert_eq!(manifest.mime_type.as_deref(), Some("text/markdown"));
}

#[test]
fn unfit_skills_are_refused_with_what_to_change() {
    let cases = [
        ("# Refunds", "must begin with YAML frontmatter"),
        ("---\nname: a\n---\n", "must have `description`"),
        ("---\ndescription: x\n---\n", "must have `name`"),
        ("---\nname: 7\ndescription: x\n---\n", "must have `name`"),
        ("---\nname: Re\ndescription: x\n---\n", "lowercase letters"),
        ("---\n- a\n---\n", "SKILL.md"),
        ("---\nname: a\nname: b\ndescription: x\n---\n", "SKILL.md"),
        ("---\na: &a [x]\nb: !!python/x 1\n---\n", "SKILL.md"),
    ];
    for (text, why) in cases {
        let message = refused(Skill::new(text));
        assert!(message.contains(why), "{text:?}: {message}");
    }
    let long = format!(
        "---\nname: a\ndescription: {}\n---\n",
        "x".repeat(65 * 1024)
    );
    assert!(refused(Skill::new(long)).contains("64 KiB"));
    let deep = format!("---\nname: a\ndescription: b\nc: {}\n---\n", "[".repeat(40));
    assert!(Skill::new(deep).is_err());
    for path in [
        "",
        "/a",
        "a/",
        "a//b",
        "../a",
        "a/./b",
        "a\\b",
        "a\nb",
        &"x/".repeat(17),
    ] {
        let skill = Skill::new(MANIFEST_TEXT).unwrap();
        assert!(refused(skill.file(path, "")).contains("path `"), "{path:?}");
    }
    let skill = Skill::new(MANIFEST_TEXT).unwrap();
    assert!(refused(skill.file(MANIFEST, "")).contains("twice"));
    let skill = Skill::new(MANIFEST_TEXT).unwrap();
    assert!(refused(skill.file("a", vec![0; 16 * 1024 * 1024])).contains("16 MiB"));
    let mut skill = Skill::new(MANIFEST_TEXT).unwrap();
    for n in 1..MAX_FILES {
        skill = skill.file(n.to_string(), "").unwrap();
    }
    assert!(refused(skill.file("one more", "")).contains("512 files"));
}

#[test]
fn a_folder_is_read_without_links_and_dots() {
    let folder = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("README.md", "no skill");
    write("refunds/SKILL.md", MANIFEST_TEXT);
    write("refunds/forms/a.md", "a");
    write("refunds/forms/SKILL.md", "a file like any other");
    write("refunds/.env", "secret");
    write(".git/SKILL.md", "hidden");
    write("eu/vat/SKILL.md", "---\nname: vat\ndescription: d\n---\n");
    fs::write(folder.path().join("outside"), "outside").unwrap();
    std::os::unix::fs::symlink("../outside", folder.path().join("refunds/link")).unwrap();
    let skills = Skill::from_folder(folder.path()).unwrap();
    let uris: Vec<_> = skills
        .into_iter()
        .flat_map(|skill| skill.into_components().unwrap())
        .map(|component| component.key().to_owned())
        .collect();
    assert_eq!(
        uris,
        [
            "skill://eu/vat/SKILL.md",
            "skill://refunds/SKILL.md",
            "skill://refunds/forms/SKILL.md",
            "skill://refunds/forms/a.md",
        ]
    );
    write("other/SKILL.md", MANIFEST_TEXT);
    let message = refused(Skill::from_folder(folder.path()));
    assert!(message.contains("`other`") && message.contains("its folder must have that name"));
    assert!(Skill::from_folder(&folder.path().join("nowhere")).is_err());
}
