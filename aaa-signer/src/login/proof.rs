//! Proof of possession: whoever logs in signs what it sends with the key that the token will be bound to.

use overlay_tokens::PublicKey;

use super::Reason;

/// How far the time of a signed step may be from now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    /// Seconds into the past.
    pub back: i64,
    /// Seconds into the future, for clocks that differ.
    pub ahead: i64,
}

/// What a client sends with every step, as it was received.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Proof<'a> {
    pub timestamp: &'a str,
    pub public_key: &'a str,
    pub signature: &'a str,
}

/// What was proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Proved {
    /// The key that the client holds.
    pub key: PublicKey,
    /// Its signature over the step.
    pub signature: [u8; 64],
}

impl Proof<'_> {
    /// Checks the time, then the signature over `text`, which is made of the very texts received.
    pub(crate) fn check(&self, text: &str, window: Window, now: i64) -> Result<Proved, Reason> {
        if self.public_key.is_empty() {
            return Err(Reason::NoKey);
        }
        let timestamp: i64 = self
            .timestamp
            .parse()
            .map_err(|_not_a_number| Reason::BadTimestamp)?;
        let age = now.saturating_sub(timestamp);
        if age < -window.ahead {
            return Err(Reason::Future);
        }
        if age > window.back {
            return Err(Reason::Old);
        }
        let key: PublicKey = self.public_key.parse().map_err(|_no_key| Reason::BadKey)?;
        if key.is_weak() {
            return Err(Reason::WeakKey);
        }
        let signature = hex::decode(self.signature).map_err(|_not_hex| Reason::BadSignature)?;
        let signature: [u8; 64] = signature
            .try_into()
            .map_err(|_other_length| Reason::Signature)?;
        if key.verify(text.as_bytes(), &signature) {
            Ok(Proved { key, signature })
        } else {
            Err(Reason::Signature)
        }
    }
}

#[cfg(test)]
mod tests {
    use overlay_tokens::Key;

    use super::*;

    const NOW: i64 = 1_800_000_000;
    const WINDOW: Window = Window { back: 60, ahead: 5 };

    fn check(timestamp: &str, key: &str, signature: &str) -> Result<Proved, Reason> {
        Proof {
            timestamp,
            public_key: key,
            signature,
        }
        .check(&format!("{timestamp}:rip:secret"), WINDOW, NOW)
    }

    fn signed(timestamp: &str) -> Result<Proved, Reason> {
        let key = Key::from_seed([7; 32]);
        let signature = key.sign(format!("{timestamp}:rip:secret").as_bytes());
        check(
            timestamp,
            &key.public().to_string(),
            &hex::encode(signature),
        )
    }

    #[test]
    fn aaa_case_2_the_window_is_a_minute_back() {
        assert!(signed(&NOW.to_string()).is_ok());
        assert!(signed(&(NOW - 59).to_string()).is_ok());
        assert!(signed(&(NOW - 60).to_string()).is_ok());
        assert_eq!(signed(&(NOW - 61).to_string()), Err(Reason::Old));
        assert_eq!(signed("-1"), Err(Reason::Old));
        assert_eq!(signed(&i64::MIN.to_string()), Err(Reason::Old));
    }

    #[test]
    fn aaa_case_3_the_future_is_refused_beyond_a_few_seconds() {
        assert!(signed(&(NOW + 5).to_string()).is_ok());
        assert_eq!(signed(&(NOW + 6).to_string()), Err(Reason::Future));
        assert_eq!(signed(&(NOW + 3600).to_string()), Err(Reason::Future));
        assert_eq!(signed(&i64::MAX.to_string()), Err(Reason::Future));
    }

    #[test]
    fn aaa_case_4_a_timestamp_is_a_decimal_number() {
        for good in [format!("+{NOW}"), format!("000{NOW}")] {
            assert!(signed(&good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "abc",
            " 1800000000",
            "1800000000.0",
            "1e9",
            "99999999999999999999",
        ] {
            assert_eq!(signed(bad), Err(Reason::BadTimestamp), "{bad}");
        }
    }

    #[test]
    fn aaa_case_5_a_public_key_is_32_bytes_in_hexadecimal() {
        let key = Key::from_seed([7; 32]);
        let now = NOW.to_string();
        let signature = hex::encode(key.sign(format!("{now}:rip:secret").as_bytes()));
        let hex = key.public().to_string();
        assert!(check(&now, &hex.to_uppercase(), &signature.to_uppercase()).is_ok());
        assert_eq!(check(&now, "", &signature), Err(Reason::NoKey));
        for bad in ["zz", &"z".repeat(64), &hex[..62], &format!("{hex}00"), "é"] {
            assert_eq!(check(&now, bad, &signature), Err(Reason::BadKey), "{bad}");
        }
        let mut identity = [0_u8; 32];
        identity[0] = 1;
        assert_eq!(
            check(&now, &hex::encode(identity), &signature),
            Err(Reason::WeakKey)
        );
    }

    #[test]
    fn aaa_case_6_and_7_the_signature_is_the_keys_over_time_name_and_password() {
        let (key, other) = (Key::from_seed([7; 32]), Key::from_seed([8; 32]));
        let now = NOW.to_string();
        let hex = key.public().to_string();
        let over = |key: &Key, text: &str| hex::encode(key.sign(text.as_bytes()));
        let good = over(&key, &format!("{now}:rip:secret"));
        assert!(check(&now, &hex, &good).is_ok());
        for bad in [
            over(&key, "rip:secret"),
            over(&other, &format!("{now}:rip:secret")),
            String::new(),
            good[..126].to_owned(),
            "0".repeat(128),
        ] {
            assert_eq!(check(&now, &hex, &bad), Err(Reason::Signature), "{bad}");
        }
        assert_eq!(check(&now, &hex, "not hex"), Err(Reason::BadSignature));
    }
}
