//! Requests to the RPC agent, and those that end the original's process.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use overlay_aaa_signer::{
    Answer, Asked, Authorizer, Dropped, Face, Judge, Reason, Submission, Via,
};
use overlay_policy::Rego;
use overlay_protocol::envelope::Limits;
use overlay_protocol::envelope::v2::{Reply, Request, SecureReply, SecureRequest, Transport};
use overlay_protocol::filter::Filter;
use overlay_protocol::id::Collective;
use overlay_protocol::rpc::RpcReply;
use overlay_testkit::vectors::{Loader, Outcome, for_cases};
use overlay_tokens::UnixTime;
use overlay_tokens::issue::ClientToken;
use overlay_tokens::own::Holder;
use serde_json::{Value, json};

use super::keys::{Keys, text};
use super::sign::{nobody, same};

/// Where the recorded service listened.
const SUBJECT: &str = "choria.broadcast.service.aaa_signer";

fn failed(error: String) -> Outcome {
    let mut outcome = Outcome::default();
    outcome.record("keys", Err(error));
    outcome
}

pub(super) fn messages(file: &Value, loader: &Loader) -> Outcome {
    let host = match Keys::load(file, loader).and_then(Host::new) {
        Ok(host) => host,
        Err(error) => return failed(error),
    };
    for_cases(file, |case| host.check(case))
}

/// The service of the recorded messages.
struct Host {
    keys: Keys,
    face: Face,
    holder: Holder,
    judge: Judge,
}

impl Host {
    fn new(keys: Keys) -> Result<Self, String> {
        let error = |error: &dyn std::error::Error| error.to_string();
        let holder = Holder::new(keys.token("rpc.jwt")?, keys.key("rpc")?.clone())
            .map_err(|problem| error(&problem))?;
        Ok(Self {
            face: Face {
                identity: holder.name().to_owned(),
                collectives: vec![Collective::new("choria").map_err(|problem| error(&problem))?],
                limits: Limits::default(),
            },
            judge: keys.judge(|_rules| {})?,
            holder,
            keys,
        })
    }

    fn check(&self, case: &Value) -> Result<(), String> {
        let expect = &case["expect"];
        let replies = expect["replies"].as_u64().ok_or("no number of replies")?;
        if text(case, "subject")? != SUBJECT {
            // Nobody listens there.
            return if replies == 0 {
                Ok(())
            } else {
                Err("answered on another subject".to_owned())
            };
        }
        let payload = match case["message_b64"].as_str() {
            Some(message) => STANDARD
                .decode(message)
                .map_err(|error| error.to_string())?,
            None if replies == 0 => return self.check_silence(case),
            None => self.outer(case, |_request| {})?.encode(),
        };
        let sent = UnixTime::from_secs(case["now"].as_i64().ok_or("no `now`")?);
        let question = match self.face.read(&payload, sent) {
            Ok(question) => question,
            // Rule: what nobody would hear of is not signed.
            Err(_dropped) if replies == 0 => return Ok(()),
            Err(dropped) => return Err(format!("dropped: {dropped:?}")),
        };
        if replies == 0 {
            return Err("answered".to_owned());
        }
        let (answer, allowed) = match &question.asked {
            Asked::Sign(sign) => {
                let submission = Submission {
                    token: sign.token.expose().to_owned(),
                    request: sign.request.clone().into(),
                    signature: Some(sign.signature.clone()).filter(|text| !text.is_empty()),
                    via: Via::Rpc,
                    peer: question.sender.clone(),
                };
                self.sign(&submission, case)?
            }
            Asked::Unknown { .. } | Asked::Unreadable { .. } => (Answer::Denied, None),
        };
        let reply = self
            .face
            .answer(&question, answer, Some(&self.holder), sent);
        self.compare(&reply, expect, allowed)
    }

    /// The message around the body of a case: to be sent as it is, or changed.
    fn outer(&self, case: &Value, change: impl FnOnce(&mut Request)) -> Result<Outer, String> {
        let now = case["now"].as_i64().ok_or("no `now`")?;
        let id = case["expect"]["reply"]["reply"]["request"].as_str();
        let id = id.unwrap_or("3MOB6lsV0Sh1DSTVCPBKbcU4yZ6").to_owned();
        let mut request = Request {
            message: text(case, "inner_body")?.as_bytes().to_vec(),
            sender: "client.example.net".to_owned(),
            caller: "up=bob".to_owned(),
            collective: "choria".to_owned(),
            agent: "aaa_signer".to_owned(),
            ttl: Duration::from_secs(60),
            time_ns: UnixTime::from_secs(now).as_nanos(),
            filter: Some(Filter::default()),
            id: id.clone(),
        };
        change(&mut request);
        Ok(Outer {
            request,
            signature: "aW5zZWN1cmU=",
            caller: "a.b.c",
            reply: Some(format!(
                "choria.reply.72dc525f8fe0064c0372c1fb3d729560.{id}"
            )),
        })
    }

