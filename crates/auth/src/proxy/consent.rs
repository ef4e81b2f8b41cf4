//! The browser in which a person agrees: what it holds, and what it sends.
//!
//! Everything rests on one cookie, sealed: a random name for the browser, and what was agreed to in it. The form of the page
//! brings along, sealed too, what the page asked about and in which browser; so a form that another site sends, or that
//! was made for somebody else, is worth nothing.
//!
//! Source: MCP security best practices, "Confused Deputy Problem"; RFC 9700, sections 4.7 and 4.16; RFC 6265bis (`__Host-`).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use fastmcp_guard::clock::Timestamp;
use http::{HeaderMap, HeaderValue, Request as HttpRequest, StatusCode, header};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;
use url::Url;

use super::answer::{self, Answer, Parameters, Refused};
use super::record::Request;
use super::{Consent, Inner, page, redirect};
use crate::digest::sha256;
use crate::oauth::pkce::unguessable;

/// How the cookie is called: where the connection is secure, browsers see to it that no other host can set it.
const SECURE_COOKIE: &str = "__Host-fastmcp-consent";
const COOKIE: &str = "fastmcp-consent";

/// How long a browser keeps it, in seconds: 1 year. What it holds ends by itself.
const KEEP: u64 = 366 * 86_400;

/// Most approvals that a browser remembers; the oldest goes first.
const MAX_APPROVALS: usize = 24;

/// A browser.
#[derive(Serialize, Deserialize)]
pub(super) struct Browser {
    #[serde(rename = "b")]
    pub(super) id: String,
    #[serde(rename = "a", default)]
    approvals: Vec<Approval>,
}

/// What was agreed to, by its digest, and until when.
#[derive(Serialize, Deserialize)]
struct Approval {
    #[serde(rename = "h")]
    of: String,
    #[serde(rename = "t")]
    until: Timestamp,
}

/// What a page asked, as its form brings it back.
#[derive(Serialize, Deserialize)]
struct Asked {
    request: Request,
    browser: String,
    until: Timestamp,
}

impl Browser {
    /// What a request to log in for `request` is remembered under.
    fn approval(request: &Request) -> Option<String> {
        let redirect = redirect::remembered(&request.redirect_uri)?;
        let mut scopes = request.scopes.clone();
        scopes.sort_unstable();
        let of = [request.client_id.as_str(), redirect, &scopes.join(" ")].join("\n");
        let digest = sha256(of.as_bytes());
        Some(URL_SAFE_NO_PAD.encode(digest.get(..16)?))
    }

    /// Whether it was agreed to before.
    pub(super) fn has_approved(&self, request: &Request, now: Timestamp) -> bool {
        let Some(of) = Self::approval(request) else {
            return false;
        };
        let mut approvals = self.approvals.iter();
        approvals.any(|approval| approval.of == of && now < approval.until)
    }

    fn approve(&mut self, request: &Request, now: Timestamp, until: Timestamp) {
        let Some(of) = Self::approval(request) else {
            return;
        };
        let kept = |approval: &Approval| approval.of != of && now < approval.until;
        self.approvals.retain(kept);
        if self.approvals.len() >= MAX_APPROVALS {
            self.approvals.remove(0);
        }
        self.approvals.push(Approval { of, until });
    }
}

/// The cookies that a browser sent, by name.
pub(super) fn cookies(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    let lines = headers.get_all(header::COOKIE).iter();
    let lines = lines.filter_map(|line| line.to_str().ok());
    let cookies = lines.flat_map(|line| line.split(';'));
    cookies.filter_map(|cookie| cookie.trim().split_once('='))
}

/// The cookie of that name. Where there are two, another host set one, and nobody can tell which.
pub(super) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut ours = cookies(headers).filter(|(known, _)| *known == name);
    match (ours.next(), ours.next()) {
        (Some((_, value)), None) if !value.is_empty() => Some(value),
        _ => None,
    }
}

impl Inner {
    fn cookie_bound(&self) -> String {
        format!("browser|{}", self.issuer())
    }

    fn form_bound(&self) -> String {
        format!("consent|{}", self.issuer())
    }

    /// The browser that sends `headers`, if it was here before.
    pub(super) fn browser(&self, headers: &HeaderMap) -> Option<Browser> {
        let name = if self.secure { SECURE_COOKIE } else { COOKIE };
        let value = cookie(headers, name)?;
        let opened = self
            .keys
            .ring()
            .open_text(self.cookie_bound().as_bytes(), value);
        serde_json::from_slice(&opened.ok()?).ok()
    }

    /// A browser that was not here before.
    pub(super) fn new_browser(&self) -> Result<Browser, Refused> {
        Ok(Browser {
            id: unguessable(&*self.random)?,
            approvals: Vec::new(),
        })
    }

