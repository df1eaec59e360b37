//! Keys, tokens and certificates for tests, made anew each time.

mod callout;
mod tls;

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use overlay_tokens::claims::{ClientClaims, ClientPermissions};
use overlay_tokens::file::{self, Overwrite};
use overlay_tokens::issue::{ChainIssuer, ClientToken, OrgIssuer, ProvisioningToken, ServerToken};
use overlay_tokens::{Issuers, Key, PublicKey, UnixTime, Unverified};

pub use callout::CalloutKeys;
pub use tls::Authority;

/// The organisation that nodes and clients belong to unless a token says otherwise.
pub const OU: &str = "choria";
/// The validity that tokens get when the builder names none.
pub const VALIDITY: Duration = Duration::from_secs(3600);

/// An organisation's issuer.
#[derive(Debug)]
pub struct Organisation {
    issuer: OrgIssuer,
}

/// A chain issuer of an organisation, such as a login service.
#[derive(Debug)]
pub struct Chain {
    /// The issuer's own token and key.
    pub login: Login,
    issuer: ChainIssuer,
}

/// A token and the key that it was made for: what a holder presents.
#[derive(Debug)]
pub struct Login {
    /// The token.
    pub token: String,
    /// The holder's key.
    pub key: Key,
}

/// The time of day, for whoever verifies what was minted.
#[expect(
    clippy::disallowed_methods,
    reason = "tests mint tokens for the time they run at"
)]
pub fn now() -> UnixTime {
    SystemTime::now().into()
}

/// A new key.
///
/// # Panics
///
/// When the system has no randomness.
pub fn key() -> Key {
    Key::generate().expect("the system has randomness")
}

impl Default for Organisation {
    fn default() -> Self {
        Self::new()
    }
}

impl Organisation {
    /// An organisation with a new key.
    pub fn new() -> Self {
        Self::with_key(key())
    }

    /// An organisation with a given key.
    pub fn with_key(key: Key) -> Self {
        Self {
            issuer: OrgIssuer::new(key),
        }
    }

    /// The key that everybody must trust.
    pub fn public(&self) -> PublicKey {
        self.issuer.public()
    }

    /// The issuers that trust this organisation as [`OU`].
    ///
    /// # Panics
    ///
    /// Never with a key of [`Self::new`]; a weak key of [`Self::with_key`] is refused.
    pub fn issuers(&self) -> Issuers {
        Issuers::new([(OU.to_owned(), self.public())]).expect("one issuer with a sound key")
    }

    /// Issues a client token; it gets a new key and an hour where it names none.
    ///
    /// # Panics
    ///
    /// When the builder lacks what a token needs.
    #[track_caller]
    pub fn client(&self, token: ClientToken) -> Login {
        self.client_at(token, now())
    }

    /// Issues a client token as of `now`.
    ///
    /// # Panics
    ///
    /// When the builder lacks what a token needs.
    #[track_caller]
    pub fn client_at(&self, token: ClientToken, now: UnixTime) -> Login {
        let (claims, key) = client_claims(token, now);
        let token = self
            .issuer
            .issue(&claims)
            .expect("the claims can be signed");
        Login { token, key }
    }

    /// Issues a server token; it gets a new key, an hour and the collective `choria` where it
    /// names none.
    ///
    /// # Panics
    ///
    /// When the builder lacks what a token needs.
    #[track_caller]
    pub fn server(&self, mut token: ServerToken) -> Login {
        let key = holder(&mut token.public_key);
        token = server_defaults(token);
        let claims = token.claims(now()).expect("a complete server token");
        let token = self
            .issuer
            .issue(&claims)
            .expect("the claims can be signed");
        Login { token, key }
    }

    /// Issues a provisioning token.
    ///
    /// # Panics
    ///
    /// When the builder lacks what a token needs.
    #[track_caller]
    pub fn provisioning(&self, token: ProvisioningToken) -> String {
        let claims = token.claims(now()).expect("a complete provisioning token");
        self.issuer
            .issue(&claims)
            .expect("the claims can be signed")
    }

    /// Issues the token of a provisioner.
    #[track_caller]
    pub fn provisioner(&self, callerid: &str) -> Login {
        self.client(ClientToken {
            permissions: Some(ClientPermissions {
                provisioner: true,
                ..ClientPermissions::default()
            }),
            ..ClientToken::new(callerid)
        })
    }

    /// Makes a chain issuer.
    ///
    /// # Panics
    ///
    /// When the builder lacks what a token needs.
    #[track_caller]
    pub fn chain(&self, token: ClientToken) -> Chain {
        let (claims, key) = client_claims(token, now());
        let token = self
            .issuer
            .issue_chain_issuer(claims)
            .expect("the claims can be signed");
        let verified = Unverified::<ClientClaims>::decode(&token)
            .expect("what was just made can be read")
            .verify(&self.issuers(), now())
            .expect("what was just made can be verified");
        let issuer = ChainIssuer::new(&verified, key.clone()).expect("a chain issuer");
        Chain {
            login: Login { token, key },
            issuer,
        }
    }
}

impl Chain {
    /// Issues a client token through the chain.
    ///
    /// # Panics
    ///
    /// When the builder lacks what a token needs.
    #[track_caller]
    pub fn client(&self, token: ClientToken) -> Login {
        let (claims, key) = client_claims(token, now());
        let token = self.issuer.issue(claims).expect("the claims can be signed");
        Login { token, key }
    }

    /// Issues a server token through the chain.
    ///
    /// # Panics
    ///
    /// When the builder lacks what a token needs.
    #[track_caller]
    pub fn server(&self, mut token: ServerToken) -> Login {
        let key = holder(&mut token.public_key);
        token = server_defaults(token);
        let claims = token.claims(now()).expect("a complete server token");
        let token = self.issuer.issue(claims).expect("the claims can be signed");
        Login { token, key }
    }
}

impl Login {
    /// The signature over the broker's nonce.
    ///
    /// # Panics
    ///
    /// When it is no nonce.
    #[track_caller]
    pub fn sign_nonce(&self, nonce: &str) -> String {
        overlay_tokens::sign_nonce(&self.key, nonce).expect("the broker offers a nonce")
    }

    /// Writes `<stem>.jwt` and `<stem>.seed` into `dir`, readable by the owner alone.
    ///
    /// # Panics
    ///
    /// When the files cannot be written.
    pub fn write(&self, dir: &Path, stem: &str) -> (PathBuf, PathBuf) {
        let token = dir.join(format!("{stem}.jwt"));
        let seed = dir.join(format!("{stem}.seed"));
        file::write_token(&token, &self.token).expect("the directory takes a token");
        file::write_seed(&seed, &self.key, Overwrite::Yes).expect("the directory takes a seed");
        (token, seed)
    }
}

fn client_claims(mut token: ClientToken, now: UnixTime) -> (ClientClaims, Key) {
    let key = holder(&mut token.public_key);
    if token.validity.is_zero() {
        token.validity = VALIDITY;
    }
    let claims = token.claims(now).expect("a complete client token");
    (claims, key)
}

fn server_defaults(mut token: ServerToken) -> ServerToken {
    if token.validity.is_zero() {
        token.validity = VALIDITY;
    }
    if token.collectives.is_empty() {
        token.collectives = vec![OU.to_owned()];
    }
    token
}

/// The key for a token: a new one, unless the test has put the public half of its own there.
fn holder(public: &mut Option<PublicKey>) -> Key {
    let key = key();
    public.get_or_insert(key.public());
    key
}
