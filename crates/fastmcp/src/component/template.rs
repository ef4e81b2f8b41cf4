//! URI templates: the part of RFC 6570 that can be matched back.
//!
//! `{name}` matches within one segment, `{name*}` across segments, `{?a,b}` names query
//! parameters that may be absent, and `{?a*}` one that may occur several times and is a list.

use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// Longest URI that is matched, in bytes.
const MAX_URI: usize = 8 * 1024;

/// A query parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Query {
    name: String,
    /// Whether it may occur several times, and is a list.
    is_list: bool,
}

/// A template for URIs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UriTemplate {
    parts: Vec<Part>,
    query: Vec<Query>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    Name { name: String, greedy: bool },
}

impl UriTemplate {
    /// Reads a template.
    ///
    /// # Errors
    ///
    /// When a brace is not closed, an expression has another form, or two expressions touch.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = |why: &str| Error::internal(format!("URI template `{text}`: {why}"));
        let (mut parts, mut query, mut rest) = (Vec::new(), Vec::new(), text);
        while let Some(open) = rest.find('{') {
            let (literal, from) = rest.split_at(open);
            let close = from.find('}').ok_or_else(|| wrong("a `{` is not closed"))?;
            let expression = from.get(1..close).unwrap_or_default();
            rest = from.get(close + 1..).unwrap_or_default();
            if !literal.is_empty() {
                parts.push(Part::Literal(literal.to_owned()));
            }
            if let Some(names) = expression.strip_prefix('?') {
                if !rest.is_empty() {
                    return Err(wrong("query parameters stand at the end"));
                }
                query = names
                    .split(',')
                    .map(|n| {
                        let name = n.trim().trim_end_matches('*');
                        Query {
                            name: name.to_owned(),
                            is_list: n.trim() != name,
                        }
                    })
                    .collect();
                if !query.iter().all(|q| is_name(&q.name)) {
                    return Err(wrong("a parameter is named by letters, digits and `_`"));
                }
                break;
            }
            let greedy = expression.ends_with('*');
            let name = expression.trim_end_matches('*');
            if !is_name(name) {
                return Err(wrong("a parameter is named by letters, digits and `_`"));
            }
            if matches!(parts.last(), Some(Part::Name { .. })) {
                return Err(wrong("two parameters touch; put text between them"));
            }
            parts.push(Part::Name {
                name: name.to_owned(),
                greedy,
            });
        }
        if !rest.is_empty() {
            parts.push(Part::Literal(rest.to_owned()));
        }
        Ok(Self { parts, query })
    }

    /// The names of all parameters.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let path = self.parts.iter().filter_map(|p| match p {
            Part::Name { name, .. } => Some(name.as_str()),
            Part::Literal(_) => None,
        });
        path.chain(self.query.iter().map(|q| q.name.as_str()))
    }

    /// The parameters of `uri`, decoded, where it has the form of this template.
    #[must_use]
    pub fn matches(&self, uri: &str) -> Option<Map<String, Value>> {
        if uri.len() > MAX_URI {
            return None;
        }
        let uri = uri.split('#').next().unwrap_or_default();
        let (path, query) = if self.query.is_empty() {
            (uri, None)
        } else {
            split_query(uri)
        };
        let mut found = Map::new();
        match_parts(&self.parts, path, &mut found)?;
        for pair in query
            .into_iter()
            .flat_map(|q| q.split('&'))
            .filter(|p| !p.is_empty())
        {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let Some(known) = self.query.iter().find(|q| q.name == name) else {
                continue;
            };
            let value = Value::String(percent_decode(&value.replace('+', " "))?);
            match (found.get_mut(name), known.is_list) {
                (Some(Value::Array(list)), _) => list.push(value),
                (_, true) => {
                    found.insert(name.to_owned(), Value::Array(vec![value]));
                }
                (_, false) => {
                    found.insert(name.to_owned(), value);
                }
            }
        }
        Some(found)
    }
}

fn split_query(uri: &str) -> (&str, Option<&str>) {
    uri.split_once('?')
        .map_or((uri, None), |(path, query)| (path, Some(query)))
}

