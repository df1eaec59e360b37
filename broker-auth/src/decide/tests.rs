use overlay_tokens::claims::{ClientPermissions, ProvisioningClaims, ServerPermissions};
use overlay_tokens::{Issuers, Key, issue, sign_nonce};

use super::*;
use crate::attempt::Hidden;
use crate::policy::{Memory, Password, Provisioning, ProvisioningCompat};

mod clients;
mod nodes;
mod properties;
mod provisioning;
mod special;
mod stranger;

const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);
const LATER: i64 = 4_102_444_800;
const NONCE: &str = "0-LEW2OX3utEotM";
const USER_MD5: &str = "7419405695a186147a0de38f7e31a509";
const USER_SHA256: &str = "e411ee5d5e60c1950b770f0164c20df5ad9c1d0c39b2b49debd630c3be5b3475";

fn org() -> Key {
    Key::from_seed([1; 32])
}

fn holder() -> Key {
    Key::from_seed([3; 32])
}

fn acme() -> Key {
    Key::from_seed([9; 32])
}

fn policy() -> Policy {
    let issuers = Issuers::new([
        ("choria".to_owned(), org().public()),
        ("acme".to_owned(), acme().public()),
    ]);
    Policy {
        provisioning: Some(Provisioning {
            password: Password::new("provS3cret"),
            without_token: false,
            compat: ProvisioningCompat::default(),
        }),
        system: Some(System {
            user: "system".to_owned(),
            password: Password::new("sysS3cret"),
        }),
        certificates: Certificates::PubSub,
        ..Policy::new(issuers.unwrap(), "choria", Memory::new(1 << 20))
    }
}

/// The policy with switches for Choria's programs.
fn with_compat(compat: ProvisioningCompat) -> Policy {
    Policy {
        provisioning: Some(Provisioning {
            password: Password::new("provS3cret"),
            without_token: false,
            compat,
        }),
        ..policy()
    }
}

fn standard(purpose: Purpose) -> Standard {
    Standard {
        purpose,
        public_key: holder().public().to_string(),
        iss: "tests".to_owned(),
        exp: Some(LATER),
        nbf: Some(1_700_000_000),
        iat: Some(1_700_000_000),
        jti: "2Xyz".to_owned(),
        ..Standard::default()
    }
}

fn client_claims(permissions: ClientPermissions) -> ClientClaims {
    ClientClaims {
        callerid: "up=rip".to_owned(),
        ou: Some("choria".to_owned()),
        permissions: Some(permissions),
        standard: standard(Purpose::Client),
        ..ClientClaims::default()
    }
}

fn server_claims(collectives: &[&str], permissions: ServerPermissions) -> ServerClaims {
    ServerClaims {
        identity: "ginkgo.example.net".to_owned(),
        collectives: collectives.iter().map(ToString::to_string).collect(),
        ou: Some("choria".to_owned()),
        permissions: Some(permissions),
        standard: standard(Purpose::Server),
        ..ServerClaims::default()
    }
}

fn provisioning_claims() -> ProvisioningClaims {
    ProvisioningClaims {
        cht: "s3cret".into(),
        chu: "nats://127.0.0.1:4222".to_owned(),
        ou: Some("choria".to_owned()),
        standard: Standard {
            public_key: String::new(),
            sub: "choria_provisioning".to_owned(),
            ..standard(Purpose::Provisioning)
        },
        ..ProvisioningClaims::default()
    }
}

fn token<C: Claims>(claims: &C) -> String {
    issue::sign(claims, &org()).unwrap()
}

fn fleet() -> ClientPermissions {
    ClientPermissions {
        fleet_management: true,
        ..ClientPermissions::default()
    }
}

/// An attempt with nothing wrong about the connection; the holder signs the nonce when it has a token with a key.
#[derive(Debug, Clone)]
struct Try {
    kind: Kind,
    tls: Tls,
    host: String,
    name: String,
    library: String,
    user: String,
    password: String,
    token: String,
    signature: String,
    nonce: String,
}

impl Try {
    fn with(token: impl Into<String>) -> Self {
        Self {
            kind: Kind::Client,
            tls: Tls::Encrypted,
            host: "192.0.2.7".to_owned(),
            name: "n1.example.net".to_owned(),
            library: "go".to_owned(),
            user: String::new(),
            password: String::new(),
            token: token.into(),
            signature: sign_nonce(&holder(), NONCE).unwrap(),
            nonce: NONCE.to_owned(),
        }
    }

    fn unsigned(token: impl Into<String>) -> Self {
        Self {
            signature: String::new(),
            nonce: String::new(),
            ..Self::with(token)
        }
    }

    fn with_user(self, user: &str, password: &str) -> Self {
        Self {
            user: user.to_owned(),
            password: password.to_owned(),
            ..self
        }
    }

    fn decide(&self, policy: &Policy, now: UnixTime) -> Decision {
        let attempt = Attempt {
            kind: self.kind,
            tls: self.tls,
            host: &self.host,
            name: &self.name,
            library: &self.library,
            user: &self.user,
            password: Hidden(&self.password),
            token: Hidden::token(&self.token),
            signature: &self.signature,
            nonce: &self.nonce,
        };
        decide(&attempt, policy, now)
    }

    #[track_caller]
    fn login(&self, policy: &Policy) -> Login {
        match self.decide(policy, NOW) {
            Decision::Allow(login) => login,
            Decision::Refuse(refusal) => panic!("refused: {refusal:?}"),
        }
    }

    #[track_caller]
    fn refusal(&self, policy: &Policy) -> Refusal {
        match self.decide(policy, NOW) {
            Decision::Allow(login) => panic!("allowed: {login:?}"),
            Decision::Refuse(refusal) => refusal,
        }
    }

    #[track_caller]
    fn refused_for(&self, reason: Reason) {
        assert_eq!(self.refusal(&policy()).reason, reason);
    }
}

fn sorted(subjects: &[crate::permissions::Subject]) -> Vec<&str> {
    let mut subjects: Vec<_> = subjects.iter().map(AsRef::as_ref).collect();
    subjects.sort_unstable();
    subjects
}

/// Asserts the allow list of one side, as a set, and that nothing is denied on it.
#[track_caller]
fn assert_allows(side: &crate::permissions::Side, wanted: &[&str]) {
    let mut wanted = wanted.to_vec();
    wanted.sort_unstable();
    assert_eq!((sorted(side.allow()), side.deny().len()), (wanted, 0));
}
