//! Generated questions in circumstances that are stranger still, and what any policy of the tests reads of them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use proptest::option::{of, weighted};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use crate::generate::{Question, question};
use crate::reads::Reads;
use crate::request::{Context, Request};
use crate::schema::ARGUMENT_KINDS;

/// A question, with what others leave out or always have.
#[derive(Debug, Clone)]
pub(crate) struct Strange {
    pub(crate) question: Question,
    corr_id: Option<&'static str>,
    /// What the caller has read is not known.
    is_unlabelled: bool,
}

impl Strange {
    pub(crate) fn with<T>(&self, use_it: impl FnOnce(&Request<'_>) -> T) -> T {
        self.question.with(|request| {
            let context = Context {
                corr_id: self.corr_id,
                labels: request.context.labels.filter(|_| !self.is_unlabelled),
                ..request.context.clone()
            };
            use_it(&Request {
                context: &context,
                ..*request
            })
        })
    }
}

/// All that policies of the tests can read, whatever they are found to read.
pub(crate) fn everything() -> Reads {
    let names = |names: &[&str]| -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    };
    let arguments = names(&[
        "x",
        "n",
        "o",
        "o.check_in",
        "o.check",
        "none",
        "x_in",
        "x_any",
    ]);
    let kinds = ARGUMENT_KINDS.map(|(kind, _)| kind);
    let typed = arguments.iter().map(|path| (path.clone(), names(&kinds)));
    Reads {
        sub: true,
        context: names(&[
            "time",
            "hour",
            "weekday",
            "client",
            "ip",
            "corr_id",
            "labels",
            "arguments",
        ]),
        claims: names(&["dept", "level", "opt_in", "dept_in", "org.unit", "none"]),
        scopes: names(&[
            "s.a",
            "s.b",
            "s.c",
            "s.z",
            "nobody's",
            "tools.invoke:read",
            "tools.invoke:write",
            "manifests.register",
            "approvals.decide",
        ]),
        typed: vec![Arc::new(typed.collect::<BTreeMap<_, _>>())],
        arguments,
        any_label: true,
        ..Reads::default()
    }
}

fn arguments() -> impl Strategy<Value = Value> {
    let whole = select(vec![
        json!("text"),
        json!([]),
        json!({"x": "alice", "n": 3}),
        json!({"x": "v", "n": 3.0}),
        json!({"x": 3.0, "n": -1}),
        json!({"x": 9_007_199_254_740_993_i64, "n": 1e300}),
        json!({"x": u64::MAX, "n": 3.49999}),
        json!({"x": [], "n": 3.4999}),
        json!({"x": ["w", "w"], "n": "3"}),
        json!({"x": false, "n": null}),
        json!({"x": ["w", 3, false], "n": [3.0, null]}),
        json!({"x": ["acme", "v", null], "n": [3.5, true, "3"]}),
        json!({"x": [9_007_199_254_740_993_i64, u64::MAX, 1e300], "n": [[3]]}),
        json!({"x": [["w"]], "n": 3}),
        json!({"x": vec!["w"; 1024], "n": vec![3; 1024]}),
        json!({"x": vec!["w"; 1025]}),
        json!({"x": "v", "n": vec![3; 1025]}),
        json!({"x": 0, "o.check_in": true}),
        json!({"o.check_in": true, "o": {"check_in": false}}),
        json!({"x": "acme", "n": i64::MAX}),
    ]);
    let x = select(vec![
        json!("v"),
        json!("*"),
        json!("a*e"),
        json!("äli\u{fc}e"),
        json!("日本"),
        json!("3"),
        json!(true),
        json!([]),
        json!(["v", "v", "w"]),
        json!(["v*", "é"]),
        json!([3, 3.0, "w", "w"]),
    ]);
    let n = select(vec![
        json!(9),
        json!(-3),
        json!(3.0),
        json!(3.5),
        json!(-0.0001),
        json!(-0.00001),
        json!(1e300),
        json!(i64::MAX),
        json!(i64::MIN),
        json!(u64::MAX),
        json!(922_337_203_685_477_i64),
    ]);
    let check_in = select(vec![
        json!({"o": {"check_in": "v"}}),
        json!({"o.check_in": ["w"]}),
        json!({"o.check_in": 3, "o": {"check_in": 3}}),
    ]);
    let parts = (x, n, of(check_in)).prop_map(|(x, n, check_in)| {
        let mut arguments = json!({"x": x, "n": n});
        let more = check_in.as_ref().and_then(Value::as_object);
        for (name, value) in more.into_iter().flatten() {
            arguments[name] = value.clone();
        }
        arguments
    });
    prop_oneof![whole, parts]
}

pub(crate) fn strange() -> impl Strategy<Value = Strange> {
    let times = select(vec![
        "1969-12-31T23:59:59.9994Z",
        "1969-12-31T23:59:59.9996Z",
        "1970-01-01T00:00:00Z",
        "2026-11-20T03:44:59.999999999Z",
        "2026-11-23T00:00:00Z",
        "-000001-12-31T23:59:59Z",
        "0000-01-01T00:00:00Z",
        "9999-12-30T22:00:00Z",
    ]);
    let addresses = select(vec![
        "10.1.2.2",
        "::ffff:10.1.2.3",
        "::1",
        "2001:db8:7fff::1",
        "2001:db8:8000::1",
    ]);
    let clients = select(vec![
        "alice",
        "r1",
        "secret",
        "friday",
        "financial",
        "s.a",
        "acme",
        "v",
        "",
        "a*e",
        "älice",
    ]);
    let claims = select(vec![
        ("dept", json!([])),
        ("dept", json!(["sales", "sales"])),
        ("dept", json!(["a*", "é"])),
        ("org", json!({"unit": "sales"})),
        ("org.unit", json!(["eng", "sales"])),
    ]);
    let stranger = (
        weighted(0.4, times),
        weighted(0.4, addresses),
        weighted(0.4, clients),
        weighted(0.6, arguments()),
        of(select(vec!["c-1", "alice", "secret"])),
        (weighted(0.3, claims), proptest::bool::weighted(0.2)),
    );
    (question(), stranger).prop_map(
        |(mut question, (time, ip, client, arguments, corr_id, (claim, is_unlabelled)))| {
            if let Some(time) = time {
                question.time = time.parse().expect("a time");
            }
            if let Some(ip) = ip {
                question.ip = Some(ip.parse::<IpAddr>().expect("an address"));
            }
            if let Some((name, value)) = claim {
                question.subject = question.subject.claim(name, value);
            }
            question.client = client.map(str::to_owned).or(question.client);
            question.arguments = arguments.or(question.arguments);
            Strange {
                question,
                corr_id,
                is_unlabelled,
            }
        },
    )
}
