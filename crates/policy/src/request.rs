//! The question: who asks for what, about which tool, under which circumstances.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Map, Value};

use crate::action::Action;
use crate::attribute::WEEKDAYS;
use crate::decision::Reason;

/// Most bytes in one text of a request (subject, tenant, role, scope, tag, ids, client).
const TEXT_MAX: usize = 1024;
/// Most entries in one set of a request (roles, scopes, tags).
const SET_MAX: usize = 512;

/// One question to a policy set. It borrows, so that asking costs no allocation.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// What is asked for.
    pub action: Action,
    /// Who asks.
    pub subject: &'a Subject,
    /// The tool, for the actions that have one ([`Action::has_resource`]); `None` for the others.
    pub resource: Option<&'a Resource>,
    /// The circumstances.
    pub context: &'a Context<'a>,
}

/// The verified caller, as policy sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subject {
    /// The caller's name within its tenant (`sub`).
    pub sub: String,
    /// The caller's tenant. An empty one counts as missing.
    pub tenant: Option<String>,
    /// The caller's roles. Roles that no policy file defines give nothing.
    pub roles: BTreeSet<String>,
    /// The scopes that the token itself carries. `None`: it carries none, the roles' scopes apply whole. `Some`: they apply only as far
    /// as this set goes, so an empty set leaves nothing.
    pub scopes: Option<BTreeSet<String>>,
    /// The token's other claims; rules read them as `subject.claims.<name>`.
    pub claims: Arc<Map<String, Value>>,
}

impl Subject {
    /// Creates a caller without tenant, roles, scopes or claims.
    #[must_use]
    pub fn new(sub: impl Into<String>) -> Self {
        Self {
            sub: sub.into(),
            ..Self::default()
        }
    }

    /// Sets the tenant.
    #[must_use]
    pub fn tenant(mut self, tenant: impl Into<String>) -> Self {
        self.tenant = Some(tenant.into());
        self
    }

    /// Sets the roles.
    #[must_use]
    pub fn roles<S: Into<String>>(mut self, roles: impl IntoIterator<Item = S>) -> Self {
        self.roles = roles.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the token's own scopes.
    #[must_use]
    pub fn scopes<S: Into<String>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
        self.scopes = Some(scopes.into_iter().map(Into::into).collect());
        self
    }

    /// Adds one claim.
    #[must_use]
    pub fn claim(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        Arc::make_mut(&mut self.claims).insert(name.into(), value.into());
        self
    }

    /// Returns the tenant, an empty one counted as missing: two missing tenants must never look equal.
    pub(crate) fn known_tenant(&self) -> Option<&str> {
        self.tenant.as_deref().filter(|tenant| !tenant.is_empty())
    }
}

/// The tool that a request is about, as its manifest and this call describe it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Resource {
    /// The tool's id, such as `database:listTables`.
    pub tool_id: String,
    /// The provider's id, such as `database`.
    pub provider_id: String,
    /// The manifest's tenant. `public` belongs to everybody; an empty one counts as missing.
    pub tenant: Option<String>,
    /// The manifest's safety tags and those that this very call adds (overwriting a file is `destructive`).
    pub safety_tags: BTreeSet<String>,
    /// The scopes that a call needs, all of them.
    pub required_scopes: BTreeSet<String>,
    /// The data label, if the manifest has one.
    pub classification: Option<String>,
    /// Whether the manifest says that the tool only reads.
    pub read_only: bool,
}

impl Resource {
    /// The tenant of tools that belong to everybody.
    pub const PUBLIC: &'static str = "public";

    /// Creates a writing tool without tenant, tags or required scopes.
    #[must_use]
    pub fn new(tool_id: impl Into<String>, provider_id: impl Into<String>) -> Self {
        Self {
            tool_id: tool_id.into(),
            provider_id: provider_id.into(),
            ..Self::default()
        }
    }

    /// Sets the tenant.
    #[must_use]
    pub fn tenant(mut self, tenant: impl Into<String>) -> Self {
        self.tenant = Some(tenant.into());
        self
    }

    /// Sets the safety tags.
    #[must_use]
    pub fn safety_tags<S: Into<String>>(mut self, tags: impl IntoIterator<Item = S>) -> Self {
        self.safety_tags = tags.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the required scopes.
    #[must_use]
    pub fn required_scopes<S: Into<String>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
        self.required_scopes = scopes.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the data label.
    #[must_use]
    pub fn classification(mut self, label: impl Into<String>) -> Self {
        self.classification = Some(label.into());
        self
    }

    /// Sets whether the tool only reads.
    #[must_use]
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    pub(crate) fn is_public(&self) -> bool {
        self.tenant.as_deref() == Some(Self::PUBLIC)
    }

    /// Returns the tenant that rules see. Calling a public tool, or approving its call, is about one's own; registering one is not: it would
    /// reach into every tenant.
    pub(crate) fn tenant_seen<'a>(
        &'a self,
        subject: &'a Subject,
        action: Action,
    ) -> Option<&'a str> {
        if self.is_public() && action != Action::ManifestsRegister {
            return subject.known_tenant();
        }
        self.known_tenant()
    }

    pub(crate) fn known_tenant(&self) -> Option<&str> {
        self.tenant.as_deref().filter(|tenant| !tenant.is_empty())
    }
}

