//! What the helper is asked: one JSON object, the original's five keys and, where it is wanted, ours.

use overlay_tokens::claims::{Claims as _, ProvisioningClaims};
use serde::Serialize;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::policy::HelperRules;

/// Everything that the helper is told about a node.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Question {
    /// The node's name.
    pub identity: String,
    /// Its signing request, if one was made.
    pub csr: Option<SigningRequest>,
    /// Its key.
    pub ed25519_pubkey: Option<NodeKey>,
    /// Its inventory: JSON in a text.
    pub inventory: String,
    /// The claims of its provisioning token.
    pub jwt: Option<Hidden>,
    /// What the original does not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overlay: Option<Details>,
}

/// A signing request as the node gave it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SigningRequest {
    /// The request, PEM.
    pub csr: String,
    /// The public key, PEM.
    pub public_key: String,
    /// Where the node keeps certificates.
    pub ssldir: String,
}

/// The node's key as the node gave it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NodeKey {
    /// The public key, hexadecimal.
    pub public_key: String,
    /// Where the node keeps its configuration and keys.
    pub directory: String,
    /// Its signature over our nonce, hexadecimal.
    pub signature: String,
}

/// JSON that may hold secrets: not shown for debugging.
#[derive(Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Hidden(Value);

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hidden(***)")
    }
}

/// What the original does not tell.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Details {
    /// Where this provisioner works.
    pub site: Option<String>,
    /// `free`, `live` or `unknown`: whether a node of that name is connected to the fleet.
    pub name: &'static str,
    /// Until when a token is good that was issued for the name, in Unix seconds.
    pub held_until: Option<i64>,
    /// Whether the node proved to hold the key of its old token.
    pub renewal: bool,
    /// Whether the node is enrolled only if the helper confirms.
    pub must_confirm: bool,
    /// Failed attempts before this one.
    pub failures: u32,
    /// Deferrals before this one.
    pub deferrals: u32,
    /// How the node was found: `event`, `scan` or `retry`.
    pub found: &'static str,
    /// Id of the provisioning token.
    pub token: Option<String>,
    /// When the provisioning token expires, in Unix seconds.
    pub token_expires: Option<i64>,
}

impl Hidden {
    /// The claims of a provisioning token; its secrets are blanked unless the rules give them away.
    #[must_use]
    pub fn claims(claims: &ProvisioningClaims, rules: &HelperRules) -> Self {
        let mut json = claims.to_json();
        if let (Some(members), false) = (json.as_object_mut(), rules.secrets) {
            blank(members);
        }
        Self(json)
    }
}

fn blank(members: &mut Map<String, Value>) {
    members.insert("cht".to_owned(), Value::from(""));
    members.remove("chpwd");
}

impl Question {
    /// The JSON text, without a line break: what is written to a helper.
    #[must_use]
    pub fn to_json(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(overlay_protocol::json::encode(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Helpers in shell read members by their place: `identity` is the first, `directory` follows `public_key`.
    #[test]
    fn members_stand_in_the_original_order_and_ours_come_last() {
        let question = Question {
            identity: "n1.example.net".to_owned(),
            csr: Some(SigningRequest {
                csr: "request".to_owned(),
                public_key: "key".to_owned(),
                ssldir: "/ssl".to_owned(),
            }),
            ed25519_pubkey: Some(NodeKey {
                public_key: "00ff".to_owned(),
                directory: "/etc/overlay".to_owned(),
                signature: "11ee".to_owned(),
            }),
            inventory: "{}".to_owned(),
            jwt: Some(Hidden(Value::from("claims"))),
            overlay: Some(Details::default()),
        };
        let json = question.to_json();
        let text = str::from_utf8(&json).unwrap();
        let theirs = concat!(
            r#"{"identity":"n1.example.net","#,
            r#""csr":{"csr":"request","public_key":"key","ssldir":"/ssl"},"#,
            r#""ed25519_pubkey":{"public_key":"00ff","directory":"/etc/overlay","signature":"11ee"},"#,
            r#""inventory":"{}","jwt":"claims","overlay":{"#,
        );
        assert!(text.starts_with(theirs), "{text}");
    }
}
