//! Writers that are processes of their own: killed, and without room on the disk.

use std::path::PathBuf;

use overlay_testkit::Process;

use super::*;

const DIR: &str = "OVERLAY_TEST_AUDIT_DIR";
const BROKER: &str = "OVERLAY_TEST_AUDIT_BROKER";

/// What a process of its own does; without its environment it writes a little for itself.
#[tokio::test]
async fn a_writer_acknowledges_one_record_after_the_other() {
    let own = tempfile::tempdir().unwrap();
    let set = std::env::var_os(DIR).map(PathBuf::from);
    let most = if set.is_some() { u64::MAX } else { 3 };
    let path = set.as_deref().unwrap_or(own.path()).join("audit");
    let mut settings = in_file(&path);
    let client = match std::env::var_os(BROKER) {
        Some(url) => {
            settings.stream = in_stream().stream;
            let url = url.into_string().unwrap();
            Some(async_nats::connect(url).await.unwrap())
        }
        None => None,
    };
    let writer = Writer::ready(settings, client).await;
    let mut count = 0;
    while count < most {
        match writer.record(Decision::Allow).await {
            Ok(stored) => println!("stored {}", stored.sequence),
            Err(error) => {
                println!("refused: {error}");
                tokio::time::sleep(PERIOD).await;
            }
        }
        count += 1;
    }
    writer.close().await;
    assert_whole(&file_lines(&path));
}

/// Starts this test's program again as a writer; `shell` runs before it.
fn writer_process(dir: &Path, broker: Option<&Broker>, shell: &str) -> Process {
    let program = std::env::current_exe().unwrap();
    let script = format!(
        "{shell}\nexec '{}' --exact --nocapture audit::crash::a_writer_acknowledges_one_record_after_the_other",
        program.display()
    );
    let mut builder = Process::builder("/bin/bash")
        .arg("-c")
        .arg(script)
        .env(DIR, dir);
    if let Some(broker) = broker {
        builder = builder.env(BROKER, broker.url());
    }
    builder.start()
}

fn stored(output: &str) -> Vec<Durable> {
    output
        .lines()
        .filter_map(|line| line.strip_prefix("stored ")?.parse().ok())
        .map(|sequence| Durable { sequence })
        .collect()
}

#[tokio::test]
async fn a_killed_writer_has_lost_nothing_that_it_acknowledged_and_the_next_one_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit");
    let mut durable = Vec::new();
    for round in 0..4_u64 {
        let mut process = writer_process(dir.path(), None, "");
        process.wait_for_line("stored ", LONG);
        tokio::time::sleep(Duration::from_millis(30 + 17 * round)).await;
        process.kill();
        durable.extend(stored(&process.stdout()));
    }
    let writer = Writer::ready(in_file(&path), None).await;
    writer.close().await;
    let lines = file_lines(&path);
    assert_whole(&lines);
    assert_has(&lines, &durable);
}

#[tokio::test]
async fn a_writer_that_is_killed_between_file_and_stream_leaves_both_alike_after_the_next_start() {
    let broker = Broker::builder().jetstream().start();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit");
    let mut durable = Vec::new();
    for round in 0..3_u64 {
        let mut process = writer_process(dir.path(), Some(&broker), "");
        process.wait_for_line("stored ", LONG);
        tokio::time::sleep(Duration::from_millis(30 + 23 * round)).await;
        process.kill();
        durable.extend(stored(&process.stdout()));
    }
    let client = client(&broker).await;
    let settings = Settings {
        file: Some(path.clone()),
        ..in_stream()
    };
    let writer = Writer::ready(settings, Some(client.clone())).await;
    writer.close().await;
    let (in_file, in_stream) = (file_lines(&path), stream_lines(&client).await);
    assert_whole(&in_file);
    assert_whole(&in_stream);
    assert_has(&in_stream, &durable);
    let bytes = |lines: &[(Place, Vec<u8>)]| -> Vec<Vec<u8>> {
        lines.iter().map(|(_, line)| line.clone()).collect()
    };
    assert_eq!(bytes(&in_file), bytes(&in_stream));
}

#[tokio::test]
async fn a_full_disk_denies_leaves_no_torn_line_and_room_lets_the_chain_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit");
    // the largest file in units of 1024 bytes; who exceeds it is told so, as on a full disk
    let mut process = writer_process(dir.path(), None, "ulimit -f 64; trap '' XFSZ");
    let refused = process.wait_for_line("refused: ", LONG);
    assert!(refused.contains("file:"), "{refused}");
    process.kill();
    let durable = stored(&process.stdout());
    assert!(!durable.is_empty());
    let lines = file_lines(&path);
    assert_whole(&lines);
    assert_has(&lines, &durable);
    let writer = Writer::ready(in_file(&path), None).await;
    writer.record(Decision::Allow).await.unwrap();
    writer.close().await;
    let lines = file_lines(&path);
    let verdict = assert_whole(&lines);
    assert!(verdict.notices.is_empty(), "{:?}", verdict.notices);
    assert_has(&lines, &durable);
}
