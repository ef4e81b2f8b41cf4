//! Why a server is not there.

use std::io;

use thiserror::Error;

/// Why a server could not be started.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// The program is not on this machine.
    #[error("`{program}` is not installed: add the Debian package `{package}`")]
    Missing {
        /// The program that was looked for.
        program: &'static str,
        /// The package that has it.
        package: &'static str,
    },
    /// The machine refused something.
    #[error("{doing}")]
    Io {
        /// What was tried.
        doing: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The server ended, or was not ready in time.
    #[error("`{program}` is not ready: {said}")]
    NotReady {
        /// The program.
        program: &'static str,
        /// The end of what it wrote.
        said: String,
    },
}

impl ServiceError {
    pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source }
    }
}
