//! Logins that are under way at the identity provider.
//!
//! Nothing is kept of them here, or whoever begins many would leave no room for others: a login stands, sealed, in a cookie of
//! the browser that began it, for as long as it may take. What is kept is which were used: for all replicas those that led to
//! a person, and in this process the newest of those that did not, so that one login asks the identity provider once.
//!
//! Source: RFC 9700, sections 2.1.2 and 4.7; RFC 6265, sections 4.1.2 and 6.1 (what a browser keeps of one host).

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderValue, header};

use super::Inner;
use super::answer::{Answer, Refused};
use super::consent::{cookie, cookies};
use super::record::Login;
use crate::digest::sha256;

/// How the cookies are called, before the name of the login.
const SECURE_COOKIE: &str = "__Host-fastmcp-login-";
const COOKIE: &str = "fastmcp-login-";

/// Most bytes of one cookie, of which browsers keep 4,096 with its name, and most cookies of a login.
const PART: usize = 3_500;
const MAX_PARTS: usize = 2;

/// Most logins that one browser has under way, and most bytes of all of them; the oldest goes first. Proxies before us take
/// 8 KiB of cookies by their defaults, and others are among them.
const MAX_LOGINS: usize = 4;
const MAX_BYTES: usize = 7_000;

/// How many used logins this process remembers; the oldest goes first.
const MAX_SPENT: usize = 10_000;

/// The logins that were used lately.
#[derive(Default)]
pub(super) struct Spent {
    states: Mutex<States>,
}

/// The digests of their states, and the order in which they came.
#[derive(Default)]
struct States {
    known: HashSet<[u8; 32]>,
    order: VecDeque<[u8; 32]>,
}

impl Spent {
    /// Uses a login up; whether it was unused.
    pub(super) fn take(&self, state: &str) -> bool {
        let digest = sha256(state.as_bytes());
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        let States { known, order } = &mut *states;
        if !known.insert(digest) {
            return false;
        }
        order.push_back(digest);
        if order.len() > MAX_SPENT
            && let Some(oldest) = order.pop_front()
        {
            known.remove(&oldest);
        }
        true
    }
}

impl Inner {
    const fn login_prefix(&self) -> &'static str {
        if self.secure { SECURE_COOKIE } else { COOKIE }
    }

    fn login_cookie(&self, state: &str) -> String {
        let mut name = URL_SAFE_NO_PAD.encode(sha256(state.as_bytes()));
        name.truncate(16);
        format!("{}{name}", self.login_prefix())
    }

    fn login_bound(&self, state: &str) -> String {
        format!("login|{}|{state}", self.issuer())
    }

    /// Has the browser that sent `headers` keep a login until it comes back.
    pub(super) fn begin_login(
        &self,
        headers: &HeaderMap,
        (state, login): (&str, &Login),
        answer: &mut Answer,
    ) -> Result<(), Refused> {
        let plain = serde_json::to_vec(login).map_err(|_| Refused::unavailable())?;
        let bound = self.login_bound(state);
        let sealed = self.keys.ring().seal_text(bound.as_bytes(), &plain);
        let mut rest = sealed.map_err(|_| Refused::unavailable())?;
        for name in self.stale_logins(headers, rest.len()) {
            self.set_login(&name, "", 0, answer)?;
        }
        let name = self.login_cookie(state);
        let keep = self.config.lifetimes.login.as_secs();
        for part in 0..MAX_PARTS {
            // What is sealed is ASCII.
            let more = rest.split_off(rest.len().min(PART));
            self.set_login(&format!("{name}.{part}"), &rest, keep, answer)?;
            rest = more;
            if rest.is_empty() {
                return Ok(());
            }
        }
        Err(Refused::new("invalid_request", "the request is too long"))
    }

    /// The login of that state, if the browser that sent `headers` began it.
    pub(super) fn login(&self, headers: &HeaderMap, state: &str) -> Option<Login> {
        let name = self.login_cookie(state);
        let parts = (0..MAX_PARTS).map_while(|part| cookie(headers, &format!("{name}.{part}")));
        let sealed: String = parts.collect();
        let bound = self.login_bound(state);
        let opened = self.keys.ring().open_text(bound.as_bytes(), &sealed);
        serde_json::from_slice(&opened.ok()?).ok()
    }

    /// Has the browser forget a login that came back.
    pub(super) fn end_login(
        &self,
        headers: &HeaderMap,
        state: &str,
        answer: &mut Answer,
    ) -> Result<(), Refused> {
        let name = format!("{}.", self.login_cookie(state));
        let sent = cookies(headers).filter(|(known, _)| known.starts_with(&name));
        for (known, _) in sent.take(MAX_PARTS) {
            self.set_login(known, "", 0, answer)?;
        }
        Ok(())
    }

    /// The cookies of the logins that make room for one more: servers take only so many bytes of them. Browsers send the
    /// oldest cookies first.
    fn stale_logins(&self, headers: &HeaderMap, newest: usize) -> Vec<String> {
        let ours = |(name, value): &(&str, &str)| {
            !value.is_empty() && name.starts_with(self.login_prefix())
        };
        let sent: Vec<(&str, &str)> = cookies(headers).filter(ours).collect();
        let of = |name: &str| {
            let login = name.split_once('.').map_or(name, |(login, _)| login);
            login.to_owned()
        };
        let (mut kept, mut bytes): (Vec<String>, usize) = (Vec::new(), newest);
        let mut stale = Vec::new();
        for (name, value) in sent.into_iter().rev() {
            let login = of(name);
            bytes = bytes.saturating_add(value.len());
            let is_new = !kept.contains(&login);
            if bytes > MAX_BYTES || (is_new && kept.len() >= MAX_LOGINS - 1) {
                stale.push(name.to_owned());
            } else if is_new {
                kept.push(login);
            }
        }
        stale
    }

    /// Sets a cookie for that many seconds; for none, the browser forgets it. It is `Lax`: the identity provider sends the
    /// browser back by a link.
    fn set_login(
        &self,
        name: &str,
        value: &str,
        seconds: u64,
        answer: &mut Answer,
    ) -> Result<(), Refused> {
        let secure = if self.secure { "; Secure" } else { "" };
        let cookie =
            format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}");
        let mut cookie = HeaderValue::try_from(cookie).map_err(|_| Refused::unavailable())?;
        cookie.set_sensitive(true);
        answer.headers_mut().append(header::SET_COOKIE, cookie);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_used_once_and_what_is_remembered_has_a_bound() {
        let spent = Spent::default();
        assert!(spent.take("first"));
        assert!(!spent.take("first"));
        for at in 0..MAX_SPENT {
            assert!(spent.take(&format!("state {at}")));
        }
        assert_eq!(spent.states.lock().unwrap().order.len(), MAX_SPENT);
        assert_eq!(spent.states.lock().unwrap().known.len(), MAX_SPENT);
        assert!(!spent.take("state 9999"), "the newest are remembered");
        assert!(spent.take("first"), "the oldest went");
    }
}
