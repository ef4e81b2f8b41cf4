//! `fastmcp policy prove`: questions about every request, by the real solver.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use serde_json::{Value, json};

use crate::support::Home;

const MONEY: &str =
    "{action: tools.invoke, 'subject.roles !=': finance-write, resource.safety_tags: financial}";

async fn prove(home: &Home, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = home
        .run(&[&["policy", "prove"], arguments].concat(), &[])
        .await;
    (
        output.status.code(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

#[tokio::test]
async fn nobody_without_the_role_reaches_money() {
    let home = Home::new();
    let (code, said, complaint) = prove(&home, &["--registered", "--never", MONEY]).await;
    assert_eq!(code, Some(0), "{said}{complaint}");
    assert!(
        said.starts_with("proved   --never\n1 proved, 0 refuted, 0 open, about "),
        "{said}"
    );
    assert!(!home.data().exists(), "proving leaves the disk as it is");
}

/// What refutes a claim is a request that the gateway's evaluator allows: `policy test` is asked to make the same decision.
#[tokio::test]
async fn what_refutes_a_claim_is_decided_alike_by_policy_test() {
    let home = Home::new();
    let (code, said, complaint) = prove(&home, &["--json", "--never", MONEY]).await;
    assert_eq!(code, Some(1), "{said}{complaint}");
    let report: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        (&report["ok"], &report["refuted"], &report["tools"]),
        (&json!(false), &json!(1), &json!("any"))
    );
    let question = &report["questions"][0];
    assert_eq!(question["why"], "this is allowed");
    let mut request = question["request"].clone();
    let rules = question["decision"]["policy_ids"].clone();
    assert!(!rules.as_array().unwrap().is_empty(), "{question}");
    let tools = request.as_object_mut().unwrap().remove("tools").unwrap();
    let tags = &tools[request["tool"].as_str().unwrap()]["safety_tags"];
    assert_eq!(tags, &json!(["financial"]));
    request["rule"] = rules;
    request["expect"] = json!("confirm");
    let file = json!({"version": 1, "tools": tools, "tests": [request]});
    fs::write(home.folder().join("found.yml"), file.to_string()).unwrap();
    let output = home.run(&["policy", "test", "found.yml"], &[]).await;
    assert!(
        output.status.success(),
        "{file}\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[tokio::test]
async fn a_file_of_questions_guards_a_change() {
    let home = Home::new();
    let policy = |rule: &str| {
        format!(
            "version: 1\nroles: {{a: [\"tools.invoke:write\"], b: [\"tools.invoke:write\"]}}\nrules:\n  - {rule}\n"
        )
    };
    let old = "{id: r, effect: allow, when: {action: tools.invoke, subject.roles: a}, require_confirmation: person}";
    fs::write(home.folder().join("old.yml"), policy(old)).unwrap();
    fs::write(
        home.folder().join("new.yml"),
        policy(&old.replace("roles: a", "roles: [a, b]")),
    )
    .unwrap();
    fs::create_dir(home.folder().join("ci")).unwrap();
    fs::write(
        home.folder().join("ci/questions.yml"),
        "version: 1\nquestions:\n  - name: a person is asked\n    never: {action: tools.invoke}\n    without: confirm:person\n  - name: nobody gets more\n    no_more_than: ../old.yml\n  - name: no rule fails\n    never_fails: true\n",
    )
    .unwrap();
    let file = "ci/questions.yml";
    let (code, said, complaint) = prove(&home, &[file, "--policy", "old.yml"]).await;
    assert_eq!(code, Some(0), "{said}{complaint}");
    let (code, said, complaint) = prove(&home, &[file, "--policy", "new.yml"]).await;
    assert_eq!(code, Some(1), "{said}{complaint}");
    for expected in [
        "proved   a person is asked\n",
        "REFUTED  nobody gets more (ci/questions.yml:6)\n         this policy allows this, and the other one does not:\n",
        "           roles      b\n",
        "the other policy: no rule allows `tools.invoke`",
        "proved   no rule fails\n2 proved, 1 refuted, 0 open, about every tool that could be registered\n",
    ] {
        assert!(said.contains(expected), "{expected}\n---\n{said}");
    }
    let (code, _, complaint) = prove(&home, &["--no-more-than", "gone.yml"]).await;
    assert_eq!(code, Some(1));
    assert!(complaint.contains("gone.yml"), "{complaint}");
}

#[tokio::test]
async fn a_wrong_question_is_refused_with_the_right_word() {
    let home = Home::new();
    let cases = [
        (
            "{subject.role: x}",
            "unknown condition `subject.role`; did you mean `subject.roles`?",
        ),
        (
            "{subject.roles: finance-wrte}",
            "role `finance-wrte` is not defined under `roles`; did you mean `finance-write`?",
        ),
        ("nothing", "`when` must be a map of conditions, found text"),
    ];
    for (conditions, expected) in cases {
        let (code, said, complaint) = prove(&home, &["--never", conditions]).await;
        assert_eq!((code, said.as_str()), (Some(1), ""));
        assert!(complaint.contains(expected), "{conditions}: {complaint}");
    }
    let (code, _, complaint) = prove(&home, &[]).await;
    assert_eq!(code, Some(2), "{complaint}");
}

fn program(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[tokio::test]
async fn without_a_solver_that_answers_nothing_is_proved() {
    let home = Home::new();
    let never = ["--never", MONEY, "--solver"];
    let (code, said, complaint) = prove(&home, &[&never[..], &["no-such-solver"]].concat()).await;
    assert_eq!((code, said.as_str()), (Some(1), ""));
    assert!(
        complaint.contains("there is no program `no-such-solver`")
            && complaint.contains("apt-get install cvc5"),
        "{complaint}"
    );
    // Named by the variable.
    let output = home
        .run(
            &["policy", "prove", "--never", MONEY],
            &[("CVC5", "nor-this")],
        )
        .await;
    assert!(String::from_utf8_lossy(&output.stderr).contains("there is no program `nor-this`"));

    let path = home.folder().join("solver");
    let named = path.display().to_string();
    for (script, limit, why) in [
        ("exit 3", "60", "the solver failed"),
        (
            "while read -r line; do echo nonsense; done",
            "60",
            "unrecognized solver output: nonsense",
        ),
        (
            "while read -r line; do if [ \"$line\" = '(check-sat)' ]; then echo unknown; fi; done",
            "60",
            "the solver does not know",
        ),
        (
            "while read -r line; do :; done",
            "1",
            "no answer within 1 s",
        ),
    ] {
        program(&path, &format!("#!/bin/sh\n{script}\n"));
        let (code, said, complaint) =
            prove(&home, &[&never[..], &[&named, "--timeout", limit]].concat()).await;
        assert_eq!(code, Some(1), "{script}: {said}{complaint}");
        assert!(
            said.contains("OPEN     --never\n") && said.contains(why),
            "{script}: {said}{complaint}"
        );
        assert!(
            said.ends_with(
                "0 proved, 0 refuted, 1 open, about every tool that could be registered\n"
            )
        );
    }
}
