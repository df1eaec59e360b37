//! The body of a request: bounded in bytes and in time.

use std::future::poll_fn;
use std::pin::Pin;

use axum::body::{Body, HttpBody as _};
use axum::extract::Request;
use bytes::{Bytes, BytesMut};

use crate::config::HttpLimits;

use super::accept;
use super::problem::Problem;

/// How much of a body that is too long is thrown away before the refusal is told: a client that still writes does not
/// read, and would see a broken connection instead.
const THROWN_AWAY: u64 = 4 * 1024 * 1024;

/// Reads the body of a request, if it is JSON by its header.
pub(super) async fn read_json(request: Request, limits: &HttpLimits) -> Result<Bytes, Problem> {
    let (head, body) = request.into_parts();
    let bytes = read(body, limits).await?;
    // Without a body its type is of no interest.
    if bytes.is_empty() {
        return Err(Problem::NoBody);
    }
    accept::check_content_type(&head.headers)?;
    Ok(bytes)
}

/// Reads the body whole.
async fn read(body: Body, limits: &HttpLimits) -> Result<Bytes, Problem> {
    let most = u64::try_from(limits.body_bytes).unwrap_or(u64::MAX);
    let declared = body.size_hint().lower();
    if declared > most.saturating_add(THROWN_AWAY) {
        return Err(Problem::TooLong(limits.body_bytes));
    }
    tokio::time::timeout(limits.body_timeout, collect(body, limits.body_bytes))
        .await
        .unwrap_or(Err(Problem::Slow))
}

async fn collect(mut body: Body, most: usize) -> Result<Bytes, Problem> {
    let declared = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    let mut thrown_away = 0_u64;
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let Ok(bytes) = frame.map_err(|_| Problem::Broken)?.into_data() else {
            continue;
        };
        if thrown_away > 0 || first.len() + all.len() + bytes.len() > most {
            thrown_away += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            if thrown_away > THROWN_AWAY {
                break;
            }
        } else if first.is_empty() && all.is_empty() {
            first = bytes;
        } else {
            if all.is_empty() {
                all.reserve(declared.min(most));
                all.extend_from_slice(&std::mem::take(&mut first));
            }
            all.extend_from_slice(&bytes);
        }
    }
    if thrown_away > 0 {
        return Err(Problem::TooLong(most));
    }
    // Mostly the one piece that came with the head.
    Ok(if all.is_empty() { first } else { all.freeze() })
}
