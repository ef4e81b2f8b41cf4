//! Why a skill, or a file of one, is not used.

use std::fmt;

/// Characters of a server's text that a message shows.
const SHOWN: usize = 200;

/// Why a skill, or a file of one, is not used. Stands behind the [`crate::Error`] of whoever asked for it:
/// see [`crate::Error::source`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SkillError {
    /// The server's entry breaks a rule.
    #[error("skill `{}`: {why}", Shown(skill))]
    Unfit {
        /// The URI of the skill.
        skill: String,
        /// The rule.
        why: String,
    },
    /// A file that is listed lies outside the skill, or its path is none.
    #[error(
        "skill `{}`: file `{}` is no path beneath the skill: its URI must begin as the skill's does \
         and go on without `..`, `\\`, queries and control characters",
        Shown(skill),
        Shown(file)
    )]
    Outside {
        /// The URI of the skill.
        skill: String,
        /// The URI of the file.
        file: String,
    },
    /// More files than a skill may have.
    #[error("skill `{}` has {files} files; {max} are taken at most", Shown(skill))]
    TooManyFiles {
        /// The URI of the skill.
        skill: String,
        /// How many it lists.
        files: usize,
        /// How many there may be.
        max: usize,
    },
    /// More bytes than a skill may have.
    #[error("skill `{}` has {bytes} bytes; {max} are taken at most", Shown(skill))]
    TooLarge {
        /// The URI of the skill.
        skill: String,
        /// How many all its files have.
        bytes: u64,
        /// How many there may be.
        max: u64,
    },
    /// The skill does not list this file, so it is none of it.
    #[error(
        "skill `{}` does not list the file `{}`: where it is new, get the skill again",
        Shown(skill),
        Shown(file)
    )]
    Unlisted {
        /// The URI of the skill.
        skill: String,
        /// The path that was asked for.
        file: String,
    },
    /// The server did not answer with this file.
    #[error("skill `{}`: file `{}`: {why}", Shown(skill), Shown(file))]
    Answer {
        /// The URI of the skill.
        skill: String,
        /// The path of the file.
        file: String,
        /// What is wrong with the answer.
        why: &'static str,
    },
    /// The file has another size than was listed.
    #[error(
        "skill `{}`: file `{}` has {found} bytes, but {listed} are listed: it was changed on its way, or since \
         the skill was listed",
        Shown(skill),
        Shown(file)
    )]
    Size {
        /// The URI of the skill.
        skill: String,
        /// The path of the file.
        file: String,
        /// The bytes that are listed.
        listed: u64,
        /// The bytes that came.
        found: u64,
    },
    /// The file has another digest than was listed.
    #[error(
        "skill `{}`: file `{}` has another digest than is listed: it was changed on its way, or since the \
         skill was listed",
        Shown(skill),
        Shown(file)
    )]
    Digest {
        /// The URI of the skill.
        skill: String,
        /// The path of the file.
        file: String,
    },
    /// What `SKILL.md` says of the skill is not what the server's entry says.
    #[error(
        "skill `{}`: `{}` in the frontmatter of `SKILL.md` is not what the server lists",
        Shown(skill),
        Shown(field)
    )]
    Frontmatter {
        /// The URI of the skill.
        skill: String,
        /// The field.
        field: String,
    },
}

/// A server's text as a message shows it: bounded, control characters escaped.
struct Shown<'a>(&'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut characters = self.0.chars();
        for character in characters.by_ref().take(SHOWN) {
            if character.is_control() {
                write!(f, "{}", character.escape_default())?;
            } else {
                write!(f, "{character}")?;
            }
        }
        if characters.next().is_some() {
            f.write_str("...")?;
        }
        Ok(())
    }
}
