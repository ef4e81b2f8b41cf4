//! What the compiler says to who holds it wrong.
//!
//! Each file of `tests/ui` must not compile, and what the compiler says must contain each of its lines that
//! begin with `//~`. The files are compiled against the library that these tests are linked with, so
//! nothing is built twice.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The library as it was built last.
fn library(deps: &Path) -> PathBuf {
    let is_library = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("libfastmcp-") && name.ends_with(".rlib")
    };
    fs::read_dir(deps)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(is_library)
        .max_by_key(|path| fs::metadata(path).unwrap().modified().unwrap())
        .unwrap()
}

fn compiled(file: &Path, out: &Path) -> (bool, String) {
    let test = std::env::current_exe().unwrap();
    let deps = test.parent().unwrap();
    let output = Command::new("rustc")
        .args(["--edition", "2024", "--crate-type", "lib"])
        .args(["--emit", "metadata", "--color", "never", "-A", "warnings"])
        .arg("--out-dir")
        .arg(out)
        .arg("-L")
        .arg(format!("dependency={}", deps.display()))
        .arg("--extern")
        .arg(format!("fastmcp={}", library(deps).display()))
        .arg(file)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.success(), said)
}

#[test]
fn the_compiler_says_what_to_do() {
    let out = tempfile::tempdir().unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ui");
    let files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert!(files.len() >= 5, "{files:?}");
    let problems: Vec<String> = files
        .iter()
        .flat_map(|file| {
            let text = fs::read_to_string(file).unwrap();
            let (compiles, said) = compiled(file, out.path());
            assert!(!compiles, "{} compiles", file.display());
            let wanted = text.lines().filter_map(|line| line.strip_prefix("//~ "));
            let missing: Vec<_> = wanted
                .filter(|line| !said.contains(line))
                .map(|line| format!("{}: `{line}` is not said in:\n{said}", file.display()))
                .collect();
            missing
        })
        .collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
