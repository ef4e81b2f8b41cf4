//! What a record says of who calls: the caller, who acts for it, and its program.

use std::net::IpAddr;

use fastmcp_audit::{Draft, Object};
use fastmcp_auth::{Caller, UserAgent, caller::Actor};
use fastmcp_guard::redact::Redactor;
use serde_json::{Value, json};

use super::{bounded, secret::plain};

/// Who sent what was refused before it was a call.
#[derive(Clone, Copy, Debug)]
pub enum From<'a> {
    /// Who proved to be somebody.
    Caller(&'a Caller),
    /// Whoever is at this address, with this User-Agent.
    Unknown(Option<IpAddr>, Option<&'a str>),
}

impl From<'_> {
    pub(super) fn name_in(self, draft: &mut Draft) {
        match self {
            Self::Caller(caller) => who(draft, caller),
            Self::Unknown(address, agent) => {
                draft.ip_address = address.map(|a| a.to_string());
                draft.user_agent = agent.map(bounded);
            }
        }
    }
}

/// Names the caller and, where its token does, those who act for it: whatever becomes of what is asked.
pub(super) fn who(draft: &mut Draft, caller: &Caller) {
    draft.sub = Some(bounded(caller.subject()));
    draft.tenant = caller.tenant().map(bounded);
    draft.ip_address = caller.client_address().map(shown);
    draft.user_agent = caller.user_agent().map(|a| bounded(a.as_str()));
    let actors = caller.actors();
    if !actors.is_empty() {
        let details = draft.details.get_or_insert_default();
        details.put("actors", &Value::Array(chain(actors)));
    }
}

/// An address as its `Display` writes it, which takes its time where every call has one.
fn shown(address: IpAddr) -> String {
    let IpAddr::V4(address) = address else {
        return address.to_string();
    };
    let mut text = String::with_capacity("255.255.255.255".len());
    for (place, octet) in address.octets().into_iter().enumerate() {
        if place > 0 {
            text.push('.');
        }
        if octet >= 100 {
            text.push(char::from(b'0' + octet / 100));
        }
        if octet >= 10 {
            text.push(char::from(b'0' + octet / 10 % 10));
        }
        text.push(char::from(b'0' + octet % 10));
    }
    text
}

/// Who acts for somebody, as records, the state and approvals name them.
pub fn chain(actors: &[Actor]) -> Vec<Value> {
    actors.iter().map(said).collect()
}

/// An actor in the words of the token.
fn said(actor: &Actor) -> Value {
    match actor.issuer() {
        None => json!({"sub": actor.subject()}),
        Some(issuer) => json!({"iss": issuer, "sub": actor.subject()}),
    }
}

/// Names the program that rules saw. One by mistake may send its key where its name belongs.
pub(super) fn program(attributes: &mut Object, redactor: &Redactor, client: Option<&UserAgent>) {
    let name = client.and_then(UserAgent::product);
    let name = name.map(|name| plain(redactor, name));
    attributes.text("client", name.as_deref());
    if let Some(version) = client.and_then(UserAgent::version) {
        attributes.text("client_version", &*plain(redactor, version));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn addresses_are_written_as_ever(address: IpAddr) {
            prop_assert_eq!(shown(address), address.to_string());
        }
    }
}
