//! What is true of every request that this product makes, and that Cedar's schema cannot say.
//!
//! A solver looks for a counterexample among all that the schema admits: callers whose `roles` differ from the roles that they are in, scopes
//! that no role gives. INVARIANT: each line here holds for every request that is ever decided (once scopes that nothing can tell apart are taken for
//! one), so that what is proved under them is true.
//! Where a line says less than it could, a counterexample may be impossible; each is held against the evaluator before anybody sees it.

use std::collections::{BTreeMap, BTreeSet};

use super::Tool;
use super::formula::{Named, Side, any, unfit_lists};
use crate::action::Action;
use crate::attribute::WEEKDAYS;
use crate::reads::Reads;
use crate::schema::quoted;
use crate::scope::{APPROVE, INVOKE_READ, INVOKE_WRITE, REGISTER, ScopeSet};

/// The circumstances under which a question is asked.
pub(super) struct World<'a> {
    pub(super) action: Action,
    /// The policies: one, or two that are compared.
    pub(super) sides: &'a [Side<'a>],
    pub(super) named: &'a Named,
    /// What the policies and the question read.
    pub(super) reads: &'a Reads,
    /// What the question itself reads.
    pub(super) asked: &'a Reads,
    /// The tools that there are; empty for all that could be.
    pub(super) tools: &'a [Tool],
}

