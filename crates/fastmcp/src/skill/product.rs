//! Where other products keep their skills.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use crate::error::{Error, Result};

/// A product that keeps skills in a folder of its user's.
///
/// ```
/// use fastmcp::{FastMcp, skill::SkillFolder};
///
/// # let home = std::env::temp_dir();
/// let folder = SkillFolder::Claude.in_home(&home);
/// assert!(folder.ends_with(".claude/skills"));
/// let server = FastMcp::new("my skills").skills_from(folder);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SkillFolder {
    /// Claude Code: `.claude/skills`.
    Claude,
    /// Cursor: `.cursor/skills`.
    Cursor,
    /// VS Code, which shares it with GitHub Copilot: `.copilot/skills`.
    VsCode,
    /// GitHub Copilot: `.copilot/skills`.
    Copilot,
    /// Codex: `.codex/skills`; and for all users of a machine, `/etc/codex/skills`.
    Codex,
    /// Gemini CLI: `.gemini/skills`.
    Gemini,
    /// Goose: `.config/agents/skills`.
    Goose,
    /// OpenCode: `.config/opencode/skills`.
    OpenCode,
}

/// Each product with its name and its folder beneath a home.
const TABLE: [(SkillFolder, &str, &str); 8] = [
    (SkillFolder::Claude, "claude", ".claude/skills"),
    (SkillFolder::Cursor, "cursor", ".cursor/skills"),
    (SkillFolder::VsCode, "vscode", ".copilot/skills"),
    (SkillFolder::Copilot, "copilot", ".copilot/skills"),
    (SkillFolder::Codex, "codex", ".codex/skills"),
    (SkillFolder::Gemini, "gemini", ".gemini/skills"),
    (SkillFolder::Goose, "goose", ".config/agents/skills"),
    (SkillFolder::OpenCode, "opencode", ".config/opencode/skills"),
];

impl SkillFolder {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.into_iter().map(|(product, _, _)| product)
    }

    /// The name by which it is [parsed](str::parse): `claude`, `cursor`, `vscode`, `copilot`, `codex`, `gemini`, `goose`
    /// or `opencode`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// The folder in the home of a user, which the program names: this library asks no environment where it is.
    #[must_use]
    pub fn in_home(self, home: impl AsRef<Path>) -> PathBuf {
        home.as_ref().join(self.row().2)
    }

    /// The folder for all users of a machine, where the product has one.
    #[must_use]
    pub fn of_machine(self) -> Option<&'static Path> {
        (self == Self::Codex).then_some(Path::new("/etc/codex/skills"))
    }

    fn row(self) -> (Self, &'static str, &'static str) {
        let [first, ..] = TABLE;
        let mut rows = TABLE.into_iter();
        rows.find(|(product, _, _)| *product == self)
            .unwrap_or(first)
    }
}

impl fmt::Display for SkillFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for SkillFolder {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let mut rows = TABLE.into_iter();
        let found = rows.find(|(_, known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(product, _, _)| product).ok_or_else(|| {
            let names: Vec<_> = TABLE.iter().map(|(_, name, _)| *name).collect();
            let shown: String = name.chars().take(64).collect();
            Error::validation(format!(
                "`{}` is no product whose skills are known: give one of {}",
                shown.escape_debug(),
                names.join(", ")
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_product_is_in_the_table_under_its_own_name() {
        for product in SkillFolder::all() {
            assert_eq!(product.row().0, product);
            assert_eq!(product.name().parse::<SkillFolder>().unwrap(), product);
            assert!(product.in_home("ada").starts_with("ada"));
            assert!(product.in_home("ada").ends_with("skills"));
        }
        let goose = "Goose".parse::<SkillFolder>().unwrap();
        assert_eq!(goose.in_home("ada"), Path::new("ada/.config/agents/skills"));
        assert!(SkillFolder::Claude.of_machine().is_none());
        assert!(SkillFolder::Codex.of_machine().is_some());
        let unknown = "emacs".parse::<SkillFolder>().unwrap_err();
        assert!(unknown.message().contains("one of claude, cursor"));
    }
}
