//! What holds for every text of a policy: run over the committed corpus here, and over whatever
//! libFuzzer thinks of in `fuzz/`.

use std::collections::BTreeSet;
use std::str;

use fastmcp_policy::{Action, Context, PolicySet, Request, Resource, Sources, Subject};
use jiff::Timestamp;
use serde_json::json;

/// The longest text that is tried, in bytes.
const MAX_TEXT: usize = 64 * 1024;

/// A text loads or is refused with its name, always alike; what loads decides, and explains what
/// it decided.
///
/// The input is a `policies.yml`, or Cedar where it begins with a Cedar comment.
pub(crate) fn policy(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    if text.len() > MAX_TEXT {
        return;
    }
    let sources = if text.starts_with("//") {
        Sources::new().with_cedar("fuzzed", text)
    } else {
        Sources::new().with_yaml("fuzzed", text)
    };
    let set = match PolicySet::load(&sources, 1) {
        Ok(set) => set,
        Err(error) => {
            assert!(!error.problems().is_empty());
            assert!(error.to_string().contains("fuzzed"), "{error}");
            return;
        }
    };
    assert_eq!(set.version().epoch, 1);
    let subject = Subject::new("agent-1")
        .tenant("acme")
        .roles(set.roles().take(3));
    let tool = Resource::new("database:deleteRows", "database").tenant("acme");
    let arguments = json!({"path": "notes.txt", "amount": 3.5, "tags": ["a", 1]});
    let labels = BTreeSet::from(["secret".to_owned()]);
    let context = Context::at(Timestamp::UNIX_EPOCH)
        .arguments(&arguments)
        .labels(&labels);
    for action in [Action::ToolsInvoke, Action::CatalogList] {
        let request = Request {
            action,
            subject: &subject,
            resource: action.has_resource().then_some(&tool),
            context: &context,
        };
        let decision = set.decide(&request);
        assert_eq!(set.decide(&request), decision);
        assert_eq!(set.explain(&request).decision, decision);
        let known = set.rule_ids();
        for id in &decision.policy_ids {
            assert!(known.contains(&&**id), "{id}");
        }
    }
    assert!(!set.version().to_string().is_empty());
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    fn over(corpus: &str, check: fn(&[u8])) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../fuzz/corpus")
            .join(corpus);
        let mut files = 0;
        for entry in fs::read_dir(folder).unwrap() {
            check(&fs::read(entry.unwrap().path()).unwrap());
            files += 1;
        }
        assert!(files > 0, "the corpus `{corpus}` is empty");
    }

    #[test]
    fn the_corpus_holds() {
        over("policy", super::policy);
    }
}
