//! Verdicts of the original, replayed. Where we differ on purpose, a predicate over the data says so.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use overlay_policy::{DISCOVERY, Rego, Verdict, action_list};
use overlay_protocol::filter::Filter;
use overlay_testkit::vectors::{Handler, Loader, Outcome, for_cases};
use overlay_tokens::Unverified;
use overlay_tokens::claims::ClientClaims;
use serde_json::{Value, json};

use crate::request::{Request, patient};

const HANDLERS: &[(&str, Handler)] = &[("aaa/actionlist.json", lists), ("aaa/opa.json", policies)];

#[test]
fn every_verdict_of_the_original_is_kept_or_changed_by_a_rule() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors");
    overlay_testkit::vectors::replay(root, HANDLERS).assert_passed();
}

/// The claims as they come out of a token: what the reader refuses or drops is refused or dropped.
fn as_of_token(claims: &Value) -> Result<ClientClaims, String> {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let token = format!(
        "{}.{}.{}",
        part(&json!({"alg": "EdDSA", "typ": "JWT"})),
        part(claims),
        URL_SAFE_NO_PAD.encode([0; 64])
    );
    Unverified::<ClientClaims>::decode(&token)
        .map(|token| token.claims_unverified().clone())
        .map_err(|error| error.to_string())
}

fn text<'a>(value: &'a Value, name: &str) -> Result<&'a str, String> {
    value
        .get(name)
        .and_then(Value::as_str)
        .ok_or_else(|| format!("no text {name}"))
}

fn lists(file: &Value, _: &Loader) -> Outcome {
    for_cases(file, |case| {
        let mut claims = json!({"callerid": "up=bob", "purpose": "choria_client_id"});
        if case.get("agents_claim_absent") != Some(&Value::Bool(true)) {
            claims["agents"] = case.get("agents").cloned().unwrap_or_default();
        }
        let agent = match text(case, "envelope_agent")? {
            DISCOVERY => DISCOVERY,
            _ => text(case, "agent")?,
        };
        let verdict = as_of_token(&claims)
            .map(|claims| action_list(&claims.agents, agent, text(case, "action").unwrap_or("")));
        let expect = &case["expect"];
        let error = expect["error"].as_str();

        let is_allowed = verdict.as_ref().is_ok_and(Verdict::is_allowed);
        let is_error = verdict.as_ref().map_or(true, Verdict::is_error);
        if expect["allow"] != json!(is_allowed) || error.is_some() != is_error {
            return Err(format!("expected {expect}, got {verdict:?}"));
        }
        if let (Some(error), Ok(verdict)) = (error, verdict) {
            let element = error
                .rsplit_once("invalid agent policy: ")
                .map(|(_, element)| element);
            let rule = &verdict.why().rule;
            if !element.is_some_and(|element| rule.ends_with(element)) {
                return Err(format!("{error:?} is explained by {rule:?}"));
            }
        }
        Ok(())
    })
}

fn policies(file: &Value, _: &Loader) -> Outcome {
    let rego = patient();
    for_cases(file, |case| {
        let request = request(file, case)?;
        let expect = &case["expect"];
        let verdicts = |prefix: &str| {
            let of = |name: &str| expect.get(format!("{prefix}{name}_full_request"));
            Some((of("evaluator_v1")?, of("evaluator_v0")?))
        };
        let (v1, v0) = verdicts("").ok_or("no verdicts")?;
        judge(&rego, text(case, "policy")?, &request, v1, v0)?;
        if let Some((v1, v0)) = verdicts("v1_syntax_") {
            let policy = text(case, "policy_in_v1_syntax")?;
            judge(&rego, policy, &request, v1, v0).map_err(|error| format!("in v1: {error}"))?;
        }
        Ok(())
    })
}

fn judge(
    rego: &Rego,
    policy: &str,
    request: &Request,
    v1: &Value,
    v0: &Value,
) -> Result<(), String> {
    // As a policy is read by whichever dialect can read it.
    let unreadable = |verdict: &Value| {
        verdict["error"]
            .as_str()
            .is_some_and(|error| error.contains("could not initialize opa evaluator"))
    };
    let expected = if unreadable(v1) { v0 } else { v1 };
    let claims = as_of_token(&with_policy(&request.claims, policy))
        .and_then(|claims| serde_json::to_value(claims).map_err(|error| error.to_string()))?;
    let request = Request {
        claims,
        ..request.clone()
    };
    let got = rego.decide(policy, &request.question());

    let (allow, error) = if uses_what_is_withheld(policy) {
        // Rule: what reaches the network or looks at the machine does not exist.
        (false, true)
    } else if expected.get("panic").is_some() {
        // Rule: where the original ends the process, the function says what it means.
        let filter = &request.filter;
        let means = !(filter.fact.is_empty()
            && filter.cf_class.is_empty()
            && filter.identity.is_empty()
            && filter.compound.is_empty());
        let plain = policy.replace("requires_filter()", &means.to_string());
        let meant = rego.decide(&plain, &request.question());
        (meant.is_allowed(), meant.is_error())
    } else {
        (
            expected["allow"] == json!(true),
            expected["error"]
                .as_str()
                .is_some_and(|error| !error.is_empty()),
        )
    };
    if (got.is_allowed(), got.is_error()) == (allow, error) {
        Ok(())
    } else {
        Err(format!("expected allow {allow} error {error}, got {got:?}"))
    }
}

fn uses_what_is_withheld(policy: &str) -> bool {
    ["http.send(", "opa.runtime(", "net.lookup_ip_addr("]
        .iter()
        .any(|call| policy.contains(call))
}

fn with_policy(claims: &Value, policy: &str) -> Value {
    let mut claims = claims.clone();
    claims["opa_policy"] = json!(policy);
    claims
}

fn request(file: &Value, case: &Value) -> Result<Request, String> {
    let asked = case.get("request").ok_or("no request")?;
    let filter = match asked.get("filter") {
        Some(Value::String(name)) => &file["filters"][name],
        Some(filter) => filter,
        None => &Value::Null,
    };
    let filter = if filter.is_null() {
        Filter::default()
    } else {
        serde_json::from_value(filter.clone()).map_err(|error| error.to_string())?
    };
    let mut claims: BTreeMap<String, Value> = BTreeMap::new();
    for layer in [file.get("base_claims"), case.get("claims")] {
        let layer = layer.and_then(Value::as_object).into_iter().flatten();
        claims.extend(layer.map(|(name, value)| (name.clone(), value.clone())));
    }
    let number = |name: &str| asked.get(name).and_then(Value::as_i64).unwrap_or_default();
    Ok(Request {
        agent: text(asked, "agent")?.to_owned(),
        action: text(asked, "action")?.to_owned(),
        data: asked.get("data").cloned().unwrap_or_else(|| json!({})),
        sender: text(asked, "sender").unwrap_or_default().to_owned(),
        collective: text(asked, "collective").unwrap_or_default().to_owned(),
        ttl: u64::try_from(number("ttl")).map_err(|error| error.to_string())?,
        time_ns: number("time"),
        site: text(file, "site")?.to_owned(),
        filter,
        claims: json!(claims),
        tenant: None,
    })
}
