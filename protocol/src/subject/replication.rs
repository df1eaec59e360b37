//! Where copies of a cell's streams go at a region, and what a replicator may touch at either end.

use super::stream;

/// First token of all copies' subjects.
pub const COPIES: &str = "replica";

/// What a replicator of a cell subscribes to at its own broker, beside its replies: what replicas tell each other, and
/// which nodes shut down and start.
pub const REPLICATOR_SOURCE_SUBSCRIBE: [&str; 4] = [
    "choria.stream-replicator.sync.>",
    "choria.stream-replicator.state.>",
    "choria.lifecycle.event.shutdown.server",
    super::MEMBER_STARTUP,
];

/// What a replicator publishes at its own broker whatever it copies: what could not be copied, word of nodes, what
/// replicas tell each other, and positions.
const SOURCE: [&str; 6] = [
    "$JS.API.INFO",
    stream::REPLICATION_DEAD_SUBJECTS,
    stream::REPLICATION_ADVISORIES_SUBJECTS,
    "choria.stream-replicator.sync.>",
    "choria.stream-replicator.state.>",
    stream::REPLICATION_POSITIONS_SUBJECTS,
];

/// What is asked about a stream that is read; `@` stands for its name.
const READ: [&str; 9] = [
    "$JS.API.STREAM.INFO.@",
    "$JS.API.STREAM.MSG.GET.@",
    "$JS.API.DIRECT.GET.@",
    "$JS.API.DIRECT.GET.@.>",
    "$JS.API.CONSUMER.CREATE.@",
    "$JS.API.CONSUMER.CREATE.@.>",
    "$JS.API.CONSUMER.INFO.@.*",
    "$JS.API.CONSUMER.DELETE.@.*",
    "$JS.API.CONSUMER.MSG.NEXT.@.*",
];

/// What acknowledges messages and keeps a flow; `@` stands for the stream's name.
const FLOW: [&str; 2] = ["$JS.ACK.@.>", "$JS.FC.@.>"];

/// What is asked about a stream of copies: never more than its state and its messages, for whoever may make a stream or a
/// consumer may have any subject stored, and anything sent anywhere.
const TAIL: [&str; 4] = [
    "$JS.API.STREAM.INFO.@",
    "$JS.API.STREAM.MSG.GET.@",
    "$JS.API.DIRECT.GET.@",
    "$JS.API.DIRECT.GET.@.>",
];

/// Returns the subject prefix under which copies of a cell's stream go; `cell` is one token.
#[must_use]
pub fn copy_prefix(cell: &str, stream: &str) -> String {
    format!("{COPIES}.{cell}.{stream}")
}

/// Returns the stream at the region that takes copies of a cell's stream.
#[must_use]
pub fn copy_stream(cell: &str, stream: &str) -> String {
    format!("{cell}_{stream}")
}

/// Returns what a replicator publishes at its own broker: `worker` copies `streams`, answers come to `uid` in `collective`.
#[must_use]
pub fn replicator_source_publish<'a>(
    streams: impl IntoIterator<Item = &'a str>,
    worker: &str,
    collective: &str,
    uid: &str,
) -> Vec<String> {
    let mut list: Vec<String> = SOURCE.map(str::to_owned).to_vec();
    // A replica that joins asks the others, which answer to the name that all of them have.
    list.push(format!("{collective}.reply.{uid}.>"));
    list.push(stream::ELECTION_INFO.to_owned());
    list.extend(about(&READ, stream::REPLICATION_POSITIONS));
    list.extend(about(&FLOW, stream::REPLICATION_POSITIONS));
    list.extend(about(&READ, stream::REPLICATION_DEAD));
    list.extend(about(&FLOW, stream::REPLICATION_DEAD));
    list.push(stream::api_request("MSG.DELETE", stream::REPLICATION_DEAD));
    // The election of the replica that beats.
    list.extend(vote(&format!("SR_{worker}_HB")));
    for name in streams {
        list.extend(about(&READ, name));
        list.extend(about(&FLOW, name));
        // The election of the replica that copies it.
        list.extend(vote(&format!("SR_{worker}_{name}")));
    }
    list
}

/// Returns what a replicator of `cell` publishes at the region: copies of `streams`, and questions about what is there.
#[must_use]
pub fn replicator_target_publish<'a>(
    cell: &str,
    streams: impl IntoIterator<Item = &'a str>,
) -> Vec<String> {
    let mut list = vec!["$JS.API.INFO".to_owned()];
    for name in streams {
        list.push(format!("{}.>", copy_prefix(cell, name)));
        list.extend(about(&TAIL, &copy_stream(cell, name)));
    }
    list
}

/// To cast a vote, and to read it.
fn vote(key: &str) -> [String; 2] {
    let vote = format!("$KV.{}.{key}", stream::ELECTION_BUCKET);
    let read = format!("$JS.API.DIRECT.GET.{}.{vote}", stream::ELECTION);
    [vote, read]
}

fn about<'a>(calls: &'a [&'a str], name: &'a str) -> impl Iterator<Item = String> + 'a {
    calls.iter().map(move |call| call.replace('@', name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subject::is_valid_permission;

    #[test]
    fn a_region_lets_a_cell_write_below_its_own_prefix_and_make_nothing() {
        let list = replicator_target_publish("lon", ["CHORIA_EVENTS"]);
        assert_eq!(
            list,
            [
                "$JS.API.INFO",
                "replica.lon.CHORIA_EVENTS.>",
                "$JS.API.STREAM.INFO.lon_CHORIA_EVENTS",
                "$JS.API.STREAM.MSG.GET.lon_CHORIA_EVENTS",
                "$JS.API.DIRECT.GET.lon_CHORIA_EVENTS",
                "$JS.API.DIRECT.GET.lon_CHORIA_EVENTS.>",
            ]
        );
    }

    #[test]
    fn a_replicator_reads_what_it_copies_and_no_other_stream_of_its_cell() {
        let list = replicator_source_publish(["A", "B"], "lon", "choria", "00ff");
        assert!(list.iter().all(|subject| is_valid_permission(subject)));
        for wanted in [
            "$JS.API.CONSUMER.CREATE.A.>",
            "$JS.API.CONSUMER.MSG.NEXT.B.*",
            "$JS.ACK.B.>",
            "$KV.CHORIA_LEADER_ELECTION.SR_lon_B",
            "$JS.API.DIRECT.GET.KV_CHORIA_LEADER_ELECTION.$KV.CHORIA_LEADER_ELECTION.SR_lon_A",
            "$KV.OVERLAY_REPLICATION.>",
            "choria.reply.00ff.>",
            "$JS.API.STREAM.MSG.DELETE.OVERLAY_REPLICATION_DEAD",
        ] {
            assert!(list.iter().any(|subject| subject == wanted), "{wanted}");
        }
        let makes = |subject: &String| {
            [
                "STREAM.CREATE",
                "STREAM.UPDATE",
                "STREAM.DELETE",
                "STREAM.PURGE",
            ]
            .iter()
            .any(|call| subject.contains(call))
        };
        assert!(!list.iter().any(makes));
    }
}
