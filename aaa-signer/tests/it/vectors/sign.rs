//! Requests to sign, as they come by HTTP: who asks, and for what.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use overlay_aaa_signer::{Decision, Delegator, Judge, MAX_REQUEST_BYTES, Reason, Submission, Via};
use overlay_testkit::vectors::{Loader, Outcome, for_cases};
use overlay_tokens::claims::ClientClaims;
use overlay_tokens::{PublicKey, UnixTime};
use serde_json::Value;

use super::keys::{Keys, text};

/// Nanoseconds of a second.
const SECOND_NS: i64 = 1_000_000_000;
/// The longest time to live of our own signer, in seconds.
const MAX_TTL: u64 = 600;

pub(super) fn over_http(file: &Value, loader: &Loader) -> Outcome {
    let prepared = Keys::load(file, loader).and_then(|keys| {
        let delegator = keys.delegator()?;
        let judge = keys.judge(|_rules| {})?;
        let strict = keys.judge(|rules| rules.max_ttl = std::time::Duration::from_secs(MAX_TTL))?;
        Ok((keys, delegator, judge, strict))
    });
    match prepared {
        Ok((keys, delegator, judge, strict)) => for_cases(file, |case| {
            let submission = match submission(case, &keys)? {
                Ok(submission) => submission,
                Err(answer) => return compare_refusal(case, &answer),
            };
            Case {
                case,
                org: keys.key("org")?.public(),
                submission: &submission,
                delegator: &delegator,
            }
            .check(&judge, &strict)
        }),
        Err(error) => {
            let mut outcome = Outcome::default();
            outcome.record("keys", Err(error));
            outcome
        }
    }
}

/// Nobody is revoked.
pub(super) fn nobody(_claims: &ClientClaims) -> bool {
    false
}

/// What was sent; or the answer to a body that is none.
fn submission(case: &Value, keys: &Keys) -> Result<Result<Submission, (u16, Value)>, String> {
    let decode = |text: &str| STANDARD.decode(text).map_err(|error| error.to_string());
    let body = match (case.get("http_body"), case.get("http_body_b64")) {
        (Some(body), _) => Some(body.to_string().into_bytes()),
        (None, Some(body)) => Some(decode(body.as_str().unwrap_or_default())?),
        (None, None) => None,
    };
    let (token, request, signature) = if let Some(body) = body {
        match overlay_aaa_signer::read_sign_body(&body) {
            Ok(body) => (body.token, body.request, Some(body.signature)),
            Err(answer) => return Ok(Err(answer)),
        }
    } else {
        let request = match case.get("request_shape") {
            // A request that is only described: as long, and of nothing.
            Some(shape) => {
                let length = shape
                    .get("length")
                    .and_then(Value::as_u64)
                    .unwrap_or_default();
                vec![b' '; usize::try_from(length).map_err(|error| error.to_string())?]
            }
            None => decode(text(case, "request_b64")?)?,
        };
        let signature = case.get("signature").and_then(Value::as_str);
        (
            keys.user(text(case, "token")?)?.to_owned(),
            request,
            signature.map(str::to_owned),
        )
    };
    Ok(Ok(Submission {
        token,
        request: request.into(),
        signature: signature.filter(|signature| !signature.is_empty()),
        via: Via::Http,
        peer: "127.0.0.1".to_owned(),
    }))
}

fn compare_refusal(case: &Value, (status, body): &(u16, Value)) -> Result<(), String> {
    let expect = &case["expect"];
    if expect["status"].as_u64() != Some(u64::from(*status)) {
        return Err(format!("answered with {status}: {body}"));
    }
    if expect["body"]["code"] != body["code"] {
        return Err(format!("answered {body}"));
    }
    Ok(())
}

struct Case<'a> {
    case: &'a Value,
    org: PublicKey,
    submission: &'a Submission,
    delegator: &'a Delegator,
}

