//! The desk as a page that a person opens in a browser.
//!
//! Whoever signs in shows a token; it is kept, sealed, in a cookie that no script can read and that other sites cannot
//! send. Each request unseals it and goes through the same door as any other, so that a revoked token is refused here
//! too, and any replica can answer. Only a form of ours decides: a POST from our own origin with the word that the
//! cookie holds and the digest of what was shown. The cookie counts here alone, never for the other routes.

mod html;
mod places;

use std::{sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    extract::{Path, Request, State},
    response::Response,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fastmcp::{
    seal::KeyRing,
    transport::{
        ClientCertificate, Limits, Reason, TurnedAway,
        http::{Intake, RemoteAddr},
    },
};
use fastmcp_auth::Caller;
use fastmcp_guard::{
    clock::{Clock, Timestamp},
    random::{Random, array},
};
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header, request::Parts};
use serde::{Deserialize, Serialize};

use super::{Entered, Named, Rest, address, approvals, enter, named, reply};
use crate::{
    approvals::{MAX_LISTED, Verdict},
    call::CorrId,
    error::{Code, Error},
    state::operation::OperationId,
};

use places::Places;

/// How long a person stays signed in, unless the token ends sooner.
pub(crate) const SESSION: Duration = Duration::from_secs(8 * 3_600);
/// The longest cookie, in bytes. Browsers keep 4,096 with name and attributes. Source: RFC 6265, section 6.1.
const MAX_COOKIE: usize = 3_800;
/// The largest form to sign in, in bytes.
const MAX_SIGN_IN: usize = 32 * 1024;
/// How long the form to sign in may take to arrive.
const SIGN_IN_BODY: Duration = Duration::from_secs(2);
const AAD: &[u8] = b"fastmcp approvals desk session 1";

/// Who is signed in at a browser.
#[derive(Debug)]
pub struct Desk {
    seal: KeyRing,
    secure: bool,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    places: Places,
}

/// What the cookie holds.
#[derive(Clone, Deserialize, Serialize)]
struct Session {
    token: String,
    csrf: String,
    until: u64,
}

impl Desk {
    /// A desk whose cookies are sealed by `seal`; with `secure`, browsers send them over TLS alone.
    #[must_use]
    pub fn new(
        seal: KeyRing,
        secure: bool,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
    ) -> Self {
        Self {
            seal,
            secure,
            clock,
            random,
            places: Places::default(),
        }
    }

    const fn cookie_name(&self) -> &'static str {
        // The prefix binds the cookie to this host over TLS. Source: RFC 6265bis, section 4.1.3.
        if self.secure {
            "__Host-fastmcp-approvals"
        } else {
            "fastmcp-approvals"
        }
    }

    /// The session of a request; one whose cookie is there twice has none.
    fn session(&self, headers: &HeaderMap) -> Option<Session> {
        let mut found = headers
            .get_all(header::COOKIE)
            .iter()
            .filter_map(|line| line.to_str().ok())
            .flat_map(|line| line.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .filter(|(name, _)| *name == self.cookie_name());
        let (Some((_, value)), None) = (found.next(), found.next()) else {
            return None;
        };
        let opened = self.seal.open_text(AAD, value).ok()?;
        let session: Session = serde_json::from_slice(&opened).ok()?;
        (self.clock.now().unix_seconds() < session.until).then_some(session)
    }

    /// The cookie of whoever signed in.
    fn begin(&self, token: &str, caller: &Caller) -> Result<HeaderValue, Error> {
        let end = self.clock.now().saturating_add(SESSION);
        let end = caller
            .expires_at()
            .map_or(end, |over: Timestamp| over.min(end));
        let csrf = array::<32>(&*self.random).map_err(Error::internal)?;
        let session = Session {
            token: token.to_owned(),
            csrf: URL_SAFE_NO_PAD.encode(csrf),
            until: end.unix_seconds(),
        };
        let plain = serde_json::to_vec(&session).map_err(Error::internal)?;
        let value = self.seal.seal_text(AAD, &plain).map_err(Error::internal)?;
        if value.len() > MAX_COOKIE {
            return Err(Error::invalid(
                "the token is too long to be kept in a cookie; sign in with a shorter one, or use `fastmcp approvals`",
            ));
        }
        self.cookie(&value)
    }

    fn cookie(&self, value: &str) -> Result<HeaderValue, Error> {
        let name = self.cookie_name();
        let secure = if self.secure { "; Secure" } else { "" };
        let gone = if value.is_empty() { "; Max-Age=0" } else { "" };
        let cookie = format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict{secure}{gone}");
        HeaderValue::from_str(&cookie).map_err(Error::internal)
    }
}

