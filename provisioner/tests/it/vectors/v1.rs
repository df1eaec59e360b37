//! Protocol v1 is not spoken: its messages are told apart from ours, and the rest of a flow is read.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use overlay_protocol::envelope::v2::Transport;
use overlay_protocol::json::Limits;
use overlay_protocol::lifecycle::Event;
use overlay_provisioner::Answer;
use overlay_testkit::vectors::{self, Loader, Outcome};
use serde_json::Value;

use super::flow::json;
use super::machine::text;

pub(super) fn flow(file: &Value, _loader: &Loader) -> Outcome {
    vectors::for_cases(file, |case| {
        for message in case["messages"].as_array().into_iter().flatten() {
            let subject = text(&message["subject"])?;
            let bytes = STANDARD
                .decode(text(&message["payload_b64"])?)
                .map_err(|error| error.to_string())?;
            let limits = Limits::default();
            if subject.starts_with("choria.lifecycle.") {
                Event::decode(&bytes, &limits).map_err(|error| error.to_string())?;
            } else if Transport::decode(&bytes, &limits).is_ok() {
                // Rule "no protocol v1": a reply in it is one that cannot be read, never a success.
                return Err(format!("{subject} is taken for protocol v2"));
            }
        }
        if let Some(stdin) = case["helper"]["stdin"].as_str() {
            json(stdin)?;
        }
        if let Some(stdout) = case["helper"]["stdout"].as_str() {
            Answer::decode(stdout.as_bytes()).map_err(|error| error.to_string())?;
        }
        Ok(())
    })
}
