use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use overlay_testkit::{Broker, Process, eventually, http_get, http_put};
use tempfile::TempDir;

use crate::{LIMIT, PERIOD};

/// The example component, started with a configuration file.
struct Component {
    process: Process,
    _dir: TempDir,
}

fn program() -> PathBuf {
    match Process::locate("examples/component") {
        Ok(path) => path,
        Err(_) => panic!("run `cargo build -p overlay-runtime --example component` first"),
    }
}

fn start(config: &str, arguments: &[&str]) -> Component {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("component.toml");
    fs::write(&file, config).unwrap();
    let process = Process::builder(program())
        .arg("--config")
        .arg(&file)
        .args(arguments)
        .start();
    Component { process, _dir: dir }
}

fn with_broker(broker: &Broker) -> String {
    format!(
        "answer = 'yes'\n[broker]\nservers = ['{}']\n[admin]\nlisten = '127.0.0.1:0'\n[process]\ngrace = '1s'\n",
        broker.url()
    )
}

/// The port of the admin listener, from the log.
fn admin_port(process: &mut Process) -> u16 {
    let line = process.wait_for_line("admin listener", LIMIT);
    line.rsplit(':').next().unwrap().trim().parse().unwrap()
}

#[tokio::test]
async fn works_until_sigterm_and_ends_as_asked() {
    let broker = Broker::plain();
    let mut component = start(&with_broker(&broker), &[]);
    let process = &mut component.process;
    process.wait_for_line("ready for work", LIMIT);
    let client = async_nats::connect(broker.url()).await.unwrap();
    let answer = client.request("question", "".into()).await.unwrap();
    assert_eq!(answer.payload, "yes");
    assert_eq!(process.stop(LIMIT).code(), Some(0));
    assert!(process.stderr().contains("ended as asked"));
}

#[tokio::test]
async fn a_sighup_ends_neither_its_work_nor_an_orderly_stop() {
    let broker = Broker::plain();
    let mut component = start(&with_broker(&broker), &[]);
    let process = &mut component.process;
    process.wait_for_line("ready for work", LIMIT);
    let client = async_nats::connect(broker.url()).await.unwrap();
    process.hang_up();
    process.wait_for_line("SIGHUP: nothing to do", LIMIT);
    let answer = client.request("question", "".into()).await.unwrap();
    assert_eq!(answer.payload, "yes");

    // While it stops, it is no second signal either.
    client.request("question", "hang".into()).await.unwrap();
    process.terminate();
    process.wait_for_line("stopping", LIMIT);
    process.hang_up();
    assert_eq!(process.wait(LIMIT).code(), Some(0));
    let log = process.stderr();
    assert!(log.contains("grace period over"), "{log}");
    assert!(!log.contains("ending at once"), "{log}");
}

#[tokio::test]
async fn the_admin_listener_tells_health_metrics_version_and_log_level() {
    let mut broker = Broker::plain();
    let mut component = start(&with_broker(&broker), &[]);
    let process = &mut component.process;
    let port = admin_port(process);
    process.wait_for_line("ready for work", LIMIT);
    assert_eq!(http_get(port, "/live").unwrap(), (200, "live\n".to_owned()));
    let (status, report) = http_get(port, "/ready").unwrap();
    assert_eq!(status, 200, "{report}");
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["ready"], true);
    assert_eq!(report["parts"]["broker:component"]["status"], "up");
    let (_, metrics) = http_get(port, "/metrics").unwrap();
    assert!(metrics.contains("overlay_build_info{"), "{metrics}");
    assert!(metrics.contains("overlay_broker_connected{connection=\"component\"} 1"));
    let (_, version) = http_get(port, "/version").unwrap();
    assert!(version.contains("\"component\":\"runtime\""), "{version}");

    assert_eq!(http_get(port, "/log").unwrap().1, "info\n");
    assert_eq!(http_put(port, "/log", "debug").unwrap().0, 204);
    assert_eq!(http_get(port, "/log").unwrap().1, "debug\n");
    assert_eq!(http_put(port, "/log", "loud").unwrap().0, 400);
    assert_eq!(http_put(port, "/log", &"x".repeat(10_000)).unwrap().0, 413);

    broker.stop();
    eventually(LIMIT, PERIOD, || async {
        http_get(port, "/ready").unwrap().0 == 503
    })
    .await;
    assert_eq!(http_get(port, "/live").unwrap().0, 200);
    broker.start_again();
    eventually(LIMIT, PERIOD, || async {
        http_get(port, "/ready").unwrap().0 == 200
    })
    .await;
}

#[test]
fn works_without_a_broker_and_without_an_admin_listener() {
    let mut component = start("answer = 'yes'", &[]);
    component.process.wait_for_line("ready for work", LIMIT);
    assert_eq!(component.process.stop(LIMIT).code(), Some(0));
}

#[test]
fn without_a_broker_to_be_reached_it_ends_with_69() {
    let config =
        "answer = 'yes'\n[broker]\nservers = ['nats://127.0.0.1:1']\nconnect_limit = '10ms'";
    let mut component = start(config, &[]);
    assert_eq!(component.process.wait(LIMIT).code(), Some(69));
    let log = component.process.stderr();
    assert!(log.contains("no broker reached as component"), "{log}");
}

#[test]
fn a_stop_while_waiting_for_the_broker_is_a_stop_as_asked() {
    let config = "answer = 'yes'\n[broker]\nservers = ['nats://127.0.0.1:1']";
    let mut component = start(config, &[]);
    component
        .process
        .wait_for_line("broker or connection reports", LIMIT);
    assert_eq!(component.process.stop(LIMIT).code(), Some(0));
}

