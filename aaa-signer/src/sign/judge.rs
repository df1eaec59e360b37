//! The judgement, rule by rule.

use std::sync::Arc;
use std::time::Duration;

use overlay_policy::{DISCOVERY, Question, Rego, TokenPolicy, Verdict, action_list, from_token};
use overlay_protocol::audit::RpcFacts;
use overlay_protocol::envelope::Limits;
use overlay_protocol::envelope::v2::Request;
use overlay_protocol::rpc::RpcRequest;
use overlay_runtime::err_chain;
use overlay_tokens::claims::ClientClaims;
use overlay_tokens::{UnixTime, Verified, VerifiedCache};
use serde_json::Value;

use super::{Approved, Authority, Decision, Reason, Rules, Submission};
use crate::config::Authorizer;

/// A request of more bytes takes longer than a moment to be shown to a policy.
const SHORT: usize = 32 * 1024;
/// Memory for each remembered token, in bytes.
const TOKEN_BYTES: u64 = 4096;

/// Decides about requests; keeps nothing but what it has verified and compiled before.
#[derive(Debug)]
pub struct Judge {
    rules: Rules,
    limits: Limits,
    tokens: VerifiedCache<ClientClaims>,
    rego: Rego,
}

/// Why a request is not signed.
#[derive(Debug)]
struct Denial {
    reason: Reason,
    message: String,
}

/// Why there is no approval.
#[derive(Debug)]
enum Stop {
    Denied(Denial),
    /// It would take longer than there is time for.
    Later,
}

impl From<Denial> for Stop {
    fn from(denial: Denial) -> Self {
        Self::Denied(denial)
    }
}

/// How long it may take.
#[derive(Debug, Clone, Copy)]
enum Patience {
    /// As long as policies may.
    Full,
    /// So long for a policy, and only with a request that is short.
    Short(Duration),
}

impl Denial {
    fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }

    fn of(reason: Reason, error: &dyn std::error::Error) -> Self {
        Self::new(reason, err_chain(error))
    }
}

/// The request and the message in it, both understood.
struct Asked {
    request: Request,
    /// Nothing for discovery, whose message is no call of an action.
    call: Option<RpcRequest>,
}

impl Judge {
    /// Remembers about `tokens` verified tokens.
    pub fn new(rules: Rules, rego: Rego, tokens: usize) -> Self {
        let bytes = u64::try_from(tokens)
            .unwrap_or(u64::MAX)
            .saturating_mul(TOKEN_BYTES);
        Self {
            limits: Limits {
                max_bytes: rules.max_request_bytes,
                ..Limits::default()
            },
            rules,
            tokens: VerifiedCache::new(tokens, bytes),
            rego,
        }
    }

    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Decides about a request at `now`; `is_revoked` tells whether the token with an id is no longer good.
    pub fn decide(
        &self,
        submission: &Submission,
        is_revoked: &dyn Fn(&ClientClaims) -> bool,
        now: UnixTime,
    ) -> Decision {
        self.decide_with(Patience::Full, submission, is_revoked, now)
            .unwrap_or_else(|| Decision::fault("a policy was put off for ever"))
    }

    /// As [`Self::decide`], where others wait for the thread: nothing when the policy would take longer than `time`.
    pub fn decide_quickly(
        &self,
        submission: &Submission,
        is_revoked: &dyn Fn(&ClientClaims) -> bool,
        now: UnixTime,
        time: Duration,
    ) -> Option<Decision> {
        self.decide_with(Patience::Short(time), submission, is_revoked, now)
    }

    fn decide_with(
        &self,
        patience: Patience,
        submission: &Submission,
        is_revoked: &dyn Fn(&ClientClaims) -> bool,
        now: UnixTime,
    ) -> Option<Decision> {
        let mut decision = Decision::fault("");
        match self.judge(patience, submission, is_revoked, now, &mut decision) {
            Ok(approved) => {
                decision.message = decision
                    .why
                    .as_ref()
                    .map(|why| why.message.clone())
                    .unwrap_or_default();
                decision.verdict = Ok(approved);
            }
            Err(Stop::Denied(denial)) => {
                decision.message = denial.message;
                decision.verdict = Err(denial.reason);
            }
            Err(Stop::Later) => return None,
        }
        Some(decision)
    }

