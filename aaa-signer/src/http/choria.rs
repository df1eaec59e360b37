//! The two operations that clients of Choria know, in their form.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::Response;
use bytes::Bytes;
use overlay_protocol::SecretText;
use overlay_protocol::signing::{CANNOT_SIGN, HTTP_DENIED, LOGIN_FAILED, LoginRequest};

use crate::login::LoginAnswer;
use crate::sign::Submission;
use crate::via::Via;

use super::json::{self, Shape};
use super::problem::Problem;
use super::{Face, accept, body};

const LOGIN: Shape<5> = Shape {
    name: "LoginRequest",
    members: [
        "username",
        "password",
        "timestamp",
        "public_key",
        "signature",
    ],
};

const SIGN: Shape<3> = Shape {
    name: "SignRequest",
    members: ["token", "request", "signature"],
};

/// What stands in the body of a question for a signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignBody {
    /// The caller's token.
    pub token: String,
    /// The request's bytes.
    pub request: Vec<u8>,
    /// The caller's signature over them; empty for a bearer token.
    pub signature: String,
}

/// Reads the body of a question for a signature as it is read by HTTP, its content type aside.
///
/// # Errors
///
/// Status and body of the refusal.
pub fn read_sign_body(body: &[u8]) -> Result<SignBody, (u16, serde_json::Value)> {
    sign_body(body).map_err(|problem| problem.parts())
}

fn sign_body(body: &[u8]) -> Result<SignBody, Problem> {
    let [token, request, signature] = SIGN.read(body)?;
    let request = json::bytes(&request)
        .map_err(|at| Problem::Unreadable(format!("illegal base64 data at input byte {at}")))?;
    Ok(SignBody {
        token: token.into_owned(),
        request,
        signature: signature.into_owned(),
    })
}

/// A token for a name and a password.
pub(super) async fn login(
    State(face): State<Arc<Face>>,
    request: Request,
) -> Result<Response, Problem> {
    let from = face.from(&request);
    let takes_json = accept::takes_json(request.headers());
    let bytes = body::read_json(request, &face.limits).await?;
    let [username, password, timestamp, public_key, signature] = LOGIN.read(&bytes)?;
    let Some(service) = face.login.clone() else {
        return Err(Problem::NotConfigured("PostLogin"));
    };
    let attempt = LoginRequest {
        username: username.into_owned(),
        password: SecretText::from(password.into_owned()),
        timestamp: timestamp.into_owned(),
        public_key: public_key.into_owned(),
        signature: signature.into_owned(),
    };
    let answer = face
        .to_the_end(async move { service.password(attempt, None, from).await })
        .await?;
    match answer {
        LoginAnswer::Token(token) => Ok(text("token", &token, takes_json)),
        LoginAnswer::Failed => Ok(text("error", LOGIN_FAILED, takes_json)),
        LoginAnswer::CannotSign => Ok(text("error", CANNOT_SIGN, takes_json)),
        LoginAnswer::Busy => Err(Problem::Busy),
    }
}

/// A signature.
pub(super) async fn sign(
    State(face): State<Arc<Face>>,
    request: Request,
) -> Result<Response, Problem> {
    let peer = face.peer(&request).to_string();
    let takes_json = accept::takes_json(request.headers());
    let bytes = body::read_json(request, &face.limits).await?;
    let SignBody {
        token,
        request,
        signature,
    } = sign_body(&bytes)?;
    let Some(signer) = &face.signer else {
        return Err(Problem::NotConfigured("PostSign"));
    };
    let submission = Submission {
        token,
        request: Bytes::from(request),
        signature: Some(signature).filter(|signature| !signature.is_empty()),
        via: Via::Http,
        peer,
    };
    match signer.sign(submission).await {
        Ok(signed) => {
            let signed = base64_simd::STANDARD.encode_to_string(&signed);
            Ok(text("secure_request", &signed, takes_json))
        }
        Err(denied) if denied.is_busy() => Err(Problem::Busy),
        Err(_denied) => Ok(text("error", HTTP_DENIED, takes_json)),
    }
}

/// An answer of one member: clients of Choria read texts and nothing else.
///
/// `value` is a token, base64, or a constant: nothing in it is written otherwise in JSON.
fn text(member: &str, value: &str, takes_json: bool) -> Response {
    debug_assert!(
        value
            .bytes()
            .all(|byte| (b' '..=b'~').contains(&byte) && !b"\"\\<>&".contains(&byte)),
        "the value needs no escapes"
    );
    let body = ["{\"", member, "\":\"", value, "\"}\n"].concat();
    let mut response = Response::new(Body::from(body));
    let headers = response.headers_mut();
    let content_type = if takes_json { "application/json" } else { "" };
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
