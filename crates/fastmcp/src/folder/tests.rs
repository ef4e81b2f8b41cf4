use std::fs;

use super::*;
use crate::call::Kind;

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &[u8]| {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write(
        "prompts/review.md",
        b"---\narguments:\n  - name: code\n---\n{{code}}\n",
    );
    write(
        "prompts/code/fix.MD",
        b"---\n{}\n---\nFix {{ code }}, {{code}}.\n",
    );
    write("prompts/notes.txt", b"no prompt");
    write("prompts/.hidden.md", b"hidden");
    write("resources/readme.txt", b"read me");
    write("resources/docs/a b.md", b"# A");
    write("resources/docs/deep/logo.png", &[0x89, 0x50]);
    write("resources/docs/.env", b"secret");
    write("elsewhere.md", b"not looked at");
    std::os::unix::fs::symlink(
        "../../elsewhere.md",
        folder.path().join("resources/docs/link.md"),
    )
    .unwrap();
    folder
}

fn keys(contents: &Contents, kind: Kind) -> Vec<&str> {
    let components = contents.components().iter().filter(|c| c.kind() == kind);
    components.map(Component::key).collect()
}

#[test]
fn files_are_prompts_and_resources_and_folders_templates() {
    let folder = folder();
    let contents = Folder::open(folder.path()).unwrap().read().unwrap();
    assert_eq!(contents.problems(), []);
    assert_eq!(keys(&contents, Kind::Prompt), ["code_fix", "review"]);
    assert_eq!(
        keys(&contents, Kind::Resource),
        [
            "resource://docs/a%20b.md",
            "resource://docs/deep/logo.png",
            "resource://readme.txt"
        ]
    );
    assert_eq!(keys(&contents, Kind::Template), ["resource://docs/{path*}"]);
    let other = Folder::open(folder.path())
        .unwrap()
        .prompts("none")
        .scheme("lib");
    let contents = other.read().unwrap();
    assert_eq!(keys(&contents, Kind::Prompt), [""; 0]);
    assert_eq!(keys(&contents, Kind::Template), ["lib://docs/{path*}"]);
    for scheme in ["", "1a", "a b", "a:"] {
        let refused = Folder::open(folder.path()).unwrap().scheme(scheme).read();
        assert!(
            refused.unwrap_err().message().contains("scheme"),
            "{scheme:?}"
        );
    }
    assert!(Folder::open(folder.path().join("none")).is_err());
}

#[test]
fn unfit_prompts_are_named_and_the_rest_stays() {
    let folder = folder();
    let cases: &[(&str, &[u8], &str)] = &[
        ("bare", b"no frontmatter", "frontmatter"),
        ("binary", &[0xff, 0xfe], "UTF-8"),
        ("unknown", b"---\ncolour: red\n---\nx", "colour"),
        ("undeclared", b"---\narguments: []\n---\n{{who}}", "{{who}}"),
        ("open", b"---\nname: a\n---\n{{who", "two braces"),
        ("spaced", b"---\nname: a\n---\n{{the who}}", "two braces"),
        (
            "twice",
            b"---\narguments: [{name: a}, {name: a}]\n---\n",
            "`a`",
        ),
        ("empty", b"---\nname: ''\n---\n", "`name`"),
        ("zz", b"---\nname: review\n---\nanother", "another file"),
    ];
    for (name, text, _) in cases {
        fs::write(folder.path().join(format!("prompts/{name}.md")), text).unwrap();
    }
    let large = folder.path().join("prompts/large.md");
    fs::write(large, vec![b'x'; 300 * 1024]).unwrap();
    let contents = Folder::open(folder.path()).unwrap().read().unwrap();
    assert_eq!(keys(&contents, Kind::Prompt), ["code_fix", "review"]);
    let problems: Vec<_> = contents
        .problems()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(problems.len(), cases.len() + 1, "{problems:#?}");
    assert!(
        problems
            .iter()
            .any(|p| p.contains("large") && p.contains("256 KiB"))
    );
    for (name, _, why) in cases {
        let found = problems.iter().any(|p| p.contains(why));
        assert!(found, "{name}: {problems:#?}");
    }
}
