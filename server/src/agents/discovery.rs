//! Agent `discovery`: says that the node is there.

use crate::VERSION;
use crate::agent::{Agent, Call, Form, Metadata, Outcome, Running};
use crate::node::Node;

/// Answers `pong` to any payload that has `ping` in it, and nothing to others.
#[derive(Debug)]
pub struct Discovery {
    metadata: Metadata,
}

impl Discovery {
    /// Makes the agent.
    pub fn new() -> Self {
        Self {
            metadata: Metadata {
                name: "discovery".to_owned(),
                description: "Answers broadcasts that look for nodes".to_owned(),
                author: "The Overlay project".to_owned(),
                license: "Apache-2.0".to_owned(),
                version: VERSION.to_owned(),
                url: "https://choria.io".to_owned(),
                timeout: 2,
                provider: None,
                service: false,
            },
        }
    }
}

impl Default for Discovery {
    fn default() -> Self {
        Self::new()
    }
}

impl Agent for Discovery {
    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn form(&self) -> Form {
        Form::Raw
    }

    fn has_action(&self, _action: &str) -> bool {
        false
    }

    fn run<'a>(&'a self, call: Call<'a>, _node: &'a Node) -> Running<'a> {
        let asked = call.payload.windows(4).any(|window| window == b"ping");
        Box::pin(async move {
            if asked {
                Outcome::Bytes(b"pong".to_vec())
            } else {
                Outcome::Silence
            }
        })
    }
}
