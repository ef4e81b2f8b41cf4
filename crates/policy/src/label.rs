//! The names of labels.

/// The most bytes of a label.
const LABEL_MAX: usize = 64;

/// What a label looks like, for messages.
pub(crate) const FORM: &str = "a label: 1 to 64 of `a-z`, `0-9`, `_`, `.`, `-` and `:`";

/// Says whether a text can be a label: 1 to 64 of `a-z`, `0-9`, `_`, `.`, `-` and `:`. Capitals are left out so that two spellings of one
/// label cannot pass each other by.
#[must_use]
pub fn is_label(text: &str) -> bool {
    let fits =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_.-:".contains(&byte);
    (1..=LABEL_MAX).contains(&text.len()) && text.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_lower_case_words() {
        for good in ["pii", "gdpr:art-9", "a.b_c", "7", &"x".repeat(64)] {
            assert!(is_label(good), "{good}");
        }
        for bad in ["", "PII", "p i", "p,i", "\u{e9}", "a\n", &"x".repeat(65)] {
            assert!(!is_label(bad), "{bad}");
        }
    }
}
