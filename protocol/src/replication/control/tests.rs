//! What requests to replicators mean.

use super::*;
use crate::rpc::{from_data, to_data};

#[test]
fn a_selection_means_what_has_all_the_names_given() {
    let all = Selection::default();
    assert!(all.means("SITE", "S", "W"));
    let one = Selection {
        stream: "S".to_owned(),
        worker: "W".to_owned(),
        ..Selection::default()
    };
    assert!(one.means("SITE", "S", "W"));
    assert!(!one.means("SITE", "S", "V"));
    let site = Selection {
        replicator: "OTHER".to_owned(),
        ..Selection::default()
    };
    assert!(!site.means("SITE", "S", "W"));
}

#[test]
fn requests_stand_flat_on_the_wire_and_are_bounded() {
    let request = TraceRequest {
        selection: Selection {
            stream: "S".to_owned(),
            ..Selection::default()
        },
        count: 5000,
        seconds: 0,
    };
    let data = to_data(&request);
    assert_eq!(data["stream"], "S");
    assert!(!data.contains_key("worker"));
    let read: TraceRequest = from_data(data).unwrap();
    assert_eq!(read, request);
    assert_eq!(read.bounded_count(), MAX_DECISIONS);
    assert_eq!(read.bounded_seconds(), 10);
}

#[test]
fn a_pause_that_is_none_is_refused() {
    let limits = Limits::default();
    let pause = Pause {
        by: "up=bob".to_owned(),
        ..Pause::default()
    };
    let text = serde_json::to_vec(&pause).unwrap();
    assert_eq!(decode_pause(&text, &limits).unwrap(), pause);
    assert!(decode_pause(b"7", &limits).is_err());
    assert!(decode_pause(b"{", &limits).is_err());
}
