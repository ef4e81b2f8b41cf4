//! Terms beside Cedar's evaluator.

use std::sync::Arc;

use cedar_policy::{EvalResult, Expression, Policy, eval_expression};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::json;

use super::*;
use crate::entity::check;
use crate::prepare::{Asked, Prepared};
use crate::reads::{Reads, survey};
use crate::request::Request;
use crate::scope::ScopeSet;
use crate::slice::Index;
use crate::strange::{Strange, everything, strange};

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}

const PATHS: [&str; 4] = ["x", "n", "o.check_in", "none"];

/// What is written out, some of it in an odd way.
fn literals() -> Vec<String> {
    strings(&[
        "true",
        "false",
        "0",
        "3",
        "9",
        "-1",
        "-(3)",
        "--3",
        "-9223372036854775808",
        "9223372036854775807",
        "\"v\"",
        "\"alice\"",
        "\"\"",
        "\"it's \\\"b\\\\ob\\\"\"",
        "[\"v\", \"w\"]",
        "[\"v\", \"v\", \"w\"]",
        "[3, 3]",
        "\"a*e\"",
        "\"日本\"",
        "\"c-1\"",
        "[\"r1\"]",
        "[\"secret\", \"eng\", \"sales\"]",
        "[\"\\\"w\\\"\", \"3\", \"true\"]",
        "[3, 9]",
        "[9]",
        "decimal(\"3.5\")",
        "decimal(\"-0.0001\")",
        "decimal(\"3.0\")",
    ])
}

/// What has no parts of a form that is known here.
fn leaf() -> impl Strategy<Value = String> {
    let kinds = vec!["kind", "text", "flag", "number", "decimal", "list", "mixed"];
    let tag = |what: &'static str, kinds: Vec<&'static str>| {
        (select(kinds), select(PATHS.to_vec()))
            .prop_map(move |(kind, path)| format!("context.arguments.{kind}.{what}(\"{path}\")"))
    };
    let attributes = strings(&[
        "principal.sub",
        "principal.tenant",
        "principal.roles",
        "resource.toolId",
        "resource.provider_id",
        "resource.tenant",
        "resource.public",
        "resource.safety_tags",
        "resource.required_scopes",
        "resource.classification",
        "resource.read_only",
        "context.client",
        "context.corr_id",
        "context.hour",
        "context.weekday",
        "context.labels",
        "principal.getTag(\"dept\")",
        "principal.getTag(\"none\")",
        "principal.getTag(\"org.unit\")",
    ]);
    let presences = strings(&[
        "principal has tenant",
        "principal has sub",
        "resource has tenant",
        "resource has classification",
        "resource has read_only",
        "resource has toolId",
        "principal has roles",
        "context has weekday",
        "context has client",
        "context has corr_id",
        "context has hour",
        "context has labels",
        "context has arguments",
        "principal.hasTag(\"dept\")",
        "principal.hasTag(\"none\")",
        "principal.hasTag(\"org.unit\")",
    ]);
    prop_oneof![
        2 => select(literals()),
        2 => select(attributes),
        2 => select(presences),
        3 => tag("getTag", kinds.clone()),
        3 => tag("hasTag", kinds),
    ]
}

/// Expressions of the forms that are known here, and of wrong types as often as not.
fn expression() -> impl Strategy<Value = String> {
    leaf().prop_recursive(4, 24, 3, |inner| {
        let infix = vec!["==", "!=", "<", "<=", ">", ">="];
        let method = vec![
            "contains",
            "containsAll",
            "containsAny",
            "lessThan",
            "lessThanOrEqual",
            "greaterThan",
            "greaterThanOrEqual",
        ];
        let pattern = vec![
            "*", "", "v", "v*", "*v", "a*e", "*i*", "a*l*e", "*ü*", "a\\*e", "日*", "c-*", "p1:*", "**", "al*ice", "alic*lice", "*\\*", "it's*\\\"*\\\"",
        ];
        let sides = || (inner.clone(), inner.clone());
        prop_oneof![
            3 => (sides(), select(infix)).prop_map(|((a, b), op)| format!("({a}) {op} ({b})")),
            3 => (sides(), select(method)).prop_map(|((a, b), op)| format!("({a}).{op}({b})")),
            3 => (sides(), select(vec!["&&", "||"])).prop_map(|((a, b), op)| format!("({a}) {op} ({b})")),
            1 => inner.clone().prop_map(|a| format!("!({a})")),
            1 => inner.clone().prop_map(|a| format!("({a}).isEmpty()")),
            1 => (inner.clone(), select(pattern)).prop_map(|(a, pattern)| format!("({a}) like \"{pattern}\"")),
            1 => (sides(), inner).prop_map(|((a, b), c)| format!("if {a} then {b} else {c}")),
        ]
    })
}

