//! What is wrong with a configuration, all of it at once.

use std::fmt;

use super::layer::Source;

/// A configuration that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errors {
    problems: Vec<Problem>,
}

impl Errors {
    pub(super) const fn new(problems: Vec<Problem>) -> Self {
        Self { problems }
    }

    /// Everything that is wrong.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("configuration cannot be used")?;
        if let [only] = self.problems.as_slice() {
            return write!(f, ": {only}");
        }
        self.problems
            .iter()
            .try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl std::error::Error for Errors {}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The variable or key as it was spelled where it was set, or the file.
    pub name: String,
    /// Its value, shortened, and left out for secrets; `None` where it is not a value that is wrong.
    pub value: Option<String>,
    /// What is wrong and what would be right.
    pub fault: String,
    /// Where it was set.
    pub source: Source,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.name)?;
        if let Some(value) = &self.value {
            write!(f, " is `{value}`")?;
        }
        write!(f, " ({}): {}", self.source, self.fault)
    }
}
