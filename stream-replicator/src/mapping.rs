//! Source subject to target subject.

/// Source subject to target subject.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mapping {
    /// Put before the subject.
    pub prefix: Option<String>,
    /// Every occurrence is taken out, after the prefix was put before.
    pub remove: Option<String>,
}
