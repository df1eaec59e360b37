//! Keys by file or by text, and writing a finished token.

use std::path::Path;

use overlay_tokens::claims::Claims;
use overlay_tokens::file::{self, Overwrite};
use overlay_tokens::issue::{PrivateKey, sign};
use overlay_tokens::{PublicKey, UnixTime, VerifyKey};

use crate::app::App;
use crate::error::{Failure, Hint};

#[expect(clippy::disallowed_methods, reason = "the edge: tokens begin now")]
pub(crate) fn now() -> UnixTime {
    std::time::SystemTime::now().into()
}

/// A holder's public key: 64 hexadecimal digits, or a file that holds them.
pub(in crate::commands) fn holder(text: &str) -> Result<PublicKey, Failure> {
    if PublicKey::looks_like_one(text) {
        return Ok(text.parse()?);
    }
    file::read_public(Path::new(text)).hint(
        "give a public key as 64 hexadecimal digits, or a file that `overlay jwt keys` has written",
    )
}

/// The key that a token is verified with.
pub(in crate::commands) fn verifier(text: &str) -> Result<VerifyKey, Failure> {
    if PublicKey::looks_like_one(text) {
        return Ok(text.parse::<PublicKey>()?.into());
    }
    file::read_verify_key(Path::new(text)).hint(
        "give the issuer's public key as 64 hexadecimal digits, a file that holds them, or an RSA key or \
         certificate as PEM",
    )
}

/// The key that signs.
pub(in crate::commands) fn signer(path: &Path, app: &App) -> Result<PrivateKey, Failure> {
    app.warn_of_exposed_key(path);
    file::read_private_key(path)
        .hint("the signing key is a seed of 64 hexadecimal digits without a line end, or an RSA key as PEM")
}

/// Signs, writes, and tells where it is.
pub(in crate::commands) fn save<C: Claims>(
    claims: &C,
    key: &PrivateKey,
    path: &Path,
    app: &App,
) -> Result<(), Failure> {
    let token = sign(claims, key)?;
    file::write_token(path, &token).hint("does the directory exist?")?;
    let standard = claims.standard();
    if app.output.is_json() {
        return app.output.json(&serde_json::json!({
            "file": path,
            "purpose": standard.purpose,
            "id": standard.jti,
            "expires": standard.exp,
        }));
    }
    let shown = path.display();
    app.output.line(format!(
        "Saved token to {shown}; `overlay jwt view {shown}` shows it"
    ))
}

/// Writes a seed and its public key, neither over a file that exists unless told to.
pub(in crate::commands) fn overwrite(force: bool) -> Overwrite {
    if force { Overwrite::Yes } else { Overwrite::No }
}
