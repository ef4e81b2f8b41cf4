//! Words as a POSIX shell reads them.

/// The word as people write it: in quotes where it needs them.
pub(crate) fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    literal(word)
}

/// The word in single quotes, in which a shell reads nothing but the word: no word of the grammar, no pattern and no expansion.
pub(crate) fn literal(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_are_quoted_for_a_shell() {
        assert_eq!(quoted("plain-1.0/x"), "plain-1.0/x");
        assert_eq!(quoted("it's $HOME"), "'it'\\''s $HOME'");
        assert_eq!(quoted(""), "''");
        assert_eq!(literal("esac"), "'esac'");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_shell_reads_the_word_that_was_meant(word in "([^\\x00]|['\\\\$`\"\\n!*?~#&;|<> ]){0,40}") {
            for written in [quoted(&word), literal(&word)] {
                let script = format!("printf %s {written}; case {written} in {}) printf =;; esac", literal(&word));
                let output = Command::new("sh").arg("-c").arg(script).output().unwrap();
                prop_assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("{word}="));
            }
        }
    }
}
