//! The record in a file.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use overlay_aaa_signer::audit::{Checkpoints, OriginalForm};
use overlay_protocol::audit::{Record, SIGNATURE_PROTOCOL};
use overlay_tokens::audit::SignedHead;

use super::*;

#[tokio::test]
async fn aaa_case_60_allowed_and_denied_requests_each_leave_one_document_with_the_six_members() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit");
    let writer = Writer::ready(in_file(&path), None).await;
    writer.record(Decision::Allow).await.unwrap();
    writer.record(Decision::Deny).await.unwrap();
    writer.close().await;
    let lines = file_lines(&path);
    let verdict = assert_whole(&lines);
    assert!(verdict.chains[0].closed);
    assert_eq!(verdict.chains[0].sealed, Some(verdict.chains[0].last));
    let documents: Vec<serde_json::Value> = lines
        .iter()
        .map(|(_, line)| Record::decode(line).unwrap())
        .filter(|record| record.kind == Kind::Signature)
        .map(|record| serde_json::to_value(record.data).unwrap())
        .collect();
    assert_eq!(documents.len(), 2);
    for (document, action) in documents.iter().zip(["allow", "deny"]) {
        assert_eq!(document["protocol"], SIGNATURE_PROTOCOL);
        assert_eq!(document["callerid"], "up=bob");
        assert_eq!(document["action"], action);
        assert_eq!(document["site"], "test");
        assert!(document["time"].is_i64());
        assert!(document["request"].is_object());
    }
}

#[tokio::test]
async fn aaa_case_62_percent_signs_stay_as_they_are_and_files_are_private() {
    let dir = tempfile::tempdir().unwrap();
    let (path, logfile) = (dir.path().join("audit"), dir.path().join("old"));
    let settings = Settings {
        original: OriginalForm {
            logfile: Some(logfile.clone()),
            topic: None,
        },
        ..in_file(&path)
    };
    let writer = Writer::ready(settings, None).await;
    let request = r#"{"sender":"100%d and %s %n %% /a%b/"}"#;
    let entry = entry_of(Decision::Allow, request);
    writer.audit.record(entry).await.unwrap();
    writer.close().await;
    let old: serde_json::Value = serde_json::from_slice(&fs::read(&logfile).unwrap()).unwrap();
    assert_eq!(old["msg"], request);
    let ours = file_lines(&path).into_iter().find_map(|(_, line)| {
        let record = Record::decode(&line).unwrap();
        record.data.request.map(|request| request.get().to_owned())
    });
    assert_eq!(ours.as_deref(), Some(request));
    let head = dir.path().join("audit.head");
    for file in [&path, &logfile, &head] {
        let mode = fs::metadata(file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", file.display());
    }
}

#[tokio::test]
async fn what_waits_together_is_stored_together() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit");
    let writer = Writer::ready(in_file(&path), None).await;
    let asked = (0..200).map(|_index| writer.record(Decision::Allow));
    let answers = futures_util::future::join_all(asked).await;
    let durable: Vec<Durable> = answers.into_iter().map(Result::unwrap).collect();
    let batches = writer.count("overlay_aaa_audit_batches_total", "");
    assert!(batches < 50, "{batches} batches for 200 records");
    writer.close().await;
    let lines = file_lines(&path);
    assert_whole(&lines);
    assert_has(&lines, &durable);
}

#[tokio::test]
async fn a_chain_outlives_its_writers() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit");
    for _life in 0..3 {
        let writer = Writer::ready(in_file(&path), None).await;
        writer.record(Decision::Allow).await.unwrap();
        writer.close().await;
    }
    let lines = file_lines(&path);
    let verdict = assert_whole(&lines);
    assert_eq!(verdict.chains.len(), 1);
    assert_eq!(verdict.chains[0].last, 9);
    assert!(verdict.notices.is_empty(), "{:?}", verdict.notices);
    let head = fs::read(dir.path().join("audit.head")).unwrap();
    let head: SignedHead = serde_json::from_slice(&head).unwrap();
    let head = head.verify(&issuers()).unwrap();
    assert_eq!(head.sequence, 9);
    assert_eq!(head.hash, verdict.chains[0].hash);
}