    fn judge(
        &self,
        patience: Patience,
        submission: &Submission,
        is_revoked: &dyn Fn(&ClientClaims) -> bool,
        now: UnixTime,
        decision: &mut Decision,
    ) -> Result<Approved, Stop> {
        let bytes = &submission.request;
        if bytes.len() > self.rules.max_request_bytes {
            let message = format!("the request has {} bytes", bytes.len());
            return Err(Denial::new(Reason::TooLong, message).into());
        }
        let caller = self.caller(&submission.token, is_revoked, now)?;
        decision.caller = Some(Arc::clone(&caller));
        self.check_signature(&caller, submission)?;
        let asked = self.read(bytes, now, decision)?;
        self.check_tenant(&caller, &asked.request)?;
        let authority = self.authority(&caller);
        let patience = match patience {
            Patience::Short(_) if authority == Authority::Rego && bytes.len() > SHORT => {
                return Err(Stop::Later);
            }
            Patience::Short(time) => Some(time),
            Patience::Full => None,
        };
        let verdict = self
            .ask(&caller, &asked, authority, patience)?
            .ok_or(Stop::Later)?;
        decision.authority = Some(authority);
        let (is_allowed, is_error) = (verdict.is_allowed(), verdict.is_error());
        let (Verdict::Allow(why) | Verdict::Deny(why)) = verdict;
        let message = why.message.clone();
        decision.why = Some(why);
        if !is_allowed {
            let reason = if is_error {
                Reason::PolicyError
            } else {
                Reason::Policy
            };
            return Err(Denial::new(reason, message).into());
        }
        let mut request = asked.request;
        request.caller = caller.delegated_callerid();
        Ok(Approved {
            request: request.encode(),
            id: request.id,
        })
    }

    /// The caller's token, verified.
    fn caller(
        &self,
        token: &str,
        is_revoked: &dyn Fn(&ClientClaims) -> bool,
        now: UnixTime,
    ) -> Result<Arc<Verified<ClientClaims>>, Denial> {
        // Token files end in a line feed more often than not, and some clients send them whole.
        let caller = self
            .tokens
            .verify(token.trim(), &self.rules.issuers, now)
            .map_err(|error| Denial::of(Reason::Token, &error))?;
        let Some(expires) = caller.standard.exp else {
            return Err(Denial::new(Reason::Validity, "the token never expires"));
        };
        let longest = i64::try_from(self.rules.max_validity.as_secs()).unwrap_or(i64::MAX);
        if !caller.granted().service && expires > now.secs.saturating_add(longest) {
            return Err(Denial::new(
                Reason::Validity,
                "the token is good for longer than tokens may be",
            ));
        }
        if caller.callerid.is_empty() {
            return Err(Denial::new(Reason::Caller, "the token names no caller"));
        }
        if self.rules.denied.has(&caller, now) {
            return Err(Denial::new(
                Reason::Revoked,
                "the token, its issuer or its caller is on the deny list",
            ));
        }
        if is_revoked(&caller) {
            return Err(Denial::new(Reason::Revoked, "the token was revoked"));
        }
        Ok(caller)
    }

    /// Whether the holder of the token's key has signed exactly these bytes.
    fn check_signature(
        &self,
        caller: &Verified<ClientClaims>,
        submission: &Submission,
    ) -> Result<(), Denial> {
        let Some(signature) = submission
            .signature
            .as_deref()
            .filter(|signature| !signature.is_empty())
        else {
            return if self.rules.allow_bearer_tokens {
                Ok(())
            } else {
                Err(Denial::new(
                    Reason::NoSignature,
                    "the caller has not signed the request",
                ))
            };
        };
        let key = caller
            .public_key()
            .map_err(|error| Denial::of(Reason::Signature, &error))?;
        let mut bytes = [0_u8; 64];
        hex::decode_to_slice(signature, &mut bytes)
            .map_err(|error| Denial::of(Reason::Signature, &error))?;
        if key.verify(&submission.request, &bytes) {
            Ok(())
        } else {
            Err(Denial::new(
                Reason::Signature,
                "the signature is not the caller's over this request",
            ))
        }
    }