/// Tests of an argument, `_`, after what they need.
fn on_argument(kind: &'static str, tests: &[&str]) -> impl Strategy<Value = String> + use<> {
    let tests = strings(tests);
    (select(PATHS.to_vec()), select(tests)).prop_map(move |(path, test)| {
        let of = format!("context.arguments.{kind}");
        let test = test.replace('_', &format!("{of}.getTag(\"{path}\")"));
        format!("context has arguments && {of}.hasTag(\"{path}\") && {test}")
    })
}

/// What policies mean by a condition: tests of one type, and only after what they need.
fn sensible() -> impl Strategy<Value = String> {
    let other = strings(&[
        "[3, 4, 9].contains(context.hour)",
        "context.hour >= 9 && context.hour < 18",
        "[\"friday\", \"monday\"].contains(context.weekday)",
        "context has client && context.client like \"c*\"",
        "context.labels.containsAny([\"pii\", \"secret\"])",
        "principal.roles.containsAll(resource.required_scopes)",
        "principal.hasTag(\"dept\") && principal.getTag(\"dept\").contains(\"sales\")",
    ]);
    let one = prop_oneof![
        on_argument(
            "text",
            &[
                "_ == \"v\"",
                "_ != principal.sub",
                "_ like \"*l*\"",
                "[\"v\", \"alice\"].contains(_)"
            ]
        ),
        on_argument(
            "kind",
            &["_ != \"list\"", "[\"text\", \"number\"].contains(_)"]
        ),
        on_argument("flag", &["_", "_ == false", "!(_)"]),
        on_argument(
            "number",
            &[
                "_ > 1",
                "_ <= 1",
                "_ == 1",
                "_ < 9223372036854775807",
                "_ >= -1"
            ]
        ),
        on_argument(
            "decimal",
            &[
                "_.lessThan(decimal(\"1.6\"))",
                "_.greaterThanOrEqual(decimal(\"1.5\"))",
                "_ == decimal(\"1.0\")"
            ]
        ),
        on_argument(
            "list",
            &[
                "_.contains(\"w\")",
                "_.containsAny([\"v\", \"x\"])",
                "_.containsAll([\"v\", \"w\"])",
                "[\"v\", \"w\", \"z\"].containsAll(_)",
                "_.isEmpty()",
                "_ == [\"w\", \"v\"]"
            ]
        ),
        on_argument(
            "mixed",
            &[
                "_.contains(\"1\")",
                "_.containsAny([\"\\\"w\\\"\", \"1\"])",
                "_ == [\"1\"]"
            ]
        ),
        select(other),
    ];
    one.prop_recursive(3, 12, 2, |inner| {
        let sides = (inner.clone(), inner.clone(), select(vec!["&&", "||"]));
        prop_oneof![
            3 => sides.prop_map(|(a, b, op)| format!("({a}) {op} ({b})")),
            1 => inner.prop_map(|a| format!("!({a})")),
        ]
    })
}

/// The conditions of a policy in Cedar's JSON form.
fn conditions(text: &str) -> Vec<Json> {
    let policy = Policy::parse(
        None,
        format!("permit (principal, action, resource) {text};"),
    )
    .unwrap_or_else(|error| panic!("{error}\n{text}"));
    let json = policy.to_json().expect("JSON");
    json["conditions"].as_array().expect("conditions").clone()
}

/// What Cedar's evaluator says of the same.
fn cedars(expression: &Expression, request: &Request<'_>) -> Option<bool> {
    let cut = Index::new(Vec::new())
        .slice(request.action, None, &request.subject.roles)
        .expect("a slice");
    // Whatever the expression is found to read.
    let all = everything();
    let key = Arc::new(Asked::of(request, &all).into_key());
    let prepared = Prepared::new(key, cut, ScopeSet::default(), Arc::default());
    let question = prepared.ask(request.context, &all).expect("a question");
    match eval_expression(&question.request, &question.entities, expression) {
        Ok(EvalResult::Bool(holds)) => Some(holds),
        _ => None,
    }
}

