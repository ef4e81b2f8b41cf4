//! Writing the canonical form.

use std::{collections::BTreeMap, fmt::Write as _};

use super::Node;
use crate::{jsonrpc::push_str, raw::Raw};

pub(super) fn canonical(members: &BTreeMap<String, Node>) -> String {
    let mut out = String::with_capacity(64);
    push_members(&mut out, members);
    out
}

pub(super) fn raw(members: &BTreeMap<String, Node>) -> Raw {
    #[expect(
        clippy::expect_used,
        reason = "what is written here is JSON, whatever the tree"
    )]
    Raw::parse(canonical(members)).expect("the canonical form is JSON")
}

pub(super) fn node(node: &Node) -> String {
    let mut out = String::new();
    push(&mut out, node);
    out
}

fn push(out: &mut String, node: &Node) {
    match node {
        Node::Null => out.push_str("null"),
        Node::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
        Node::Number(number) => {
            let _infallible = write!(out, "{number}");
        }
        Node::String(text) => push_str(out, text),
        Node::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                push(out, item);
            }
            out.push(']');
        }
        Node::Object(members) => push_members(out, members),
    }
}

fn push_members(out: &mut String, members: &BTreeMap<String, Node>) {
    out.push('{');
    for (index, (name, value)) in members.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        push_str(out, name);
        out.push(':');
        push(out, value);
    }
    out.push('}');
}