impl Session {
    /// Only a page of ours knows the word that the cookie holds.
    /// Refuses a form of another session, which is recorded: somebody may be trying to decide in another's name.
    fn check(&self, entered: &Entered, action: &str, form: &Form) -> Result<(), Error> {
        if self.knows(form.get("csrf")) {
            return Ok(());
        }
        let error = Error::denied("the form is not one of this session; open the page again");
        let Entered {
            rest,
            caller,
            corr_id,
            ..
        } = entered;
        let audit = &rest.pipeline.audit;
        audit.at_desk(caller, corr_id, action, Err(&error));
        Err(error)
    }

    fn knows(&self, word: &str) -> bool {
        let same = aws_lc_rs::constant_time::verify_slices_are_equal;
        same(self.csrf.as_bytes(), word.as_bytes()).is_ok()
    }
}

/// The fields of a form, each once.
struct Form(Vec<(String, String)>);

impl Form {
    fn parse(body: &[u8]) -> Result<Self, Error> {
        let fields: Vec<(String, String)> = url::form_urlencoded::parse(body)
            .take(16)
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect();
        let twice = (1..)
            .zip(&fields)
            .any(|(next, (name, _))| fields.iter().skip(next).any(|(other, _)| other == name));
        if twice {
            return Err(Error::invalid("a field of the form is there twice"));
        }
        Ok(Self(fields))
    }

    fn get(&self, name: &str) -> &str {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }
}

/// Whether a person asks, with a browser: one that brings a token of its own gets JSON.
fn is_person(headers: &HeaderMap) -> bool {
    let accepts = headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.contains("text/html"));
    accepts && !brings_token(headers)
}

fn is_form(headers: &HeaderMap) -> bool {
    let form = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.starts_with("application/x-www-form-urlencoded"));
    form && !brings_token(headers)
}

fn brings_token(headers: &HeaderMap) -> bool {
    headers.contains_key(header::AUTHORIZATION)
        || headers.contains_key(fastmcp_auth::bearer::API_KEY)
}

/// Refuses forms of other sites, and those that do not say where they come from: browsers do. `SameSite` keeps the cookie from them already; this holds for signing in as well, where
/// there is no cookie, and somebody could be made to work under another's name.
fn own_origin(uri: &Uri, headers: &HeaderMap) -> Result<(), Error> {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("-"));
    let site = text("sec-fetch-site");
    let from_here = site.is_none_or(|site| matches!(site, "same-origin" | "none"));
    // Over HTTP/2 the host is part of the target, and there may be no such header. Source: RFC 9113, section 8.3.1.
    let target = uri.authority().map(http::uri::Authority::as_str);
    let host = target.or_else(|| text("host")).unwrap_or_default();
    let same = match text("origin") {
        Some(origin) => {
            let bare = origin.split_once("://").map(|(_, host)| host);
            bare.is_some_and(|bare| bare.eq_ignore_ascii_case(host))
        }
        None => site == Some("same-origin"),
    };
    if from_here && same {
        Ok(())
    } else {
        Err(Error::denied("the form is of another site"))
    }
}

/// The answer to a form of another site, which is recorded; none to a form of ours.
fn from_elsewhere(rest: &Rest, request: &Request) -> Option<Response> {
    let headers = request.headers();
    let error = own_origin(request.uri(), headers).err()?;
    let corr_id = rest.door.corr_id(headers);
    let peer = request.extensions().get::<RemoteAddr>();
    let why = TurnedAway::new(Reason::Host, error.message());
    rest.door
        .turned_away(headers, peer.map(|peer| peer.0.ip()), None, why);
    Some(html::failed(&error, &corr_id))
}

