//! What goes wrong, how it is told, and the exit code.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;
use std::time::Duration;

use overlay_testkit::mint::Organisation;
use overlay_testkit::{Broker, eventually_blocking};
use rustix::process::{Pid, Signal, kill_process};

use crate::desk::{self, Desk, assert_shown};
use crate::fleet;

#[test]
fn a_wrong_command_line_ends_with_2() {
    let dir = tempfile::tempdir().unwrap();
    for args in [
        ["ping", "--nosuch"].as_slice(),
        &["nosuch"],
        &["req"],
        &["facts"],
        &[],
    ] {
        let run = desk::run(dir.path(), args, None);
        assert_eq!(run.code, 2, "{args:?}: {run:?}");
        assert_eq!(run.stdout, "", "{args:?}");
        assert!(run.stderr.contains("Usage:"), "{args:?}: {run:?}");
    }
}

#[test]
fn a_missing_configuration_says_where_it_could_be() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = desk::command(dir.path());
    command.env_remove("OVERLAY_CONFIG").arg("ping");
    let output = command.output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    // A machine with a configuration in /etc finds that one.
    if stderr.contains("no configuration found") {
        assert!(stderr.contains(".config/overlay/client.toml"), "{stderr}");
        assert!(stderr.contains("OVERLAY_CONFIG"), "{stderr}");
    }
    assert_eq!(output.status.code(), Some(1));
    let run = desk::run(dir.path(), &["ping"], None).fails(1, "cannot read");
    assert_shown!("trouble_no_such_file", run.stderr);
}

#[test]
fn a_broker_that_is_down_is_named() {
    let dir = tempfile::tempdir().unwrap();
    desk::configure(dir.path(), "nats://127.0.0.1:1", &Organisation::new());
    let run = desk::run(dir.path(), &["ping"], None);
    assert_eq!(run.stdout, "");
    run.fails(1, "no broker reached at nats://127.0.0.1:1");
}

#[test]
fn a_refused_login_is_told_at_once_with_what_to_do() {
    let broker = Broker::builder()
        .config("authorization { user: a, password: b }")
        .start();
    let dir = tempfile::tempdir().unwrap();
    desk::configure(dir.path(), &broker.url(), &Organisation::new());
    let run = desk::run(dir.path(), &["ping", "--json"], None);
    assert_eq!(run.stdout, "");
    let run = run.fails(1, "the broker refused the login of up=bob");
    assert_shown!("trouble_refused_login", run.stderr);
}

#[test]
fn a_token_for_another_key_is_told_before_connecting() {
    let dir = tempfile::tempdir().unwrap();
    let organisation = Organisation::new();
    desk::configure(dir.path(), "nats://127.0.0.1:1", &organisation);
    fs::write(
        dir.path().join("client.jwt"),
        desk::operator(&organisation).token,
    )
    .unwrap();
    let run = desk::run(dir.path(), &["ping"], None).fails(1, "is for another key than");
    assert_shown!("trouble_other_key", run.stderr);
}

#[test]
fn a_key_that_others_may_read_is_warned_of_and_used() {
    let dir = tempfile::tempdir().unwrap();
    desk::configure(dir.path(), "nats://127.0.0.1:1", &Organisation::new());
    let seed = dir.path().join("client.seed");
    for (mode, is_warned) in [(0o600, false), (0o640, true), (0o604, true)] {
        fs::set_permissions(&seed, fs::Permissions::from_mode(mode)).unwrap();
        let run = desk::run(dir.path(), &["ping"], None).fails(1, "no broker reached");
        let warning = format!("client.seed has mode {mode:04o}, others may read or change it");
        assert_eq!(run.stderr.contains(&warning), is_warned, "{run:?}");
        assert_eq!(run.stderr.contains("warning"), is_warned, "{run:?}");
    }
}

#[test]
fn rpc_case_29_a_caller_without_permission_gets_no_replies_and_the_reason() {
    let users = r#"authorization { users = [
        {user: bob, password: secret, permissions: {publish: "nothing", subscribe: "*.reply.>"}}
    ] }"#;
    let broker = Broker::builder().config(users).start();
    let dir = tempfile::tempdir().unwrap();
    desk::configure(dir.path(), &broker.url(), &Organisation::new());
    fs::write(dir.path().join("password"), "secret").unwrap();
    let file = dir.path().join("client.toml");
    let text = fs::read_to_string(&file).unwrap();
    let login = "[broker]\nuser = \"bob\"\npassword_file = \"password\"";
    fs::write(file, text.replace("[broker]", login)).unwrap();
    let args = ["req", "rpcutil", "ping", "-I", "x", "--timeout", "0.3"];
    let run = desk::run(dir.path(), &args, None).ok();
    assert!(
        run.stdout.contains("No Responses from: 1\n\n    x\n"),
        "{run:?}"
    );
    assert!(
        run.stderr
            .contains("Permissions Violation for Publish to \"choria.node.x\""),
        "{run:?}"
    );
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let desk = Desk::new(fleet::nodes(200));
    let mut command = desk::command(desk.dir());
    command
        .args(["ping", "--names"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    let mut stderr = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut stderr)
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(stderr, "");
}

#[test]
fn the_configuration_of_choria_is_enough() {
    let desk = Desk::new(fleet::nodes(2));
    let (token, seed) = (
        desk.dir().join("client.jwt"),
        desk.dir().join("client.seed"),
    );
    let text = format!(
        "plugin.choria.use_srv = false\nplugin.choria.middleware_hosts = {}\n\
         plugin.security.provider = choria\nplugin.security.choria.token_file = {}\n\
         plugin.security.choria.seed_file = {}\ncollectives = choria\n",
        desk.broker.url(),
        token.display(),
        seed.display()
    );
    desk.file("client.conf", &text);
    let mut command = desk::command(desk.dir());
    command.args(["--config", "client.conf", "ping", "--names"]);
    let output = command
        .env("INSECURE_DISABLE_TLS", "true")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(
        output.stdout.iter().filter(|byte| **byte == b'\n').count(),
        2
    );
}

#[test]
fn an_interrupted_request_shows_what_has_come() {
    let desk = Desk::new(vec![
        fleet::node("a"),
        fleet::node("b").habit(fleet::Habit::Silent),
    ]);
    let mut command = desk::command(desk.dir());
    command.args([
        "req",
        "rpcutil",
        "ping",
        "-I",
        "a",
        "-I",
        "b",
        "--timeout",
        "60",
    ]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let limit = Duration::from_secs(20);
    eventually_blocking(limit, Duration::from_millis(10), || {
        let seen = desk.fleet.seen().len();
        if seen == 2 {
            Ok(())
        } else {
            Err(format!("{seen} requests"))
        }
    });
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    // The signal may come before the reply of `a` is read, never before the handler is there.
    kill_process(pid, Signal::INT).unwrap();
    let (mut stdout, mut stderr) = (String::new(), String::new());
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut stdout)
        .unwrap();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut stderr)
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{stderr}");
    assert!(stdout.contains(" / 2 hosts in "), "{stdout}");
    assert!(stderr.contains("error: interrupted"), "{stderr}");
}
