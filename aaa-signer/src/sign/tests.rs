mod record;
mod requests;
mod tokens;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use overlay_policy::Rego;
use overlay_protocol::audit;
use overlay_protocol::envelope::Limits;
use overlay_protocol::envelope::v2::{Request, SecureRequest};
use overlay_protocol::filter::Filter;
use overlay_protocol::rpc::RpcRequest;
use overlay_testkit::mint::{self, Chain, Login, Organisation};
use overlay_tokens::claims::{ClientClaims, ClientPermissions};
use overlay_tokens::issue::{self, ClientToken, ServerToken};
use overlay_tokens::request::{RequestPolicy, sign_request, verify_request};
use overlay_tokens::{Issuers, Key, UnixTime, Unverified};
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

use super::{Decision, Judge, Reason, Rules, Submission};
use crate::config::{Authorizer, Delegator, Denied, Tenants};
use crate::via::Via;

const MINUTE: Duration = Duration::from_secs(60);

struct World {
    organisation: Organisation,
    chain: Chain,
    rules: Rules,
    now: UnixTime,
}

impl World {
    fn new() -> Self {
        let organisation = Organisation::new();
        // A little later than whatever is minted here.
        let now = UnixTime::from_secs(mint::now().secs + 5);
        Self {
            chain: organisation.chain(ClientToken::new("aaa_chain")),
            rules: Rules {
                issuers: organisation.issuers(),
                max_validity: Duration::from_secs(24 * 3600),
                max_ttl: 10 * MINUTE,
                clock_skew: Duration::from_secs(5),
                allow_bearer_tokens: false,
                max_request_bytes: 64 * 1024,
                tenants: Tenants::default(),
                denied: Denied::default(),
                authorizer: Authorizer::Token,
                site: "london".to_owned(),
            },
            organisation,
            now,
        }
    }

    fn user(&self) -> Login {
        self.user_with("up=bob", |_token| {})
    }

    fn user_with(&self, callerid: &str, change: impl FnOnce(&mut ClientToken)) -> Login {
        let mut token = ClientToken {
            agents: vec!["rpcutil.*".to_owned()],
            permissions: Some(fleet()),
            ..ClientToken::new(callerid)
        };
        change(&mut token);
        self.chain.client(token)
    }

    fn delegator(&self) -> Delegator {
        let login = self.organisation.client(ClientToken {
            permissions: Some(ClientPermissions {
                authentication_delegator: true,
                ..ClientPermissions::default()
            }),
            ..ClientToken::new("aaa_request_signer")
        });
        Delegator {
            token: login.token.as_str().into(),
            key: login.key,
            expires_at: None,
        }
    }

    fn judge(&self) -> Judge {
        Judge::new(self.rules.clone(), Rego::default(), 100)
    }

    fn decide(&self, submission: &Submission) -> Decision {
        self.judge().decide(submission, &|_claims| false, self.now)
    }

    /// The reason for which a request of bob's, changed, is denied.
    fn denies(&self, login: &Login, change: impl FnOnce(&mut Request)) -> Reason {
        let mut request = request(self.now);
        change(&mut request);
        self.denies_bytes(login, request.encode())
    }

    fn denies_bytes(&self, login: &Login, bytes: Vec<u8>) -> Reason {
        let submission = submission(login, bytes);
        let decision = self.decide(&submission);
        let data = decision.data(&submission, "london", self.now.secs);
        assert_eq!(data.action, Some(audit::Decision::Deny));
        decision.verdict.expect_err("it is denied")
    }

    fn allows(&self, login: &Login, change: impl FnOnce(&mut Request)) -> Request {
        let mut request = request(self.now);
        change(&mut request);
        let decision = self.decide(&submission(login, request.encode()));
        let approved = decision
            .verdict
            .unwrap_or_else(|reason| panic!("{reason:?}: {}", decision.message));
        Request::decode(&approved.request, &Limits::default()).unwrap()
    }
}