/// Takes a request of whoever is signed in through the door with the token of the session.
async fn signed_in<F, Fut>(rest: Arc<Rest>, mut request: Request, next: &str, handle: F) -> Response
where
    F: FnOnce(Entered, Bytes, Session) -> Fut + Send + 'static,
    Fut: Future<Output = Result<Response, Error>> + Send + 'static,
{
    let session = rest.desk.session(request.headers());
    let bearer = session.and_then(|session| {
        let bearer = HeaderValue::from_str(&format!("Bearer {}", session.token)).ok()?;
        Some((session, bearer))
    });
    let Some((session, bearer)) = bearer else {
        return html::sign_in(StatusCode::OK, None, next);
    };
    request.headers_mut().insert(header::AUTHORIZATION, bearer);
    let desk = Arc::clone(&rest);
    let response = enter(rest, request, async move |entered: Entered, body| {
        let corr_id = entered.corr_id.clone();
        let handled = handle(entered, body, session).await;
        Ok(handled.unwrap_or_else(|error| html::failed(&error, &corr_id)))
    })
    .await;
    if response.status() != StatusCode::UNAUTHORIZED {
        return response;
    }
    let said = Some("The token is not good any more. Sign in again.");
    leave(&desk.desk, html::sign_in(StatusCode::OK, said, next))
}

/// Takes the cookie away.
fn leave(desk: &Desk, mut response: Response) -> Response {
    if let Ok(gone) = desk.cookie("") {
        response.headers_mut().insert(header::SET_COOKIE, gone);
    }
    response
}

fn to(path: &str) -> Response {
    let mut response = html::page(StatusCode::SEE_OTHER, "Go on", "");
    if let Ok(path) = HeaderValue::from_str(path) {
        response.headers_mut().insert(header::LOCATION, path);
    }
    response
}

/// The list, as a page for people and as JSON for others.
pub(super) async fn list(State(rest): State<Arc<Rest>>, request: Request) -> Response {
    if !is_person(request.headers()) {
        return approvals::list(State(rest), request).await;
    }
    signed_in(
        rest,
        request,
        "",
        async |entered: Entered, _, session: Session| {
            let call = entered.call("", None)?;
            let waiting = entered.rest.pipeline.approvals(&call, MAX_LISTED).await?;
            Ok(html::list(&entered.caller, &waiting, &session.csrf))
        },
    )
    .await
}

/// Where to go on to after signing in.
fn next(path: &Named) -> String {
    path.as_ref()
        .map_or_else(|_| String::new(), |Path(id)| id.clone())
}

/// One call, as a page for people and as JSON for others.
pub(super) async fn show(State(rest): State<Arc<Rest>>, path: Named, request: Request) -> Response {
    if !is_person(request.headers()) {
        return approvals::show(State(rest), path, request).await;
    }
    let next = next(&path);
    signed_in(
        rest,
        request,
        &next,
        async move |entered: Entered, _, session: Session| {
            let id = entered.fit(("", "approvals.show"), named(path)).await?;
            let call = entered.call("", None)?;
            let id = approvals::parse(&id)?;
            let (waiting, args) = entered.rest.pipeline.approval(&call, &id).await?;
            html::show(&entered.caller, &waiting, args.as_ref(), &session.csrf)
        },
    )
    .await
}

/// A decision, from a form of ours or as JSON.
pub(super) async fn decide(
    State(rest): State<Arc<Rest>>,
    path: Named,
    request: Request,
) -> Response {
    if !is_form(request.headers()) {
        return approvals::decide(State(rest), path, request).await;
    }
    if let Some(refused) = from_elsewhere(&rest, &request) {
        return refused;
    }
    let next = next(&path);
    signed_in(
        rest,
        request,
        &next,
        async move |entered: Entered, body: Bytes, session: Session| {
            let id = entered.fit(("", "approvals.decide"), named(path)).await?;
            let form = Form::parse(&body)?;
            session.check(&entered, "approvals.decide", &form)?;
            let verdict = match form.get("decision") {
                "approve" => Verdict::Approve {
                    digest: form.get("digest").to_owned(),
                },
                "deny" => Verdict::Deny,
                _ => return Err(Error::invalid("`decision` must be `approve` or `deny`")),
            };
            let note = Some(form.get("note")).filter(|note| !note.is_empty());
            let (call, id) = (entered.call("", None)?, approvals::parse(&id)?);
            let pipeline = &entered.rest.pipeline;
            pipeline.decide(&call, &id, &verdict, note).await?;
            Ok(to(&format!("/approvals/{id}")))
        },
    )
    .await
}

