//! The words of the rules as a Cedar schema, the same for every deployment.

use std::sync::LazyLock;

use cedar_policy::{EntityId, EntityTypeName, EntityUid, Schema};

use crate::action::Action;

/// The schema against which every policy is validated, strictly. Those who write `.cedar` files write against it.
///
/// Arguments and claims are open, Cedar's records are not: both are tags. `principal.getTag("department")` is the claim `department` as a set
/// of texts, `context.arguments.number.getTag("budget")` the argument `budget` where it is an integer, and so on by type.
pub const SCHEMA: &str = r#"
entity Role;
entity Provider;
entity Catalog;

// The caller. `scopes` are the effective ones: the roles' scopes as far as the token leaves them, wildcards expanded.
entity Caller in [Role] = {
  sub: String,
  tenant?: String,
  roles: Set<String>,
  scopes: Set<String>,
} tags Set<String>;

// A tool. For `tools.invoke` and `approvals.decide`, the tenant of a public tool is the caller's own.
entity Tool in [Provider] = {
  toolId: String,
  provider_id: String,
  tenant?: String,
  public: Bool,
  safety_tags: Set<String>,
  required_scopes: Set<String>,
  classification?: String,
  read_only: Bool,
};

entity ArgumentKind tags String;
entity ArgumentText tags String;
entity ArgumentFlag tags Bool;
entity ArgumentNumber tags Long;
entity ArgumentDecimal tags decimal;
entity ArgumentList tags Set<String>;
entity ArgumentMixed tags Set<String>;

// `labels`: what the caller has read; for `approvals.decide`, what the one who asked had read.
type Circumstances = {
  time: datetime,
  hour: Long,
  weekday: String,
  client?: String,
  ip?: ipaddr,
  corr_id?: String,
  labels: Set<String>,
  arguments?: {
    kind: ArgumentKind,
    text: ArgumentText,
    flag: ArgumentFlag,
    number: ArgumentNumber,
    decimal: ArgumentDecimal,
    list: ArgumentList,
    mixed: ArgumentMixed,
  },
};

action "tools.invoke" appliesTo { principal: [Caller], resource: [Tool], context: Circumstances };
action "manifests.register" appliesTo { principal: [Caller], resource: [Tool], context: Circumstances };
action "approvals.decide" appliesTo { principal: [Caller], resource: [Tool], context: Circumstances };
action "catalog:list" appliesTo { principal: [Caller], resource: [Catalog], context: Circumstances };
"#;

/// The kinds of arguments, each with the entity type that holds it.
pub(crate) const ARGUMENT_KINDS: [(&str, &str); 7] = [
    ("kind", "ArgumentKind"),
    ("text", "ArgumentText"),
    ("flag", "ArgumentFlag"),
    ("number", "ArgumentNumber"),
    ("decimal", "ArgumentDecimal"),
    ("list", "ArgumentList"),
    ("mixed", "ArgumentMixed"),
];

/// The parsed schema.
#[expect(
    clippy::expect_used,
    reason = "the text is a constant, and a test parses it"
)]
pub(crate) static PARSED: LazyLock<Schema> = LazyLock::new(|| {
    Schema::from_cedarschema_str(SCHEMA)
        .map(|(schema, _)| schema)
        .expect("the schema is valid")
});

/// The same for a solver, whose callers have a second set of scopes: under the policy that is compared with. And an argument may stand in
/// several places, which every policy that reads it refuses to judge before Cedar is asked.
#[cfg(feature = "prove")]
#[expect(
    clippy::expect_used,
    reason = "the text is a constant, and a test parses it"
)]
pub(crate) static COMPARED: LazyLock<Schema> = LazyLock::new(|| {
    let scopes = "  scopes: Set<String>,\n";
    let text = SCHEMA.replacen(
        scopes,
        &format!("{scopes}  scopes_elsewhere: Set<String>,\n"),
        1,
    );
    let list = "    list: ArgumentList,\n";
    let text = text.replacen(list, &format!("{list}    several: ArgumentSeveral,\n"), 1);
    let text = format!("entity ArgumentSeveral tags Bool;\n{text}");
    Schema::from_cedarschema_str(&text)
        .map(|(schema, _)| schema)
        .expect("the schema is valid")
});

/// Returns the id of an entity. `kind` is one of the schema's types.
#[expect(
    clippy::expect_used,
    reason = "the types are constants, and a test parses each"
)]
pub(crate) fn uid(kind: &'static str, id: &str) -> EntityUid {
    static TYPES: LazyLock<Vec<(&str, EntityTypeName)>> = LazyLock::new(|| {
        let fixed = ["Role", "Provider", "Catalog", "Caller", "Tool", "Action"];
        let kinds = fixed
            .into_iter()
            .chain(ARGUMENT_KINDS.map(|(_, name)| name));
        kinds
            .map(|name| (name, name.parse().expect("a type's name")))
            .collect()
    });
    let name = TYPES
        .iter()
        .find(|(name, _)| *name == kind)
        .map(|(_, name)| name.clone())
        .expect("a type of the schema");
    EntityUid::from_type_name_and_id(name, EntityId::new(id))
}

/// Returns the id of an action.
pub(crate) fn action_uid(action: Action) -> EntityUid {
    uid("Action", action.name())
}

/// Writes a text as a Cedar string. Cedar reads exactly the escapes that `escape_debug` writes.
pub(crate) fn quoted(text: &str) -> String {
    format!("\"{}\"", text.escape_debug())
}

/// Writes a moment as Cedar reads it.
pub(crate) fn datetime(moment: jiff::Timestamp) -> String {
    moment.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_names_every_action_and_every_type() {
        let actions: Vec<_> = PARSED.actions().map(ToString::to_string).collect();
        for action in Action::ALL {
            assert!(
                actions.contains(&action_uid(action).to_string()),
                "{action}"
            );
        }
        for (_, kind) in ARGUMENT_KINDS {
            assert!(
                PARSED.entity_types().any(|known| known.to_string() == kind),
                "{kind}"
            );
            uid(kind, "call");
        }
    }
}
