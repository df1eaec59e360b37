//! The record in a stream, and whatever may happen to the stream.

use overlay_aaa_signer::audit::OriginalForm;
use overlay_protocol::audit::{Head, LineHash, Record};
use overlay_tokens::UnixTime;
use overlay_tokens::audit::{Chain, FaultKind};

use super::*;

fn broker() -> Broker {
    Broker::builder().jetstream().start()
}

#[tokio::test]
async fn records_are_in_the_stream_when_they_are_acknowledged() {
    let broker = broker();
    let client = client(&broker).await;
    let writer = Writer::ready(in_stream(), Some(client.clone())).await;
    let asked = (0..100).map(|_index| writer.record(Decision::Allow));
    let durable: Vec<_> = futures_util::future::join_all(asked)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert_has(&stream_lines(&client).await, &durable);
    writer.close().await;
    let again = Writer::ready(in_stream(), Some(client.clone())).await;
    again.record(Decision::Deny).await.unwrap();
    again.close().await;
    let lines = stream_lines(&client).await;
    let verdict = assert_whole(&lines);
    assert_eq!(verdict.chains.len(), 1);
    assert!(verdict.chains[0].closed);
    assert!(verdict.notices.is_empty(), "{:?}", verdict.notices);
    let jetstream = async_nats::jetstream::new(client);
    let stream = jetstream.get_stream("AAA_AUDIT").await.unwrap();
    let config = &stream.cached_info().config;
    assert!(config.deny_delete && config.deny_purge && config.allow_direct);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_killed_at_any_moment_loses_nothing_that_was_acknowledged() {
    let mut broker = broker();
    let client = client(&broker).await;
    let settings = Settings {
        limit: Duration::from_secs(20),
        ..in_stream()
    };
    let writer = Arc::new(Writer::ready(settings, Some(client.clone())).await);
    let stop = CancellationToken::new();
    let callers = futures_util::future::join_all((0..4).map(|_caller| {
        let (writer, stop) = (Arc::clone(&writer), stop.clone());
        async move {
            let mut durable = Vec::new();
            while !stop.is_cancelled() {
                if let Ok(stored) = writer.record(Decision::Allow).await {
                    durable.push(stored);
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            durable
        }
    }));
    let kills = async {
        for round in 0..5_u64 {
            // another moment each time
            tokio::time::sleep(Duration::from_millis(150 + 37 * round)).await;
            broker.kill();
            broker.start_again();
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        stop.cancel();
    };
    let (durable, ()) = tokio::join!(callers, kills);
    let durable: Vec<_> = durable.into_iter().flatten().collect();
    assert!(durable.len() > 50, "{} records", durable.len());
    Arc::into_inner(writer).unwrap().close().await;
    let lines = stream_lines(&client).await;
    assert_whole(&lines);
    assert_has(&lines, &durable);
}

#[tokio::test]
async fn a_full_stream_takes_nothing_and_nothing_is_lost_when_it_has_room_again() {
    let broker = broker();
    let client = client(&broker).await;
    let settings = |max_bytes| Settings {
        stream: Some(AuditStream {
            max_bytes,
            ..AuditStream::default()
        }),
        ..Settings::default()
    };
    let writer = Writer::ready(settings(1 << 20), Some(client.clone())).await;
    // what cannot be made smaller by compression
    let filler: String = (0..60_000_u32)
        .map(|index| {
            char::from(b'a' + u8::try_from(index.wrapping_mul(2_654_435_761) >> 28).unwrap())
        })
        .collect();
    let request = format!(r#"{{"filler":"{filler}"}}"#);
    let mut durable = Vec::new();
    let refused = loop {
        match writer
            .audit
            .record(entry_of(Decision::Allow, &request))
            .await
        {
            Ok(stored) => durable.push(stored),
            Err(error) => break error,
        }
        assert!(durable.len() < 200, "the stream is never full");
    };
    assert!(
        matches!(&refused, AuditError::Refused(why) if why.contains("maximum bytes")),
        "{refused}"
    );
    assert!(!writer.audit.is_ready());
    assert!(writer.count("choria_aaa_auditor_errors", "jetstream") > 0);
    // the writer itself may not: an administrator makes room
    let jetstream = async_nats::jetstream::new(client.clone());
    let stream = jetstream.get_stream("AAA_AUDIT").await.unwrap();
    let mut config = stream.cached_info().config.clone();
    config.max_bytes = 8 << 20;
    jetstream.update_stream(&config).await.unwrap();
    eventually(LONG, PERIOD, || async { writer.audit.is_ready() }).await;
    let lines = stream_lines(&client).await;
    assert_whole(&lines);
    assert_has(&lines, &durable);
    writer.close().await;
}

#[tokio::test]
async fn a_stream_that_is_not_as_configured_is_told_and_left_and_the_chain_goes_on() {
    let broker = broker();
    let client = client(&broker).await;
    Writer::ready(in_stream(), Some(client.clone()))
        .await
        .close()
        .await;
    let other = Settings {
        stream: Some(AuditStream {
            max_bytes: 32 << 20,
            ..AuditStream::default()
        }),
        ..Settings::default()
    };
    let writer = Writer::ready(other, Some(client.clone())).await;
    writer.record(Decision::Allow).await.unwrap();
    assert_eq!(writer.count("overlay_aaa_audit_stream_differences", ""), 1);
    writer.close().await;
    let jetstream = async_nats::jetstream::new(client.clone());
    let stream = jetstream.get_stream("AAA_AUDIT").await.unwrap();
    assert_eq!(stream.cached_info().config.max_bytes, 64 << 20);
}

#[tokio::test]
async fn a_stream_that_was_deleted_is_made_again_and_the_gap_shows() {
    let broker = broker();
    let client = client(&broker).await;
    let writer = Writer::ready(in_stream(), Some(client.clone())).await;
    writer.record(Decision::Allow).await.unwrap();
    let jetstream = async_nats::jetstream::new(client.clone());
    jetstream.delete_stream("AAA_AUDIT").await.unwrap();
    let stored = eventually(LONG, PERIOD, || async {
        writer.record(Decision::Allow).await
    })
    .await;
    writer.close().await;
    let lines = stream_lines(&client).await;
    let verdict = assert_whole(&lines);
    assert!(verdict.chains[0].first > 1, "{:?}", verdict.chains);
    assert_has(&lines, &[stored]);
}

#[tokio::test]
async fn a_message_that_an_administrator_removes_is_missed() {
    let broker = broker();
    let client = client(&broker).await;
    let writer = Writer::ready(in_stream(), Some(client.clone())).await;
    for _index in 0..5 {
        writer.record(Decision::Allow).await.unwrap();
    }
    writer.close().await;
    let mut lines = stream_lines(&client).await;
    lines.retain(|(place, _)| !matches!(place, Place::Stream { sequence: 3, .. }));
    let verdict = verify(&lines);
    assert_eq!(verdict.faults.len(), 1, "{:#?}", verdict.faults);
    assert_eq!(verdict.faults[0].kind, FaultKind::Missing);
}

#[tokio::test]
async fn a_writer_whose_chain_was_taken_over_records_nothing_more_and_ends() {
    let broker = broker();
    let client = client(&broker).await;
    let frozen = Writer::ready(in_stream(), Some(client.clone())).await;
    let stored = frozen.record(Decision::Allow).await.unwrap();
    let successor = Writer::ready(in_stream(), Some(client.clone())).await;
    let refused = frozen.record(Decision::Allow).await.unwrap_err();
    assert_eq!(refused, AuditError::Taken);
    eventually(LONG, PERIOD, || async { frozen.has_ended() }).await;
    assert!(!frozen.audit.is_ready());
    let next = successor.record(Decision::Allow).await.unwrap();
    successor.close().await;
    let lines = stream_lines(&client).await;
    assert_whole(&lines);
    assert_has(&lines, &[stored, next]);
}

#[tokio::test]
async fn records_that_somebody_else_wrote_into_the_chain_are_named_when_the_writer_begins_again() {
    let broker = broker();
    let client = client(&broker).await;
    let writer = Writer::ready(in_stream(), Some(client.clone())).await;
    writer.record(Decision::Deny).await.unwrap();
    writer.close().await;
    // with the key of the account, and without the one of the chain
    let lines = stream_lines(&client).await;
    let (_, last) = lines.last().unwrap();
    let sequence = Record::decode(last).unwrap().sequence;
    let head = Head {
        sequence,
        hash: LineHash::of(last),
    };
    let mut forged = Chain::new(CHAIN, head);
    let data = entry(Decision::Allow).data.to_json();
    let mut batch = Vec::new();
    for kind in [Kind::Signature, Kind::Checkpoint] {
        batch.push(forged.append(kind, "", UnixTime::from(Clock::system().now()), &data));
    }
    let jetstream = async_nats::jetstream::new(client.clone());
    let subject = format!("overlay.audit.aaa.{CHAIN}");
    let sent = jetstream.publish(subject, batch.join(&b'\n').into());
    sent.await.unwrap().await.unwrap();
    let again = Writer::ready(in_stream(), Some(client.clone())).await;
    again.record(Decision::Deny).await.unwrap();
    again.close().await;
    let verdict = verify(&stream_lines(&client).await);
    let [notice] = &verdict.notices[..] else {
        panic!("{:?}", verdict.notices);
    };
    assert_eq!(notice.what, "unsealed_tail");
    let said = format!(
        "records {} to {} were not signed",
        sequence + 1,
        sequence + 2
    );
    assert!(notice.message.starts_with(&said), "{}", notice.message);
}

#[tokio::test]
async fn what_was_allowed_and_reached_nobody_is_said_in_the_chain() {
    let broker = broker();
    let client = client(&broker).await;
    let settings = Settings {
        limit: Duration::from_millis(200),
        ..in_stream()
    };
    let writer = Writer::ready(settings, Some(client.clone())).await;
    broker.pause();
    let late = writer.record(Decision::Allow).await.unwrap_err();
    assert!(matches!(late, AuditError::TimedOut(_)), "{late}");
    broker.unpause();
    eventually(LONG, PERIOD, || async {
        writer.record(Decision::Deny).await
    })
    .await;
    eventually(LONG, PERIOD, || async {
        writer.count("overlay_aaa_audit_undelivered_total", "") > 0
    })
    .await;
    writer.close().await;
    let lines = stream_lines(&client).await;
    assert_whole(&lines);
    let records: Vec<_> = lines
        .iter()
        .map(|(_, line)| Record::decode(line).unwrap())
        .collect();
    let said = records
        .iter()
        .find_map(|record| record.data.undelivered.clone())
        .unwrap();
    let meant = records
        .iter()
        .find(|record| said.sequences == [record.sequence])
        .unwrap();
    assert_eq!(meant.kind, Kind::Signature);
    assert_eq!(meant.data.action, Some(Decision::Allow));
}

#[tokio::test]
async fn documents_of_the_original_are_published_acknowledged() {
    let broker = broker();
    let client = client(&broker).await;
    let jetstream = async_nats::jetstream::new(client.clone());
    let mut stream = jetstream
        .create_stream(async_nats::jetstream::stream::Config {
            name: "OLD".to_owned(),
            subjects: vec!["choria.audit.aaa".to_owned()],
            ..Default::default()
        })
        .await
        .unwrap();
    let settings = Settings {
        original: OriginalForm {
            logfile: None,
            topic: Some("choria.audit.aaa".to_owned()),
        },
        ..in_stream()
    };
    let writer = Writer::ready(settings, Some(client.clone())).await;
    writer.record(Decision::Allow).await.unwrap();
    writer.record(Decision::Deny).await.unwrap();
    eventually(LONG, PERIOD, || async {
        writer.count("overlay_aaa_audit_stored_total", "original_topic") == 2
    })
    .await;
    writer.close().await;
    assert_eq!(stream.info().await.unwrap().state.messages, 2);
    let message = stream.get_raw_message(1).await.unwrap();
    assert!(message.headers.is_empty());
    let document: serde_json::Value = serde_json::from_slice(&message.payload).unwrap();
    assert_eq!(document["action"], "allow");
    assert_eq!(document.as_object().unwrap().len(), 6);
}

#[tokio::test]
async fn file_and_stream_hold_the_same_lines_and_the_stream_is_brought_up_to_the_file() {
    let broker = broker();
    let client = client(&broker).await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit");
    let settings = || Settings {
        file: Some(path.clone()),
        ..in_stream()
    };
    let bytes = |lines: Vec<(Place, Vec<u8>)>| -> Vec<_> {
        lines.into_iter().map(|(_, line)| line).collect()
    };
    let writer = Writer::ready(settings(), Some(client.clone())).await;
    writer.record(Decision::Allow).await.unwrap();
    writer.close().await;
    assert_eq!(bytes(file_lines(&path)), bytes(stream_lines(&client).await));
    // as after a crash between the two: the file alone has what came last
    let alone = Writer::ready(in_file(&path), None).await;
    alone.record(Decision::Allow).await.unwrap();
    alone.close().await;
    let writer = Writer::ready(settings(), Some(client.clone())).await;
    writer.record(Decision::Allow).await.unwrap();
    writer.close().await;
    let lines = stream_lines(&client).await;
    let verdict = assert_whole(&lines);
    assert_eq!(verdict.notices[0].what, "brought_up");
    assert_eq!(bytes(file_lines(&path)), bytes(lines));
}
