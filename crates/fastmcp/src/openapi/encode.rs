//! Values in the places of a request: the styles of OpenAPI.
//!
//! Whatever a value is, it stays within its place: everything but letters, digits and `-._~` is
//! percent-encoded in paths, queries and cookies.
//!
//! Source: OpenAPI 3.1.1, section 4.8.12.3, "Style Values"; RFC 3986, section 2.3.

use std::{borrow::Cow, collections::BTreeMap};

use fastmcp_protocol::Raw;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::error::{Error, Result};

const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// How deep `deepObject` is written out.
const MAX_DEPTH: usize = 16;
/// The most pairs that one value becomes.
const MAX_PAIRS: usize = 1_024;

/// How the parts of a value are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Simple,
    Label,
    Matrix,
    Form,
    Space,
    Pipe,
    Deep,
    /// As JSON text.
    Json,
}

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Encoding {
    pub(super) style: Style,
    pub(super) explode: bool,
}

/// A value taken apart, as far as styles do.
enum Shape {
    One(String),
    List(Vec<String>),
    Members(Vec<(String, String)>),
}

pub(super) fn escape(text: &str) -> Cow<'_, str> {
    utf8_percent_encode(text, ESCAPED).into()
}

/// The text of a value that has no parts; JSON for one that has. Numbers stay as they were written.
pub(super) fn text(value: &Raw) -> Result<String> {
    let text = value.as_str();
    if text.starts_with('"') {
        return Ok(value.decode()?);
    }
    if text == "null" {
        return Ok(String::new());
    }
    // JSON has one kind of number; where whole ones are wanted, others read no point.
    if let Some((whole, zeros)) = text.split_once('.')
        && text.starts_with(|c: char| c == '-' || c.is_ascii_digit())
        && zeros.bytes().all(|b| b == b'0')
    {
        return Ok(whole.to_owned());
    }
    Ok(text.to_owned())
}

fn shape(value: &Raw) -> Result<Shape> {
    let raw = value.as_str();
    if raw.starts_with('[') {
        let items: Vec<Raw> = value.decode()?;
        let items: Result<Vec<_>> = items.iter().map(text).collect();
        return items.map(Shape::List);
    }
    if raw.starts_with('{') {
        let members: BTreeMap<String, Raw> = value.decode()?;
        let members: Result<Vec<_>> = members
            .into_iter()
            .map(|(name, value)| Ok((name, text(&value)?)))
            .collect();
        return members.map(Shape::Members);
    }
    text(value).map(Shape::One)
}

impl Encoding {
    /// The value as part of a path.
    pub(super) fn path(self, name: &str, value: &Raw) -> Result<String> {
        if self.style == Style::Json {
            return Ok(escape(value.as_str()).into_owned());
        }
        let name = escape(name);
        let (between, pairs) = match (self.style, self.explode) {
            (Style::Label, true) => (".", "="),
            (Style::Matrix, true) => (";", "="),
            (_, true) => (",", "="),
            (_, false) => (",", ","),
        };
        let joined = match shape(value)? {
            Shape::One(text) => escape(&text).into_owned(),
            Shape::List(items) if self.style == Style::Matrix && self.explode => {
                let items = items.iter().map(|item| format!("{name}={}", escape(item)));
                return Ok(format!(";{}", items.collect::<Vec<_>>().join(";")));
            }
            Shape::List(items) => joined(&items, between),
            Shape::Members(members) => {
                let members = members
                    .iter()
                    .map(|(key, value)| format!("{}{pairs}{}", escape(key), escape(value)));
                let members = members.collect::<Vec<_>>().join(between);
                if self.style == Style::Matrix && self.explode {
                    return Ok(format!(";{members}"));
                }
                members
            }
        };
        Ok(match self.style {
            Style::Label => format!(".{joined}"),
            Style::Matrix => format!(";{name}={joined}"),
            _ => joined,
        })
    }

    /// The value as pairs of a query or a form, both parts escaped.
    pub(super) fn pairs(self, name: &str, value: &Raw) -> Result<Vec<(String, String)>> {
        let key = escape(name).into_owned();
        if self.style == Style::Json {
            return Ok(vec![(key, escape(value.as_str()).into_owned())]);
        }
        let mut pairs = Vec::new();
        if self.style == Style::Deep {
            deep(&key, value, 0, &mut pairs)?;
            return Ok(pairs);
        }
        let between = match self.style {
            Style::Space => "%20",
            Style::Pipe => "%7C",
            _ => ",",
        };
        match shape(value)? {
            Shape::One(text) => pairs.push((key, escape(&text).into_owned())),
            Shape::List(items) if self.explode => pairs.extend(
                items
                    .iter()
                    .map(|item| (key.clone(), escape(item).into_owned())),
            ),
            Shape::List(items) => pairs.push((key, joined(&items, between))),
            Shape::Members(members) if self.explode => pairs.extend(
                members
                    .iter()
                    .map(|(name, value)| (escape(name).into_owned(), escape(value).into_owned())),
            ),
            Shape::Members(members) => {
                let flat: Vec<String> = members.into_iter().flat_map(|(k, v)| [k, v]).collect();
                pairs.push((key, joined(&flat, between)));
            }
        }
        Ok(pairs)
    }

    /// The value as the text of a header, which is not escaped.
    pub(super) fn header(self, value: &Raw) -> Result<String> {
        if self.style == Style::Json {
            return Ok(value.as_str().to_owned());
        }
        let pairs = if self.explode { "=" } else { "," };
        Ok(match shape(value)? {
            Shape::One(text) => text,
            Shape::List(items) => items.join(","),
            Shape::Members(members) => {
                let members = members
                    .iter()
                    .map(|(key, value)| format!("{key}{pairs}{value}"));
                members.collect::<Vec<_>>().join(",")
            }
        })
    }
}

