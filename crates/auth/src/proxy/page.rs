//! What people see: a page that asks, and one that says what went wrong. They have no script, and show what comes from
//! elsewhere as text alone.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use fastmcp_guard::display::html as text;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};

use super::answer::Answer;
use crate::digest::sha256;

/// How pages look. Its digest is the only style that their policy allows.
const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:34rem;margin:3rem auto;padding:0 1rem;color:#1c2024;\
background:#fff}h1{font-size:1.4rem}dl{border:1px solid #d0d4da;border-radius:.5rem;padding:.75rem 1rem}dt{color:#5b6470;\
font-size:.85rem}dd{margin:0 0 .6rem;overflow-wrap:anywhere}.warn{border-left:4px solid #c77700;padding:.25rem .75rem;\
background:#fff6e6}button{font:inherit;padding:.55rem 1.4rem;border-radius:.4rem;border:1px solid #8a929c;background:#fff;\
margin-right:.75rem;cursor:pointer}.yes{background:#0b57d0;border-color:#0b57d0;color:#fff}";

/// What a person is asked.
pub(super) struct Question<'a> {
    /// The server, as people know it.
    pub(super) server: &'a str,
    /// How the client calls itself.
    pub(super) client: Option<&'a str>,
    /// The host that vouches for the client, if one does.
    pub(super) vouched: Option<&'a str>,
    /// Where the answer goes.
    pub(super) redirect: &'a str,
    pub(super) scopes: &'a [String],
    /// Where the person logs in.
    pub(super) upstream: &'a str,
    /// Where the form goes to, and what it brings along.
    pub(super) action: &'a str,
    pub(super) request: &'a str,
}

/// Asks whether a client may act for whoever sees the page.
pub(super) fn consent(question: &Question<'_>) -> Answer {
    let client = text(question.client.unwrap_or("A program without a name"));
    let mut body = format!(
        "<h1>{client} wants to use {}</h1><dl><dt>It calls itself</dt><dd>{client}</dd>",
        text(question.server)
    );
    // Writing to a string cannot fail.
    if let Some(host) = question.vouched {
        let _ = write!(body, "<dt>It is published by</dt><dd>{}</dd>", text(host));
    }
    let _ = write!(
        body,
        "<dt>The answer goes to</dt><dd><strong>{}</strong></dd>",
        text(question.redirect)
    );
    let _ = write!(body, "<dt>It may</dt>");
    for scope in question.scopes {
        let _ = write!(body, "<dd><code>{}</code></dd>", text(scope));
    }
    if question.scopes.is_empty() {
        body.push_str("<dd>act for you here</dd>");
    }
    let _ = write!(
        body,
        "</dl><p class=\"warn\">Go on only if you have just asked a program to connect, and the answer goes to that \
         program. Anybody can choose a name.</p><p>You will log in at {}.</p>\
         <form method=\"post\" action=\"{}\"><input type=\"hidden\" name=\"request\" value=\"{}\">\
         <button class=\"yes\" name=\"decision\" value=\"allow\">Allow</button>\
         <button name=\"decision\" value=\"deny\">Deny</button></form>",
        text(question.upstream),
        text(question.action),
        text(question.request),
    );
    page(StatusCode::OK, "Connect a program", &body)
}

/// Says what went wrong, where nobody else may be told.
pub(super) fn failure(status: StatusCode, why: &str) -> Answer {
    let body = format!(
        "<h1>This did not work</h1><p>{}</p><p>Close this page and connect again from your program.</p>",
        text(why)
    );
    page(status, "This did not work", &body)
}

fn page(status: StatusCode, title: &str, body: &str) -> Answer {
    let whole = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>{title}</title><style>{STYLE}</style></head><body>{body}</body></html>\n"
    );
    // No `form-action`: browsers apply it to the redirects behind a form, which lead to the identity provider and then to
    // the client. Nothing in the page can make another form, since everything from elsewhere is text.
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{}'; base-uri 'none'; frame-ancestors 'none'",
        STANDARD.encode(sha256(STYLE.as_bytes()))
    );
    let mut answer = Response::new(Bytes::from(whole));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    if let Ok(policy) = HeaderValue::try_from(policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    for (name, value) in [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (HeaderName::from_static("x-frame-options"), "DENY"),
        // Not `no-referrer`: under it browsers hide the origin of forms, which is checked.
        (header::REFERRER_POLICY, "same-origin"),
        (header::CACHE_CONTROL, "no-store"),
        (header::VARY, "cookie"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_elsewhere_is_text() {
        let scopes = ["<b>".to_owned()];
        let answer = consent(&Question {
            server: "Tools",
            client: Some("<script>alert(1)</script>\u{202e}"),
            vouched: None,
            redirect: "evil.example\"",
            scopes: &scopes,
            upstream: "GitHub",
            action: "/consent",
            request: "sealed",
        });
        let body = std::str::from_utf8(answer.body()).unwrap();
        assert!(!body.contains("<script") && !body.contains("<b>") && !body.contains('\u{202e}'));
        assert!(body.contains("evil.example&quot;") && body.contains("\\u{202e}"));
        assert_eq!(answer.headers()["x-frame-options"], "DENY");
        let policy = answer.headers()["content-security-policy"]
            .to_str()
            .unwrap();
        assert!(policy.contains("frame-ancestors 'none'") && policy.contains("default-src 'none'"));
    }
}
