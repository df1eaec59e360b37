use overlay_protocol::id::Identity;
use serde_json::{Map, Value};

use super::ProvisioningClaims;

/// Member of a provisioning token's extensions that is ours; Choria nodes ignore it.
const MEMBER: &str = "overlay";
/// Most fingerprints that a token may carry.
pub const MAX_FINGERPRINTS: usize = 16;

/// What a provisioning token says beyond Choria's own claims.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OverlayExtension {
    /// SHA-256 of certificates (DER) of which one must be in the chain that the broker shows; none means any broker will do.
    pub ca_sha256: Vec<[u8; 32]>,
    /// The one node that the token is for.
    pub identity: Option<Identity>,
    /// Whether the token is good for one enrolment only.
    pub one_time: bool,
}

/// Why the extension of a token is not understood; such a token is good for nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExtensionError {
    /// It is no object.
    #[error("the overlay extension is no object")]
    NoObject,
    /// It has a member that is not known, which may restrict the token in a way that is not known.
    #[error("the overlay extension has a member {0:?} that is not known")]
    Unknown(String),
    /// A member is of another type or form.
    #[error("{member} in the overlay extension is not {expected}")]
    Member {
        /// Name of the member.
        member: &'static str,
        /// What it should be.
        expected: &'static str,
    },
}

impl OverlayExtension {
    /// Tells whether nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Reads the extensions of a token; nothing is said when they lack ours.
    ///
    /// # Errors
    ///
    /// [`ExtensionError`] when ours is there and not understood.
    pub fn of(extensions: Option<&Map<String, Value>>) -> Result<Self, ExtensionError> {
        match extensions.and_then(|extensions| extensions.get(MEMBER)) {
            None => Ok(Self::default()),
            Some(Value::Object(members)) => Self::read(members),
            Some(_) => Err(ExtensionError::NoObject),
        }
    }

    fn read(members: &Map<String, Value>) -> Result<Self, ExtensionError> {
        let mut extension = Self::default();
        for (name, value) in members {
            match name.as_str() {
                "ca_sha256" => extension.ca_sha256 = fingerprints(value)?,
                "identity" => extension.identity = Some(identity(value)?),
                "one_time" => {
                    extension.one_time = value.as_bool().ok_or(ExtensionError::Member {
                        member: "one_time",
                        expected: "true or false",
                    })?;
                }
                other => {
                    return Err(ExtensionError::Unknown(other.chars().take(64).collect()));
                }
            }
        }
        Ok(extension)
    }

    /// Writes what is said into the extensions of a token.
    pub fn write(&self, extensions: &mut Map<String, Value>) {
        if self.is_empty() {
            return;
        }
        let mut members = Map::new();
        if !self.ca_sha256.is_empty() {
            let texts = self.ca_sha256.iter().map(|hash| hex::encode(hash).into());
            members.insert("ca_sha256".to_owned(), Value::Array(texts.collect()));
        }
        if let Some(identity) = &self.identity {
            members.insert("identity".to_owned(), identity.as_str().into());
        }
        if self.one_time {
            members.insert("one_time".to_owned(), true.into());
        }
        extensions.insert(MEMBER.to_owned(), Value::Object(members));
    }
}

impl ProvisioningClaims {
    /// What the token says beyond Choria's own claims.
    ///
    /// # Errors
    ///
    /// [`ExtensionError`]: the token is good for nothing.
    pub fn overlay(&self) -> Result<OverlayExtension, ExtensionError> {
        OverlayExtension::of(self.extensions.as_ref())
    }
}

fn fingerprints(value: &Value) -> Result<Vec<[u8; 32]>, ExtensionError> {
    let wrong = ExtensionError::Member {
        member: "ca_sha256",
        expected: "a list of 1 to 16 texts of 64 hexadecimal digits",
    };
    let read = |text: &Value| {
        let mut hash = [0_u8; 32];
        hex::decode_to_slice(text.as_str()?, &mut hash).ok()?;
        Some(hash)
    };
    match value.as_array() {
        // An empty list would pin nothing where somebody meant to pin something.
        Some(texts) if (1..=MAX_FINGERPRINTS).contains(&texts.len()) => {
            texts.iter().map(read).collect::<Option<_>>().ok_or(wrong)
        }
        Some(_) | None => Err(wrong),
    }
}

fn identity(value: &Value) -> Result<Identity, ExtensionError> {
    let text = value.as_str().unwrap_or_default();
    Identity::new(text).map_err(|_name| ExtensionError::Member {
        member: "identity",
        expected: "the name of a node",
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(overlay: Value) -> Result<OverlayExtension, ExtensionError> {
        OverlayExtension::of(json!({"site": "lon", "overlay": overlay}).as_object())
    }

    #[test]
    fn what_is_written_reads_back() {
        let extension = OverlayExtension {
            ca_sha256: vec![[1; 32], [0xab; 32]],
            identity: Some(Identity::new("n1.example.net").unwrap()),
            one_time: true,
        };
        let mut extensions = Map::new();
        extension.write(&mut extensions);
        assert_eq!(extensions["overlay"]["identity"], json!("n1.example.net"));
        assert_eq!(OverlayExtension::of(Some(&extensions)), Ok(extension));
        let mut none = Map::new();
        OverlayExtension::default().write(&mut none);
        assert!(none.is_empty());
        assert_eq!(OverlayExtension::of(None), Ok(OverlayExtension::default()));
        assert_eq!(of(json!({})), Ok(OverlayExtension::default()));
        let capitals = of(json!({"ca_sha256": ["AB".repeat(32)]})).unwrap();
        assert_eq!(capitals.ca_sha256, [[0xab; 32]]);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for overlay in [
            json!(null),
            json!([]),
            json!({"later": 1}),
            json!({"One_Time": true}),
            json!({"one_time": "true"}),
            json!({"one_time": null}),
            json!({"identity": ""}),
            json!({"identity": "a.>"}),
            json!({"identity": null}),
            json!({"ca_sha256": []}),
            json!({"ca_sha256": "ab".repeat(32)}),
            json!({"ca_sha256": ["ab"]}),
            json!({"ca_sha256": ["zz".repeat(32)]}),
            json!({"ca_sha256": vec!["ab".repeat(32); 17]}),
        ] {
            assert!(of(overlay.clone()).is_err(), "{overlay}");
        }
    }
}