#[tokio::test]
async fn a_torn_line_is_set_aside_and_said_in_the_chain() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit");
    let writer = Writer::ready(in_file(&path), None).await;
    writer.record(Decision::Allow).await.unwrap();
    writer.close().await;
    let whole = fs::read(&path).unwrap();
    fs::write(&path, [&whole, &whole[..40]].concat()).unwrap();
    let writer = Writer::ready(in_file(&path), None).await;
    writer.close().await;
    let verdict = assert_whole(&file_lines(&path));
    assert_eq!(verdict.notices.len(), 1);
    assert_eq!(verdict.notices[0].what, "partial_line");
    assert_eq!(verdict.notices[0].sequence, 4);
}

#[tokio::test]
async fn an_end_that_was_cut_off_while_nobody_wrote_shows_as_a_gap() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit");
    let writer = Writer::ready(in_file(&path), None).await;
    writer.record(Decision::Deny).await.unwrap();
    writer.close().await;
    let lines: Vec<_> = file_lines(&path)
        .into_iter()
        .map(|(_, line)| line)
        .collect();
    fs::write(&path, [&lines[0][..], b"\n"].concat()).unwrap();
    let writer = Writer::ready(in_file(&path), None).await;
    writer.close().await;
    let verdict = verify(&file_lines(&path));
    assert_eq!(verdict.faults.len(), 1, "{:#?}", verdict.faults);
    let fault = &verdict.faults[0];
    assert_eq!(fault.kind, overlay_tokens::audit::FaultKind::Missing);
    assert_eq!(fault.sequence, Some(2));
    assert_eq!(verdict.notices[0].what, "file_shorter");
}

#[tokio::test]
async fn a_renamed_file_is_followed_by_one_that_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (path, old) = (dir.path().join("audit"), dir.path().join("audit.1"));
    let writer = Writer::ready(in_file(&path), None).await;
    writer.record(Decision::Allow).await.unwrap();
    fs::rename(&path, &old).unwrap();
    writer.record(Decision::Allow).await.unwrap();
    writer.record(Decision::Allow).await.unwrap();
    writer.close().await;
    let mut lines = file_lines(&old);
    assert_whole(&lines);
    let after = file_lines(&path);
    let verdict = assert_whole(&after);
    assert_eq!(verdict.chains[0].first, 3);
    lines.extend(after);
    assert_whole(&lines);
}

#[tokio::test]
async fn a_second_writer_of_a_file_records_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit");
    let first = Writer::ready(in_file(&path), None).await;
    let second = Writer::start(
        Settings {
            limit: Duration::from_millis(300),
            ..in_file(&path)
        },
        None,
    );
    assert!(second.record(Decision::Allow).await.is_err());
    assert!(!second.audit.is_ready());
    second.close().await;
    first.record(Decision::Allow).await.unwrap();
    first.close().await;
    assert_whole(&file_lines(&path));
}

#[tokio::test]
async fn checkpoints_come_by_number_and_by_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit");
    let settings = Settings {
        checkpoints: Checkpoints {
            every: Duration::from_millis(100),
            records: 3,
        },
        ..in_file(&path)
    };
    let writer = Writer::ready(settings, None).await;
    for _index in 0..10 {
        writer.record(Decision::Allow).await.unwrap();
    }
    let sealed = || writer.count("overlay_aaa_audit_sealed_sequence", "");
    assert!(sealed() > 5, "{}", sealed());
    eventually(LONG, PERIOD, || async {
        sealed() == writer.count("overlay_aaa_audit_sequence", "")
    })
    .await;
    writer.close().await;
    assert_whole(&file_lines(&path));
}

#[tokio::test]
async fn a_disk_that_takes_nothing_denies_everything_and_is_counted() {
    let settings = Settings {
        limit: Duration::from_secs(2),
        ..in_file(Path::new("/dev/full"))
    };
    let writer = Writer::start(settings, None);
    let error = writer.record(Decision::Allow).await.unwrap_err();
    assert!(matches!(error, AuditError::Refused(_)), "{error}");
    assert!(!writer.audit.is_ready());
    assert!(writer.count("choria_aaa_auditor_errors", "logfile") > 0);
    assert!(writer.count("overlay_aaa_audit_errors_total", "\"file\"") > 0);
    writer.close().await;
}
