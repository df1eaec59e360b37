//! What is answered to a request that reaches no operation, in the words and with the codes that clients of the
//! original know.

use axum::body::Body;
use axum::http::header::{ALLOW, CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};

use super::json::BodyFault;

/// A request that is refused before its operation.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Problem {
    /// There is no body.
    NoBody,
    /// The body is no JSON of that shape.
    Unreadable(String),
    /// The content type is no media type at all.
    NoMediaType(String),
    /// The body is not JSON by its content type.
    NotJson(String),
    /// The body is longer than so many bytes.
    TooLong(usize),
    /// The body did not arrive in time.
    Slow,
    /// The connection broke within the body.
    Broken,
    /// Nothing is there.
    NoSuchPath(String),
    /// Something is there, but for other methods.
    Method(Method, &'static str),
    /// The operation is not configured, by the original's name.
    NotConfigured(&'static str),
    /// Too much at once.
    Busy,
    /// It took too long.
    TimedOut,
    /// A fault of ours.
    Internal,
}

impl From<BodyFault> for Problem {
    fn from(fault: BodyFault) -> Self {
        match fault {
            BodyFault::Nothing => Self::NoBody,
            BodyFault::Unreadable(why) => Self::Unreadable(why),
        }
    }
}

impl Problem {
    /// The status, and the code that the body shows.
    fn codes(&self) -> (StatusCode, u16) {
        let same = |status: StatusCode| (status, status.as_u16());
        match self {
            Self::NoBody => (StatusCode::UNPROCESSABLE_ENTITY, 602),
            Self::Unreadable(_) | Self::NoMediaType(_) | Self::Broken => {
                same(StatusCode::BAD_REQUEST)
            }
            Self::NotJson(_) => same(StatusCode::UNSUPPORTED_MEDIA_TYPE),
            Self::TooLong(_) => same(StatusCode::PAYLOAD_TOO_LARGE),
            Self::Slow => same(StatusCode::REQUEST_TIMEOUT),
            Self::NoSuchPath(_) => same(StatusCode::NOT_FOUND),
            Self::Method(..) => same(StatusCode::METHOD_NOT_ALLOWED),
            Self::NotConfigured(_) => same(StatusCode::NOT_IMPLEMENTED),
            Self::Busy | Self::TimedOut => same(StatusCode::SERVICE_UNAVAILABLE),
            Self::Internal => same(StatusCode::INTERNAL_SERVER_ERROR),
        }
    }

    fn message(&self) -> String {
        match self {
            Self::NoBody => "request in body is required".to_owned(),
            Self::Unreadable(why) => {
                format!("parsing request body from \"\" failed, because {why}")
            }
            Self::NoMediaType(given) => {
                format!(
                    "parsing Content-Type header from {given:?} failed, because it is no media type"
                )
            }
            Self::NotJson(given) => {
                format!("unsupported media type {given:?}, only [application/json] are allowed")
            }
            Self::TooLong(limit) => format!("the body is longer than {limit} bytes"),
            Self::Slow => "the body did not arrive in time".to_owned(),
            Self::Broken => "the body did not arrive whole".to_owned(),
            Self::NoSuchPath(path) => format!("path {path} was not found"),
            Self::Method(method, allowed) => {
                format!("method {method} is not allowed, but [{allowed}] are")
            }
            Self::NotConfigured(operation) => {
                format!("operation {operation} has not yet been implemented")
            }
            Self::Busy => "too much at once, try again".to_owned(),
            Self::TimedOut => "the request took too long".to_owned(),
            Self::Internal => "the request failed".to_owned(),
        }
    }

    /// Status and body.
    pub(super) fn parts(&self) -> (u16, serde_json::Value) {
        let (status, code) = self.codes();
        let body = if matches!(self, Self::NotConfigured(_)) {
            self.message().into()
        } else {
            serde_json::json!({ "code": code, "message": self.message() })
        };
        (status.as_u16(), body)
    }

    /// Whether the connection is of no further use: bytes of the body may still be under way.
    fn ends_connection(&self) -> bool {
        matches!(self, Self::TooLong(_) | Self::Slow | Self::Broken)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, body) = self.parts();
        let mut body = body.to_string();
        if matches!(self, Self::NotConfigured(_)) {
            // Alone among the refusals, it ends its line.
            body.push('\n');
        }
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Self::Method(_, allowed) = &self {
            headers.insert(ALLOW, HeaderValue::from_static(allowed));
        }
        if matches!(self, Self::Busy | Self::TimedOut) {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if self.ends_connection() {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}
