//! What replicators leave in messages and tell each other, in Choria's forms.

mod advisory;
pub mod control;
mod gossip;
mod heartbeat;
mod mark;

pub use advisory::{AGE_PROTOCOL, Advisory, AdvisoryEvent, LIFECYCLE_PROTOCOL, advisory_subject};
pub use gossip::{TrackedItem, state_subject, sync_subject};
pub use heartbeat::{
    ORIGINATOR_HEADER, SUBJECT_HEADER, heartbeat_body, heartbeat_headers, heartbeat_time,
};
pub use mark::{MarkError, SOURCE_HEADER, SourceMark};
