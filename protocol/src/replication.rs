//! What replicators leave in messages and tell each other, in Choria's forms.

mod advisory;
pub mod control;
mod gossip;
mod heartbeat;
mod mark;

pub use heartbeat::{
    ORIGINATOR_HEADER, SUBJECT_HEADER, heartbeat_body, heartbeat_headers, heartbeat_time,
};
pub use mark::{MarkError, SOURCE_HEADER, SourceMark};
