//! The second factor: codes that a phone makes from the time (RFC 6238, as authenticator apps do it).

use std::fmt;

use data_encoding::BASE32_NOPAD;
use ring::hmac;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use overlay_protocol::SecretText;

/// Digits of a code.
pub(crate) const DIGITS: usize = 6;
/// Seconds that a code is shown.
const STEP: i64 = 30;
/// Codes so many steps away are taken too: clocks differ, and people type.
const DRIFT: i64 = 1;
/// For so many seconds a code could be taken again; used ones are remembered for longer.
pub(crate) const REMEMBERED: u64 = 180;
/// Shortest secret: RFC 4226 asks for 128 bits; some apps' secrets of 80 are taken.
const MIN_SECRET_BYTES: usize = 10;
/// Longest secret.
const MAX_SECRET_BYTES: usize = 128;

/// What a user list holds is no secret of a second factor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TotpError {
    /// Neither a secret nor an address of one.
    #[error("is neither a secret in base32 of 10 bytes or more nor an otpauth://totp address")]
    Secret,
    /// An address that asks for codes of another kind.
    #[error("asks for codes other than six digits every 30 seconds by SHA-1")]
    Kind,
}

/// The shared secret of a second factor.
#[derive(Clone)]
pub(crate) struct Totp {
    secret: Zeroizing<Vec<u8>>,
}

impl Totp {
    /// Reads a secret in base32, in either case, with spaces or padding or not, or an `otpauth://totp/` address with one.
    pub(crate) fn parse(text: &str) -> Result<Self, TotpError> {
        let text = text.trim();
        if let Some(address) = text.strip_prefix("otpauth://") {
            return Self::from_address(address);
        }
        let plain: Zeroizing<String> = Zeroizing::new(
            text.chars()
                .filter(|letter| !matches!(letter, ' ' | '-' | '='))
                .map(|letter| letter.to_ascii_uppercase())
                .collect(),
        );
        let secret = BASE32_NOPAD
            .decode(plain.as_bytes())
            .map(Zeroizing::new)
            .map_err(|_not_base32| TotpError::Secret)?;
        if (MIN_SECRET_BYTES..=MAX_SECRET_BYTES).contains(&secret.len()) {
            Ok(Self { secret })
        } else {
            Err(TotpError::Secret)
        }
    }

    fn from_address(address: &str) -> Result<Self, TotpError> {
        let query = address
            .strip_prefix("totp/")
            .and_then(|rest| rest.split_once('?'))
            .map(|(_label, query)| query)
            .ok_or(TotpError::Secret)?;
        let mut secret = None;
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            match name {
                "secret" => secret = Some(value),
                "digits" if value != "6" => return Err(TotpError::Kind),
                "period" if value != "30" => return Err(TotpError::Kind),
                "algorithm" if !value.eq_ignore_ascii_case("SHA1") => {
                    return Err(TotpError::Kind);
                }
                _ => {}
            }
        }
        let secret = secret.ok_or(TotpError::Secret)?;
        if secret.starts_with("otpauth") {
            return Err(TotpError::Secret);
        }
        Self::parse(secret)
    }

    /// The step of time whose code this is, when it is one of now or next to it.
    pub(crate) fn step_of(&self, code: &str, now_secs: i64) -> Option<i64> {
        if code.len() != DIGITS || !code.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let now = now_secs.div_euclid(STEP);
        // All are looked at, whichever fits.
        let mut found = None;
        for step in now - DRIFT..=now + DRIFT {
            let same: bool = self.code(step).as_bytes().ct_eq(code.as_bytes()).into();
            if same {
                found = Some(step);
            }
        }
        found
    }

    /// The code of a time.
    #[cfg(test)]
    pub(crate) fn code_at(&self, now_secs: i64) -> String {
        self.code(now_secs.div_euclid(STEP)).to_string()
    }

    /// The code of a step of time (RFC 4226, section 5.3).
    fn code(&self, step: i64) -> Zeroizing<String> {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &self.secret);
        let mac = hmac::sign(&key, &step.to_be_bytes());
        let mac = mac.as_ref();
        let offset = usize::from(mac.last().copied().unwrap_or_default() & 0x0f);
        let mut word = [0_u8; 4];
        for (to, from) in word.iter_mut().zip(mac.iter().skip(offset)) {
            *to = *from;
        }
        let number = (u32::from_be_bytes(word) & 0x7fff_ffff) % 1_000_000;
        Zeroizing::new(format!("{number:06}"))
    }
}

impl fmt::Debug for Totp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Totp(****)")
    }
}

/// Takes six digits off the end of a password: clients without a field for the second factor append them.
pub(crate) fn split(password: &SecretText) -> Option<(SecretText, SecretText)> {
    let text = password.expose();
    let at = text.len().checked_sub(DIGITS)?;
    let (password, code) = text.split_at_checked(at)?;
    code.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| (password.into(), code.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The secret of RFC 6238, appendix B; its codes have eight digits there, of which these are the last six.
    const RFC: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

    #[test]
    fn codes_are_those_of_the_rfc() {
        let totp = Totp::parse(RFC).unwrap();
        for (time, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            assert_eq!(totp.step_of(code, time), Some(time / 30), "{time}");
        }
    }

    #[test]
    fn one_step_of_drift_is_taken_and_no_more() {
        let totp = Totp::parse(RFC).unwrap();
        let (code, step) = ("050471", 1_111_111_111 / 30);
        for (drift, taken) in [(-2, false), (-1, true), (0, true), (1, true), (2, false)] {
            let found = totp.step_of(code, (step + drift) * 30);
            assert_eq!(found.is_some(), taken, "{drift}");
            assert!(found.is_none_or(|found| found == step));
        }
    }

    #[test]
    fn secrets_are_read_as_people_have_them() {
        for text in [
            RFC,
            "gezd gnbv gy3t qojq gezd gnbv gy3t qojq",
            "otpauth://totp/Overlay:rip?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=Overlay&digits=6&period=30",
        ] {
            assert_eq!(
                Totp::parse(text).unwrap().secret,
                Totp::parse(RFC).unwrap().secret
            );
        }
        for text in [
            "",
            "GEZDGNBV",
            "1890",
            "otpauth://totp/x",
            "otpauth://hotp/x?secret=GEZDGNBVGY3TQOJQ",
        ] {
            assert_eq!(Totp::parse(text).unwrap_err(), TotpError::Secret, "{text}");
        }
        let eight = format!("otpauth://totp/x?secret={RFC}&digits=8");
        assert_eq!(Totp::parse(&eight).unwrap_err(), TotpError::Kind);
    }

    #[test]
    fn what_is_no_code_fits_never() {
        let totp = Totp::parse(RFC).unwrap();
        for code in ["", "28708", "2870820", "28708a", "２８７０８２"] {
            assert_eq!(totp.step_of(code, 59), None, "{code}");
        }
    }

    #[test]
    fn a_code_at_the_end_of_a_password_is_split_off() {
        let split = |text: &str| {
            split(&text.into())
                .map(|(password, code)| (password.expose().to_owned(), code.expose().to_owned()))
        };
        assert_eq!(split("pass123456"), Some(("pass".into(), "123456".into())));
        assert_eq!(split("123456"), Some((String::new(), "123456".into())));
        assert_eq!(split("pass12345x"), None);
        assert_eq!(split("12345"), None);
        assert_eq!(split("pässä12345"), None);
    }
}