fn compare(when: &str, unless: &str, questions: &[Strange]) -> Result<(), TestCaseError> {
    let conditions = conditions(&format!("when {{ {when} }} unless {{ {unless} }}"));
    let reads = survey(&Json::Array(conditions.clone())).reads;
    let term = Term::of_conditions(&conditions);
    let Some(term) = term else {
        return Err(TestCaseError::fail(format!(
            "left to Cedar: {when}; {unless}"
        )));
    };
    prop_assert!(term.is_within(&reads), "{} {}", when, unless);
    // A condition must be true or false, as an operand must.
    let expression = format!("({when}) && !({unless})")
        .parse()
        .expect("an expression");
    let held = ScopeSet::default();
    for question in questions {
        question.with(|request| {
            // The year is none that Cedar knows.
            if check(request.context, &Reads::default()).is_err() {
                return Ok(());
            }
            prop_assert_eq!(
                term.holds(Facts {
                    request: *request,
                    held: &held
                }),
                cedars(&expression, request),
                "{} {}",
                when,
                unless
            );
            Ok(())
        })?;
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_term_comes_to_what_cedar_makes_of_it(
        when in expression(),
        unless in prop_oneof![Just("false".to_owned()), expression()],
        questions in proptest::collection::vec(strange(), 8),
    ) {
        compare(&when, &unless, &questions)?;
    }

    #[test]
    fn what_policies_mean_is_what_cedar_makes_of_it(
        when in sensible(),
        unless in prop_oneof![Just("false".to_owned()), sensible()],
        questions in proptest::collection::vec(strange(), 8),
    ) {
        compare(&when, &unless, &questions)?;
    }
}

#[test]
fn what_has_another_form_is_left_to_cedar() {
    let left = [
        "context.hour + 1 == 3",
        "-context.hour == 3",
        "-(-9223372036854775808) == 3",
        "context.time < datetime(\"2026-11-20\")",
        "context has ip && context.ip.isInRange(ip(\"10.0.0.0/8\"))",
        "principal == Caller::\"a\"",
        "principal in Role::\"a\"",
        "principal is Caller",
        "context == {}",
        "principal.scopes.contains(\"a\")",
        "[].isEmpty()",
        "[3, \"a\"].contains(3)",
        "[context.hour].contains(3)",
        "[Caller::\"a\"].contains(principal)",
        "{a: 3}.a == 3",
        "context has arguments.text",
        "context.arguments == context.arguments",
        "principal.hasTag(resource.toolId)",
        "decimal(\"3\").lessThan(decimal(\"3.0\"))",
        "decimal(\"+3.0\").lessThan(decimal(\"3.0\"))",
        "decimal(\"3.00000\").lessThan(decimal(\"3.0\"))",
        "decimal(\"922337203685477.5808\").lessThan(decimal(\"3.0\"))",
        "resource.toolId.sub == \"a\"",
    ];
    for text in left {
        for text in [text.to_owned(), format!("true || ({text})")] {
            let conditions = conditions(&format!("when {{ {text} }}"));
            assert_eq!(Term::of_conditions(&conditions), None, "{text}");
        }
    }
    let deep = format!("{}true{}", "(true && ".repeat(20), ")".repeat(20));
    assert!(Term::of_conditions(&conditions(&format!("when {{ {deep} }}"))).is_some());
    let nested = (0..DEPTH_MAX).fold(
        json!({"Value": true}),
        |inner, _| json!({"!": {"arg": inner}}),
    );
    assert_eq!(Term::of(&nested), None);
}

#[test]
fn a_head_that_names_types_of_a_namespace_is_left_to_cedar() {
    let term = |principal: &str, resource: &str| {
        let text = format!("permit ({principal}, action, {resource});");
        let policy = Policy::parse(None, &text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        head(
            &policy.principal_constraint(),
            &policy.resource_constraint(),
        )
    };
    let principals = [
        "principal is Caller",
        "principal == Caller::\"a\"",
        "principal in Caller::\"a\"",
        "principal in Role::\"a\"",
        "principal is Caller in Role::\"a\"",
    ];
    for principal in principals {
        assert!(term(principal, "resource").is_some(), "{principal}");
        for name in ["Caller", "Role"] {
            let principal = principal.replace(name, &format!("Other::{name}"));
            let is_moved = principal.contains("Other");
            assert_eq!(
                term(&principal, "resource").is_none(),
                is_moved,
                "{principal}"
            );
        }
    }
    let resources = [
        "resource is Tool",
        "resource == Tool::\"a\"",
        "resource in Tool::\"a\"",
        "resource in Provider::\"a\"",
        "resource is Tool in Provider::\"a\"",
    ];
    for resource in resources {
        assert!(term("principal", resource).is_some(), "{resource}");
        for name in ["Tool", "Provider"] {
            let resource = resource.replace(name, &format!("Other::{name}"));
            let is_moved = resource.contains("Other");
            assert_eq!(
                term("principal", &resource).is_none(),
                is_moved,
                "{resource}"
            );
        }
    }
}

#[test]
fn a_wildcard_stands_for_any_text() {
    let fits = |pattern: &str, text: &str| {
        let condition = format!("when {{ principal.sub like \"{pattern}\" }}");
        let body = &conditions(&condition)[0]["body"]["like"]["pattern"];
        let pattern = Pattern::of(body.as_array().expect("elements")).expect("a pattern");
        pattern.fits(text)
    };
    for (pattern, text) in [
        ("*", ""),
        ("a*", "a"),
        ("a*a", "aa"),
        ("*a*", "xay"),
        ("a*b*c", "abbc"),
        ("a\\*", "a*"),
        ("", ""),
        ("ä*ö", "äxö"),
        ("a**b", "ab"),
        ("*ab*ab", "abab"),
    ] {
        assert!(fits(pattern, text), "{pattern} {text}");
    }
    for (pattern, text) in [
        ("a*a", "a"),
        ("", "a"),
        ("a\\*", "ab"),
        ("*ab*ab", "aab"),
        ("a*b*c", "acb"),
        ("A", "a"),
    ] {
        assert!(!fits(pattern, text), "{pattern} {text}");
    }
}
