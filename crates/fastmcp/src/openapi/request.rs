//! From arguments to a request that goes where it should and nowhere else.
//!
//! Host and path come from whoever set up the API; arguments only fill their places. Before a request
//! leaves, its URL is read again as a client of HTTP reads it and compared with what was meant.

use std::collections::BTreeMap;

use bytes::Bytes;
use fastmcp_protocol::Raw;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, header};
use url::Url;

use super::{
    arguments::{Content, Field, Filling, Plan, Slot, missing},
    credential::Proof,
    encode::{Encoding, Style, escape},
    operation::{Media, Place},
};
use crate::error::{Error, Result};

/// The API's address: scheme, host, port and the beginning of every path.
#[derive(Clone, Debug)]
pub(super) struct Base {
    origin: String,
    prefix: String,
}

impl Base {
    pub(super) fn of(url: &Url) -> Result<Self> {
        let unfit = |why: &str| Error::internal(format!("base URL: {why}"));
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(unfit("must be an absolute `https:` or `http:` URL"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(unfit(
                "must not carry a user or password; give a credential",
            ));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(unfit("must have neither query nor fragment"));
        }
        Ok(Self {
            origin: url.origin().ascii_serialization(),
            prefix: url.path().trim_end_matches('/').to_owned(),
        })
    }
}

/// A part of a path.
#[derive(Debug)]
pub(super) enum Piece {
    /// Text of the document, escaped.
    Literal(String),
    /// The slot with this number.
    Slot(usize),
}

/// Reads the path of an operation, whose parameters are those of `plan`.
pub(super) fn pieces(path: &str, plan: &Plan) -> std::result::Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = path;
    loop {
        let (literal, behind) = rest.split_once('{').unwrap_or((rest, ""));
        if literal.contains(['?', '#', '\\', '}']) {
            return Err("a path has no query, fragment, `\\` or single `}`".to_owned());
        }
        let literal: Vec<_> = literal.split('/').map(escape_literal).collect();
        pieces.push(Piece::Literal(literal.join("/")));
        if behind.is_empty() && !rest.ends_with('{') {
            return Ok(pieces);
        }
        let (name, after) = behind.split_once('}').ok_or("a `{` is not closed")?;
        let of_path = |slot: &Slot| slot.place == Place::Path && slot.name == name;
        let slot = plan.slots.iter().position(of_path);
        let slot = slot.ok_or_else(|| {
            let name: String = name.chars().take(64).collect();
            format!("names `{{{name}}}`, but no parameter in `path` has that name")
        })?;
        pieces.push(Piece::Slot(slot));
        rest = after;
    }
}

/// Text of a path that is the document's: what may stand in a segment stays.
fn escape_literal(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if "!$&'()*+,;=:@%".contains(c) {
            out.push(c);
        } else {
            out.push_str(&escape(c.encode_utf8(&mut [0; 4])));
        }
    }
    out
}

/// How requests of one operation are made.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) method: Method,
    pub(super) base: Base,
    pub(super) path: Vec<Piece>,
    pub(super) plan: Plan,
    pub(super) proofs: Vec<Proof>,
    pub(super) headers: HeaderMap,
}

/// Arguments by name, each as it was written.
pub(super) type Given = BTreeMap<String, Raw>;

impl Shape {
    /// Whether `text` repeats a credential, of these `headers` too.
    pub(super) fn is_secret_in(&self, text: &str, headers: &HeaderMap) -> bool {
        let values = self.headers.values().chain(headers.values());
        let mut words = values.filter_map(|value| value.to_str().ok()?.rsplit(' ').next());
        // What is shorter is found in innocent words.
        words.any(|word| word.len() >= 8 && text.contains(word))
            || self.proofs.iter().any(|proof| proof.is_in(text))
    }

