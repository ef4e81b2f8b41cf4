//! What the attributes expand to.
//!
//! A function may return anything that is a [`ToolOutput`], and anything else that serde and
//! schemars know; which of the two a type is, method resolution finds out: `(&&Emit::<T>::NEW).emit(x)`
//! prefers the implementation on `&Emit`, and falls back to the one on `Emit`.

use std::marker::PhantomData;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::{
    call::Outcome,
    component::tool::{Json, ToolOutput},
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

/// Runs a function that blocks where it may.
///
/// # Errors
///
/// When the function panics, or the runtime shuts down before it began.
///
/// # Cancel safety
///
/// Dropped, a function that has begun goes on; nobody hears of its end.
pub async fn blocking<T, F>(function: F) -> Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    tokio::task::spawn_blocking(function)
        .await
        .map_err(|e| Error::internal(format!("handler ended without a result: {e}")))
}