    /// Has `answer` set the cookie. It is `Lax`: the identity provider sends the browser back by a link.
    pub(super) fn remember(&self, browser: &Browser, answer: &mut Answer) -> Result<(), Refused> {
        let plain = serde_json::to_vec(browser).map_err(|_| Refused::unavailable())?;
        let sealed = self
            .keys
            .ring()
            .seal_text(self.cookie_bound().as_bytes(), &plain);
        let sealed = sealed.map_err(|_| Refused::unavailable())?;
        let (name, secure) = if self.secure {
            (SECURE_COOKIE, "; Secure")
        } else {
            (COOKIE, "")
        };
        let cookie =
            format!("{name}={sealed}; Path=/; Max-Age={KEEP}; HttpOnly; SameSite=Lax{secure}");
        let mut cookie = HeaderValue::try_from(cookie).map_err(|_| Refused::unavailable())?;
        cookie.set_sensitive(true);
        answer.headers_mut().append(header::SET_COOKIE, cookie);
        Ok(())
    }

    /// The page that asks about `request`.
    pub(super) fn ask(
        &self,
        request: &Request,
        vouched: Option<&str>,
        browser: &Browser,
    ) -> Result<Answer, Refused> {
        let until = self.clock.now().saturating_add(self.config.lifetimes.login);
        let asked = Asked {
            request: request.clone(),
            browser: browser.id.clone(),
            until,
        };
        let plain = serde_json::to_vec(&asked).map_err(|_| Refused::unavailable())?;
        let sealed = self
            .keys
            .ring()
            .seal_text(self.form_bound().as_bytes(), &plain);
        let mut answer = page::consent(&page::Question {
            server: &self.name,
            client: request.client_name.as_deref(),
            vouched,
            redirect: &redirect::shown(&request.redirect_uri),
            scopes: &request.scopes,
            upstream: &self.config.upstream.name,
            action: &self.config.path("/consent"),
            request: &sealed.map_err(|_| Refused::unavailable())?,
        });
        self.remember(browser, &mut answer)?;
        Ok(answer)
    }

    /// Takes the answer of a person.
    pub(super) fn consent(&self, request: &HttpRequest<Bytes>) -> Answer {
        match self.decided(request) {
            Ok(answer) => answer,
            Err(refused) => page::failure(refused.status, refused.why),
        }
    }

    fn decided(&self, request: &HttpRequest<Bytes>) -> Result<Answer, Refused> {
        self.check_same_site(request.headers())?;
        let form = Parameters::of_form(request.headers(), request.body())?;
        let forged = || Refused {
            status: StatusCode::FORBIDDEN,
            ..Refused::new(
                "access_denied",
                "this page was not made for this browser, or is too old",
            )
        };
        let mut browser = self.browser(request.headers()).ok_or_else(forged)?;
        let sealed = form.get("request").ok_or_else(forged)?;
        let opened = self
            .keys
            .ring()
            .open_text(self.form_bound().as_bytes(), sealed);
        let opened = opened.map_err(|_| forged())?;
        let asked: Asked = serde_json::from_slice(&opened).map_err(|_| forged())?;
        let same = asked.browser.as_bytes().ct_eq(browser.id.as_bytes());
        let now = self.clock.now();
        if !bool::from(same) || now >= asked.until {
            return Err(forged());
        }
        match form.get("decision") {
            Some("allow") => {}
            Some("deny") => {
                let denied = [("error", "access_denied")];
                return Ok(answer::to_client(&asked.request, self.issuer(), &denied));
            }
            _ => return Err(Refused::new("invalid_request", "nothing was decided")),
        }
        let mut answer = self.log_in(request.headers(), &asked.request, &browser)?;
        if let Consent::Remember(long) = self.config.consent {
            browser.approve(&asked.request, now, now.saturating_add(long));
        }
        self.remember(&browser, &mut answer)?;
        Ok(answer)
    }

    /// Refuses a form that another site sent, where the browser says so.
    fn check_same_site(&self, headers: &HeaderMap) -> Result<(), Refused> {
        let elsewhere = Refused {
            status: StatusCode::FORBIDDEN,
            ..Refused::new("access_denied", "the form comes from another site")
        };
        // As browsers write it: a port that goes without saying is left out.
        let ours = Url::parse(&self.config.base_url).map(|url| url.origin().ascii_serialization());
        let from = headers.get(header::ORIGIN);
        let same =
            from.is_none_or(|from| ours.is_ok_and(|ours| from.as_bytes() == ours.as_bytes()));
        let site = headers.get("sec-fetch-site");
        if same && site.is_none_or(|site| site == "same-origin") {
            return Ok(());
        }
        Err(elsewhere)
    }
}