fn joined(items: &[String], between: &str) -> String {
    let items: Vec<_> = items.iter().map(|item| escape(item)).collect();
    items.join(between)
}

/// `key[member][member]=value`; a list repeats its key.
fn deep(key: &str, value: &Raw, depth: usize, pairs: &mut Vec<(String, String)>) -> Result<()> {
    if depth > MAX_DEPTH || pairs.len() >= MAX_PAIRS {
        return Err(Error::validation(format!(
            "`{key}` nests deeper than {MAX_DEPTH} or has more than {MAX_PAIRS} parts"
        )));
    }
    if value.as_str().starts_with('{') {
        let members: BTreeMap<String, Raw> = value.decode()?;
        for (name, value) in &members {
            deep(
                &format!("{key}%5B{}%5D", escape(name)),
                value,
                depth + 1,
                pairs,
            )?;
        }
    } else if value.as_str().starts_with('[') {
        let items: Vec<Raw> = value.decode()?;
        for item in &items {
            deep(key, item, depth + 1, pairs)?;
        }
    } else {
        pairs.push((key.to_owned(), escape(&text(value)?).into_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &'static str) -> Raw {
        Raw::parse(text).unwrap()
    }

    const fn style(style: Style, explode: bool) -> Encoding {
        Encoding { style, explode }
    }

    fn query(encoding: Encoding, value: &'static str) -> String {
        let pairs = encoding.pairs("color", &raw(value)).unwrap();
        let pairs = pairs.iter().map(|(name, value)| format!("{name}={value}"));
        pairs.collect::<Vec<_>>().join("&")
    }

    const ONE: &str = r#""blue""#;
    const LIST: &str = r#"["blue","black"]"#;
    const MEMBERS: &str = r#"{"B":150,"R":100}"#;

    /// Source: OpenAPI 3.1.1, section 4.8.12.4, "Style Examples".
    #[test]
    fn styles_of_paths_are_those_of_the_specification() {
        use Style::*;
        for (encoding, one, list, members) in [
            (
                style(Matrix, false),
                ";color=blue",
                ";color=blue,black",
                ";color=B,150,R,100",
            ),
            (
                style(Matrix, true),
                ";color=blue",
                ";color=blue;color=black",
                ";B=150;R=100",
            ),
            (style(Label, false), ".blue", ".blue,black", ".B,150,R,100"),
            (style(Label, true), ".blue", ".blue.black", ".B=150.R=100"),
            (style(Simple, false), "blue", "blue,black", "B,150,R,100"),
            (style(Simple, true), "blue", "blue,black", "B=150,R=100"),
        ] {
            let path = |value| encoding.path("color", &raw(value)).unwrap();
            assert_eq!([path(ONE), path(LIST), path(MEMBERS)], [one, list, members]);
        }
        assert_eq!(
            style(Simple, true).header(&raw(MEMBERS)).unwrap(),
            "B=150,R=100"
        );
    }

    #[test]
    fn styles_of_queries_are_those_of_the_specification() {
        use Style::*;
        for (encoding, one, list, members) in [
            (
                style(Form, false),
                "color=blue",
                "color=blue,black",
                "color=B,150,R,100",
            ),
            (
                style(Form, true),
                "color=blue",
                "color=blue&color=black",
                "B=150&R=100",
            ),
            (
                style(Space, false),
                "color=blue",
                "color=blue%20black",
                "color=B%20150%20R%20100",
            ),
            (
                style(Pipe, false),
                "color=blue",
                "color=blue%7Cblack",
                "color=B%7C150%7CR%7C100",
            ),
            (
                style(Deep, true),
                "color=blue",
                "color=blue&color=black",
                "color%5BB%5D=150&color%5BR%5D=100",
            ),
        ] {
            let pairs = |value| query(encoding, value);
            assert_eq!(
                [pairs(ONE), pairs(LIST), pairs(MEMBERS)],
                [one, list, members]
            );
        }
        assert_eq!(
            query(style(Json, false), r#"{"a":[1]}"#),
            "color=%7B%22a%22%3A%5B1%5D%7D"
        );
        assert_eq!(
            query(style(Deep, true), r#"{"a":{"b]":[1,"x y"]}}"#),
            "color%5Ba%5D%5Bb%5D%5D=1&color%5Ba%5D%5Bb%5D%5D=x%20y"
        );
    }

    #[test]
    fn numbers_stay_as_they_were_written() {
        for (value, text) in [
            ("12345678901234567890123", "12345678901234567890123"),
            ("1.10", "1.10"),
            ("5.0", "5"),
            ("-5.00", "-5"),
            ("1e3", "1e3"),
            ("true", "true"),
            ("null", ""),
            (r#""1.0""#, "1.0"),
        ] {
            assert_eq!(super::text(&raw(value)).unwrap(), text);
        }
    }

    #[test]
    fn what_is_put_into_a_path_or_query_stays_there() {
        let hostile = r#""../a?b=c#d&e;f\\g%2f\r\n@//h:80""#;
        for made in [
            style(Style::Simple, false)
                .path("p", &raw(hostile))
                .unwrap(),
            query(style(Style::Form, true), hostile),
        ] {
            let value = made.trim_start_matches("color=");
            assert!(
                value
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-._~%".contains(&b)),
                "{value}"
            );
        }
        let wide = format!("{{\"a\":[{}]}}", vec!["1"; 5_000].join(","));
        let wide = Raw::parse(wide).unwrap();
        assert!(style(Style::Deep, true).pairs("p", &wide).is_err());
    }
}
