//! What the pages say. Everything that comes from elsewhere goes through [`text`].

use std::collections::BTreeMap;
use std::fmt::Write as _;

use axum::{body::Body, response::Response};
use fastmcp_auth::Caller;
use fastmcp_guard::display::html as text;
use fastmcp_protocol::Raw;
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::{Map, Value, value::RawValue};

use super::super::reply;
use crate::{approvals::Waiting, call::CorrId, error::Error};

/// The style of the pages.
pub(super) const STYLE: &str = include_str!("desk.css");

/// Nothing is run, framed or fetched; forms go back to where they came from.
const POLICY: &str = "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// A whole page.
pub(super) fn page(status: StatusCode, title: &str, body: &str) -> Response {
    let title = text(title);
    let whole = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title}</title><link rel=\"stylesheet\" href=\"/approvals/desk.css\"></head>\n<body>{body}</body></html>\n"
    );
    let mut response = Response::new(Body::from(whole));
    *response.status_mut() = status;
    for (name, value) in [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        // Not `no-referrer`: under it browsers hide the origin of forms, which is checked.
        (header::REFERRER_POLICY, "same-origin"),
        (header::CACHE_CONTROL, "no-store"),
        (header::VARY, "accept, authorization, cookie"),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
    ] {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}

/// The form to sign in, with what went wrong before; `next` is the operation to go on to.
pub(super) fn sign_in(status: StatusCode, said: Option<&str>, next: &str) -> Response {
    let said = said.map_or_else(String::new, |said| {
        format!("<p class=\"said\" role=\"alert\">{}</p>", text(said))
    });
    let next = text(next);
    let body = format!(
        "<h1>Approvals</h1>{said}<form method=\"post\" action=\"/approvals/sign-in\">\
         <label>Token or API key<input type=\"password\" name=\"token\" required autocomplete=\"off\" autofocus></label>\
         <input type=\"hidden\" name=\"next\" value=\"{next}\"><button>Sign in</button></form>\
         <p>It takes a token with the scope <code>approvals.decide</code>. The token is kept, sealed, in a cookie of this page alone.</p>"
    );
    page(status, "Sign in", &body)
}

fn head(caller: &Caller, csrf: &str) -> String {
    format!(
        "<header><p><a href=\"/approvals\">Approvals</a></p>\
         <form method=\"post\" action=\"/approvals/sign-out\"><input type=\"hidden\" name=\"csrf\" value=\"{}\">\
         <span>{} · {}</span> <button>Sign out</button></form></header>",
        text(csrf),
        text(caller.subject()),
        text(caller.tenant().unwrap_or_default()),
    )
}

/// What waits.
pub(super) fn list(caller: &Caller, waiting: &[Waiting], csrf: &str) -> Response {
    let mut body = head(caller, csrf);
    body.push_str("<h1>What waits for you</h1>");
    if waiting.is_empty() {
        body.push_str("<p>Nothing.</p>");
        return page(StatusCode::OK, "Approvals", &body);
    }
    body.push_str("<table><tr><th>Tool</th><th>Asked for by</th><th>Takes</th><th>Until</th></tr>");
    for one in waiting {
        let one = one.to_json();
        let _ = write!(
            body,
            "<tr><td><a href=\"/approvals/{}\">{}</a></td><td>{}</td><td>{}</td><td>{}</td></tr>",
            member(&one, "operation_id"),
            member(&one, "toolId"),
            member(&one, "sub"),
            member(&one, "requires"),
            member(&one, "expires_at"),
        );
    }
    body.push_str("</table>");
    page(StatusCode::OK, "Approvals", &body)
}

/// One call with its exact arguments, and while it is open the form to decide on it.
pub(super) fn show(
    caller: &Caller,
    waiting: &Waiting,
    args: Option<&Raw>,
    csrf: &str,
) -> Result<Response, Error> {
    let one = waiting.to_json();
    let mut body = head(caller, csrf);
    let _ = write!(body, "<h1>{}</h1><table>", member(&one, "toolId"));
    for (name, key) in [
        ("Operation", "operation_id"),
        ("Status", "status"),
        ("Asked for by", "sub"),
        ("Acting for it", "actors"),
        ("Client", "client"),
        ("Has read", "labels"),
        ("Takes", "requires"),
        ("Roles", "approver_roles"),
        ("Asked at", "created_at"),
        ("Until", "expires_at"),
        ("Digest", "digest"),
    ] {
        let _ = write!(
            body,
            "<tr><th>{name}</th><td>{}</td></tr>",
            member(&one, key)
        );
    }
    body.push_str("</table>");
    let closed = "<p>Nothing is to be decided any more.</p>";
    let Some(args) = args else {
        body.push_str(closed);
        return Ok(page(StatusCode::OK, "Approval", &body));
    };
    // Each value as it is kept: a number that was read and written again might be another one.
    let members: BTreeMap<String, &RawValue> = args.decode().map_err(Error::internal)?;
    body.push_str("<h2>Exactly these arguments</h2>");
    if members.is_empty() {
        body.push_str("<p>None.</p>");
    } else {
        body.push_str("<table>");
        for (name, value) in members {
            let (name, value) = (text(&name), text(value.get()));
            let _ = write!(body, "<tr><th>{name}</th><td><pre>{value}</pre></td></tr>");
        }
        body.push_str("</table>");
    }
    if !waiting.is_open() {
        body.push_str(closed);
        return Ok(page(StatusCode::OK, "Approval", &body));
    }
    let _ = write!(
        body,
        "<h2>Decide</h2><form method=\"post\" action=\"/approvals/{}\">\
         <input type=\"hidden\" name=\"csrf\" value=\"{}\"><input type=\"hidden\" name=\"digest\" value=\"{}\">\
         <label>Note, which the record keeps<input name=\"note\" maxlength=\"1024\" autocomplete=\"off\"></label>\
         <button name=\"decision\" value=\"approve\">Approve</button><button name=\"decision\" value=\"deny\">Refuse</button></form>",
        member(&one, "operation_id"),
        text(csrf),
        member(&one, "digest"),
    );
    Ok(page(StatusCode::OK, "Approval", &body))
}

/// A refusal, with what finds it in the log.
pub(super) fn failed(error: &Error, corr_id: &CorrId) -> Response {
    let body = format!(
        "<h1>Not done</h1><p class=\"said\" role=\"alert\">{}</p><p>Request {}</p><p><a href=\"/approvals\">Approvals</a></p>",
        text(error.message()),
        text(corr_id.as_str())
    );
    reply::noted(
        page(error.code().status(), "Not done", &body),
        error,
        corr_id,
    )
}

fn member(one: &Map<String, Value>, key: &str) -> String {
    match one.get(key) {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(said)) => text(said),
        Some(Value::Array(list)) if list.is_empty() => "-".to_owned(),
        Some(other) => text(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leaves_its_place() {
        assert_eq!(
            text("<script>\"'&\u{202e}\n"),
            "&lt;script&gt;&quot;&#39;&amp;\\u{202e}\\u{a}"
        );
        assert_eq!(text("Grüße 1.0e9"), "Grüße 1.0e9");
        for hidden in [
            '\u{a0}', '\u{3000}', '\u{3164}', '\u{2800}', '\u{34f}', '\u{fff9}',
        ] {
            let shown = text(&format!("acme{hidden}"));
            assert_eq!(shown, format!("acme\\u{{{:x}}}", u32::from(hidden)));
        }
    }
}
