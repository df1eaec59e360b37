//! `rpc/make-request.json`, `rpc/huge.json`

use std::time::Duration;

use base64::Engine as _;
use ed25519_dalek::{Signature, VerifyingKey};
use overlay_protocol::DecodeError;
use overlay_protocol::envelope::v2::{Request, SecureRequest, Transport};
use overlay_protocol::filter::Filter;
use overlay_protocol::id::sha256_hex;
use overlay_testkit::vectors::{Loader, Outcome, for_cases};
use serde_json::Value;

use super::{bytes, fault, limits, same, text};

pub(crate) fn make_request(file: &Value, _loader: &Loader) -> Outcome {
    for_cases(file, |case| {
        let expect = case.get("expect").ok_or("no expectation")?;
        let number = |name: &str| case.pointer(&format!("/in/{name}"));
        let filter = case.pointer("/in/filter").map_or_else(
            || Ok(Filter::default()),
            |filter| serde_json::from_value(filter.clone()).map_err(fault("filter")),
        )?;
        let request = Request {
            message: bytes(case, "/in/payload_b64")?,
            id: text(case, "/in/id")?.to_owned(),
            sender: text(case, "/in/sender")?.to_owned(),
            caller: text(case, "/in/caller")?.to_owned(),
            collective: text(case, "/in/collective")?.to_owned(),
            agent: text(case, "/in/agent")?.to_owned(),
            ttl: Duration::from_secs(number("ttl").and_then(Value::as_u64).ok_or("no ttl")?),
            time_ns: text(case, "/in/time_ns")?
                .parse()
                .map_err(fault("time_ns"))?,
            filter: Some(filter),
        };
        let encoded = String::from_utf8(request.encode()).map_err(fault("request"))?;
        same(
            "request",
            &encoded.as_str(),
            &text(expect, "/request_json")?,
        )?;

        let secure_json = text(expect, "/secure_request_json")?;
        let secure = SecureRequest::decode(secure_json.as_bytes(), &limits());
        let secure = SecureRequest {
            request: request.encode(),
            signature: bytes(expect, "/signature_b64")?,
            caller: text(case, "/token")?.to_owned(),
            signer: secure.map_err(fault("secure request"))?.signer,
        };
        let encoded = String::from_utf8(secure.encode()).map_err(fault("secure request"))?;
        same(
            "secure request",
            &encoded.as_str(),
            &text(expect, "/secure_request_json")?,
        )?;
        // the original drops what is not signed, unless it was told not to look; tokens are not judged here
        let holds = !secure.is_unsigned() && signature_holds(&secure)?;
        if expect.get("accepted_by_server").and_then(Value::as_bool) == Some(true) && !holds {
            return Err("the signature does not hold".to_owned());
        }

        let transport_json = text(expect, "/transport_json")?;
        let transport =
            Transport::decode(transport_json.as_bytes(), &limits()).map_err(fault("transport"))?;
        same("data", &transport.data, &secure.encode())?;
        let encoded = String::from_utf8(transport.encode()).map_err(fault("transport"))?;
        same("transport", &encoded.as_str(), &transport_json)?;
        let decoded =
            SecureRequest::decode(&transport.data, &limits()).map_err(fault("secure request"))?;
        same("secure request read back", &decoded, &secure)?;
        let decoded = Request::decode(&decoded.request, &limits()).map_err(fault("request"))?;
        same("request read back", &decoded, &request)
    })
}

/// Verifies a signature with the key that the signer's or else the caller's token names; whether a token can be trusted is not asked here.
fn signature_holds(secure: &SecureRequest) -> Result<bool, String> {
    let token = secure.signer.as_ref().unwrap_or(&secure.caller);
    let claims = token.split('.').nth(1).ok_or("no token")?;
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(claims)
        .map_err(fault("token"))?;
    let claims: Value = serde_json::from_slice(&claims).map_err(fault("token"))?;
    let key = hex::decode(text(&claims, "/public_key")?).map_err(fault("public key"))?;
    let key = <[u8; 32]>::try_from(key).map_err(|_key| "public key is not 32 bytes")?;
    let key = VerifyingKey::from_bytes(&key).map_err(fault("public key"))?;
    let Ok(signature) = Signature::from_slice(&secure.signature) else {
        return Ok(false);
    };
    Ok(key.verify_strict(&secure.request, &signature).is_ok())
}

pub(crate) fn huge(file: &Value, _loader: &Loader) -> Outcome {
    for_cases(file, |case| {
        let length = case
            .get("payload_length")
            .and_then(Value::as_u64)
            .ok_or("no length")?;
        let length = usize::try_from(length).map_err(fault("length"))?;
        let payload = text(case, "/payload_letter")?.repeat(length);
        let payload = base64::engine::general_purpose::STANDARD.encode(payload);
        let request = text(case, "/request_template")?.replace("PAYLOAD_B64", &payload);
        same(
            "request hash",
            &sha256_hex(&request).as_str(),
            &text(case, "/request_sha256")?,
        )?;

        let secure = SecureRequest {
            request: request.into_bytes(),
            signature: vec![0; 64],
            caller: text(case, "/caller_token")?.to_owned(),
            signer: None,
        };
        // what the original puts around it besides is not said: our transport has no headers, so it may be shorter
        let transport = Transport::new(secure.encode()).encode();
        let theirs = case
            .get("transport_length")
            .and_then(Value::as_u64)
            .ok_or("no transport length")?;
        let theirs = usize::try_from(theirs).map_err(fault("transport length"))?;
        if transport.len() > theirs || theirs - transport.len() > 300 {
            return Err(format!(
                "transport of {} bytes, theirs has {theirs}",
                transport.len()
            ));
        }
        match Transport::decode(&transport, &limits()) {
            // a broker does not carry more than this by default, so no receiver has to read it
            Err(DecodeError::TooLarge { .. }) if transport.len() > limits().max_bytes => Ok(()),
            Err(error) => Err(error.to_string()),
            Ok(decoded) => {
                let secure = SecureRequest::decode(&decoded.data, &limits())
                    .map_err(fault("secure request"))?;
                let request =
                    Request::decode(&secure.request, &limits()).map_err(fault("request"))?;
                let seen = case
                    .pointer("/expect/payload_seen_length")
                    .and_then(Value::as_u64);
                same(
                    "payload length",
                    &u64::try_from(request.payload().len()).ok(),
                    &seen,
                )
            }
        }
    })
}