#[test]
fn faults_of_the_configuration_end_it_with_78_all_told() {
    let mut component = start("answr = 'yes'\n[log]\nlevel = 'loud'", &[]);
    assert_eq!(component.process.wait(LIMIT).code(), Some(78));
    let told = component.process.stderr();
    assert_eq!(told.lines().count(), 3, "{told}");
    assert!(told.contains("component.toml: answr = \"yes\": unknown key; did you mean answer?"));
    assert!(
        told.contains("component.toml: log.level = \"loud\": is not a log level"),
        "{told}"
    );
    assert!(told.contains("answer: is missing; write a text"), "{told}");
}

#[test]
fn check_looks_at_the_files_that_the_configuration_names() {
    let config = "answer = 'yes'\n[broker]\nservers = ['a:1']\nca_file = '/nonexistent/ca.pem'";
    let mut component = start(config, &["--check"]);
    assert_eq!(component.process.wait(LIMIT).code(), Some(78));
    assert!(component.process.stderr().contains("/nonexistent/ca.pem"));
    let mut component = start("answer = 'yes'", &["--check"]);
    assert_eq!(component.process.wait(LIMIT).code(), Some(0));
}

#[test]
fn prints_its_configuration_its_reference_and_its_usage() {
    let config = "answer = 'yes'\n[broker]\nservers = ['nats://u:s3cret@a:1']";
    let mut component = start(config, &["--print-config"]);
    assert_eq!(component.process.wait(LIMIT).code(), Some(0));
    let printed = component.process.stdout();
    assert!(
        printed.contains("nats://u:***@a:1") && !printed.contains("s3cret"),
        "{printed}"
    );

    let mut process = Process::builder(program()).arg("--print-reference").start();
    assert_eq!(process.wait(LIMIT).code(), Some(0));
    let mut component = start(&process.stdout(), &["--check"]);
    assert_eq!(component.process.wait(LIMIT).code(), Some(0));

    let mut process = Process::builder(program()).arg("--nonsense").start();
    assert_eq!(process.wait(LIMIT).code(), Some(2));
    assert!(process.stderr().contains("--print-reference"));
}

#[test]
fn variables_override_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("component.toml");
    fs::write(&file, "answer = 'yes'").unwrap();
    let mut process = Process::builder(program())
        .arg("--config")
        .arg(&file)
        .arg("--print-config")
        .env("OVERLAY_RUNTIME__ANSWER", "no")
        .start();
    assert_eq!(process.wait(LIMIT).code(), Some(0));
    assert_eq!(process.stdout(), "answer = \"no\"\n");
}

#[tokio::test]
async fn a_fault_of_the_component_ends_it_with_1() {
    let broker = Broker::plain();
    let mut component = start(&with_broker(&broker), &[]);
    component.process.wait_for_line("ready for work", LIMIT);
    let client = async_nats::connect(broker.url()).await.unwrap();
    client.publish("question", "fail".into()).await.unwrap();
    client.flush().await.unwrap();
    assert_eq!(component.process.wait(LIMIT).code(), Some(1));
    assert!(component.process.stderr().contains("asked to fail"));
}

#[tokio::test]
async fn tasks_that_hang_are_dropped_after_the_grace_period_or_at_the_second_signal() {
    let broker = Broker::plain();
    let client = async_nats::connect(broker.url()).await.unwrap();
    let hanging = async |config: &str| {
        let mut component = start(config, &[]);
        component.process.wait_for_line("ready for work", LIMIT);
        client.request("question", "hang".into()).await.unwrap();
        component
    };
    let mut component = hanging(&with_broker(&broker)).await;
    assert_eq!(component.process.stop(LIMIT).code(), Some(0));
    assert!(component.process.stderr().contains("grace period over"));

    let patient = with_broker(&broker).replace("grace = '1s'", "grace = '1h'");
    let mut component = hanging(&patient).await;
    component.process.terminate();
    component.process.wait_for_line("stopping", LIMIT);
    component.process.interrupt();
    assert_eq!(
        component.process.wait(Duration::from_secs(10)).code(),
        Some(1)
    );
    assert!(component.process.stderr().contains("ending at once"));
}

#[test]
fn systemd_is_told_when_it_is_ready_and_when_it_stops() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    let file = dir.path().join("component.toml");
    fs::write(&file, "answer = 'yes'").unwrap();
    // systemd names the process that its watchdog watches.
    let mut process = Process::builder("/bin/sh")
        .args(["-c", "WATCHDOG_PID=$$ exec \"$0\" --config \"$1\""])
        .arg(program())
        .arg(&file)
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "20000")
        .start();
    let wait_for = |wanted: &str| {
        let mut buffer = [0; 1024];
        loop {
            let length = match socket.recv(&mut buffer) {
                Ok(length) => length,
                // Other tests' processes end meanwhile.
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => panic!("no {wanted}: {error}"),
            };
            let text = String::from_utf8_lossy(&buffer[..length]);
            if text.lines().any(|line| line == wanted) {
                return;
            }
        }
    };
    wait_for("READY=1");
    wait_for("STATUS=ready");
    wait_for("WATCHDOG=1");
    process.terminate();
    wait_for("STOPPING=1");
    assert_eq!(process.wait(LIMIT).code(), Some(0));
}
