//! Loading: what is refused, what is said about it, and what a set tells of itself.

use fastmcp_policy::{DEFAULT_POLICY, PolicySet, Sources, Subject};
use serde_json::json;

use crate::load;

fn error(sources: &Sources) -> String {
    PolicySet::load(sources, 1)
        .map(|_| ())
        .expect_err("it must not load")
        .to_string()
}

#[test]
fn errors_name_the_file_the_line_the_rule_and_the_way_out() {
    let text = "version: 1\nroles:\n  agent: [\"tools.invoke:read\"]\nrules:\n  - id: first\n    effect: allow\n    when:\n      action: tools.invoke\n      \
                resource.toolid: \"a:b\"\n      subject.roles: [agent]\n  - id: second\n    effect: deny\n    when:\n      resource.tenant: \"<> acme\"\n  \
                - id: third\n    effect: allow\n    when:\n      subject.roles: [agant]\n";
    insta::assert_snapshot!(error(&Sources::new().with_yaml("policies.yml", text)), @r"
    policy not loaded
      policies.yml:9: rule `first`: unknown condition `resource.toolid`; did you mean `resource.toolId`?
      policies.yml:14: rule `second`: `resource.tenant`: unknown operator in `<> acme`; use a value, a list, `== attribute` or `!= attribute-or-value`
      policies.yml:18: rule `third`: `subject.roles`: role `agant` is not defined under `roles`; did you mean `agent`?
    ");
}

#[test]
fn a_repeated_key_is_refused_where_it_stands() {
    let text = "version: 1\nroles:\n  a: [x]\nrules:\n  - id: r\n    effect: deny\n    when:\n      resource.tenant: x\n      resource.tenant: y\n";
    assert_eq!(
        error(&Sources::new().with_yaml("policies.yml", text)),
        "policy not loaded: policies.yml:9: the key `resource.tenant` stands here a second time, first on line 8; one of the two must go"
    );
    // The same key in other maps is none of its business.
    let text = "version: 1\nroles:\n  a: [x]\nrules:\n  - {id: r, effect: deny, when: {subject.sub: x}}\n  - id: s\n    effect: deny\n    effect: deny\n    when: {subject.sub: x}\n";
    assert_eq!(
        error(&Sources::new().with_yaml("policies.yml", text)),
        "policy not loaded: policies.yml:8: the key `effect` stands here a second time, first on line 7; one of the two must go"
    );
}

#[test]
fn ids_and_roles_are_unique_over_all_files() {
    let rules = "version: 1\nrules:\n  - {id: r, effect: deny, when: {resource.tenant: x}}\n";
    let twice = error(
        &Sources::new()
            .with_yaml("a.yml", rules)
            .with_yaml("b.yml", rules),
    );
    assert_eq!(
        twice,
        "policy not loaded: b.yml:3: the id `r` is used already in a.yml; ids are unique over all files"
    );
    let same = error(
        &Sources::new()
            .with_yaml("a.yml", rules)
            .with_yaml("a.yml", rules),
    );
    assert!(same.contains("is used already"), "{same}");
    let duty = "version: 1\nroles: {b: [x]}\nrules:\n  - {id: r, effect: allow, once: true, when: {subject.roles: b}}\n  \
                - {id: r, effect: allow, once: true, when: {subject.roles: b}}\n";
    assert!(error(&Sources::new().with_yaml("a.yml", duty)).contains("is used already"));
    let roles = "version: 1\nroles:\n  boss: [x]\n";
    let twice = error(
        &Sources::new()
            .with_yaml("a.yml", roles)
            .with_yaml("b.yml", roles),
    );
    assert_eq!(
        twice,
        "policy not loaded: b.yml:3: role `boss` is defined already in a.yml; list all its scopes in one place"
    );
}

#[test]
fn a_role_may_be_defined_in_another_file() {
    let sources = Sources::new()
        .with_yaml(
            "rules.yml",
            "version: 1\nrules:\n  - {id: r, effect: allow, when: {subject.roles: boss}}\n",
        )
        .with_yaml("roles.yml", "version: 1\nroles: {boss: [x]}\n");
    let set = PolicySet::load(&sources, 7).expect("loads");
    assert_eq!(
        (set.version().epoch, set.roles().collect::<Vec<_>>()),
        (7, vec!["boss"])
    );
    assert!(set.holds_scope(&Subject::new("a").roles(["boss"]), "x"));
}

#[test]
fn odd_texts_are_errors_and_never_panics() {
    for text in [
        "",
        "- a\n",
        "version: 1\nroles: []\n",
        "version: 1\nrules: {}\n",
        "version: 1\nrules: []\n",
        "version: one\n",
        "\u{0}",
        "version: 1\nroles: {a: [1]}\n",
        "? [a]\n: b\n",
    ] {
        let error = error(&Sources::new().with_yaml("x.yml", text));
        assert!(error.contains("x.yml"), "{text:?}: {error}");
    }
    let deep = format!("version: 1\nroles: {}{}", "[".repeat(200), "]".repeat(200));
    assert!(error(&Sources::new().with_yaml("x.yml", deep)).contains("x.yml"));
    let large = format!("# {}\n{DEFAULT_POLICY}", "x".repeat(5 << 20));
    assert_eq!(
        error(&Sources::new().with_yaml("x.yml", large)),
        "policy not loaded: x.yml: the size of a policy file in bytes exceeds the limit of 4194304"
    );
}

#[test]
fn an_empty_collection_denies_everything() {
    let set = PolicySet::load(&Sources::new(), 1).expect("loads");
    let decision = crate::ask(
        &set,
        fastmcp_policy::Action::CatalogList,
        &Subject::new("a").tenant("t"),
        None,
    );
    assert_eq!(decision.reason.to_string(), "no rule allows `catalog:list`");
}

#[test]
fn what_was_compiled_can_be_read_and_loaded_again() {
    let set = load(DEFAULT_POLICY);
    let text = set.to_cedar();
    let (grants, obligations) = text.split_once("// obligations").expect("both parts");
    assert!(
        grants.contains("@id(\"tenant-isolation\")")
            && grants.contains("!(resource has tenant && principal has tenant"),
        "{grants}"
    );
    assert!(
        !grants.contains("safety-destroy-requires-confirm")
            && obligations.contains("safety-destroy-requires-confirm")
    );
    // As Cedar, the grants are a policy of their own.
    let again = PolicySet::load(&Sources::new().with_cedar("again.cedar", grants), 1);
    assert_eq!(
        again
            .map(|set| set.rule_ids().len())
            .map_err(|error| error.to_string()),
        Ok(set.rule_ids().len() - 1)
    );
}

#[test]
fn a_rule_about_an_argument_that_no_named_tool_takes_is_noted() {
    let set = PolicySet::load(
        &Sources::new()
            .with_yaml(
                "p.yml",
                "version: 1
rules:
  - {id: typo, effect: deny, when: {resource.toolId: \"fs:write\", context.arguments.pth: [a]}}
  - {id: either, effect: deny, when: {resource.toolId: [\"fs:write\", \"fs:read\"], context.arguments.depth: 3, context.arguments.o.x: 1, context.arguments.o.z: 1}}
  - {id: duty, effect: allow, when: {resource.toolId: \"fs:write\", \"context.arguments.o.y\": \"== subject.sub\"}, once: true}
  - {id: grant, effect: allow, when: {resource.toolId: \"fs:write\", subject.sub: a, context.arguments.pth: a}}
  - {id: unknown, effect: deny, when: {resource.toolId: [\"fs:write\", \"fs:move\"], context.arguments.pth: a}}
  - {id: any, effect: deny, when: {context.arguments.pth: a}}
",
            )
            .with_cedar(
                "c.cedar",
                "@id(\"cedar\") forbid (principal, action, resource == Tool::\"fs:write\") when { principal.hasTag(\"dept\") && \
                 context has arguments && context.arguments.text.hasTag(\"pht\") };",
            ),
        1,
    )
    .unwrap_or_else(|error| panic!("{error}"));
    let inner = json!({"type": "object", "properties": {"x": {}}});
    let write = json!({"type": "object", "properties": {"path": {"type": "string"}, "o": inner}});
    let read = json!({"type": "object", "properties": {"path": {}, "depth": {}}});
    let notes = set.notes_on(&[("fs:write", &write), ("fs:read", &read)]);
    let told: Vec<_> = notes.iter().map(ToString::to_string).collect();
    let text = |rule: &str, path: &str| {
        format!("{rule}: no tool that it names takes the argument `{path}`")
    };
    assert_eq!(
        told,
        [
            text("c.cedar: rule `cedar`", "pht"),
            text("p.yml: rule `typo`", "pth"),
            text("p.yml: rule `either`", "o.z"),
            text("p.yml: rule `duty`", "o.y"),
        ]
    );
    // What a schema leaves open may be there.
    assert!(
        set.notes_on(&[("fs:write", &json!({"type": "object"}))])
            .is_empty()
    );
}
