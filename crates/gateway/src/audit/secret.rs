//! Secrets in texts from outside, by their form.

use std::borrow::Cow;

use fastmcp_guard::redact::Redactor;
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
    [
        "eyJ",
        "fmk_",
        "-----BEGIN ",
        "earer",
        "EARER",
        "pop",
        "POP",
        "Pop",
        "PoP",
    ]
    .iter()
    .any(|mark| text.contains(mark))
}

/// A text without the words in it that are secrets by their form.
fn without_secrets(redactor: &Redactor, text: &str) -> String {
    let whole = redactor.redacted(&text.into());
    let Value::String(whole) = whole else {
        return text.to_owned();
    };
    // A secret may stand within a sentence, as where a message quotes an argument.
    let ends = |c: char| c.is_whitespace() || "`'\"(),;".contains(c);
    let shown = whole.split_inclusive(ends).map(|word| {
        let bare = word.trim_end_matches(ends);
        match redactor.redacted(&bare.into()) {
            Value::String(shown) if shown != bare => word.replacen(bare, &shown, 1),
            _ => word.to_owned(),
        }
    });
    shown.collect()
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
        let plain = "the bearer of news, `a.b.c`";
        assert_eq!(without_secrets(&redactor, plain), plain);
        assert!(!may_hold_secrets("curl/8.5.0 (\u{1f600})"));
    }
}