fn fleet() -> ClientPermissions {
    ClientPermissions {
        fleet_management: true,
        signed_fleet_management: true,
        ..ClientPermissions::default()
    }
}

fn request(now: UnixTime) -> Request {
    Request {
        message: call("rpcutil", "ping"),
        id: "2ecvzXAzWRTIbJ5YMQTXGLJmC8V".to_owned(),
        sender: "client.example.net".to_owned(),
        caller: "up=bob".to_owned(),
        collective: "choria".to_owned(),
        agent: "rpcutil".to_owned(),
        ttl: MINUTE,
        time_ns: now.as_nanos(),
        filter: Some(Filter::default()),
    }
}

fn call(agent: &str, action: &str) -> Vec<u8> {
    RpcRequest {
        agent: agent.to_owned(),
        action: action.to_owned(),
        ..RpcRequest::default()
    }
    .encode()
}

fn submission(login: &Login, bytes: Vec<u8>) -> Submission {
    Submission {
        token: login.token.clone(),
        signature: Some(hex::encode(login.key.sign(&bytes))),
        request: bytes.into(),
        via: Via::Http,
        peer: "192.0.2.1".to_owned(),
    }
}

/// A token with claims that no builder makes.
fn issued(claims: &ClientClaims, by: &Key, key: Key) -> Login {
    Login {
        token: issue::sign(claims, by).unwrap(),
        key,
    }
}

#[test]
fn aaa_case_21_what_is_signed_is_what_nodes_accept() {
    let world = World::new();
    let user = world.user();
    let delegator = world.delegator();
    let key = delegator.key.clone();
    let decision = world.decide(&submission(&user, request(world.now).encode()));
    let signed = delegator.sign(decision.verdict.unwrap().request);
    let mut secure = SecureRequest::decode(&signed, &Limits::default()).unwrap();
    assert!(key.public().verify(&secure.request, &secure.signature));
    assert_eq!(secure.caller, *delegator.token);
    secure.caller = user.token;
    let verified = verify_request(
        &secure,
        &world.rules.issuers,
        world.now,
        &RequestPolicy::default(),
    )
    .unwrap();
    assert_eq!(verified.request.caller, "up=bob");
    assert!(verified.delegator.is_some());
}

#[test]
fn aaa_case_22_a_caller_is_written_without_dots_and_at_signs() {
    let world = World::new();
    let user = world.user_with("up=bob.smith@example.com", |_token| {});
    let signed = world.allows(&user, |_request| {});
    assert_eq!(signed.caller, "up=bob_smith_example_com");
}

#[test]
fn rpc_case_45_a_caller_is_written_without_dots_and_at_signs() {
    let world = World::new();
    let user = world.user_with("up=bob@example.com", |_token| {});
    assert_eq!(
        world.allows(&user, |_request| {}).caller,
        "up=bob_example_com"
    );
}

#[test]
fn aaa_case_23_the_token_names_the_caller_whatever_the_request_says() {
    let world = World::new();
    let signed = world.allows(&world.user(), |request| {
        request.caller = "up=alice".to_owned()
    });
    assert_eq!(signed.caller, "up=bob");
}

#[test]
fn aaa_case_46_nodes_take_what_the_holder_may_sign_alone_and_else_what_a_delegator_signed() {
    let world = World::new();
    let bytes = request(world.now).encode();
    let takes = |secure: &SecureRequest| {
        let policy = RequestPolicy::default();
        verify_request(secure, &world.rules.issuers, world.now, &policy).is_ok()
    };
    let own = |login: &Login| sign_request(bytes.clone(), &login.key, &login.token);
    let alone = world.user_with("up=bob", |token| {
        token.permissions = Some(ClientPermissions {
            signed_fleet_management: false,
            ..fleet()
        });
    });
    let user = world.user();
    assert!(takes(&own(&alone)));
    assert!(!takes(&own(&user)));
    let signed = world.delegator().sign(bytes);
    let mut delegated = SecureRequest::decode(&signed, &Limits::default()).unwrap();
    delegated.caller = user.token;
    assert!(takes(&delegated));
}
