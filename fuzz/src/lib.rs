//! One function per fuzz target: takes any bytes, must not panic, and checks what must hold of whatever was accepted.
//!
//! The same functions are run by libFuzzer (`fuzz_targets/`) and by the replay of the corpora (`src/bin/replay.rs`).

mod audit;
mod callout;
mod ddl;
mod events;
mod filter;
mod key_transport;
mod policy;
mod provisioning;
mod records;
mod replication;
mod tokens;
mod transport;
mod users;

pub use audit::audit;
pub use callout::callout_request;
pub use ddl::ddl;
pub use events::events;
pub use filter::filter;
pub use key_transport::key_transport;
pub use policy::policy;
pub use provisioning::provisioning;
pub use records::records;
pub use replication::replication;
pub use tokens::tokens;
pub use transport::transport;
pub use users::users;

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use overlay_tokens::{Key, UnixTime};

/// A fuzz target: takes an input and panics if something does not hold.
pub type Target = fn(&[u8]);

/// Every target by its name.
pub const TARGETS: [(&str, Target); 13] = [
    ("audit", audit),
    ("callout_request", callout_request),
    ("ddl", ddl),
    ("events", events),
    ("filter", filter),
    ("key_transport", key_transport),
    ("policy", policy),
    ("provisioning", provisioning),
    ("records", records),
    ("replication", replication),
    ("tokens", tokens),
    ("transport", transport),
    ("users", users),
];

/// The instant of the vectors from which the corpora were made.
const NOW: UnixTime = UnixTime::from_secs(1_767_229_200);

/// The organisation issuer of the vectors.
static ORG: LazyLock<Key> = LazyLock::new(|| Key::from_seed([1; 32]));

/// A key that never signed anything.
static STRANGER: LazyLock<Key> = LazyLock::new(|| Key::from_seed([0x77; 32]));

/// Signs claims given as JSON, so that what stands behind the signature check is reached by any bytes.
fn sign(header: &str, claims: &[u8], sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let signed = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header),
        URL_SAFE_NO_PAD.encode(claims)
    );
    let signature = sign(signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}