    /// Which outer message met with silence stands only in the name of such a case: so does everyone that should.
    fn check_silence(&self, case: &Value) -> Result<(), String> {
        let now = UnixTime::from_secs(case["now"].as_i64().ok_or("no `now`")?);
        let outer = |change: fn(&mut Request)| self.outer(case, change);
        let mut silent = vec![
            ("old", outer(|request| request.time_ns -= 61_000_000_000)?),
            (
                "collective",
                outer(|request| request.collective = "other".to_owned())?,
            ),
            (
                "agent",
                outer(|request| request.agent = "rpcutil".to_owned())?,
            ),
            (
                "filter",
                outer(|request| {
                    request.filter = Some(Filter {
                        identity: vec!["other.example.net".to_owned()],
                        ..Filter::default()
                    });
                })?,
            ),
            ("ttl", outer(|request| request.ttl = Duration::ZERO)?),
        ];
        silent.push((
            "signature",
            Outer {
                signature: "",
                ..outer(|_| {})?
            },
        ));
        silent.push((
            "caller",
            Outer {
                caller: "",
                ..outer(|_| {})?
            },
        ));
        silent.push((
            "reply",
            Outer {
                reply: None,
                ..outer(|_| {})?
            },
        ));
        for (what, message) in silent {
            if self.face.read(&message.encode(), now).is_ok() {
                return Err(format!("answered in spite of its {what}"));
            }
        }
        // And nothing but that is why.
        let good = self.face.read(&outer(|_| {})?.encode(), now);
        good.map(|_question| ())
            .map_err(|dropped| format!("dropped: {dropped:?}"))
    }

    /// Has it signed at the time at which it was made, where the original signs it, and else at the time of the case.
    fn sign(
        &self,
        submission: &Submission,
        case: &Value,
    ) -> Result<(Answer, Option<bool>), String> {
        let now = UnixTime::from_secs(case["now"].as_i64().ok_or("no `now`")?);
        let mut decision = self.judge.decide(submission, &nobody, now);
        if decision.verdict.as_ref().err() == Some(&Reason::Time) {
            let request: Value =
                serde_json::from_slice(&submission.request).map_err(|error| error.to_string())?;
            let made = request["time"].as_i64().unwrap_or_default();
            let then = UnixTime::from_secs(made / 1_000_000_000);
            decision = self.judge.decide(submission, &nobody, then);
        }
        let was_signed = !case["expect"]["secure_request"].is_null();
        match decision.verdict {
            Ok(approved) => {
                if !was_signed {
                    return Err("signed".to_owned());
                }
                let signed = self.keys.delegator()?.sign(approved.request);
                let signed = String::from_utf8(signed.into()).map_err(|error| error.to_string())?;
                Ok((Answer::Signed(signed), Some(true)))
            }
            // Rule: the organisation's signature over the chain issuer is checked.
            Err(Reason::Token) if was_signed => Ok((Answer::Denied, Some(false))),
            Err(reason) if was_signed => Err(format!("denied: {reason:?}")),
            Err(_) => Ok((Answer::Denied, Some(false))),
        }
    }

