//! The data of enrolment: requests to nodes, their replies, requests to the provisioner.

use overlay_protocol::json::Limits;
use overlay_protocol::provisioning::action::{
    ConfigureRequest, Gen25519Reply, Gen25519Request, GencsrReply, GencsrRequest, JwtReply,
    JwtRequest, MessageReply, ReleaseUpdateRequest, RestartRequest, TokenRequest, excesses,
};
use overlay_protocol::provisioning::control::{
    NodeReply, NodeRequest, NodesReply, NodesRequest, PauseRequest, StatusReply,
};
use overlay_protocol::provisioning::{InventoryReply, identity_of_key, record_key};
use overlay_protocol::rpc::{self, RpcReply, RpcRequest};
use serde_json::{Map, Value};

macro_rules! reads_back {
    ($data:expr, $($type:ident),* $(,)?) => {
        $(
            match $type::from_data($data.clone()) {
                Ok(read) => {
                    let again = $type::from_data(read.to_data()).expect("what we write is read");
                    assert_eq!(again, read, "data changes when written");
                    drop($type::from_value(Value::Object(read.to_data())));
                    let shown = format!("{read:?}");
                    assert!(!shown.contains(SECRET), "a secret is shown");
                }
                Err(error) => {
                    assert!(!format!("{error:?}").contains(SECRET), "an error shows a secret");
                }
            }
        )*
    };
}

/// Stands for a secret in the corpus.
const SECRET: &str = "s3cret-token";

/// Reads data as every request and reply of enrolment; bytes that are no message are tried as a key of a bucket.
///
/// Holds: what is read and written again reads the same; nothing shows a secret; a key is of one identity.
pub fn provisioning(data: &[u8]) {
    let limits = Limits::default();
    if let Ok(request) = RpcRequest::decode(data, &limits) {
        drop(excesses(&request.action, &request.data));
        every(&request.data);
    }
    if let Ok(reply) = RpcReply::decode(data, &limits) {
        drop(
            InventoryReply::from_value(reply.data.clone()).map(|inventory| {
                drop(inventory.version().map(str::to_owned));
                inventory.agents().count() + inventory.facts().map_or(0, Map::len)
            }),
        );
        drop(JwtReply::from_value(reply.data.clone()).map(|reply| reply.token_text().len()));
        drop(Gen25519Reply::from_value(reply.data.clone()).map(Gen25519Reply::complete));
        if let Value::Object(data) = &reply.data {
            every(data);
        }
    }
    if let Ok(text) = str::from_utf8(data)
        && let Some(identity) = identity_of_key(text)
    {
        assert_eq!(record_key(&identity), text, "two keys of one identity");
    }
}

fn every(data: &Map<String, Value>) {
    reads_back!(
        data,
        JwtRequest,
        JwtReply,
        Gen25519Request,
        GencsrRequest,
        ConfigureRequest,
        ReleaseUpdateRequest,
        RestartRequest,
        TokenRequest,
    );
    // these hold no secrets and show what they are given
    drop(Gen25519Reply::from_data(data.clone()));
    drop(GencsrReply::from_data(data.clone()));
    drop(MessageReply::from_data(data.clone()));
    drop(rpc::from_data::<PauseRequest>(data.clone()));
    drop(rpc::from_data::<NodesRequest>(data.clone()).map(|request| request.page()));
    drop(rpc::from_data::<StatusReply>(data.clone()));
    drop(rpc::from_data::<NodesReply>(data.clone()));
    drop(rpc::from_data::<NodeReply>(data.clone()));
    if let Ok(request) = rpc::from_data::<NodeRequest>(data.clone()) {
        let again = rpc::from_data::<NodeRequest>(rpc::to_data(&request));
        assert_eq!(again.expect("what we write is read"), request);
    }
}
