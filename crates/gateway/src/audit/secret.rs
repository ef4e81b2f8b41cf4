//! Secrets in texts from outside, by their form.

use std::borrow::Cow;

use fastmcp_guard::redact::{REDACTED, Redactor};
use serde_json::Value;

/// A text from outside, without what is secret in it.
pub(super) fn plain<'a>(redactor: &Redactor, text: &'a str) -> Cow<'a, str> {
    if may_hold_secrets(text) {
        Cow::Owned(without_secrets(redactor, text))
    } else {
        Cow::Borrowed(text)
    }
}

/// A quick look; most texts hold none.
fn may_hold_secrets(text: &str) -> bool {
    const MARKS: [&str; 9] = [
        "eyJ",
        "fmk_",
        "-----BEGIN ",
        "earer",
        "EARER",
        "pop",
        "POP",
        "Pop",
        "PoP",
    ];
    // Of each mark three letters are looked for in one go: every call has texts, and hardly one of them a mark.
    let begins = |three: &[u8]| {
        matches!(three, b"eyJ" | b"fmk" | b"---" | b"are" | b"ARE")
            || three.eq_ignore_ascii_case(b"pop")
    };
    text.as_bytes().windows(3).any(begins) && MARKS.iter().any(|mark| text.contains(mark))
}

/// A text without the words in it that are secrets by their form.
fn without_secrets(redactor: &Redactor, text: &str) -> String {
    let whole = redactor.redacted(&text.into());
    let Value::String(whole) = whole else {
        return text.to_owned();
    };
    // A secret may stand within a sentence, as where a message quotes an argument.
    let ends = |c: char| c.is_whitespace() || "`'\"(),;:=&?#|\\<>[]{}".contains(c);
    let (mut shown, mut before) = (String::with_capacity(whole.len()), "");
    for word in whole.split_inclusive(ends) {
        let bare = word.trim_end_matches(ends);
        if bare.is_empty() {
            shown.push_str(word);
            continue;
        }
        let (_, end) = word.split_at(bare.len());
        // The credential stands behind the word that names its scheme.
        if Redactor::is_secret_text(&format!("{before} {bare}")) {
            shown.push_str(REDACTED);
        } else {
            shown.push_str(&piecewise(bare));
        }
        shown.push_str(end);
        before = bare;
    }
    shown
}

/// A word without the parts between slashes and full stops at its ends that are secrets.
fn piecewise(word: &str) -> String {
    let pieces = word.split_inclusive('/').map(|piece| {
        let bare = piece.trim_matches(['/', '.']);
        if Redactor::is_secret_text(bare) {
            piece.replacen(bare, REDACTED, 1)
        } else {
            piece.to_owned()
        }
    });
    pieces.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_within_a_sentence_are_taken_out() {
        let jwt = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln";
        let redactor = Redactor::default();
        let shown = without_secrets(
            &redactor,
            &format!("`token`: `{jwt}` is too long; see {jwt}"),
        );
        assert_eq!(shown, "`token`: `[REDACTED]` is too long; see [REDACTED]");
        let whole = format!("Bearer {}", "a1".repeat(20));
        assert!(may_hold_secrets(&whole) && may_hold_secrets(jwt));
        assert_eq!(without_secrets(&redactor, &whole), "[REDACTED]");
        let within = format!("curl -H 'Authorization: Bearer {}' x", "a1/+".repeat(9));
        assert_eq!(
            without_secrets(&redactor, &within),
            "curl -H 'Authorization: Bearer [REDACTED]' x"
        );
        let linked = format!("at /t/{jwt}/x, {{\\\"k\\\":\\\"{jwt}\\\"}} and {jwt}.");
        assert_eq!(
            without_secrets(&redactor, &linked),
            r#"at /t/[REDACTED]/x, {\"k\":\"[REDACTED]\"} and [REDACTED]."#
        );
        let plain = "the bearer of news, `a.b.c`, a/b.";
        assert_eq!(without_secrets(&redactor, plain), plain);
        assert!(!may_hold_secrets("curl/8.5.0 (\u{1f600})"));
    }
}