/// The circumstances of a request.
#[derive(Debug, Clone, PartialEq)]
pub struct Context<'a> {
    /// When the request is decided.
    pub time: Timestamp,
    /// The client program's name.
    pub client: Option<&'a str>,
    /// The caller's address, if it is known for certain.
    pub ip: Option<IpAddr>,
    /// The correlation id.
    pub corr_id: Option<&'a str>,
    /// What the caller has read: the labels of the results that it was given. `None` means none, or not known (a listing). For
    /// [`Action::ApprovalsDecide`], what the one who asked had read.
    pub labels: Option<&'a BTreeSet<String>>,
    /// The call's arguments: a JSON object. `None` means that they are not known (a listing); an empty object, that there are none.
    pub arguments: Option<&'a Value>,
}

impl<'a> Context<'a> {
    /// Creates a context that knows the time only.
    #[must_use]
    pub const fn at(time: Timestamp) -> Self {
        Self {
            time,
            client: None,
            ip: None,
            corr_id: None,
            labels: None,
            arguments: None,
        }
    }

    /// Sets the client program's name.
    #[must_use]
    pub const fn client(mut self, client: &'a str) -> Self {
        self.client = Some(client);
        self
    }

    /// Sets the caller's address.
    #[must_use]
    pub const fn ip(mut self, ip: IpAddr) -> Self {
        self.ip = Some(ip);
        self
    }

    /// Sets the correlation id.
    #[must_use]
    pub const fn corr_id(mut self, corr_id: &'a str) -> Self {
        self.corr_id = Some(corr_id);
        self
    }

    /// Sets what the caller has read.
    #[must_use]
    pub const fn labels(mut self, labels: &'a BTreeSet<String>) -> Self {
        self.labels = Some(labels);
        self
    }

    /// Sets the call's arguments.
    #[must_use]
    pub const fn arguments(mut self, arguments: &'a Value) -> Self {
        self.arguments = Some(arguments);
        self
    }

    /// The hour, in UTC.
    pub(crate) fn hour(&self) -> i64 {
        TimeZone::UTC.to_datetime(self.time).hour().into()
    }

    /// The day of the week, in UTC.
    pub(crate) fn weekday(&self) -> &'static str {
        let day = TimeZone::UTC.to_datetime(self.time).weekday();
        let at = usize::from(day.to_monday_zero_offset().unsigned_abs());
        WEEKDAYS.get(at).copied().unwrap_or_default()
    }

    /// The caller's address, an IPv4 address as such.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        self.ip.map(|ip| ip.to_canonical())
    }
}

impl Request<'_> {
    /// Refuses a request that is out of bounds or whose shape does not fit its action.
    pub(crate) fn check(&self) -> Result<(), Reason> {
        let (subject, context) = (self.subject, self.context);
        if self.action.has_resource() != self.resource.is_some() {
            let what = if self.action.has_resource() {
                "the resource that this action needs"
            } else {
                "no resource for this action"
            };
            return Err(Reason::Undecidable {
                what: what.to_owned(),
            });
        }
        let tool = self.resource;
        let texts = [
            ("subject.sub", Some(subject.sub.as_str())),
            ("subject.tenant", subject.tenant.as_deref()),
            ("context.client", context.client),
            ("context.corr_id", context.corr_id),
            ("resource.toolId", tool.map(|tool| tool.tool_id.as_str())),
            (
                "resource.provider_id",
                tool.map(|tool| tool.provider_id.as_str()),
            ),
            (
                "resource.tenant",
                tool.and_then(|tool| tool.tenant.as_deref()),
            ),
            (
                "resource.classification",
                tool.and_then(|tool| tool.classification.as_deref()),
            ),
        ];
        let sets = [
            ("subject.roles", Some(&subject.roles)),
            ("subject.scopes", subject.scopes.as_ref()),
            ("context.labels", context.labels),
            ("resource.safety_tags", tool.map(|tool| &tool.safety_tags)),
            (
                "resource.required_scopes",
                tool.map(|tool| &tool.required_scopes),
            ),
        ];
        let long = texts
            .into_iter()
            .find(|(_, text)| text.is_some_and(|text| text.len() > TEXT_MAX));
        let wide = sets
            .into_iter()
            .find(|(_, set)| set.is_some_and(is_too_large));
        match long
            .map(|(field, _)| field)
            .or(wide.map(|(field, _)| field))
        {
            Some(field) => Err(Reason::TooLarge { field }),
            None => Ok(()),
        }
    }
}

fn is_too_large(set: &BTreeSet<String>) -> bool {
    set.len() > SET_MAX || set.iter().any(|entry| entry.len() > TEXT_MAX)
}