/// Signs a person in.
pub(super) async fn sign_in(State(rest): State<Arc<Rest>>, request: Request) -> Response {
    let foreign = from_elsewhere(&rest, &request);
    let (parts, body) = request.into_parts();
    let intake = Intake::of(parts.version, &parts.headers);
    let corr_id = rest.door.corr_id(&parts.headers);
    if let Some(refused) = foreign {
        return if intake.refuse(body).await {
            refused
        } else {
            intake.closing(refused)
        };
    }
    // Of their own: whoever sends slowly here is nobody yet, and must not take the place of calls.
    let client = rest.door.client_address(&parts.headers, address(&parts));
    let Some(_place) = rest.desk.places.take(client) else {
        let busy = Error::new(Code::Unavailable, "Too many requests are under way");
        not_signed_in(&rest, &parts, None, (Reason::Busy, busy.message()));
        return intake.closing(html::failed(&busy, &corr_id));
    };
    let limits = Limits {
        message_bytes: MAX_SIGN_IN,
        body_timeout: SIGN_IN_BODY,
        ..rest.limits.clone()
    };
    let body = match intake.read(body, &limits).await {
        Ok(body) => body,
        Err(unread) => {
            not_signed_in(&rest, &parts, None, (Reason::Body, &unread.to_string()));
            return intake.closing(reply::unread(&unread, &corr_id));
        }
    };
    let form = match Form::parse(&body) {
        Ok(form) => form,
        Err(error) => {
            not_signed_in(&rest, &parts, None, (Reason::Body, error.message()));
            return html::failed(&error, &corr_id);
        }
    };
    let (token, next) = (form.get("token").trim(), form.get("next"));
    match admitted(&rest, &parts, &corr_id, token).await {
        Ok(cookie) => {
            let path = match OperationId::parse(next) {
                Ok(id) => format!("/approvals/{id}"),
                Err(_) => "/approvals".to_owned(),
            };
            let mut response = to(&path);
            response.headers_mut().insert(header::SET_COOKIE, cookie);
            response
        }
        Err(error) => html::sign_in(error.code().status(), Some(error.message()), next),
    }
}

/// Lets in whoever shows `token`; the cookie.
async fn admitted(
    rest: &Rest,
    parts: &Parts,
    corr_id: &CorrId,
    token: &str,
) -> Result<HeaderValue, Error> {
    let mut headers = parts.headers.clone();
    match HeaderValue::from_str(&format!("Bearer {token}")) {
        Ok(bearer) => headers.insert(header::AUTHORIZATION, bearer),
        Err(_) => headers.remove(header::AUTHORIZATION),
    };
    let certificate = parts.extensions.get::<ClientCertificate>();
    let caller = rest
        .door
        .admit(&headers, address(parts), certificate, corr_id)
        .await
        .map_err(|refused| refused.error)?;
    // Each leaves a record, so that nobody may come without a bound.
    if let Err(limited) = rest.pipeline.limit.admit_request(&caller) {
        let why = (Reason::Busy, limited.message());
        not_signed_in(rest, parts, Some(&caller), why);
        return Err(limited);
    }
    let permitted = rest.pipeline.policy.permit_approval(&caller, &[]);
    let begun = permitted.and_then(|_| rest.desk.begin(token, &caller));
    let outcome = begun.as_ref().map(drop);
    let audit = &rest.pipeline.audit;
    audit.at_desk(&caller, corr_id, "approvals.sign_in", outcome);
    begun
}

/// Records that somebody was not signed in, before it was asked whether that is allowed.
fn not_signed_in(
    rest: &Rest,
    parts: &Parts,
    caller: Option<&Caller>,
    (reason, message): (Reason, &str),
) {
    let why = TurnedAway::new(reason, message);
    rest.door
        .turned_away(&parts.headers, address(parts), caller, why);
}

