//! Our own operations: more ways to log in, the description, health and figures.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use overlay_protocol::signing::login::{Begin, Continue, Logout, PasswordLogin};
use overlay_protocol::signing::{CANNOT_SIGN, LOGIN_FAILED, LoginResponse};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::login::{Busy, LoginAnswer, LoginService, LogoutAnswer};

use super::problem::Problem;
use super::{Face, body};

const JSON: &str = "application/json";

/// What a client reads when its session was not ended, whatever the reason.
const LOGOUT_FAILED: &str = "Logout failed";

/// The ways to log in.
pub(super) async fn methods(State(face): State<Arc<Face>>) -> Result<Response, Problem> {
    Ok(json(&configured(&face)?.methods()))
}

/// A token for a name, a password, and a one-time code where one is asked for.
pub(super) async fn password(
    State(face): State<Arc<Face>>,
    request: Request,
) -> Result<Response, Problem> {
    let service = configured(&face)?;
    let from = face.from(&request);
    let PasswordLogin { login, otp } = read(&face, request).await?;
    let answer = face
        .to_the_end(async move { service.password(login, otp, from).await })
        .await?;
    Ok(json(&match answer {
        LoginAnswer::Token(token) => LoginResponse {
            token,
            error: String::new(),
        },
        LoginAnswer::Failed => refused(LOGIN_FAILED),
        LoginAnswer::CannotSign => refused(CANNOT_SIGN),
        LoginAnswer::Busy => return Err(Problem::Busy),
    }))
}

/// Begin of a login of several steps.
pub(super) async fn begin(
    State(face): State<Arc<Face>>,
    request: Request,
) -> Result<Response, Problem> {
    let service = configured(&face)?;
    let from = face.from(&request);
    let step: Begin = read(&face, request).await?;
    let begun = face
        .to_the_end(async move { service.begin(step, from).await })
        .await?;
    Ok(json(&begun.map_err(|Busy| Problem::Busy)?))
}

/// A further step of it.
pub(super) async fn continue_(
    State(face): State<Arc<Face>>,
    request: Request,
) -> Result<Response, Problem> {
    let service = configured(&face)?;
    let from = face.from(&request);
    let step: Continue = read(&face, request).await?;
    let continued = face
        .to_the_end(async move { service.continue_(step, from).await })
        .await?;
    Ok(json(&continued.map_err(|Busy| Problem::Busy)?))
}

/// End of a session.
pub(super) async fn logout(
    State(face): State<Arc<Face>>,
    request: Request,
) -> Result<Response, Problem> {
    let service = configured(&face)?;
    let from = face.from(&request);
    let session: Logout = read(&face, request).await?;
    let answer = face
        .to_the_end(async move { service.logout(session, from).await })
        .await?;
    Ok(json(&match answer {
        LogoutAnswer::Done => LoginResponse::default(),
        LogoutAnswer::Failed => refused(LOGOUT_FAILED),
        LogoutAnswer::Busy => return Err(Problem::Busy),
    }))
}

/// The description of all operations.
pub(super) async fn description(State(face): State<Arc<Face>>) -> Response {
    bytes(StatusCode::OK, JSON, face.description.clone())
}

/// Whether the process runs.
pub(super) async fn healthz() -> Response {
    bytes(
        StatusCode::OK,
        JSON,
        Bytes::from_static(b"{\"status\":\"ok\"}\n"),
    )
}

/// Whether the service does its work, and what is missing otherwise.
pub(super) async fn readyz(State(face): State<Arc<Face>>) -> Response {
    let report = face.readiness.report();
    let is_ready = report.is_ready();
    let status = if is_ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    // Why a part is not ready is for those who may see the admin listener.
    let body = serde_json::json!({ "ready": is_ready });
    bytes(status, JSON, format!("{body}\n").into())
}

/// Figures in Prometheus' text format.
pub(super) async fn metrics(State(face): State<Arc<Face>>) -> Result<Response, Problem> {
    match overlay_runtime::metrics::text(&face.registry) {
        Ok(text) => Ok(bytes(
            StatusCode::OK,
            "text/plain; version=0.0.4",
            text.into(),
        )),
        Err(error) => {
            tracing::error!(
                error = overlay_runtime::err_chain(&error),
                "metrics cannot be shown"
            );
            Err(Problem::Internal)
        }
    }
}

fn configured(face: &Face) -> Result<Arc<LoginService>, Problem> {
    face.login
        .clone()
        .ok_or(Problem::NotConfigured("PostLogin"))
}

fn refused(error: &str) -> LoginResponse {
    LoginResponse {
        token: String::new(),
        error: error.to_owned(),
    }
}

/// The body as one value of our own form: nothing may stand after it or twice in it.
async fn read<T: DeserializeOwned>(face: &Face, request: Request) -> Result<T, Problem> {
    let bytes = body::read_json(request, &face.limits).await?;
    serde_json::from_slice(&bytes).map_err(|error| Problem::Unreadable(describe(&error)))
}

/// Where a body is at fault, without what stands there: it may be a password.
fn describe(error: &serde_json::Error) -> String {
    let what = match error.classify() {
        serde_json::error::Category::Io => "it cannot be read",
        serde_json::error::Category::Syntax => "it is no JSON",
        serde_json::error::Category::Data => "a member is of another form",
        serde_json::error::Category::Eof => "it ends too early",
    };
    format!("{what} (line {}, column {})", error.line(), error.column())
}

fn json(value: &impl Serialize) -> Response {
    // Values of our own types, whose members are texts and numbers, can be written.
    let mut text = serde_json::to_vec(value).unwrap_or_default();
    text.push(b'\n');
    bytes(StatusCode::OK, JSON, text.into())
}

fn bytes(status: StatusCode, content_type: &'static str, body: Bytes) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