    /// The request for these arguments, which fit the schema.
    pub(super) fn request(&self, given: &Given, more: HeaderMap) -> Result<Request<Bytes>> {
        let mut headers = self.headers.clone();
        let (mut query, mut cookies) = (Vec::new(), Vec::new());
        for slot in &self.plan.slots {
            let Some(value) = given.get(&slot.argument) else {
                continue;
            };
            match slot.place {
                Place::Path => {}
                Place::Query => query.extend(self.query_pairs(slot, value)?),
                Place::Header => {
                    let (name, value) = header_of(slot, value)?;
                    headers.insert(name, value);
                }
                Place::Cookie => cookies.extend(slot.encoding.pairs(&slot.name, value)?),
            }
        }
        for proof in &self.proofs {
            match proof {
                Proof::Header(name, value) => drop(headers.insert(name, value.clone())),
                Proof::Query(name, value) => query.push((name.clone(), value.clone())),
                Proof::Cookie(name, value) => cookies.push((name.clone(), value.clone())),
            }
        }
        if !cookies.is_empty() {
            let mut value = HeaderValue::from_str(&together(&cookies, "; "))?;
            value.set_sensitive(true);
            headers.insert(header::COOKIE, value);
        }
        let body = match &self.plan.body {
            Some(filling) => filling.fill(given, &self.plan)?,
            None => None,
        };
        let mut request = Request::new(Bytes::new());
        if let Some((media_type, body)) = body {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_str(&media_type)?);
            *request.body_mut() = body;
        }
        for (name, value) in more {
            if let Some(name) = name {
                headers.insert(name, value);
            }
        }
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.url(given, &query)?.as_str().parse()?;
        *request.headers_mut() = headers;
        Ok(request)
    }

    /// The pairs of one parameter; the members of an exploded object are pairs too, and must not be taken
    /// for other parameters.
    fn query_pairs(&self, slot: &Slot, value: &Raw) -> Result<Vec<(String, String)>> {
        let pairs = slot.encoding.pairs(&slot.name, value)?;
        let own = escape(&slot.name);
        let taken = |name: &str| {
            let slots = self.plan.slots.iter().filter(|s| s.place == Place::Query);
            let proofs = self
                .proofs
                .iter()
                .any(|proof| matches!(proof, Proof::Query(n, _) if n == name));
            proofs || slots.map(|s| escape(&s.name)).any(|n| n == name)
        };
        let mut names = pairs.iter().map(|(name, _)| name.as_str());
        match names.find(|name| *name != own && taken(name)) {
            Some(_) => Err(Error::validation(format!(
                "invalid arguments: `{}`: a member has the name of another parameter",
                slot.argument
            ))),
            None => Ok(pairs),
        }
    }

    fn url(&self, given: &Given, query: &[(String, String)]) -> Result<Url> {
        let mut path = self.base.prefix.clone();
        for piece in &self.path {
            match piece {
                Piece::Literal(text) => path.push_str(text),
                Piece::Slot(number) => {
                    if let Some(slot) = self.plan.slots.get(*number) {
                        path.push_str(&segment(slot, given)?);
                    }
                }
            }
        }
        let stays = path.split('/').all(|segment| !is_dots(segment));
        let mut text = format!("{}{path}", self.base.origin);
        if !query.is_empty() {
            text.push('?');
            text.push_str(&together(query, "&"));
        }
        let url = Url::parse(&text)?;
        let meant = url.origin().ascii_serialization() == self.base.origin && url.path() == path;
        if stays && meant {
            Ok(url)
        } else {
            Err(Error::validation(
                "invalid arguments: a parameter of the path must not be `.` or `..`",
            ))
        }
    }
}

/// One parameter in its place in the path.
fn segment(slot: &Slot, given: &Given) -> Result<String> {
    let wrong =
        |why: &str| Error::validation(format!("invalid arguments: `{}`: {why}", slot.argument));
    let value = given
        .get(&slot.argument)
        .ok_or_else(|| wrong("is needed"))?;
    // Servers that decode before they look for dots would be led elsewhere by `..%2F`.
    if value.as_str().starts_with('"') {
        let text: String = value.decode()?;
        if text.split(['/', '\\']).any(is_dots) {
            return Err(wrong("a part of the path must not be `.` or `..`"));
        }
    }
    let segment = slot.encoding.path(&slot.name, value)?;
    if segment.is_empty() {
        return Err(wrong("must not be empty"));
    }
    Ok(segment)
}