impl World<'_> {
    /// Returns the lines, each a Cedar expression that holds for every request.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        self.entities(&mut lines);
        self.tenants(&mut lines);
        self.scopes(&mut lines);
        self.context(&mut lines);
        for path in &self.reads.arguments {
            // Only where a dot separates and belongs to a name at once. Whether the conditions of the question hold of such an argument,
            // nobody can say.
            let one_place = !path.contains('.') || self.asked.arguments.contains(path);
            argument(&quoted(path), one_place, &mut lines);
        }
        // Nor of a list that its conditions cannot be held against.
        let unfit = unfit_lists(self.asked).into_iter();
        lines.extend(unfit.map(|list| format!("!(context has arguments && {list})")));
        // An approval is about the tool as it was when the call was asked for, which may be in no list of today.
        if self.action == Action::ToolsInvoke && !self.tools.is_empty() {
            lines.push(any(self.tools.iter().map(is_tool).collect()));
        }
        lines
    }

    /// An entity's id and its parents say the same as its attributes.
    fn entities(&self, lines: &mut Vec<String>) {
        for role in self.named.of("Role") {
            let role = quoted(role);
            lines.push(format!(
                "(principal in Role::{role}) == principal.roles.contains({role})"
            ));
        }
        for sub in self.named.of("Caller") {
            let sub = quoted(sub);
            lines.push(format!(
                "(principal == Caller::{sub}) == (principal.sub == {sub})"
            ));
        }
        if !self.action.has_resource() {
            return;
        }
        for tool in self.named.of("Tool") {
            let tool = quoted(tool);
            lines.push(format!(
                "(resource == Tool::{tool}) == (resource.toolId == {tool})"
            ));
        }
        // The gateway knows no tool whose id does not begin with its provider's, and a colon.
        let tools = self.named.texts.iter();
        for (tool, (provider, _)) in tools.filter_map(|text| Some((text, text.split_once(':')?))) {
            lines.push(format!(
                "resource.toolId != {} || resource.provider_id == {}",
                quoted(tool),
                quoted(provider)
            ));
        }
        for provider in self.named.of("Provider") {
            let provider = quoted(provider);
            lines.push(format!(
                "(resource in Provider::{provider}) == (resource.provider_id == {provider})"
            ));
        }
    }

    fn tenants(&self, lines: &mut Vec<String>) {
        let known = |who: &str, name: &str| format!("({who} has tenant && {who}.tenant == {name})");
        lines.push(format!("!{}", known("principal", "\"\"")));
        let is_public = known("resource", "\"public\"");
        match self.action {
            Action::CatalogList => return,
            // A public tool counts as the caller's own.
            Action::ToolsInvoke | Action::ApprovalsDecide => {
                lines.push(
                    "!resource.public || (if principal has tenant then resource has tenant && resource.tenant == principal.tenant \
                     else !(resource has tenant))"
                        .to_owned(),
                );
                lines.push(format!("resource.public || !{is_public}"));
            }
            Action::ManifestsRegister => lines.push(format!("resource.public == {is_public}")),
        }
        lines.push(format!("!{}", known("resource", "\"\"")));
    }

    /// Scopes are what the caller's roles give, or as much of it as the token leaves.
    fn scopes(&self, lines: &mut Vec<String>) {
        let mut sides: Vec<Side<'_>> = self.sides.to_vec();
        sides.dedup_by_key(|side| side.scopes);
        let known = self.known_scopes(&sides);
        for side in &sides {
            let held = format!("principal.{}", side.scopes);
            if !self.named.computed_scopes {
                lines.push(format!("{}.containsAll({held})", list(&known)));
            }
            for scope in &known {
                let given = covered(side, scope);
                lines.push(format!("!{held}.contains({}) || {given}", quoted(scope)));
                let one: ScopeSet = std::iter::once(scope.clone()).collect();
                let within: BTreeSet<_> = known
                    .iter()
                    .filter(|other| *other != scope && one.covers(other))
                    .cloned()
                    .collect();
                if !within.is_empty() {
                    lines.push(format!(
                        "!{held}.contains({}) || {held}.containsAll({})",
                        quoted(scope),
                        list(&within)
                    ));
                }
            }
        }
        if let [left, right] = sides.as_slice() {
            // One token for both: it leaves a scope, or it does not.
            for scope in &known {
                let same = format!(
                    "principal.{}.contains({scope}) == principal.{}.contains({scope})",
                    left.scopes,
                    right.scopes,
                    scope = quoted(scope)
                );
                let (here, there) = (covered(left, scope), covered(right, scope));
                lines.push(format!("!({here} && {there}) || {same}"));
            }
        }
        if self.action.has_resource() && !self.named.computed_scopes {
            lines.push(format!(
                "{}.containsAll(resource.required_scopes)",
                list(&known)
            ));
        }
    }

    /// The scopes that can be told apart: those that policies or tools name, and of all others one for each set of roles that give it.
    fn known_scopes(&self, sides: &[Side<'_>]) -> BTreeSet<String> {
        let mut known: BTreeSet<String> = self.named.scopes.clone();
        known.extend(self.reads.scopes.iter().cloned());
        known.extend([APPROVE, INVOKE_READ, INVOKE_WRITE, REGISTER].map(str::to_owned));
        for tool in self.tools {
            let needed = tool.resource.required_scopes.iter();
            let added = tool.demands.scopes().into_iter().flatten();
            known.extend(needed.chain(added).cloned());
        }
        let all = sides
            .iter()
            .flat_map(|side| side.set.role_scopes().values())
            .flat_map(|scopes| scopes.listed());
        let all: BTreeSet<&String> = all.collect();
        let unused = |stem: &str| {
            let mut name = format!("{stem}other");
            while all.contains(&name) || known.contains(&name) {
                name.push('x');
            }
            name
        };
        let mut distinct: BTreeMap<Vec<Vec<&str>>, String> = BTreeMap::new();
        let stands_for = |scope: &&String| match scope.strip_suffix('*') {
            Some(stem) => unused(stem),
            None => (*scope).clone(),
        };
        for scope in all.iter().map(stands_for).chain([unused("no-role-gives-")]) {
            let given = sides.iter().map(|side| giving(side, &scope)).collect();
            distinct.entry(given).or_insert(scope);
        }
        known.extend(distinct.into_values());
        known
    }

    fn context(&self, lines: &mut Vec<String>) {
        // Every call carries arguments, if only none of them, and who approves it is shown them; nothing else does.
        lines.push(if self.action.is_of_a_call() {
            "context has arguments".to_owned()
        } else {
            "!(context has arguments)".to_owned()
        });
        let reads = |name: &str| self.reads.context.contains(name);
        if reads("hour") {
            lines.push("context.hour >= 0 && context.hour <= 23".to_owned());
        }
        if reads("weekday") {
            let days = WEEKDAYS.map(quoted).join(", ");
            lines.push(format!("[{days}].contains(context.weekday)"));
        }
        if reads("time") {
            lines.push(
                "context.time >= datetime(\"0000-01-01\") && context.time <= datetime(\"9999-12-31T23:59:59.999Z\")"
                    .to_owned(),
            );
        }
    }
}

