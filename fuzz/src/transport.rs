//! Messages of protocol version 2, from the transport down to the bodies of agents, and lifecycle events.

use std::fmt::Debug;

use overlay_protocol::DecodeError;
use overlay_protocol::envelope::Limits;
use overlay_protocol::envelope::v2::{Reply, Request, SecureReply, SecureRequest, Transport};
use overlay_protocol::lifecycle::Event;
use overlay_protocol::rpc::{RpcReply, RpcRequest};
use overlay_tokens::Issuers;
use overlay_tokens::request::{RequestPolicy, verify_request};

use crate::{NOW, ORG};

/// Decodes bytes as every kind of message, and what is inside as far as it goes.
///
/// Holds: what was decoded and encoded again decodes to the same; a verified request is the one that was signed.
pub fn transport(data: &[u8]) {
    let limits = Limits::default();
    if let Some(transport) = stable(data, Transport::decode, Transport::encode) {
        secure(&transport.data);
    }
    secure(data);
    request(data);
    reply(data);
    body(data);
    if let Ok(event) = Event::decode(data, &limits) {
        drop(event.to_plain_json());
        drop(event.to_cloudevent_json());
    }
}

/// Decodes, encodes and decodes again.
fn stable<T: PartialEq + Debug>(
    data: &[u8],
    decode: fn(&[u8], &Limits) -> Result<T, DecodeError>,
    encode: fn(&T) -> Vec<u8>,
) -> Option<T> {
    let limits = Limits::default();
    let value = decode(data, &limits).ok()?;
    let encoded = encode(&value);
    // Escapes may make it longer than it came.
    let roomy = Limits {
        max_bytes: limits.max_bytes * 8,
        ..limits
    };
    let again = decode(&encoded, &roomy).expect("what we encode decodes");
    assert_eq!(again, value, "a message changes when it is sent on");
    Some(value)
}

fn secure(data: &[u8]) {
    if let Some(secure) = stable(data, SecureRequest::decode, SecureRequest::encode) {
        let issuers = Issuers::new([("choria".to_owned(), ORG.public())]).expect("one issuer");
        if let Ok(verified) = verify_request(&secure, &issuers, NOW, &RequestPolicy::default()) {
            let signed = Request::decode(&secure.request, &Limits::default())
                .expect("a verified request decodes");
            assert_eq!(
                verified.request, signed,
                "another request is verified than was signed"
            );
        }
        request(&secure.request);
    }
    if let Some(secure) = stable(data, SecureReply::decode, SecureReply::encode) {
        reply(&secure.reply);
    }
}

fn request(data: &[u8]) {
    let Some(request) = stable(data, Request::decode, Request::encode) else {
        return;
    };
    assert!(
        !request.is_live(i64::MAX) || !request.is_live(i64::MIN),
        "a request lives for ever"
    );
    body(&request.payload());
}

fn reply(data: &[u8]) {
    if let Some(reply) = stable(data, Reply::decode, Reply::encode) {
        body(&reply.message);
    }
}

fn body(data: &[u8]) {
    stable(data, RpcRequest::decode, RpcRequest::encode);
    stable(data, RpcReply::decode, RpcReply::encode);
}
