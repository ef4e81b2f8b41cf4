//! What routes answer.

use std::fmt;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use serde::Serialize;
use serde_json::json;

use crate::{
    component::Json,
    error::{Error, ErrorKind},
};

/// The answer of a route.
pub type RouteResponse = Response<Bytes>;

/// Becomes the answer of a route: text, [`Json`], a status, one of these with a status, a response made by hand,
/// or an error.
pub trait IntoRouteResponse {
    /// The answer.
    fn into_response(self) -> RouteResponse;
}

fn of_type(body: impl Into<Bytes>, content_type: &'static str) -> RouteResponse {
    let mut response = Response::new(body.into());
    let content_type = HeaderValue::from_static(content_type);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, content_type);
    response
}

impl IntoRouteResponse for RouteResponse {
    fn into_response(self) -> RouteResponse {
        self
    }
}

impl IntoRouteResponse for &'static str {
    fn into_response(self) -> RouteResponse {
        of_type(self, "text/plain; charset=utf-8")
    }
}

impl IntoRouteResponse for String {
    fn into_response(self) -> RouteResponse {
        of_type(self, "text/plain; charset=utf-8")
    }
}

impl<T: Serialize> IntoRouteResponse for Json<T> {
    fn into_response(self) -> RouteResponse {
        match serde_json::to_vec(&self.0) {
            Ok(text) => of_type(text, "application/json"),
            Err(error) => Error::internal(error.to_string()).into_response(),
        }
    }
}

impl IntoRouteResponse for StatusCode {
    fn into_response(self) -> RouteResponse {
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = self;
        response
    }
}

impl<R: IntoRouteResponse> IntoRouteResponse for (StatusCode, R) {
    fn into_response(self) -> RouteResponse {
        let mut response = self.1.into_response();
        *response.status_mut() = self.0;
        response
    }
}

impl<R: IntoRouteResponse, E: Into<Error>> IntoRouteResponse for Result<R, E> {
    fn into_response(self) -> RouteResponse {
        match self {
            Ok(response) => response.into_response(),
            Err(error) => error.into().into_response(),
        }
    }
}

/// Internal failures are logged and told without details.
impl IntoRouteResponse for Error {
    fn into_response(self) -> RouteResponse {
        let status = match self.kind() {
            ErrorKind::Validation | ErrorKind::Tool | ErrorKind::Protocol(_) => {
                StatusCode::BAD_REQUEST
            }
            ErrorKind::NotFound => StatusCode::NOT_FOUND,
            ErrorKind::Forbidden | ErrorKind::Declined => StatusCode::FORBIDDEN,
            ErrorKind::Timeout => StatusCode::GATEWAY_TIMEOUT,
            _ => {
                tracing::error!(error = self.message(), "route failed");
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        refusal(status, &self.shown(true))
    }
}

/// An answer that says why there is no other.
pub(crate) fn refusal(status: StatusCode, why: &dyn fmt::Display) -> RouteResponse {
    let body = json!({"error": why.to_string()}).to_string();
    let mut response = of_type(body, "application/json");
    *response.status_mut() = status;
    response
}
