//! What arguments are and are not.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn parse(text: &str) -> Result<Args, ArgsError> {
    Args::parse_str(text, &ArgsLimits::default())
}

fn canonical(text: &str) -> String {
    String::from_utf8(parse(text).unwrap().canonical()).unwrap()
}

fn refusal(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

#[test]
fn order_space_and_spelling_do_not_matter() {
    assert_eq!(
        canonical("{ \"b\" : [ 1.0 , 1e0, 10E-1, -0, 0.0 ],\t\"a\":\"\\u0041\\/\\n\" }"),
        r#"{"a":"A/\n","b":[1,1,1,0,0]}"#
    );
    assert_eq!(
        canonical(r#"{"𐀀":1,"\uffff":2,"\ud83d\ude00":3}"#),
        "{\"\u{ffff}\":2,\"𐀀\":1,\"😀\":3}"
    );
}

#[test]
fn neighbours_beyond_53_bits_differ() {
    let a = parse(r#"{"n":9007199254740992}"#).unwrap();
    let b = parse(r#"{"n":9007199254740993}"#).unwrap();
    assert_ne!(a.digest_input(), b.digest_input());
    assert_ne!(a, b);
    assert_eq!(b.to_raw().as_str(), r#"{"n":9007199254740993}"#);
}

#[test]
fn digest_has_a_domain() {
    assert_eq!(parse("{}").unwrap().digest_input(), b"fastmcp/args/v1\n{}");
}

#[test]
fn absent_arguments_are_empty() {
    let args = Args::parse(None, &ArgsLimits::default()).unwrap();
    assert!(args.is_empty());
    assert_eq!(args, Args::default());
}

#[test]
fn what_could_be_read_in_two_ways_is_refused() {
    assert_eq!(
        refusal(r#"{"a":{"b":1,"\u0062":2}}"#),
        "argument `/a/b` is given twice; give it once"
    );
    assert_eq!(
        refusal(r#"{"a":["\ud800"]}"#),
        "argument `/a/0` holds an escape that is no character at byte 6; write the character itself"
    );
    assert!(refusal(r#"{"\udc00":1}"#).contains("no character"));
    assert!(refusal(r#"{"a":"\udc00\ud800"}"#).contains("no character"));
}

#[test]
fn only_objects_are_arguments() {
    for text in ["[]", "null", "1", r#""a""#, "true"] {
        assert_eq!(refusal(text), "the arguments: must be an object", "{text}");
    }
}

#[test]
fn what_is_not_json_is_refused() {
    for text in [
        "",
        "{",
        "{}}",
        "{} x",
        r#"{"a"}"#,
        r#"{"a":}"#,
        r#"{"a":1,}"#,
        r#"{,}"#,
        r#"{a:1}"#,
        r#"{"a":[1,]}"#,
        r#"{"a":01}"#,
        r#"{"a":+1}"#,
        r#"{"a":.5}"#,
        r#"{"a":1.}"#,
        r#"{"a":1e}"#,
        r#"{"a":-}"#,
        r#"{"a":NaN}"#,
        r#"{"a":tru}"#,
        r#"{"a":truex}"#,
        "{\"a\":\"\n\"}",
        r#"{"a":"\x"}"#,
        r#"{"a":"}"#,
        r#"{"a":1 2}"#,
        "\u{feff}{}",
        "{\u{a0}}",
        r#"{"a":"\u12"}"#,
    ] {
        let error = parse(text).unwrap_err();
        assert!(
            matches!(
                error.reason,
                ArgsReason::Syntax(_) | ArgsReason::Character(_) | ArgsReason::NotAnObject
            ),
            "{text}: {error}"
        );
    }
}

#[test]
fn limits_hold_at_their_edge() {
    let limits = ArgsLimits {
        depth: 3,
        bytes: 40,
        nodes: 4,
        number: 5,
        exponent: 9,
    };
    let check = |text: &str| Args::parse_str(text, &limits).map_err(|e| e.to_string());
    assert!(check(r#"{"a":[[1]]}"#).is_ok());
    assert_eq!(
        check(r#"{"a":[[[]]]}"#).unwrap_err(),
        "argument `/a/0/0` nests deeper than 3 levels"
    );
    assert!(check(r#"{"a":[1,1]}"#).is_ok());
    assert_eq!(
        check(r#"{"a":[1,1,1]}"#).unwrap_err(),
        "argument `/a/2` has more than 4 values altogether"
    );
    assert!(check(r#"{"a":12345}"#).is_ok());
    assert_eq!(
        check(r#"{"a":123456}"#).unwrap_err(),
        "argument `/a` is a number of more than 5 characters"
    );
    assert!(check(r#"{"a":1e-9}"#).is_ok());
    assert_eq!(
        check(r#"{"a":1e-10}"#).unwrap_err(),
        "argument `/a` is a number out of range"
    );
    assert_eq!(
        check(&format!(r#"{{"a":"{}"}}"#, "x".repeat(40))).unwrap_err(),
        "the arguments: are longer than 40 bytes"
    );
}

#[test]
fn no_configuration_overflows_the_stack() {
    let limits = ArgsLimits {
        depth: usize::MAX,
        ..ArgsLimits::default()
    };
    let deep = |n: usize| format!(r#"{{"a":{}{}}}"#, "[".repeat(n), "]".repeat(n));
    assert!(Args::parse_str(&deep(ArgsLimits::MAX_DEPTH - 1), &limits).is_ok());
    let error = Args::parse_str(&deep(100_000), &limits).unwrap_err();
    assert_eq!(error.reason, ArgsReason::Depth(ArgsLimits::MAX_DEPTH));
    assert!(error.path.len() <= 260, "{}", error.path.len());
}

#[test]
fn values_are_found_by_pointer() {
    let args = parse(r#"{"a":{"b/c":[10,{"~":"x"}]},"":1}"#).unwrap();
    assert_eq!(
        args.get("/a/b~1c/0")
            .and_then(Node::as_number)
            .map(ToString::to_string)
            .as_deref(),
        Some("10")
    );
    assert_eq!(args.get("/a/b~1c/1/~0").and_then(Node::as_str), Some("x"));
    assert!(args.get("/").is_some());
    for absent in [
        "",
        "a",
        "/a/x",
        "/a/b~1c/00",
        "/a/b~1c/+0",
        "/a/b~1c/2",
        "/a/b~1c/0/0",
    ] {
        assert_eq!(args.get(absent), None, "{absent}");
    }
}

#[test]
fn a_member_can_be_left_out() {
    let args = parse(r#"{"action_token":"s","n":1}"#).unwrap();
    assert_eq!(args.without("action_token"), parse(r#"{"n":1.0}"#).unwrap());
    assert_eq!(args.without("other"), args);
}

#[test]
fn values_and_types_see_the_same_numbers() {
    #[derive(Debug, serde::Deserialize)]
    struct Call {
        n: u32,
    }
    let args = parse(r#"{"n":1.0}"#).unwrap();
    assert_eq!(args.to_value(), json!({"n":1}));
    assert_eq!(args.decode::<Call>().unwrap().n, 1);
    assert_eq!(
        parse(r#"{"n":"x"}"#).unwrap().decode::<Call>().unwrap_err(),
        "`arguments.n`: invalid type: string \"x\", expected u32"
    );
}

#[test]
fn refusals_become_invalid_params() {
    let error: RpcError = parse("[]").unwrap_err().into();
    assert_eq!(error.code, crate::ErrorCode::INVALID_PARAMS);
}

/// JSON values with numbers as texts, so that they can be spelled in several ways.
#[derive(Clone, Debug)]
enum Tree {
    Leaf(String),
    Number {
        digits: u64,
        negative: bool,
        scale: i8,
    },
    List(Vec<Self>),
    Map(BTreeMap<String, Self>),
}

fn tree() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        any::<String>().prop_map(|s| Tree::Leaf(serde_json::to_string(&s).unwrap())),
        prop_oneof![Just("null"), Just("true"), Just("false")]
            .prop_map(|s| Tree::Leaf(s.to_owned())),
        (any::<u64>(), any::<bool>(), any::<i8>()).prop_map(|(digits, negative, scale)| {
            Tree::Number {
                digits,
                negative,
                scale,
            }
        }),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Tree::List),
            prop::collection::btree_map(any::<String>(), inner, 0..6).prop_map(Tree::Map),
        ]
    })
}

fn root() -> impl Strategy<Value = Tree> {
    prop::collection::btree_map(any::<String>(), tree(), 0..6).prop_map(Tree::Map)
}

fn write_tree(tree: &Tree, other: bool, out: &mut String) {
    match tree {
        Tree::Leaf(text) => out.push_str(text),
        Tree::Number {
            digits,
            negative,
            scale,
        } => {
            let sign = if *negative { "-" } else { "" };
            let text = if other {
                format!("{sign}{digits}.000E{scale:+}")
            } else {
                format!("{sign}{digits}0e{}", i32::from(*scale) - 1)
            };
            out.push_str(&text);
        }
        Tree::List(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                out.push_str(if i == 0 { "" } else { "," });
                write_tree(item, other, out);
            }
            out.push(']');
        }
        Tree::Map(members) => {
            let mut members: Vec<_> = members.iter().collect();
            if other {
                members.reverse();
            }
            out.push('{');
            for (i, (name, value)) in members.iter().enumerate() {
                out.push_str(match (i, other) {
                    (0, _) => "",
                    (_, true) => " ,\n",
                    _ => ",",
                });
                out.push_str(&serde_json::to_string(name).unwrap());
                out.push_str(if other { " : " } else { ":" });
                write_tree(value, other, out);
            }
            out.push('}');
        }
    }
}

fn text(tree: &Tree, other: bool) -> String {
    let mut out = String::new();
    write_tree(tree, other, &mut out);
    out
}

proptest! {
    #[test]
    fn canonical_form_is_a_fixed_point(tree in root()) {
        let args = parse(&text(&tree, false)).unwrap();
        let again = parse(args.to_raw().as_str()).unwrap();
        prop_assert_eq!(&again, &args);
        prop_assert_eq!(again.canonical(), args.canonical());
        let raw = args.to_raw();
        prop_assert_eq!(raw.as_str().as_bytes(), args.canonical());
    }

    #[test]
    fn spelling_and_order_do_not_change_the_digest(tree in root()) {
        prop_assert_eq!(
            parse(&text(&tree, false)).unwrap().digest_input(),
            parse(&text(&tree, true)).unwrap().digest_input()
        );
    }

    #[test]
    fn a_changed_value_changes_the_digest(tree in root(), name in any::<String>(), a in tree(), b in tree()) {
        let with = |value: &Tree| {
            let Tree::Map(mut members) = tree.clone() else { unreachable!() };
            members.insert(name.clone(), value.clone());
            parse(&text(&Tree::Map(members), false)).unwrap()
        };
        let (left, right) = (with(&a), with(&b));
        prop_assert_eq!(left == right, left.digest_input() == right.digest_input());
        prop_assert_ne!(left.without(&name).digest_input(), left.digest_input());
    }

    #[test]
    fn arbitrary_text_never_panics(text in any::<String>()) {
        let _outcome = parse(&text);
    }

    #[test]
    fn nearly_json_never_panics(text in r#"[\[\]{}",:\\u0-9a-fdeE.+\- tn]{0,60}"#) {
        // What is taken is JSON by serde_json's reading too, and means the same.
        if let Ok(args) = parse(&text) {
            let theirs: Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(Args::of(&theirs, &ArgsLimits::default()).is_ok(), true);
            prop_assert_eq!(theirs.as_object().unwrap().len(), args.iter().len());
        }
    }
}
