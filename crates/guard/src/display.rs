//! Text of strangers, as people may see it who decide on it.

use std::fmt::Write as _;

/// `raw` in one line, each character of it seen: what turns the direction of text, shows nothing or is a space of another kind is
/// written as its number, `\u{202e}`, since it could make one text look like another.
#[must_use]
pub fn unmistakable(raw: &str) -> String {
    let mut shown = String::with_capacity(raw.len());
    raw.chars().for_each(|c| push(&mut shown, c));
    shown
}

/// As [`unmistakable`], to stand in a page of HTML, in an attribute too.
///
/// ```
/// assert_eq!(fastmcp_guard::display::html("<b>\u{202e}"), "&lt;b&gt;\\u{202e}");
/// ```
#[must_use]
pub fn html(raw: &str) -> String {
    let mut shown = String::with_capacity(raw.len());
    for c in raw.chars() {
        match c {
            '&' => shown.push_str("&amp;"),
            '<' => shown.push_str("&lt;"),
            '>' => shown.push_str("&gt;"),
            '"' => shown.push_str("&quot;"),
            '\'' => shown.push_str("&#39;"),
            c => push(&mut shown, c),
        }
    }
    shown
}

fn push(shown: &mut String, c: char) {
    if hides(c) {
        // Writing to a string cannot fail.
        let _ = write!(shown, "\\u{{{:x}}}", u32::from(c));
    } else {
        shown.push(c);
    }
}

fn hides(c: char) -> bool {
    c.is_control()
        // Every space but the plain one: two names must not look the same.
        || (c.is_whitespace() && c != ' ')
        || matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_look_like_something_else_is_written_as_its_number() {
        assert_eq!(
            unmistakable("to \u{202e}ecila\n"),
            "to \\u{202e}ecila\\u{a}"
        );
        assert_eq!(unmistakable("a\u{a0}b\u{200b}"), "a\\u{a0}b\\u{200b}");
        assert_eq!(unmistakable("Jürgen <\"'&> 東京"), "Jürgen <\"'&> 東京");
    }

    #[test]
    fn a_page_shows_it_as_text() {
        assert_eq!(
            html("<a href=\"x\" b='y'>&\u{feff}"),
            "&lt;a href=&quot;x&quot; b=&#39;y&#39;&gt;&amp;\\u{feff}"
        );
    }
}
