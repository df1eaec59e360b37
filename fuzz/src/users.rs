//! What the login service reads: users files, files that they name, bodies of requests.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use overlay_aaa_signer::{foreign, read_sign_body};

/// The first byte chooses the reader, the rest is its input.
///
/// Holds: what of users files is said with their readers; a body that is written again from what was read reads the same.
pub fn users(data: &[u8]) {
    let Some((reader, rest)) = data.split_first() else {
        return;
    };
    match reader % 4 {
        0 => body(rest),
        1 => foreign::beside(std::str::from_utf8(rest).unwrap_or_default()),
        _ => foreign::users(rest),
    }
}

fn body(bytes: &[u8]) {
    let Ok(body) = read_sign_body(bytes) else {
        return;
    };
    let written = serde_json::json!({
        "token": body.token, "request": STANDARD.encode(&body.request), "signature": body.signature,
    });
    let again = read_sign_body(written.to_string().as_bytes());
    assert_eq!(again, Ok(body), "a body changes when written");
}