/// Matches from the left; a greedy parameter takes as much as the literal behind it leaves.
fn match_parts(parts: &[Part], text: &str, found: &mut Map<String, Value>) -> Option<()> {
    let Some((part, rest)) = parts.split_first() else {
        return text.is_empty().then_some(());
    };
    match part {
        Part::Literal(literal) => match_parts(rest, text.strip_prefix(literal.as_str())?, found),
        Part::Name { name, greedy } => {
            let end = match rest.first() {
                Some(Part::Literal(literal)) if *greedy => text.rfind(literal.as_str())?,
                Some(Part::Literal(literal)) => text.find(literal.as_str())?,
                _ => text.len(),
            };
            let (value, behind) = text.split_at_checked(end)?;
            if value.is_empty() || (!greedy && value.contains('/')) {
                return None;
            }
            found.insert(name.clone(), Value::String(percent_decode(value)?));
            match_parts(rest, behind, found)
        }
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Decodes `%XX`; `None` where that is malformed or not UTF-8.
pub(crate) fn percent_decode(text: &str) -> Option<String> {
    if !text.contains('%') {
        return Some(text.to_owned());
    }
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let high = char::from(bytes.next()?).to_digit(16)?;
        let low = char::from(bytes.next()?).to_digit(16)?;
        out.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(out).ok()
}

/// Refuses values that reach out of where they are put: `..`, absolute paths, NUL.
///
/// Source: FastMCP, `ResourceSecurity`; on by default.
pub(crate) fn screen(params: &Map<String, Value>) -> Result<()> {
    screen_except(params, &[])
}

/// [`screen`], but for the parameters that are `exempt`.
pub(crate) fn screen_except(params: &Map<String, Value>, exempt: &[String]) -> Result<()> {
    for (name, value) in params.iter().filter(|(name, _)| !exempt.contains(name)) {
        let texts = match value {
            Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
            other => vec![other.as_str().unwrap_or_default()],
        };
        if texts.into_iter().any(reaches_out) {
            return Err(Error::not_found(format!(
                "parameter `{name}` is no path beneath the resource"
            )));
        }
    }
    Ok(())
}

fn reaches_out(text: &str) -> bool {
    let climbs = text.split(['/', '\\']).any(|segment| segment == "..");
    let absolute = text.starts_with('/') || text.starts_with('\\') || text.get(1..2) == Some(":");
    climbs || absolute || text.contains('\0')
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn matched(template: &str, uri: &str) -> Option<Value> {
        UriTemplate::parse(template)
            .unwrap()
            .matches(uri)
            .map(Value::Object)
    }

    #[test]
    fn parameters_are_found_and_decoded() {
        assert_eq!(
            matched("data://{id}/x", "data://a%20b/x"),
            Some(json!({"id": "a b"}))
        );
        assert_eq!(
            matched("f://{path*}", "f://a/b/c"),
            Some(json!({"path": "a/b/c"}))
        );
        assert_eq!(
            matched("f://{path*}/end", "f://a/end/b/end"),
            Some(json!({"path": "a/end/b"}))
        );
        assert_eq!(
            matched("q://s{?a,b}", "q://s?b=1&c=2"),
            Some(json!({"b": "1"}))
        );
        assert_eq!(matched("q://s{?a,b}", "q://s"), Some(json!({})));
    }

    #[test]
    fn other_uris_do_not_match() {
        assert_eq!(matched("data://{id}/x", "data://a/b/x"), None);
        assert_eq!(matched("data://{id}/x", "data:///x"), None);
        assert_eq!(matched("data://{id}", "data://%zz"), None);
        assert_eq!(matched("data://{id}", "other://a"), None);
    }

    #[test]
    fn templates_are_checked() {
        for wrong in ["a://{", "a://{}", "a://{a}{b}", "a://{a b}", "a://{?a}/x"] {
            assert!(UriTemplate::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn paths_that_reach_out_are_screened() {
        for wrong in ["../x", "a/../b", "/etc", "C:\\x", "a\0"] {
            let params = json!({"p": wrong});
            assert!(screen(params.as_object().unwrap()).is_err(), "{wrong:?}");
        }
        assert!(screen(json!({"p": "a/b..c"}).as_object().unwrap()).is_ok());
    }
}