/// Signs a person out: the cookie goes; the token stays good elsewhere.
pub(super) async fn sign_out(State(rest): State<Arc<Rest>>, request: Request) -> Response {
    if let Some(refused) = from_elsewhere(&rest, &request) {
        return refused;
    }
    let desk = Arc::clone(&rest);
    let left = signed_in(
        rest,
        request,
        "",
        async |entered: Entered, body: Bytes, session: Session| {
            let form = Form::parse(&body)?;
            session.check(&entered, "approvals.sign_out", &form)?;
            let Entered {
                rest,
                caller,
                corr_id,
                ..
            } = &entered;
            let audit = &rest.pipeline.audit;
            audit.at_desk(caller, corr_id, "approvals.sign_out", Ok(()));
            Ok(to("/approvals"))
        },
    )
    .await;
    if left.status() == StatusCode::SEE_OTHER {
        leave(&desk.desk, left)
    } else {
        left
    }
}

/// The style of the pages.
pub(super) async fn style() -> Response {
    let mut response = Response::new(Body::from(html::STYLE));
    let css = HeaderValue::from_static("text/css; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, css);
    response
}

#[cfg(test)]
mod tests {
    use fastmcp_guard::{clock::ManualClock, random::OsRandom};

    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn a_session_ends_and_is_nobody_elses() {
        let clock = Arc::new(ManualClock::new(Timestamp::from_unix_seconds(1_000)));
        let desk = |secure| {
            let seal = KeyRing::new(&[[7; 32]]).unwrap();
            Desk::new(seal, secure, clock.clone(), Arc::new(OsRandom))
        };
        let cookie = desk(true).begin("a-token", &Caller::local()).unwrap();
        let cookie = cookie.to_str().unwrap();
        for attribute in ["; Secure", "; HttpOnly", "; SameSite=Strict", "; Path=/"] {
            assert!(cookie.contains(attribute), "{cookie}");
        }
        assert!(!cookie.contains("a-token"));
        let pair = cookie.split(';').next().unwrap();
        let sent = headers(&[("cookie", &format!("a=b; {pair}"))]);
        let session = desk(true).session(&sent).unwrap();
        assert_eq!(session.token, "a-token");
        assert!(session.knows(&session.csrf) && !session.knows(""));
        assert!(desk(false).session(&sent).is_none(), "its name differs");
        let twice = headers(&[("cookie", &format!("{pair}; {pair}"))]);
        assert!(desk(true).session(&twice).is_none());
        let forged = headers(&[("cookie", &format!("{pair}x"))]);
        assert!(desk(true).session(&forged).is_none());
        clock.advance(SESSION);
        assert!(desk(true).session(&sent).is_none());
        let long = "x".repeat(MAX_COOKIE);
        assert!(desk(true).begin(&long, &Caller::local()).is_err());
    }

    #[test]
    fn forms_come_from_here() {
        let own = ("origin", "http://localhost:8000");
        let host = ("host", "localhost:8000");
        let here = Uri::from_static("/approvals");
        assert!(own_origin(&here, &headers(&[host])).is_err());
        assert!(own_origin(&here, &headers(&[host, ("sec-fetch-site", "none")])).is_err());
        let says_so = ("sec-fetch-site", "same-origin");
        assert!(own_origin(&here, &headers(&[host, says_so])).is_ok());
        assert!(own_origin(&here, &headers(&[host, own])).is_ok());
        assert!(
            own_origin(
                &here,
                &headers(&[host, own, ("sec-fetch-site", "same-origin")])
            )
            .is_ok()
        );
        for foreign in [
            ("origin", "null"),
            ("origin", "http://localhost:9000"),
            ("origin", "https://evil.test"),
            ("sec-fetch-site", "same-site"),
            ("sec-fetch-site", "cross-site"),
        ] {
            assert!(
                own_origin(&here, &headers(&[host, foreign])).is_err(),
                "{foreign:?}"
            );
        }
        // Over HTTP/2 the target says where, and there is no `Host`.
        let here = Uri::from_static("https://localhost:8000/approvals");
        let own = ("origin", "https://localhost:8000");
        assert!(own_origin(&here, &headers(&[own])).is_ok());
        let foreign = ("origin", "https://localhost:9000");
        assert!(own_origin(&here, &headers(&[foreign])).is_err());
    }

    #[test]
    fn a_field_is_there_once() {
        let form = Form::parse(b"a=1&b=%3Cx%3E+y").unwrap();
        assert_eq!(
            (form.get("a"), form.get("b"), form.get("c")),
            ("1", "<x> y", "")
        );
        assert!(Form::parse(b"a=1&a=2").is_err());
    }
}
