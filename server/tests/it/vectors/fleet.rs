//! What a node does with requests that a signer has signed, and with those that were changed afterwards.

use overlay_protocol::envelope::v2::Transport;
use overlay_testkit::vectors::{Loader, Outcome, for_cases};
use overlay_tokens::UnixTime;
use serde_json::{Value, json};

use super::{answers, check_answers, is_left_alone, number, text};

/// As the nodes of the file authorise.
const AUTHORIZATION: &str = "[authorization]\nmode = \"caller_token\"\n";

const IDENTITY: &str = "node1.example.net";

pub(super) fn requests(file: &Value, loader: &Loader) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    for_cases(file, |case| {
        // What the signer refused never reaches a node.
        let Some(secure) = case["secure_request_json"].as_str() else {
            return Ok(());
        };
        let keys = loader
            .load(text(file, "keys")?)
            .map_err(|error| error.to_string())?;
        let message = Transport {
            data: secure.as_bytes().to_vec(),
            reply: Some("choria.reply.1.1".to_owned()),
            sender: Some("client.example.net".to_owned()),
            trace: Vec::new(),
            federation: None,
        }
        .encode();
        let node = json!({"facts": {}, "classes": []});
        let now = UnixTime::from_secs(number(case, "now")?);
        let found = runtime.block_on(answers(
            &keys,
            &node,
            IDENTITY,
            &message,
            now,
            1,
            AUTHORIZATION,
        ))?;

        let expect = &case["expect"];
        let reply = json!({"sender": IDENTITY, "payload": expect});
        let wanted: Vec<&Value> = if expect["node_replied"] == true && !is_left_alone(&message) {
            vec![&reply]
        } else {
            Vec::new()
        };
        match (wanted.as_slice(), found.as_slice()) {
            ([], []) => Ok(()),
            ([_], [body]) => status(expect, body),
            (wanted, found) => check_answers(IDENTITY, &message, wanted, found),
        }
    })
}

fn status(expect: &Value, body: &[u8]) -> Result<(), String> {
    let reply: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    for member in ["statuscode", "statusmsg"] {
        if reply[member] != expect[member] {
            return Err(format!(
                "{member} is {}, not {}",
                reply[member], expect[member]
            ));
        }
    }
    Ok(())
}
