//! What the attributes expand to.
//!
//! A function may return anything that is a [`ToolOutput`], and anything else that serde and
//! schemars know; which of the two a type is, method resolution finds out: `(&&Emit::<T>::NEW).emit(x)`
//! prefers the implementation on `&Emit`, and falls back to the one on `Emit`.

use std::{fmt, marker::PhantomData};

use fastmcp_protocol::completion::CompleteParams;
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    call::Outcome,
    component::{
        check::{self, Validate},
        tool::{Json, ToolOutput},
    },
    context::{self, Context},
    error::{Error, Result},
};

/// Stands for a return type.
#[derive(Debug)]
pub struct Emit<T>(PhantomData<fn() -> T>);

impl<T> Emit<T> {
    /// The one value.
    pub const NEW: Self = Self(PhantomData);
}

/// Types that say themselves what they are as output.
pub trait EmitOutput<T> {
    /// The schema.
    fn schema(&self) -> Option<Value>;
    /// The outcome.
    ///
    /// # Errors
    ///
    /// As [`ToolOutput::into_outcome`].
    fn emit(&self, value: T) -> Result<Outcome>;
}

impl<T: ToolOutput> EmitOutput<T> for &Emit<T> {
    fn schema(&self) -> Option<Value> {
        T::output_schema()
    }

    fn emit(&self, value: T) -> Result<Outcome> {
        value.into_outcome()
    }
}

/// Types that are structured content.
pub trait EmitJson<T> {
    /// The schema.
    fn schema(&self) -> Option<Value>;
    /// The outcome.
    ///
    /// # Errors
    ///
    /// When the value cannot be represented as JSON.
    fn emit(&self, value: T) -> Result<Outcome>;
}

impl<T: Serialize + JsonSchema + Send> EmitJson<T> for Emit<T> {
    fn schema(&self) -> Option<Value> {
        <Json<T> as ToolOutput>::output_schema()
    }

    fn emit(&self, value: T) -> Result<Outcome> {
        Json(value).into_outcome()
    }
}

/// What a parameter must be that clients send.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be an argument",
    label = "clients cannot send this: it has no schema, or cannot be decoded",
    note = "derive `Deserialize` and `JsonSchema` for `{Self}`, both in `fastmcp::prelude`",
    note = "if it is not for clients to send: `#[inject]` hands in what is `FromContext`, `State<{Self}>` what the server was given"
)]
pub trait Argument {}

#[diagnostic::do_not_recommend]
impl<T: DeserializeOwned + JsonSchema + Send + 'static> Argument for T {}

/// Says at compile time whether `T` can be an argument.
pub const fn argument<T: Argument>() {}

/// Stands for the type of an argument: which of them are validated, method resolution finds out, as for
/// [`Emit`].
#[derive(Debug)]
pub struct Check<T>(PhantomData<fn() -> T>);

impl<T> Check<T> {
    /// The one value.
    pub const NEW: Self = Self(PhantomData);
}

/// Arguments that are validated.
pub trait CheckValidate<T> {
    /// Validates the argument `name`.
    ///
    /// # Errors
    ///
    /// When it is not valid.
    fn check(&self, name: &str, value: &mut T) -> Result<()>;
}

impl<T: Validate> CheckValidate<T> for &Check<T> {
    fn check(&self, name: &str, value: &mut T) -> Result<()> {
        value
            .validate()
            .map_err(|invalid| check::refused(&invalid.at(name)))
    }
}

/// Arguments that are not.
pub trait CheckNothing<T> {
    /// Does nothing.
    ///
    /// # Errors
    ///
    /// None.
    fn check(&self, name: &str, value: &mut T) -> Result<()>;
}

impl<T> CheckNothing<T> for Check<T> {
    fn check(&self, _: &str, _: &mut T) -> Result<()> {
        Ok(())
    }
}

/// What a function said that checks the argument `name`.
///
/// # Errors
///
/// When it refuses it.
pub fn checked<E: fmt::Display>(name: &str, outcome: Result<(), E>) -> Result<()> {
    check::outcome(name, outcome)
}

/// What the client has settled already for another argument of what it completes.
#[must_use]
pub fn settled(params: &CompleteParams<'_>, argument: &str) -> Option<String> {
    let arguments = params.context.as_ref()?.arguments.as_ref()?;
    arguments.get(argument).cloned()
}

/// Runs a function that blocks where it may, for the request of `context`.
///
/// # Errors
///
/// When the function panics, or the runtime shuts down before it began.
///
/// # Cancel safety
///
/// Dropped, a function that has begun goes on; nobody hears of its end.
pub async fn blocking<T, F>(context: &Context, function: F) -> Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    let mut current = Some(context.clone());
    tokio::task::spawn_blocking(move || context::with(&mut current, function))
        .await
        .map_err(|e| Error::internal(format!("handler ended without a result: {e}")))
}
