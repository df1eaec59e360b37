use std::sync::LazyLock;

use super::{Ddl, decode};
use crate::json::Limits;

const TEXTS: [&str; 6] = [
    include_str!("../../../ddl/rpcutil.json"),
    include_str!("../../../ddl/choria_util.json"),
    include_str!("../../../ddl/choria_provision.json"),
    include_str!("../../../ddl/provisioner.json"),
    include_str!("../../../ddl/aaa_signer.json"),
    include_str!("../../../ddl/stream_replicator.json"),
];

// a description that does not decode is left out here and found by a test
static BUILTINS: LazyLock<Vec<Ddl>> = LazyLock::new(|| {
    TEXTS
        .iter()
        .filter_map(|text| decode(text.as_bytes(), &Limits::default()).ok())
        .collect()
});

/// Returns the description of an agent that comes with every node.
#[must_use]
pub fn builtin(name: &str) -> Option<&'static Ddl> {
    builtins().iter().find(|ddl| ddl.metadata.name == name)
}

/// Returns the descriptions of all agents that come with every node.
#[must_use]
pub fn builtins() -> &'static [Ddl] {
    &BUILTINS
}

#[cfg(test)]
mod tests {
    use super::{TEXTS, builtins};

    #[test]
    fn every_embedded_description_decodes() {
        assert_eq!(builtins().len(), TEXTS.len());
    }
}