    /// Reads what was signed: the request, and the message in it.
    fn read(&self, bytes: &[u8], now: UnixTime, decision: &mut Decision) -> Result<Asked, Denial> {
        let request = Request::decode(bytes, &self.limits)
            .map_err(|error| Denial::of(Reason::Request, &error))?;
        if request.filter.is_none() {
            return Err(Denial::new(Reason::Request, "the request has no filter"));
        }
        if request.ttl > self.rules.max_ttl {
            let message = format!("the request would be good for {:?}", request.ttl);
            return Err(Denial::new(Reason::Ttl, message));
        }
        let age = i128::from(now.as_nanos()) - i128::from(request.time_ns);
        let ahead = i128::try_from(self.rules.clock_skew.as_nanos()).unwrap_or(i128::MAX);
        let ttl = i128::try_from(request.ttl.as_nanos()).unwrap_or(i128::MAX);
        if age < -ahead {
            return Err(Denial::new(Reason::Time, "the request is of the future"));
        }
        if age >= ttl {
            return Err(Denial::new(Reason::Time, "the request has expired"));
        }
        if request.agent == DISCOVERY {
            decision.target = Some(RpcFacts {
                agent: request.agent.clone(),
                action: String::new(),
            });
            return Ok(Asked {
                request,
                call: None,
            });
        }
        let call = RpcRequest::decode(&request.payload(), &self.limits)
            .map_err(|error| Denial::of(Reason::Message, &error))?;
        decision.target = Some(RpcFacts {
            agent: call.agent.clone(),
            action: call.action.clone(),
        });
        // Nodes go by the envelope, policies by the message.
        if call.agent != request.agent {
            return Err(Denial::new(
                Reason::Agent,
                "the request is for another agent than the message in it",
            ));
        }
        Ok(Asked {
            request,
            call: Some(call),
        })
    }

    /// Whether the caller's tenant is served, and may go where the request goes.
    fn check_tenant(&self, caller: &ClientClaims, request: &Request) -> Result<(), Denial> {
        let tenants = &self.rules.tenants;
        let tenant = caller
            .tenant()
            .map_err(|error| Denial::of(Reason::Tenant, &error))?;
        let Some(tenant) = tenant else {
            return if tenants.required {
                Err(Denial::new(Reason::Tenant, "the token names no tenant"))
            } else {
                Ok(())
            };
        };
        let tenant = tenant.as_str();
        if let Some(served) = &tenants.serve
            && !served.contains(tenant)
        {
            return Err(Denial::new(
                Reason::Tenant,
                "the token is of a tenant that is not served",
            ));
        }
        match tenants.collectives.get(tenant) {
            Some(collectives) if !collectives.contains(&request.collective) => Err(Denial::new(
                Reason::Collective,
                "the tenant may not address this collective",
            )),
            Some(_) | None => Ok(()),
        }
    }

    /// Which claim of the token decides.
    fn authority(&self, caller: &ClientClaims) -> Authority {
        match self.rules.authorizer {
            Authorizer::ActionList => Authority::ActionList,
            Authorizer::Rego => Authority::Rego,
            Authorizer::Token => match caller.opa_policy.as_deref() {
                None | Some("") => Authority::ActionList,
                Some(_) => Authority::Rego,
            },
        }
    }

    /// What the policy says; nothing when `patience` was not enough.
    fn ask(
        &self,
        caller: &Verified<ClientClaims>,
        asked: &Asked,
        authority: Authority,
        patience: Option<Duration>,
    ) -> Result<Option<Verdict>, Denial> {
        let request = &asked.request;
        let (agent, action) = match &asked.call {
            Some(call) => (call.agent.as_str(), call.action.as_str()),
            None => (request.agent.as_str(), ""),
        };
        if self.rules.authorizer == Authorizer::ActionList {
            return Ok(Some(action_list(&caller.agents, agent, action)));
        }
        // Lists look at neither.
        let (claims, data) = match authority {
            Authority::ActionList => (Value::Null, Value::Null),
            Authority::Rego => {
                let claims = serde_json::to_value(&**caller)
                    .map_err(|error| Denial::of(Reason::Fault, &error))?;
                let data = asked
                    .call
                    .as_ref()
                    .map(|call| Value::Object(call.data.clone()));
                (claims, data.unwrap_or_default())
            }
        };
        let filter = request.filter.clone().unwrap_or_default();
        let question = Question {
            agent,
            action,
            data: &data,
            sender: &request.sender,
            collective: &request.collective,
            ttl: request.ttl.as_secs(),
            time_ns: request.time_ns,
            site: &self.rules.site,
            filter: &filter,
            claims: &claims,
            tenant: caller.tenant.as_deref(),
        };
        let text = match (self.rules.authorizer, TokenPolicy::of(caller)) {
            (Authorizer::Rego, _) => caller.opa_policy.as_deref().unwrap_or_default(),
            (Authorizer::Token | Authorizer::ActionList, TokenPolicy::Rego(text)) => text,
            (
                Authorizer::Token | Authorizer::ActionList,
                TokenPolicy::ActionList(_) | TokenPolicy::Neither | TokenPolicy::Both,
            ) => return Ok(Some(from_token(caller, &self.rego, &question))),
        };
        Ok(match patience {
            Some(time) => self.rego.decide_quickly(text, &question, time),
            None => Some(self.rego.decide(text, &question)),
        })
    }
}
