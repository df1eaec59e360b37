//! Who signs the tokens of those who log in.

use overlay_protocol::audit::TokenFacts;
use overlay_protocol::id::Tenant;
use overlay_tokens::claims::ClientClaims;
use overlay_tokens::issue::{ChainIssuer, ClientToken, IssueError, PrivateKey, sign};
use overlay_tokens::rsa::RsaPrivate;
use overlay_tokens::{DecodeError, Key, KeyError, PublicKey, UnixTime, Unverified, Verified};

use std::time::Duration;

use crate::audit::token_facts;
use crate::authenticate::Person;

/// `iss` of tokens without a trust chain, as Choria's service writes it.
const DIRECT_ISSUER: &str = "Choria Userlist Authenticator";

/// Who signs the tokens of those who log in, with its key.
#[derive(Debug)]
pub(crate) struct Issuer {
    kind: Kind,
    /// What a login of several steps is sealed with between its steps: the issuer's key where it is an ed25519 key.
    sealing: Key,
}

#[derive(Debug)]
enum Kind {
    /// A chain issuer: tokens that the organisation's key vouches for.
    Chain(Box<ChainIssuer>),
    /// The sealing key itself, whose tokens must be trusted as they are: the organisation's own, in Choria's set-ups without a
    /// chain.
    Direct,
    /// An RSA key, in Choria's set-ups with protocol version 1.
    Rsa(Box<RsaPrivate>),
}

/// What a token is made with unless the person has it otherwise.
#[derive(Debug, Clone)]
pub(super) struct Defaults {
    pub organisation: String,
    pub validity: Duration,
}

/// A token, and what the record says of it.
#[derive(Debug)]
pub(super) struct Issued {
    pub token: String,
    pub facts: TokenFacts,
}

/// Why no token is issued.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoToken {
    /// The chain issuer's own token has expired.
    #[error("the token of the chain issuer has expired")]
    Expired,
    /// The tenant is none.
    #[error("the tenant {0:?} is no name of a tenant")]
    Tenant(String),
    /// It cannot be made or signed.
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// What was made is not read as a token.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

impl Issuer {
    /// A chain issuer by its verified token and its key.
    ///
    /// # Errors
    ///
    /// When the token is not that of a chain issuer, has no expiry, or the key is another one's.
    pub(crate) fn chain(token: &Verified<ClientClaims>, key: Key) -> Result<Self, IssueError> {
        Ok(Self {
            kind: Kind::Chain(Box::new(ChainIssuer::new(token, key.clone())?)),
            sealing: key,
        })
    }

    /// A key alone, from its file's content: an ed25519 seed or an RSA key as PEM.
    ///
    /// # Errors
    ///
    /// When it is neither, or there are no random bytes.
    pub(crate) fn direct(content: &[u8]) -> Result<Self, IssueError> {
        Ok(match PrivateKey::from_file_content(content)? {
            PrivateKey::Ed25519(key) => Self {
                kind: Kind::Direct,
                sealing: *key,
            },
            PrivateKey::Rsa(key) => Self {
                kind: Kind::Rsa(key),
                // Nothing that several instances know: a login of several steps stays with one.
                sealing: Key::generate().map_err(|error: KeyError| IssueError::Key(error))?,
            },
        })
    }

    /// When all that it issues expires at the latest, in Unix seconds.
    pub(crate) fn expires_at(&self) -> Option<i64> {
        match &self.kind {
            Kind::Chain(issuer) => issuer.expires_at(),
            Kind::Direct | Kind::Rsa(_) => None,
        }
    }

    /// What a login of several steps is sealed with.
    pub(super) fn sealing(&self) -> &Key {
        &self.sealing
    }

    /// Issues a token to `person`, bound to `key`.
    pub(super) fn issue(
        &self,
        person: &Person,
        key: PublicKey,
        defaults: &Defaults,
        now: UnixTime,
    ) -> Result<Issued, NoToken> {
        if self.expires_at().is_some_and(|exp| !now.is_before(exp)) {
            return Err(NoToken::Expired);
        }
        let tenant = person
            .tenant
            .as_ref()
            .map(|tenant| tenant.parse::<Tenant>())
            .transpose()
            .map_err(|_no_tenant| NoToken::Tenant(person.tenant.clone().unwrap_or_default()))?;
        let organisation = person.organisation.as_ref();
        let claims = ClientToken {
            callerid: person.callerid.clone(),
            public_key: Some(key),
            ou: organisation.unwrap_or(&defaults.organisation).clone(),
            validity: person.validity.unwrap_or(defaults.validity),
            issuer: DIRECT_ISSUER.to_owned(),
            agents: person.agents.clone(),
            user_properties: person.properties.clone(),
            opa_policy: person.opa_policy.clone(),
            permissions: person.permissions,
            tenant,
            pub_subjects: Vec::new(),
            sub_subjects: Vec::new(),
        }
        .claims(now)?;
        let token = match &self.kind {
            Kind::Chain(issuer) => issuer.issue(claims)?,
            Kind::Direct => sign(&claims, &self.sealing)?,
            Kind::Rsa(key) => sign(&claims, key.as_ref())?,
        };
        // The record says what the token says, not what it was to say.
        let facts = token_facts(Unverified::decode(&token)?.claims_unverified(), true);
        Ok(Issued { token, facts })
    }
}
