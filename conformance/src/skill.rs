//! Skills.

use fastmcp::{FastMcp, Result, Skill};

/// Has files in a folder.
fn review() -> Result<Skill> {
    let manifest = "---\nname: code-review\ndescription: Reviews a change step by step.\nlicense: MIT\nmetadata:\n  version: \"1.0\"\n---\n# Code review\n\nRead references/CHECKLIST.md first.\n";
    Skill::new(manifest)?
        .file("references/CHECKLIST.md", "- Does it do what it says?\n")?
        .file("scripts/diff.sh", "git diff --stat\n")
}

/// Lies in a folder of its kind.
fn refunds() -> Result<Skill> {
    let manifest = "---\nname: refunds\ndescription: Answers questions about refunds.\n---\n# Refunds\n\nAsk for the number of the order.\n";
    Skill::new(manifest)?.within("acme/billing")
}

/// Adds the skills.
pub(crate) fn add(server: FastMcp) -> Result<FastMcp> {
    Ok(server.skill(review()?).skill(refunds()?))
}
