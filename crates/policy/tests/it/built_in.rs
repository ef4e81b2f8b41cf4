//! The built-in policy: who may call what.

use fastmcp_policy::{Action, ConsentLevel, Effect, PolicySet, Resource, Sources, Subject};

use crate::{ask, invoke};

fn set() -> PolicySet {
    PolicySet::load(&Sources::built_in(), 1).unwrap_or_else(|error| panic!("{error}"))
}

fn holder(role: &str) -> Subject {
    Subject::new("agent-1").tenant("acme").roles([role])
}

fn tool(id: &str) -> Resource {
    let tool = |provider: &str, scope: &str| {
        Resource::new(id, provider)
            .tenant("public")
            .required_scopes([scope])
    };
    match id {
        "ads:createCampaign" => tool("ads", "ads.write").safety_tags(["financial", "destructive"]),
        "pipedrive:createDeal" => tool("pipedrive", "pipedrive.write").safety_tags(["business"]),
        "pipedrive:getDeal" => tool("pipedrive", "pipedrive.read").read_only(true),
        "database:executeQuery" => {
            tool("database", "database.execute").safety_tags(["data_access"])
        }
        "database:listTables" => tool("database", "database.read").read_only(true),
        "filesystem:readFile" | "filesystem:listDirectory" => {
            tool("filesystem", "filesystem.read").read_only(true)
        }
        "filesystem:writeFile" => tool("filesystem", "filesystem.write"),
        "mcp:git:commit" => tool("mcp", "mcp.git"),
        "mcp:mail:send" => tool("mcp", "mcp.mail"),
        other => panic!("no tool {other}"),
    }
}

#[test]
fn each_role_reaches_its_tools_and_no_others() {
    let reach: [(&str, &[&str]); 9] = [
        ("agent", &[]),
        ("admin", &[]),
        ("finance-write", &["ads:createCampaign"]),
        (
            "sales-write",
            &["pipedrive:createDeal", "pipedrive:getDeal"],
        ),
        (
            "data-analyst",
            &["database:executeQuery", "database:listTables"],
        ),
        ("mcp-user", &["mcp:git:commit"]),
        ("mcp-admin", &["mcp:git:commit", "mcp:mail:send"]),
        (
            "fs-reader",
            &["filesystem:readFile", "filesystem:listDirectory"],
        ),
        (
            "fs-writer",
            &[
                "filesystem:readFile",
                "filesystem:listDirectory",
                "filesystem:writeFile",
            ],
        ),
    ];
    let tools = [
        "ads:createCampaign",
        "pipedrive:createDeal",
        "pipedrive:getDeal",
        "database:executeQuery",
        "database:listTables",
        "filesystem:readFile",
        "filesystem:listDirectory",
        "filesystem:writeFile",
        "mcp:git:commit",
        "mcp:mail:send",
    ];
    let set = set();
    for (role, reached) in reach {
        for id in tools {
            let decision = invoke(&set, &holder(role), &tool(id));
            assert_eq!(
                decision.is_allowed(),
                reached.contains(&id),
                "{role} {id}: {}",
                decision.reason
            );
        }
    }
}

#[test]
fn money_and_destruction_are_confirmed() {
    let set = set();
    let campaign = invoke(&set, &holder("finance-write"), &tool("ads:createCampaign"));
    assert_eq!(campaign.confirmation(), Some(ConsentLevel::Client));
    assert_eq!(
        campaign.policy_ids,
        ["invoke-ads-create", "safety-destroy-requires-confirm"]
    );
    let write = invoke(&set, &holder("fs-writer"), &tool("filesystem:writeFile"));
    assert!(write.is_allowed() && !write.needs_ticket());
    let overwrite = invoke(
        &set,
        &holder("fs-writer"),
        &tool("filesystem:writeFile").safety_tags(["destructive"]),
    );
    assert_eq!(overwrite.confirmation(), Some(ConsentLevel::Client));
    assert!(
        invoke(
            &set,
            &holder("data-analyst"),
            &tool("database:executeQuery")
        )
        .obligations
        .is_empty()
    );
}

#[test]
fn the_catalogue_is_open_and_manifests_are_not() {
    let set = set();
    assert!(ask(&set, Action::CatalogList, &holder("agent"), None).is_allowed());
    assert!(
        ask(
            &set,
            Action::CatalogList,
            &Subject::new("nobody").tenant("acme"),
            None
        )
        .is_allowed()
    );
    let own = |id: &str, provider: &str| Resource::new(id, provider).tenant("acme");
    let cases = [
        ("admin", "x", true),
        ("data-admin", "database", true),
        ("data-admin", "ads", false),
        ("mcp-admin", "mcp", true),
        ("mcp-admin", "database", false),
        ("agent", "x", false),
        ("mcp-user", "mcp", false),
    ];
    for (role, provider, allowed) in cases {
        let decision = ask(
            &set,
            Action::ManifestsRegister,
            &holder(role),
            Some(&own("a:b", provider)),
        );
        assert_eq!(
            decision.is_allowed(),
            allowed,
            "{role} {provider}: {}",
            decision.reason
        );
    }
    let delegated = holder("admin").scopes(["tools.query:catalog"]);
    let decision = ask(
        &set,
        Action::ManifestsRegister,
        &delegated,
        Some(&own("a:b", "x")),
    );
    assert_eq!(
        decision.reason.to_string(),
        "missing scope `manifests.register`"
    );
}

#[test]
fn another_tenants_tool_is_denied_with_the_reason() {
    let decision = invoke(
        &set(),
        &holder("data-analyst"),
        &tool("database:listTables").tenant("other"),
    );
    assert_eq!(decision.effect, Effect::Deny);
    assert_eq!(
        decision.reason.to_string(),
        "rule `tenant-isolation` denies: the tool belongs to another tenant"
    );
}

#[test]
fn an_explanation_reads_well() {
    let set = set();
    let (subject, tool) = (
        holder("data-analyst").scopes(["database.read"]),
        tool("database:executeQuery"),
    );
    let context = fastmcp_policy::Context::at(crate::now());
    let request = fastmcp_policy::Request {
        action: Action::ToolsInvoke,
        subject: &subject,
        resource: Some(&tool),
        context: &context,
    };
    let story = set.explain(&request).to_string();
    let story = story.replace(&*set.version().hash, "<hash>");
    insta::assert_snapshot!(story, @r#"
    deny: missing scopes `database.execute`, `tools.invoke:write`
    scopes needed
      missing  database.execute
      missing  tools.invoke:write
    policies that fit (3 of 13)
      allow  invoke-database-tools (policies.yml:48): met
               resource.provider_id == "database": met
               subject.roles one of "data-analyst", "data-admin": met
      oblige safety-destroy-requires-confirm (policies.yml:99): not met
               resource.safety_tags one of "financial", "destructive": not met
      deny   tenant-isolation (policies.yml:107): not met
               resource.tenant != subject.tenant: not met
    policy <hash>@1
    "#);
}
