//! `overlay user totp`: the second factor.

use std::path::Path;

use data_encoding::BASE32_NOPAD;
use zeroize::Zeroizing;

use super::file::UsersFile;
use crate::app::App;
use crate::error::Failure;

/// Bytes of a secret: those of SHA-1, by which codes are made (RFC 4226).
const SECRET_BYTES: usize = 20;
/// Who issues, as authenticator apps show it.
const ISSUER: &str = "Overlay";

#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  overlay user totp rip           a new secret: its address goes into an authenticator app
  overlay user totp rip --off     the password alone will do

Codes have six digits and change every 30 seconds. `overlay login` asks for one; for `choria login` it is typed
at the end of the password.")]
pub(super) struct Args {
    /// User
    #[arg(value_name = "NAME")]
    name: String,
    /// Take the second factor away
    #[arg(long)]
    off: bool,
}

/// The secret that an authenticator app shares with the login service.
pub(super) struct Secret(Zeroizing<String>);

impl Secret {
    pub(super) fn generate() -> Result<Self, Failure> {
        let mut random = Zeroizing::new([0_u8; SECRET_BYTES]);
        getrandom::fill(random.as_mut())?;
        Ok(Self(Zeroizing::new(BASE32_NOPAD.encode(random.as_ref()))))
    }

    pub(super) fn text(&self) -> &str {
        &self.0
    }

    /// The address that authenticator apps read, often as a picture.
    fn address(&self, name: &str) -> String {
        format!(
            "otpauth://totp/{ISSUER}:{}?secret={}&issuer={ISSUER}&algorithm=SHA1&digits=6&period=30",
            escaped(name),
            self.text()
        )
    }

    /// Shows it, once: it cannot be asked for again.
    pub(super) fn show(&self, name: &str, app: &App) -> Result<(), Failure> {
        if app.output.is_json() {
            return app.output.json(&serde_json::json!({
                "user": name,
                "secret": self.text(),
                "url": self.address(name),
            }));
        }
        app.output.note(format!(
            "second factor of {name}: give this to their authenticator app, by hand or as a QR code (such as by `qrencode -t ansiutf8`)"
        ));
        app.output.line(self.address(name))
    }
}

pub(super) fn run(args: &Args, path: &Path, app: &App) -> Result<(), Failure> {
    let name = &args.name;
    super::look(path)?.get_mut(name)?;
    let secret = if args.off {
        None
    } else {
        Some(Secret::generate()?)
    };
    UsersFile::change(path, app, |users| {
        let user = users.get_mut(name)?;
        user.remove("totp_file");
        match &secret {
            Some(secret) => user.set("totp", secret.text().into()),
            None => user.remove("totp"),
        }
        Ok(())
    })?;
    match secret {
        Some(secret) => secret.show(name, app),
        None => {
            app.output
                .note(format!("{name} logs in with the password alone"));
            Ok(())
        }
    }
}

/// Percent-encodes what is not plain in an address (RFC 3986).
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_what_apps_read() {
        let secret = Secret(Zeroizing::new("GEZDGNBVGY3TQOJQ".to_owned()));
        assert_eq!(
            secret.address("zoë@example.net"),
            "otpauth://totp/Overlay:zo%C3%AB%40example.net?secret=GEZDGNBVGY3TQOJQ&issuer=Overlay&algorithm=SHA1&digits=6&period=30"
        );
        let (one, two) = (Secret::generate().unwrap(), Secret::generate().unwrap());
        assert_eq!(one.text().len(), 32);
        assert_ne!(one.text(), two.text());
    }
}