impl Case<'_> {
    fn check(&self, judge: &Judge, strict: &Judge) -> Result<(), String> {
        let now = self.case["now"].as_i64().ok_or("no `now`")?;
        let now = UnixTime::from_secs(now);
        let expected = self.case["expect"]["allowed"]
            .as_bool()
            .ok_or("no `allowed`")?;
        let decision = judge.decide(self.submission, &nobody, now);
        if !expected {
            return self.compare_denial(&decision, now);
        }
        // Rule: a request that was made long ago, or is of the future, is refused. The recorded requests were made
        // before they were sent, so what the original signs is compared at the time at which the request was made.
        let reason = decision.verdict.as_ref().err().copied();
        if reason != Some(Reason::Time) {
            return self.compare(&decision, judge, now);
        }
        let Some(made) = self.time_ns() else {
            return Err("refused for its time, and has none".to_owned());
        };
        let then = UnixTime {
            secs: made.div_euclid(SECOND_NS),
            nanos: u32::try_from(made.rem_euclid(SECOND_NS)).unwrap_or_default(),
        };
        let decision = judge.decide(self.submission, &nobody, then);
        if matches!(decision.verdict, Err(Reason::Token)) {
            // At that time nobody had this token.
            return Ok(());
        }
        self.check_ttl(strict, then)?;
        self.compare(&decision, judge, then)
    }

    /// Rule: a request that would be good for too long is refused.
    fn check_ttl(&self, strict: &Judge, now: UnixTime) -> Result<(), String> {
        let ttl = self.request().and_then(|request| request["ttl"].as_u64());
        if ttl.is_none_or(|ttl| ttl <= MAX_TTL) {
            return Ok(());
        }
        match strict.decide(self.submission, &nobody, now).verdict {
            Err(Reason::Ttl) => Ok(()),
            other => Err(format!("a ttl of {ttl:?}: {other:?}")),
        }
    }

    /// What the original signs is signed with the same bytes, unless a rule says why not.
    fn compare(&self, decision: &Decision, _judge: &Judge, now: UnixTime) -> Result<(), String> {
        let approved = match &decision.verdict {
            Ok(approved) => approved,
            Err(reason) => {
                return self.explain(*reason).map_err(|problem| {
                    format!("denied ({reason:?}: {}), {problem}", decision.message)
                });
            }
        };
        self.compare_record(decision, "allow", now)?;
        if self.rule_of_original(decision) {
            return Ok(());
        }
        let expected = &self.case["expect"]["secure_request"];
        let request = std::str::from_utf8(&approved.request).map_err(|error| error.to_string())?;
        same("request", request, text(expected, "request_json")?)?;
        let secure = self.delegator.sign(approved.request.clone());
        let secure: Value = serde_json::from_slice(&secure).map_err(|error| error.to_string())?;
        same(
            "signature",
            text(&secure, "signature")?,
            text(expected, "signature")?,
        )?;
        same(
            "protocol",
            text(&secure, "protocol")?,
            text(expected, "protocol")?,
        )?;
        same("caller", text(&secure, "caller")?, &self.delegator.token)?;
        same("signer", text(&secure, "signer")?, &self.delegator.token)?;
        let names: Vec<_> = secure
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, _)| name)
            .collect();
        let order = expected["key_order"].as_array().map(Vec::len);
        if order.is_some_and(|order| order != names.len()) {
            return Err(format!("members {names:?}"));
        }
        if let Ok(whole) = text(&self.case["expect"], "secure_request_b64") {
            let signed = self.delegator.sign(approved.request.clone());
            same("secure request", &STANDARD.encode(&signed), whole)?;
        }
        Ok(())
    }

    fn compare_denial(&self, decision: &Decision, now: UnixTime) -> Result<(), String> {
        match &decision.verdict {
            Err(Reason::Fault) => Err(format!("a fault: {}", decision.message)),
            Err(_) => self.compare_record(decision, "deny", now),
            // Rules: white space around a token is none of it; a message in base64 is decoded as nodes do.
            Ok(_) if self.token_is_padded() || self.message_is_base64() => Ok(()),
            Ok(_) => Err("signed".to_owned()),
        }
    }

    /// Whether the original signs what we refuse: the rules, from the data alone.
    fn explain(&self, reason: Reason) -> Result<(), String> {
        let request = self.request().unwrap_or_default();
        let is_absent = |member: &str| {
            request.get(member).is_none_or(|value| {
                value.is_null() || value == "" || *value == serde_json::json!({})
            })
        };
        let body = self.body().unwrap_or_default();
        let explained = match reason {
            // The organisation's signature over the chain issuer is checked; times are numbers.
            Reason::Token => self.chain_is_forged() || self.time_is_text(),
            // Defaults are not filled in, and names are written in one way.
            Reason::Request => {
                ["caller", "collective", "time", "filter"]
                    .into_iter()
                    .any(is_absent)
                    || misspelt(
                        &request,
                        &[
                            "protocol",
                            "message",
                            "id",
                            "sender",
                            "caller",
                            "collective",
                            "agent",
                            "ttl",
                            "time",
                            "filter",
                        ],
                    )
            }
            Reason::Message => misspelt(&body, &["agent", "action", "data"]),
            Reason::Agent => body["agent"] != request["agent"],
            Reason::TooLong => self.submission.request.len() > MAX_REQUEST_BYTES,
            Reason::Time => true,
            Reason::Busy
            | Reason::Rate
            | Reason::Validity
            | Reason::Revoked
            | Reason::Caller
            | Reason::NoSignature
            | Reason::Signature
            | Reason::Ttl
            | Reason::Tenant
            | Reason::Collective
            | Reason::Policy
            | Reason::PolicyError
            | Reason::Audit
            | Reason::Fault => false,
        };
        if explained {
            Ok(())
        } else {
            Err("and no rule says so".to_owned())
        }
    }

    /// The record names the caller as the original's does, and the decision.
    fn compare_record(
        &self,
        decision: &Decision,
        action: &str,
        now: UnixTime,
    ) -> Result<(), String> {
        let data = decision.data(self.submission, "alpha", now.secs);
        let found = data.action.map(overlay_protocol::audit::Decision::as_str);
        if found != Some(action) {
            return Err(format!("recorded as {found:?}"));
        }
        let lines = self.case["expect"]["audit"].as_array();
        for line in lines.into_iter().flatten() {
            // Rule: what is refused is recorded as refused, also where the original says allow. A caller whose token is
            // good is named by its token.
            if line["action"] == action && decision.caller.is_none() {
                same(
                    "caller in the record",
                    &data.callerid,
                    text(line, "caller")?,
                )?;
            }
            if line["action"] == "allow" && action == "allow" {
                same(
                    "caller in the record",
                    &data.callerid,
                    text(line, "caller")?,
                )?;
            }
        }
        Ok(())
    }

    /// What the answer of the original has from its own clock cannot be compared.
    fn rule_of_original(&self, _decision: &Decision) -> bool {
        self.case["expect"]["secure_request"].is_null()
    }

    fn request(&self) -> Option<Value> {
        serde_json::from_slice(&self.submission.request).ok()
    }

    fn time_ns(&self) -> Option<i64> {
        self.request()?.get("time")?.as_i64()
    }

    /// The message in the request.
    fn body(&self) -> Option<Value> {
        let request = self.request()?;
        let message = STANDARD.decode(request.get("message")?.as_str()?).ok()?;
        serde_json::from_slice(&message).ok()
    }

    fn message_is_base64(&self) -> bool {
        let decoded = self.request().and_then(|request| {
            let message = STANDARD.decode(request.get("message")?.as_str()?).ok()?;
            STANDARD.decode(message).ok()
        });
        decoded.is_some()
    }

    fn token_is_padded(&self) -> bool {
        self.submission.token.trim() != self.submission.token
    }

    /// Whether a time in the token is a text.
    fn time_is_text(&self) -> bool {
        let claims = self.submission.token.split('.').nth(1).unwrap_or_default();
        let claims = URL_SAFE_NO_PAD.decode(claims).unwrap_or_default();
        let claims: Value = serde_json::from_slice(&claims).unwrap_or_default();
        ["exp", "nbf", "iat"]
            .into_iter()
            .any(|time| claims[time].is_string())
    }

    /// Whether the token names a chain issuer that the organisation has not signed.
    fn chain_is_forged(&self) -> bool {
        let Ok(token) =
            overlay_tokens::Unverified::<ClientClaims>::decode(self.submission.token.trim())
        else {
            return false;
        };
        let standard = &token.claims_unverified().standard;
        let issuer = standard.iss.strip_prefix("C-");
        let by_org = standard.tcs.split('.').next();
        let (Some(issuer), Some(by_org)) = (issuer, by_org) else {
            return false;
        };
        let is_signed = hex::decode(by_org).is_ok_and(|signature| {
            self.org
                .verify(issuer.to_lowercase().as_bytes(), &signature)
        });
        !is_signed
    }
}

/// Whether a name is written in other letters, or stands there twice.
fn misspelt(object: &Value, names: &[&str]) -> bool {
    object.as_object().into_iter().flatten().any(|(name, _)| {
        let lower = name.to_lowercase();
        names.contains(&lower.as_str()) && !names.contains(&name.as_str())
    })
}

pub(super) fn same(what: &str, found: &str, expected: &str) -> Result<(), String> {
    if found == expected {
        Ok(())
    } else {
        Err(format!("{what} is {found:?}, expected {expected:?}"))
    }
}