/// The roles that give a scope.
fn giving<'a>(side: &Side<'a>, scope: &str) -> Vec<&'a str> {
    let roles = side.set.role_scopes().iter();
    roles
        .filter(|(_, scopes)| scopes.covers(scope))
        .map(|(role, _)| role.as_str())
        .collect()
}

fn covered(side: &Side<'_>, scope: &str) -> String {
    let roles = giving(side, scope);
    if roles.is_empty() {
        return "false".to_owned();
    }
    let roles: Vec<_> = roles.into_iter().map(quoted).collect();
    format!("principal.roles.containsAny([{}])", roles.join(", "))
}

/// An argument has one type, or it stands in several places and none is seen of it. `path` is quoted.
fn argument(path: &str, one_place: bool, lines: &mut Vec<String>) {
    let has = |kind: &str| format!("context.arguments.{kind}.hasTag({path})");
    let is = |name: &str| {
        format!(
            "({} && context.arguments.kind.getTag({path}) == \"{name}\")",
            has("kind")
        )
    };
    let mut line =
        |text: String| lines.push(format!("if context has arguments then {text} else true"));
    let names = ["text", "flag", "number", "list", "object"].map(&is);
    line(format!("!{} || {}", has("kind"), names.join(" || ")));
    line(format!("{} == {}", has("flag"), is("flag")));
    line(format!("!{} || {}", has("text"), is("text")));
    line(format!("!{} || {}", has("number"), is("number")));
    line(format!("!{} || {}", has("decimal"), is("number")));
    line(format!("!{} || {}", has("list"), is("list")));
    line(format!("!{} || {}", has("mixed"), is("list")));
    line(format!("!({} && {})", has("list"), has("mixed")));
    line(if one_place {
        format!("!{}", has("several"))
    } else {
        format!("!({} && {})", has("several"), has("kind"))
    });
}

/// A call of this very tool, with whatever its arguments may demand on top.
fn is_tool(tool: &Tool) -> String {
    let resource = &tool.resource;
    let mut parts = vec![
        format!("resource.toolId == {}", quoted(&resource.tool_id)),
        format!("resource.provider_id == {}", quoted(&resource.provider_id)),
        format!("resource.public == {}", resource.is_public()),
    ];
    let open = [
        ("safety_tags", &resource.safety_tags, tool.demands.tags()),
        (
            "required_scopes",
            &resource.required_scopes,
            tool.demands.scopes(),
        ),
    ];
    for (name, least, added) in open {
        if !least.is_empty() {
            parts.push(format!("resource.{name}.containsAll({})", list(least)));
        }
        let Some(added) = added else { continue };
        let most: BTreeSet<String> = least.union(added).cloned().collect();
        parts.push(if most.is_empty() {
            format!("resource.{name}.isEmpty()")
        } else {
            format!("{}.containsAll(resource.{name})", list(&most))
        });
    }
    if !resource.read_only {
        parts.push("!resource.read_only".to_owned());
    } else if !tool.demands.may_write() {
        parts.push("resource.read_only".to_owned());
    }
    let exactly = |name: &str, value: Option<&str>| match value {
        Some(value) => format!(
            "resource has {name} && resource.{name} == {}",
            quoted(value)
        ),
        None => format!("!(resource has {name})"),
    };
    // What the tenant of a public tool counts as is said for all tools.
    if !resource.is_public() {
        parts.push(exactly("tenant", resource.known_tenant()));
    }
    parts.push(exactly(
        "classification",
        resource.classification.as_deref(),
    ));
    format!("({})", parts.join(" && "))
}

/// A set that holds something: strict Cedar has no empty one, since it would not know its type.
fn list(names: &BTreeSet<String>) -> String {
    let names: Vec<_> = names.iter().map(|name| quoted(name)).collect();
    format!("[{}]", names.join(", "))
}