    fn compare(&self, reply: &[u8], expect: &Value, allowed: Option<bool>) -> Result<(), String> {
        let limits = Limits::default();
        let broken = |error: overlay_protocol::DecodeError| error.to_string();
        let transport = Transport::decode(reply, &limits).map_err(broken)?;
        let secure = SecureReply::decode(&transport.data, &limits).map_err(broken)?;
        let reply = Reply::decode(&secure.reply, &limits).map_err(broken)?;
        let body = RpcReply::decode(&reply.message, &limits).map_err(broken)?;
        let recorded = &expect["reply"];
        for (what, found, expected) in [
            ("sender", &reply.sender, &recorded["reply"]["sender"]),
            ("agent", &reply.agent, &recorded["reply"]["agent"]),
            ("request", &reply.request, &recorded["reply"]["request"]),
        ] {
            same(what, found, expected.as_str().unwrap_or_default())?;
        }
        same(
            "token",
            secure.sender.as_deref().unwrap_or_default(),
            self.holder.text(),
        )?;
        let signature = secure.signature.as_deref().unwrap_or_default();
        if !self.holder.key().public().verify(&secure.reply, signature) {
            return Err("the reply's signature is not the service's".to_owned());
        }
        // Rule: `secure_request` is always a text.
        let Some(signed) = body.data["secure_request"].as_str() else {
            return Err(format!("no text in {:?}", body.data));
        };
        if allowed == Some(true) {
            let secure = SecureRequest::decode(signed.as_bytes(), &limits).map_err(broken)?;
            let request = String::from_utf8_lossy(&secure.request).into_owned();
            let recorded = &expect["secure_request"];
            same("request", &request, text(recorded, "request_json")?)?;
            let signature = STANDARD.encode(&secure.signature);
            return same("signature", &signature, text(recorded, "signature")?);
        }
        if !signed.is_empty() {
            return Err("signed".to_owned());
        }
        let code = |value: &Value| value["statuscode"].as_u64();
        let found = serde_json::to_value(body.statuscode).map_err(|error| error.to_string())?;
        let is_forged = !expect["secure_request"].is_null();
        if !is_forged && found.as_u64() != code(&recorded["body"]) {
            return Err(format!("statuscode {found}: {}", body.statusmsg));
        }
        Ok(())
    }
}

/// A message to the agent.
struct Outer {
    request: Request,
    /// In base64.
    signature: &'static str,
    caller: &'static str,
    reply: Option<String>,
}

impl Outer {
    fn encode(&self) -> Vec<u8> {
        let secure = json!({
            "protocol": "io.choria.protocol.v2.secure_request",
            "request": STANDARD.encode(self.request.encode()),
            "signature": self.signature,
            "caller": self.caller,
        });
        let mut transport = Transport::new(secure.to_string().into_bytes());
        transport.reply.clone_from(&self.reply);
        transport.encode()
    }
}

/// Single requests that end the original's process: a denial, or what the policy means, and nothing else.
pub(super) fn crashes(file: &Value, loader: &Loader) -> Outcome {
    let keys = match Keys::load(file, loader) {
        Ok(keys) => keys,
        Err(error) => return failed(error),
    };
    for_cases(file, |case| {
        let request = text(case, "inner_request_text")?;
        let signer = keys.key("bob")?;
        let mut claims = ClientToken {
            public_key: Some(signer.public()),
            validity: Duration::from_secs(3600),
            opa_policy: case["policy"].as_str().map(str::to_owned),
            ..ClientToken::new("up=bob")
        };
        if claims.opa_policy.is_none() {
            claims.agents = vec!["rpcutil.*".to_owned()];
        }
        let parsed: Value = serde_json::from_str(request).unwrap_or_default();
        let made = parsed["time"].as_i64().map(|time| time / 1_000_000_000);
        let now = UnixTime::from_secs(made.unwrap_or(case["now"].as_i64().unwrap_or_default()));
        let claims = claims.claims(now).map_err(|error| error.to_string())?;
        let token = overlay_tokens::issue::sign(&claims, keys.key("org")?)
            .map_err(|error| error.to_string())?;
        let mut rules = keys.rules()?;
        rules.authorizer = Authorizer::Token;
        let judge = Judge::new(rules, Rego::default(), 10);
        let submission = Submission {
            token,
            request: request.to_owned().into(),
            signature: Some(hex::encode(signer.sign(request.as_bytes()))),
            via: Via::Rpc,
            peer: "client.example.net".to_owned(),
        };
        let decision = judge.decide(&submission, &nobody, now);
        match &decision.verdict {
            Err(Reason::Fault) => Err(format!("a fault: {}", decision.message)),
            // A function of filters in the policy means the request's filter, which is empty here.
            Err(Reason::Policy | Reason::PolicyError) => {
                let policy = case["policy"].as_str().unwrap_or_default();
                if policy.contains("requires_") {
                    Ok(())
                } else {
                    Err(decision.message.clone())
                }
            }
            Err(Reason::Request) if parsed["filter"].is_null() => Ok(()),
            Err(reason) => Err(format!("denied: {reason:?}: {}", decision.message)),
            Ok(_) => Ok(()),
        }
    })
}

/// Nothing of a question that is dropped is ever a reason to answer.
#[test]
fn every_cause_of_silence_has_its_own_label() {
    let labels: std::collections::BTreeSet<_> =
        Dropped::ALL.iter().map(|cause| cause.label()).collect();
    assert_eq!(labels.len(), Dropped::ALL.len());
}
