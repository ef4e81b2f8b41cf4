//! Errors by the names that FastMCP gives them, for whom each is.

use std::borrow::Cow;

use fastmcp_protocol::RpcError;

use super::{Error, McpError};

type Boxed = Box<dyn std::error::Error + Send + Sync>;

macro_rules! named {
    ($($(#[$doc:meta])* $name:ident => $make:ident;)*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
            #[error("{0}")]
            pub struct $name(Cow<'static, str>);

            impl $name {
                /// Creates the error with a text for the client.
                pub fn new(message: impl Into<Cow<'static, str>>) -> Self {
                    Self(message.into())
                }
            }
        )*

        /// What an error becomes that has one of these names.
        fn by_name(error: Boxed) -> Result<Error, Boxed> {
            $(
                let error = match error.downcast::<$name>() {
                    Ok(named) => return Ok(Error::$make(named.0)),
                    Err(other) => other,
                };
            )*
            Err(error)
        }
    };
}

named! {
    /// A failure of a tool that the client is shown as it is.
    ///
    /// Any error without a name here becomes an [`Error`] whose text is masked unless the server shows
    /// details.
    ToolError => tool;
    /// A failure to read a resource that the client is shown as it is.
    ResourceError => tool;
    /// A failure to render a prompt that the client is shown as it is.
    PromptError => tool;
    /// Arguments or a result that do not fit; the client is shown why.
    ValidationError => validation;
    /// What was asked for is not there; a client is told as of what was never there.
    NotFoundError => not_found;
    /// What was asked for is switched off; a client is told as of what was never there.
    DisabledError => not_found;
}

/// Reads an error by its type; `Err` gives back one that has no meaning here.
pub(super) fn known(error: Boxed) -> Result<Error, Boxed> {
    let error = match by_name(error) {
        Ok(named) => return Ok(named),
        Err(other) => other,
    };
    let error = match error.downcast::<McpError>() {
        Ok(structured) => return Ok((*structured).into_error()),
        Err(other) => other,
    };
    error
        .downcast::<RpcError>()
        .map(|rpc| Error::protocol(*rpc))
}
