//! A server that is built and started anew as it changes, from a package that cargo really builds.

use std::{collections::BTreeMap, fs};

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::support::{Home, PATH, Said, Sample, until, within};

/// A package whose binary becomes a front for the server at `url`, which needs no crate to be built.
fn package(home: &Home, url: &str, extra: &str) {
    home.write(
        "demo/Cargo.toml",
        "[package]\nname = \"demo\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[workspace]\n",
    );
    let main = format!(
        "use std::{{os::unix::process::CommandExt, process::Command}};\n\
         fn main() {{\n    let error = Command::new({PATH:?}).args([\"run\", {url:?}]).exec();\n    \
         panic!(\"{{error}}\");\n}}\n{extra}"
    );
    home.write("demo/src/main.rs", &main);
}

/// What cargo needs of the developer's environment.
fn cargo() -> Vec<(String, String)> {
    let all: BTreeMap<String, String> = std::env::vars().collect();
    let home = all.get("HOME").cloned().unwrap_or_default();
    let folder = |name: &str, otherwise: &str| {
        let own = all.get(name).cloned();
        (
            name.to_owned(),
            own.unwrap_or_else(|| format!("{home}/{otherwise}")),
        )
    };
    let as_they_are = ["PATH", "RUSTUP_TOOLCHAIN"].into_iter();
    as_they_are
        .filter_map(|name| Some((name.to_owned(), all.get(name)?.clone())))
        .chain([
            folder("CARGO_HOME", ".cargo"),
            folder("RUSTUP_HOME", ".rustup"),
        ])
        .collect()
}

async fn say(home: &Home, arguments: &[&str]) -> Said {
    let vars = cargo();
    let vars: Vec<_> = vars
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    home.say_with(arguments, &vars).await
}

#[tokio::test]
async fn a_package_is_built_and_is_a_target() {
    let (home, sample) = (Home::new(), Sample::start().await);
    package(&home, &sample.url, "");
    let said = say(&home, &["call", "demo", "add", "a=2", "b=3"]).await;
    assert_eq!(said.stdout, "5\n", "{said:?}");
    let said = say(&home, &["list", "demo", "--bin", "dmo"]).await;
    assert!(
        said.code == 1 && said.stderr.contains("did you mean `demo`?"),
        "{said:?}"
    );
    package(&home, &sample.url, "fn broken( {}\n");
    let said = say(&home, &["list", "demo"]).await;
    assert!(
        said.code == 1 && said.stderr.contains("does not build"),
        "{said:?}"
    );
    assert!(
        said.stderr.contains("src/main.rs"),
        "the compiler is heard: {said:?}"
    );
}

#[tokio::test]
async fn changes_are_served_and_what_does_not_build_leaves_the_last_good_one() {
    let (home, first) = (Home::new(), Sample::start().await);
    package(&home, &first.url, "");
    let vars = cargo();
    let vars: Vec<_> = vars
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let log = fs::File::create(home.folder().join("dev.log")).unwrap();
    let mut child = home
        .plain(&["dev", "demo", "-p", "0"], &vars)
        .stderr(log)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = within("listening", lines.next_line())
        .await
        .unwrap()
        .expect("it ended");
    let url = line.strip_prefix("listening on ").unwrap().to_owned();
    let told = || fs::read_to_string(home.folder().join("dev.log")).unwrap();
    let add = async || home.say(&["call", &url, "add", "a=2", "b=3"]).await;
    assert_eq!(add().await.stdout, "5\n", "{}", told());

    package(&home, &first.url, "fn broken( {}\n");
    until("the failed build", async || {
        told().contains("the last good one goes on").then_some(())
    })
    .await;
    assert!(told().contains("main.rs"), "{}", told());
    assert_eq!(add().await.stdout, "5\n", "{}", told());

    let second = Sample::start().await;
    package(&home, &second.url, "");
    until("the new one", async || {
        told().contains("the new one is served").then_some(())
    })
    .await;
    // Only the second is there any more.
    drop(first);
    assert_eq!(add().await.stdout, "5\n", "{}", told());

    let id = i32::try_from(child.id().unwrap()).unwrap();
    kill_process(Pid::from_raw(id).unwrap(), Signal::INT).unwrap();
    let status = within("the end", child.wait()).await.unwrap();
    assert!(status.success(), "{status}: {}", told());
}
