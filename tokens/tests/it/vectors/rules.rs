//! Where we refuse what the original accepts, told from the token alone. Each rule is a line of the conformance notes.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::support::unb64;

const STANDARD: &[&str] = &[
    "purpose",
    "tcs",
    "public_key",
    "issexp",
    "iss",
    "sub",
    "aud",
    "exp",
    "nbf",
    "iat",
    "jti",
];
const CLIENT: &[&str] = &[
    "callerid",
    "agents",
    "ou",
    "user_properties",
    "opa_policy",
    "permissions",
    "pub_subjects",
    "sub_subjects",
    "tenant",
];
const SERVER: &[&str] = &[
    "identity",
    "collectives",
    "permissions",
    "ou",
    "pub_subjects",
];
const PROVISIONING: &[&str] = &[
    "cht",
    "chs",
    "chu",
    "chsrv",
    "chpd",
    "chrd",
    "chf",
    "chusr",
    "chpwd",
    "extensions",
    "ou",
    "v2",
    "update",
];
const CLIENT_PERMISSIONS: &[&str] = &[
    "streams_admin",
    "streams_user",
    "events_viewer",
    "election_user",
    "system_user",
    "governor",
    "org_admin",
    "fleet_management",
    "signed_fleet_management",
    "service",
    "authentication_delegator",
    "provisioner",
    "audit_viewer",
];
const SERVER_PERMISSIONS: &[&str] = &["submission", "streams", "governor", "service_host"];
const TIMES: &[&str] = &["exp", "nbf", "iat", "issexp"];

/// Why we refuse the token whatever the original says of it; nothing when we must agree.
pub(super) fn stricter(token: &str, kind: &str) -> Option<&'static str> {
    if token.len() > 64 * 1024 {
        return Some("longer than 64 KiB");
    }
    let mut segments = token.split('.');
    let (header, claims) = (unb64(segments.next()?)?, unb64(segments.next()?)?);
    if depth(&claims) > 127 || depth(&header) > 127 {
        return Some("nested deeper than 127");
    }
    let (Ok(header), Ok(claims)) = (
        serde_json::from_slice::<Node>(&header),
        serde_json::from_slice::<Node>(&claims),
    ) else {
        // Go mends broken UTF-8 and lone surrogates inside of texts; everything else it refuses as well.
        return (str::from_utf8(&claims).is_err()
            || claims
                .windows(3)
                .any(|three| three.eq_ignore_ascii_case(br"\ud")))
        .then_some("texts that are not Unicode");
    };
    if header.has("crit") {
        return Some("critical header extensions");
    }
    if header.repeats_or_miscases(&["alg", "crit"]) {
        return Some("a header member twice or in the wrong case");
    }
    let (own, permissions) = match kind {
        "server" => (SERVER, SERVER_PERMISSIONS),
        "provisioning" => (PROVISIONING, &[] as &[&str]),
        _ => (CLIENT, CLIENT_PERMISSIONS),
    };
    if claims.repeats_or_miscases(&[STANDARD, own].concat())
        || claims
            .members("permissions")
            .any(|granted| granted.repeats_or_miscases(permissions))
    {
        return Some("a claim twice or in the wrong case");
    }
    if claims
        .members("user_properties")
        .any(|properties| properties.repeats_or_miscases(&[]))
    {
        return Some("a property twice");
    }
    for time in TIMES.iter().flat_map(|name| claims.members(name)) {
        match time {
            Node::Text => return Some("a time as text"),
            Node::Number(seconds) if seconds.floor().abs() > 2_f64.powi(53) => {
                return Some("a time beyond 2^53 seconds");
            }
            Node::Number(_) | Node::Object(_) | Node::Other => {}
        }
    }
    None
}

/// How deep lists and objects are nested, texts left out.
fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_text, mut escaped) = (0_usize, 0, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// JSON with repeated members kept.
enum Node {
    Object(Vec<(String, Node)>),
    Number(f64),
    Text,
    Other,
}

impl Node {
    fn has(&self, name: &str) -> bool {
        self.members(name).next().is_some()
    }

    fn members<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Self> {
        let members = match self {
            Self::Object(members) => members.as_slice(),
            Self::Number(_) | Self::Text | Self::Other => &[],
        };
        members
            .iter()
            .filter(move |(member, _)| member == name)
            .map(|(_, value)| value)
    }

    /// A known member twice, or one that Go would take for it; with nothing known, any member twice.
    fn repeats_or_miscases(&self, known: &[&str]) -> bool {
        let Self::Object(members) = self else {
            return false;
        };
        members.iter().enumerate().any(|(index, (name, _))| {
            let folded = name
                .replace('\u{17f}', "s")
                .replace('\u{212a}', "k")
                .to_ascii_lowercase();
            let twice = members[..index].iter().any(|(earlier, _)| earlier == name);
            let matters = known.is_empty() || known.contains(&name.as_str());
            twice && matters || known.contains(&folded.as_str()) && folded != *name
        })
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NodeVisitor;

        impl<'de> Visitor<'de> for NodeVisitor {
            type Value = Node;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
                let mut members = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    members.push(entry);
                }
                Ok(Node::Object(members))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
                while list.next_element::<Value>()?.is_some() {}
                Ok(Node::Other)
            }

            fn visit_str<E>(self, _: &str) -> Result<Node, E> {
                Ok(Node::Text)
            }

            fn visit_f64<E>(self, number: f64) -> Result<Node, E> {
                Ok(Node::Number(number))
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Node, E> {
                number
                    .to_string()
                    .parse()
                    .map(Node::Number)
                    .map_err(E::custom)
            }

            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Node, E> {
                number
                    .to_string()
                    .parse()
                    .map(Node::Number)
                    .map_err(E::custom)
            }

            fn visit_bool<E>(self, _: bool) -> Result<Node, E> {
                Ok(Node::Other)
            }

            fn visit_unit<E>(self) -> Result<Node, E> {
                Ok(Node::Other)
            }
        }

        deserializer.deserialize_any(NodeVisitor)
    }
}

#[test]
fn the_rules_see_what_they_are_for() {
    let token = |claims: &str| {
        format!(
            "{}.{}.AA",
            crate::support::b64(r#"{"alg":"EdDSA"}"#),
            crate::support::b64(claims)
        )
    };
    for refused in [
        r#"{"CallerID":"x"}"#,
        r#"{"exp":"1"}"#,
        r#"{"exp":1e18}"#,
        r#"{"callerid":"a","callerid":"b"}"#,
        r#"{"permissions":{"org_Admin":true}}"#,
        r#"{"user_properties":{"a":"1","a":"2"}}"#,
        r#"{"callerid":"\ud800"}"#,
        r#"{"callerid":"\uDFFF"}"#,
        &format!("{{\"x\":{}{}}}", "[".repeat(200), "]".repeat(200)),
    ] {
        assert!(stricter(&token(refused), "client").is_some(), "{refused}");
    }
    for accepted in [
        r#"{"callerid":"x","Identity":"y","exp":1.5}"#,
        r#"{"unknown":1,"unknown":2}"#,
    ] {
        assert_eq!(stricter(&token(accepted), "client"), None, "{accepted}");
    }
}