/// Whether readers of URLs take the segment for a step within the path.
fn is_dots(segment: &str) -> bool {
    let plain = segment.to_ascii_lowercase().replace("%2e", ".");
    plain == "." || plain == ".."
}

fn header_of(slot: &Slot, value: &Raw) -> Result<(HeaderName, HeaderValue)> {
    let wrong = || {
        Error::validation(format!(
            "invalid arguments: `{}`: a header holds visible ASCII characters alone",
            slot.argument
        ))
    };
    let name = HeaderName::from_bytes(slot.name.as_bytes()).map_err(|_| wrong())?;
    let text = slot.encoding.header(value)?;
    Ok((name, HeaderValue::from_str(&text).map_err(|_| wrong())?))
}

fn together(pairs: &[(String, String)], between: &str) -> String {
    let pairs = pairs.iter().map(|(name, value)| format!("{name}={value}"));
    pairs.collect::<Vec<_>>().join(between)
}

impl Filling {
    /// The body with its media type.
    fn fill(&self, given: &Given, plan: &Plan) -> Result<Option<(String, Bytes)>> {
        let fields = match &self.content {
            Content::Whole(argument) => {
                return given
                    .get(argument)
                    .map(|value| self.whole(value))
                    .transpose();
            }
            Content::Fields(fields) => fields,
        };
        let mut members: Vec<(&str, Option<&Field>, &Raw)> = Vec::new();
        for (argument, value) in given {
            if plan.slots.iter().any(|slot| slot.argument == *argument) {
                continue;
            }
            match fields.iter().find(|field| field.argument == *argument) {
                Some(field) => members.push((&field.name, Some(field), value)),
                None if self.open => members.push((argument, None, value)),
                None => {}
            }
        }
        if members.is_empty() && !self.required {
            return Ok(None);
        }
        let needed = fields.iter().filter(|field| field.required);
        if let Some(field) = needed
            .into_iter()
            .find(|f| !given.contains_key(&f.argument))
        {
            return Err(missing(&field.argument));
        }
        match &self.media {
            Media::Form => form(&members).map(Some),
            Media::Json(media_type) | Media::Text(media_type) => {
                let object: BTreeMap<&str, &Raw> = members
                    .iter()
                    .map(|(name, _, value)| (*name, *value))
                    .collect();
                let text = serde_json::to_string(&object)?;
                Ok(Some((media_type.clone(), text.into())))
            }
        }
    }

    fn whole(&self, value: &Raw) -> Result<(String, Bytes)> {
        match &self.media {
            Media::Json(media_type) => Ok((media_type.clone(), value.as_str().to_owned().into())),
            Media::Text(media_type) => {
                let text: String = value.decode()?;
                Ok((format!("{media_type}; charset=utf-8"), text.into()))
            }
            Media::Form => {
                let members: Given = value.decode()?;
                let members: Vec<_> = members.iter().map(|(n, v)| (n.as_str(), None, v)).collect();
                form(&members)
            }
        }
    }
}

/// Members as a form: lists repeat their name, what else has parts is JSON.
///
/// Source: OpenAPI 3.1.1, section 4.8.15.1.1.
fn form(members: &[(&str, Option<&Field>, &Raw)]) -> Result<(String, Bytes)> {
    let mut pairs = Vec::new();
    for (name, field, value) in members {
        let style = if value.as_str().starts_with('{') {
            Style::Json
        } else {
            Style::Form
        };
        let usual = Encoding {
            style,
            explode: true,
        };
        let encoding = field.and_then(|field| field.encoding).unwrap_or(usual);
        pairs.extend(encoding.pairs(name, value)?);
    }
    let text = together(&pairs, "&");
    Ok(("application/x-www-form-urlencoded".to_owned(), text.into()))
}
