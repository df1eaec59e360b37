//! The published schemas and the decoders agree about every example.

use overlay_protocol::DecodeError;
use overlay_protocol::envelope::Limits;
use overlay_protocol::envelope::v2::{Reply, Request, SecureReply, SecureRequest, Transport};
use overlay_protocol::lifecycle::Event;
use overlay_protocol::provisioning::NodeRecord;
use overlay_protocol::provisioning::audit::Record;
use overlay_protocol::replication::Advisory;
use overlay_protocol::rpc::{RpcReply, RpcRequest, ddl};
use overlay_schemas::schemas;

fn decode(path: &str, text: &str) -> Result<(), DecodeError> {
    let (bytes, limits) = (text.as_bytes(), &Limits::default());
    match path {
        "protocol/v2/transport" => Transport::decode(bytes, limits).map(drop),
        "protocol/v2/secure_request" => SecureRequest::decode(bytes, limits).map(drop),
        "protocol/v2/request" => Request::decode(bytes, limits).map(drop),
        "protocol/v2/secure_reply" => SecureReply::decode(bytes, limits).map(drop),
        "protocol/v2/reply" => Reply::decode(bytes, limits).map(drop),
        "rpc/v1/request" => RpcRequest::decode(bytes, limits).map(drop),
        "rpc/v1/reply" => RpcReply::decode(bytes, limits).map(drop),
        "ddl/v1/agent" => ddl::decode(bytes, limits).map(drop),
        "provisioning/v1/audit" => Record::decode(bytes, limits).map(drop),
        "provisioning/v1/node" => NodeRecord::decode(bytes, limits).map(drop),
        "replication/v1/lifecycle_advisory" | "replication/v2/age_advisory" => {
            Advisory::decode(bytes, limits).map(drop)
        }
        "lifecycle/v1/refused" => Event::decode(bytes, limits).map(drop),
        other => panic!("no decoder for {other}"),
    }
}

#[test]
fn decoders_take_valid_examples_and_refuse_invalid_ones() {
    for schema in schemas() {
        for example in schema.valid {
            if let Err(error) = decode(schema.path, example.text) {
                panic!("{} valid/{}: {error}", schema.path, example.name);
            }
        }
        for example in schema.invalid {
            assert!(
                decode(schema.path, example.text).is_err(),
                "{} invalid/{} is taken",
                schema.path,
                example.name
            );
        }
    }
}
