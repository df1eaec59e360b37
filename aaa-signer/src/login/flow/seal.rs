//! The state of a login that was begun, sealed for the client to carry.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use overlay_tokens::{Key, PublicKey};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf;
use zeroize::Zeroizing;

/// Sets this use of the issuer's seed apart from every other.
const PURPOSE: &[u8] = b"overlay-login-flow-v1";

/// The longest text that is opened.
const MAX_TEXT: usize = 8192;

const ID_BYTES: usize = 16;
/// Before the method's own state: when it expires, and whether it has a single step.
const HEAD_BYTES: usize = 9;

/// Seals and opens; whoever holds the same issuer's key opens what another has sealed.
pub(super) struct Sealer {
    key: LessSafeKey,
}

/// What is sealed.
pub(super) struct State {
    /// Seconds since 1970.
    pub(super) expires: i64,
    pub(super) single_step: bool,
    /// What the method wants to know again.
    pub(super) of_method: Zeroizing<Vec<u8>>,
}

/// What was opened.
#[derive(Debug)]
pub(super) struct Opened {
    /// One of its own for everything sealed.
    pub(super) id: String,
    pub(super) state: State,
}

/// Why nothing was sealed or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SealError {
    /// The system gives no random bytes, or the state has no length that can be sealed.
    #[error("the state cannot be sealed")]
    Seal,
    /// The text was not made for this method, key and issuer, or was changed.
    #[error("it was not made here for this key")]
    Open,
}

impl Sealer {
    pub(super) fn new(issuer: &Key) -> Self {
        let seed = issuer.seed_text();
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, PURPOSE);
        let derived = salt.extract(seed.as_bytes());
        let key = derived
            .expand(&[b"seal"], &CHACHA20_POLY1305)
            .map(UnboundKey::from)
            .expect("a key of this length can be derived");
        Self {
            key: LessSafeKey::new(key),
        }
    }

    /// Seals a state as `<method>.<text>` for whoever has the key `holder`.
    pub(super) fn seal(
        &self,
        method: &str,
        holder: &PublicKey,
        state: &State,
    ) -> Result<String, SealError> {
        let mut nonce = [0; NONCE_LEN];
        let mut id = [0; ID_BYTES];
        getrandom::fill(&mut nonce).map_err(|_| SealError::Seal)?;
        getrandom::fill(&mut id).map_err(|_| SealError::Seal)?;
        // Long enough from the beginning, so that no copy of the state is left behind by growing.
        let length = ID_BYTES + HEAD_BYTES + state.of_method.len() + CHACHA20_POLY1305.tag_len();
        let mut sealed = Zeroizing::new(Vec::with_capacity(length));
        sealed.extend_from_slice(&id);
        sealed.extend_from_slice(&state.expires.to_be_bytes());
        sealed.push(u8::from(state.single_step));
        sealed.extend_from_slice(&state.of_method);
        self.key
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                bound_to(method, holder),
                &mut *sealed,
            )
            .map_err(|_| SealError::Seal)?;
        let mut bytes = nonce.to_vec();
        bytes.extend_from_slice(&sealed);
        let text = format!("{method}.{}", URL_SAFE_NO_PAD.encode(bytes));
        if text.len() > MAX_TEXT {
            return Err(SealError::Seal);
        }
        Ok(text)
    }

    /// Opens what [`Sealer::seal`] made for the same method and holder.
    pub(super) fn open(
        &self,
        method: &str,
        holder: &PublicKey,
        text: &str,
    ) -> Result<Opened, SealError> {
        let text = text
            .strip_prefix(method)
            .and_then(|text| text.strip_prefix('.'))
            .filter(|text| text.len() <= MAX_TEXT)
            .ok_or(SealError::Open)?;
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| SealError::Open)?;
        let (nonce, sealed) = bytes
            .split_first_chunk::<NONCE_LEN>()
            .ok_or(SealError::Open)?;
        let mut sealed = Zeroizing::new(sealed.to_vec());
        let plain: &[u8] = self
            .key
            .open_in_place(
                Nonce::assume_unique_for_key(*nonce),
                bound_to(method, holder),
                &mut sealed,
            )
            .map_err(|_| SealError::Open)?;
        let parts = plain
            .split_first_chunk::<ID_BYTES>()
            .and_then(|(id, rest)| Some((id, rest.split_first_chunk::<8>()?)))
            .and_then(|(id, (expires, rest))| Some((id, expires, rest.split_first()?)));
        let (id, expires, (single_step, of_method)) = parts.ok_or(SealError::Open)?;
        Ok(Opened {
            id: hex::encode(id),
            state: State {
                expires: i64::from_be_bytes(*expires),
                single_step: *single_step != 0,
                of_method: Zeroizing::new(of_method.to_vec()),
            },
        })
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer").finish_non_exhaustive()
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("expires", &self.expires)
            .field("single_step", &self.single_step)
            .finish_non_exhaustive()
    }
}

/// What the seal holds only together with.
fn bound_to(method: &str, holder: &PublicKey) -> Aad<Vec<u8>> {
    Aad::from(format!("{method}\n{holder}").into_bytes())
}
