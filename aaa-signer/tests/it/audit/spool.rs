//! The record on this disk while the stream cannot be reached.

use overlay_aaa_signer::audit::AuditSpool;

use super::*;

fn with_spool(dir: &Path, max_bytes: u64) -> Settings {
    Settings {
        spool: Some(AuditSpool {
            directory: dir.join("spool"),
            max_bytes,
        }),
        ..in_stream()
    }
}

#[tokio::test]
async fn aaa_case_61_while_the_stream_is_away_records_wait_on_the_disk_and_are_handed_on_in_order()
{
    let mut broker = Broker::builder().jetstream().start();
    let client = client(&broker).await;
    let dir = tempfile::tempdir().unwrap();
    let writer = Writer::ready(with_spool(dir.path(), 8 << 20), Some(client.clone())).await;
    let mut durable = vec![writer.record(Decision::Allow).await.unwrap()];
    broker.kill();
    for _index in 0..50 {
        durable.push(writer.record(Decision::Allow).await.unwrap());
    }
    assert!(writer.audit.is_ready());
    assert!(writer.count("choria_aaa_auditor_errors", "jetstream") > 0);
    assert!(writer.count("overlay_aaa_audit_spooled_bytes", "") > 0);
    broker.start_again();
    eventually(LONG, PERIOD, || async {
        writer.count("overlay_aaa_audit_spooled_bytes", "") == 0
    })
    .await;
    durable.push(writer.record(Decision::Allow).await.unwrap());
    writer.close().await;
    let lines = stream_lines(&client).await;
    let verdict = assert_whole(&lines);
    assert!(verdict.chains[0].closed);
    assert_has(&lines, &durable);
    let left = std::fs::read(dir.path().join("spool/aaa-1.test.spool")).unwrap();
    assert!(left.is_empty());
}

#[tokio::test]
async fn what_waits_outlives_its_writer() {
    let mut broker = Broker::builder().jetstream().start();
    let first = client(&broker).await;
    let dir = tempfile::tempdir().unwrap();
    let writer = Writer::ready(with_spool(dir.path(), 8 << 20), Some(first)).await;
    broker.kill();
    let durable = vec![
        writer.record(Decision::Allow).await.unwrap(),
        writer.record(Decision::Deny).await.unwrap(),
    ];
    writer.close().await;
    broker.start_again();
    let client = client(&broker).await;
    let writer = Writer::ready(with_spool(dir.path(), 8 << 20), Some(client.clone())).await;
    writer.close().await;
    let lines = stream_lines(&client).await;
    let verdict = assert_whole(&lines);
    assert!(verdict.notices.is_empty(), "{:?}", verdict.notices);
    assert_has(&lines, &durable);
}

#[tokio::test]
async fn a_full_spool_denies_and_keeps_what_it_has() {
    let mut broker = Broker::builder().jetstream().start();
    let client = client(&broker).await;
    let dir = tempfile::tempdir().unwrap();
    let writer = Writer::ready(with_spool(dir.path(), 100_000), Some(client.clone())).await;
    broker.kill();
    let mut durable = Vec::new();
    let refused = loop {
        match writer.record(Decision::Allow).await {
            Ok(stored) => durable.push(stored),
            Err(error) => break error,
        }
        assert!(durable.len() < 1000, "the spool is never full");
    };
    assert!(
        matches!(&refused, AuditError::Refused(why) if why.contains("spool is full")),
        "{refused}"
    );
    broker.start_again();
    let stored = eventually(LONG, PERIOD, || async {
        writer.record(Decision::Allow).await
    })
    .await;
    durable.push(stored);
    eventually(LONG, PERIOD, || async {
        writer.count("overlay_aaa_audit_spooled_bytes", "") == 0
    })
    .await;
    writer.close().await;
    let lines = stream_lines(&client).await;
    assert_whole(&lines);
    assert_has(&lines, &durable);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_comes_and_goes_under_load_leaves_one_whole_chain() {
    let mut broker = Broker::builder().jetstream().start();
    let client = client(&broker).await;
    let dir = tempfile::tempdir().unwrap();
    let settings = with_spool(dir.path(), 64 << 20);
    let writer = Arc::new(Writer::ready(settings, Some(client.clone())).await);
    let stop = CancellationToken::new();
    let caller = async {
        let mut durable = Vec::new();
        while !stop.is_cancelled() {
            durable.push(writer.record(Decision::Allow).await.unwrap());
        }
        durable
    };
    let outages = async {
        for round in 0..4_u64 {
            tokio::time::sleep(Duration::from_millis(120 + 41 * round)).await;
            broker.kill();
            tokio::time::sleep(Duration::from_millis(100)).await;
            broker.start_again();
        }
        stop.cancel();
    };
    let (durable, ()) = tokio::join!(caller, outages);
    eventually(LONG, PERIOD, || async {
        writer.count("overlay_aaa_audit_spooled_bytes", "") == 0
    })
    .await;
    Arc::into_inner(writer).unwrap().close().await;
    let lines = stream_lines(&client).await;
    assert_whole(&lines);
    assert_has(&lines, &durable);
}
