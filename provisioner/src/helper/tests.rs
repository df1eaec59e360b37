//! Helpers as real processes and services, and what they do to those who ask them.

use std::num::NonZeroUsize;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use overlay_runtime::{CancellationToken, Readiness, Secrets, Tasks};
use overlay_testkit::{Logs, eventually};
use rustix::process::{Pid, test_kill_process};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::*;

const SOON: Duration = Duration::from_secs(20);
const OFTEN: Duration = Duration::from_millis(20);
const LIMIT: Duration = Duration::from_secs(5);
const QUESTION: &str = r#"{"identity":"n1.example.net","csr":null}"#;

fn sh(script: &str) -> Vec<String> {
    ["/bin/sh", "-c", script].map(str::to_owned).to_vec()
}

fn bounds(limit: Duration, max_output: usize) -> HelperSettings {
    HelperSettings {
        kind: HelperKind::Process {
            command: Vec::new(),
        },
        limit,
        max_output,
        concurrency: NonZeroUsize::new(64).unwrap(),
    }
}

struct Asking {
    helper: Helper,
    shutdown: CancellationToken,
    tasks: Tasks,
    readiness: Readiness,
}

impl Asking {
    fn with(settings: HelperSettings) -> Self {
        let (tasks, shutdown) = (Tasks::new(), CancellationToken::new());
        let readiness = Readiness::new();
        let helper = Helper::start(
            &settings,
            &tasks,
            &shutdown,
            &Secrets::default(),
            readiness.part("helper"),
        )
        .unwrap();
        Self {
            helper,
            shutdown,
            tasks,
            readiness,
        }
    }

    fn process(script: &str) -> Self {
        Self::with(HelperSettings {
            kind: HelperKind::Process {
                command: sh(script),
            },
            ..bounds(LIMIT, 4096)
        })
    }

    fn persistent(script: &str, processes: usize) -> Self {
        Self::with(HelperSettings {
            kind: HelperKind::Persistent {
                command: sh(script),
                processes: NonZeroUsize::new(processes).unwrap(),
            },
            ..bounds(LIMIT, 4096)
        })
    }

    fn http(url: String, token_file: Option<PathBuf>, ca_file: Option<PathBuf>) -> Self {
        Self::with(HelperSettings {
            kind: HelperKind::Http {
                url,
                token_file,
                ca_file,
            },
            ..bounds(LIMIT, 4096)
        })
    }

    async fn ask(&self) -> Result<String, AskError> {
        self.ask_of(QUESTION).await
    }

    async fn ask_of(&self, question: &str) -> Result<String, AskError> {
        let question = Bytes::copy_from_slice(question.as_bytes());
        let output = self.helper.ask("n1.example.net", question).await?;
        Ok(String::from_utf8(output).unwrap())
    }
}

fn is_alive(pid: i32) -> bool {
    // A zombie counts as alive here: whoever is killed must be reaped, too.
    test_kill_process(Pid::from_raw(pid).unwrap()).is_ok()
}

async fn pid_in(path: &Path) -> i32 {
    eventually(SOON, OFTEN, || async {
        std::fs::read_to_string(path).ok()?.trim().parse().ok()
    })
    .await
}

async fn wait_for_end(pid: i32) {
    eventually(SOON, OFTEN, || async {
        // A grandchild is reaped by whoever adopted it, or stays a zombie where nobody does.
        !is_alive(pid)
            || std::fs::read_to_string(format!("/proc/{pid}/stat"))
                .is_ok_and(|stat| stat.contains(") Z "))
    })
    .await;
}

#[tokio::test]
async fn a_process_gets_the_question_and_its_end_and_gives_the_answer() {
    let asking = Asking::process("cat");
    assert_eq!(asking.ask().await.unwrap(), QUESTION);
}

#[tokio::test]
async fn a_process_need_not_read_its_question() {
    let asking = Asking::process("exec <&-; echo '{\"defer\":true}'");
    let question = format!("{{\"identity\":\"{}\"}}", "x".repeat(1 << 20));
    assert_eq!(
        asking.ask_of(&question).await.unwrap().trim(),
        r#"{"defer":true}"#
    );
}

#[tokio::test]
async fn provision_case_32_exit_codes_signals_and_silence_are_faults() {
    for (script, fault) in [
        (
            "echo '{}'; exit 1",
            AskError::Exit("exit status 1".to_owned()),
        ),
        ("kill -9 $$", AskError::Exit("signal 9".to_owned())),
        ("exit 0", AskError::NoOutput),
        ("cat >/dev/null", AskError::NoOutput),
    ] {
        assert_eq!(Asking::process(script).ask().await, Err(fault), "{script}");
    }
}

#[tokio::test]
async fn provision_case_32_a_program_that_is_none_is_a_fault() {
    let asking = Asking::with(HelperSettings {
        kind: HelperKind::Process {
            command: vec!["/nonexistent/helper".to_owned()],
        },
        ..bounds(LIMIT, 4096)
    });
    assert!(matches!(asking.ask().await, Err(AskError::Start(_))));
}

#[tokio::test]
async fn provision_case_32_a_process_that_hangs_is_killed_with_all_that_it_started() {
    let dir = tempfile::tempdir().unwrap();
    let (child, grandchild) = (dir.path().join("child"), dir.path().join("grandchild"));
    let script = format!(
        "echo $$ > {}; (trap '' TERM; echo $(sh -c 'echo $PPID') > {}; sleep 600) & sleep 600",
        child.display(),
        grandchild.display()
    );
    let asking = Asking::process(&script);
    let started = Instant::now();
    assert_eq!(asking.ask().await, Err(AskError::TimedOut(LIMIT)));
    assert!(started.elapsed() < LIMIT * 2);
    for path in [child, grandchild] {
        let pid = pid_in(&path).await;
        wait_for_end(pid).await;
    }
}

#[tokio::test]
async fn a_grandchild_that_holds_the_output_holds_up_nobody_and_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let grandchild = dir.path().join("grandchild");
    let script = format!(
        "sleep 600 & echo $! > {}; echo '{{\"defer\":true}}'",
        grandchild.display()
    );
    let asking = Asking::process(&script);
    let started = Instant::now();
    assert_eq!(asking.ask().await.unwrap().trim(), r#"{"defer":true}"#);
    assert!(started.elapsed() < LIMIT);
    wait_for_end(pid_in(&grandchild).await).await;
}

#[tokio::test]
async fn a_process_that_writes_too_much_is_killed_at_once() {
    let asking = Asking::process("exec yes");
    let started = Instant::now();
    assert_eq!(
        asking.ask().await,
        Err(AskError::TooMuchOutput { limit: 4096 })
    );
    assert!(started.elapsed() < LIMIT);
    // Even when it closes nothing and goes on.
    let asking = Asking::process("trap '' PIPE; head -c 10000 /dev/zero; sleep 600");
    assert_eq!(
        asking.ask().await,
        Err(AskError::TooMuchOutput { limit: 4096 })
    );
}

#[tokio::test]
async fn a_question_that_nobody_waits_for_any_more_leaves_no_process() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pid");
    let script = format!("echo $$ > {}; sleep 600", path.display());
    let asking = Asking::process(&script);
    let pid = tokio::select! {
        outcome = asking.ask() => panic!("{outcome:?}"),
        pid = pid_in(&path) => pid,
    };
    wait_for_end(pid).await;
}

#[tokio::test]
async fn standard_error_is_in_the_log_line_by_line_and_bounded() {
    let (logs, _guard) = Logs::capture();
    let script = "echo 'first line' >&2; printf 'with \\033[31m colour\\n' >&2; \
                  i=0; while [ $i -lt 200 ]; do echo \"line $i\" >&2; i=$((i+1)); done; \
                  head -c 100000 /dev/zero | tr '\\0' x >&2; cat";
    let asking = Asking::process(script);
    assert_eq!(asking.ask().await.unwrap(), QUESTION);
    assert!(logs.contain("first line"));
    assert!(logs.contain("line 40"));
    assert!(!logs.contain("line 60"));
    assert!(logs.contain("more lines of the helper's standard error than are shown"));
    assert!(
        logs.lines()
            .iter()
            .all(|line| line.len() < 2000 && !line.contains('\u{1b}'))
    );
}

#[tokio::test]
async fn no_more_processes_run_at_once_than_are_allowed() {
    let dir = tempfile::tempdir().unwrap();
    let script = format!(
        "cd {} && mkdir running || {{ echo two >> twice; }}; sleep 0.05; rmdir running; cat",
        dir.path().display()
    );
    let asking = Asking::with(HelperSettings {
        kind: HelperKind::Process {
            command: sh(&script),
        },
        concurrency: NonZeroUsize::MIN,
        ..bounds(SOON, 4096)
    });
    let asked = futures_util::future::join_all((0..5).map(|_| asking.ask())).await;
    assert!(asked.iter().all(Result::is_ok), "{asked:?}");
    assert!(!dir.path().join("twice").exists());
}

/// Echoes each line as an answer: what follows the id is the answer's.
const ECHO: &str = "while read -r line; do echo \"$line\"; done";

#[tokio::test]
async fn one_process_answers_many_questions_each_by_its_id() {
    let dir = tempfile::tempdir().unwrap();
    let script = format!("echo $$ >> {}/started; {ECHO}", dir.path().display());
    let asking = Asking::persistent(&script, 1);
    let questions: Vec<_> = (0..200)
        .map(|number| format!("{{\"identity\":\"n{number}.example.net\"}}"))
        .collect();
    let asked = questions.iter().map(|question| asking.ask_of(question));
    for (number, answer) in futures_util::future::join_all(asked)
        .await
        .into_iter()
        .enumerate()
    {
        let answer: serde_json::Value = serde_json::from_str(&answer.unwrap()).unwrap();
        assert_eq!(answer["identity"], format!("n{number}.example.net"));
        assert!(answer["id"].is_string());
    }
    let started = std::fs::read_to_string(dir.path().join("started")).unwrap();
    assert_eq!(started.lines().count(), 1);
}

#[tokio::test]
async fn answers_may_come_in_another_order() {
    let asking = Asking::persistent(
        "read -r one; read -r two; read -r three; echo \"$three\"; echo; echo \"$one\"; echo \"$two\"; cat >/dev/null",
        1,
    );
    let questions = ["{\"n\":1}", "{\"n\":2}", "{\"n\":3}"];
    let asked = questions.map(|question| asking.ask_of(question));
    for (question, answer) in questions
        .iter()
        .zip(futures_util::future::join_all(asked).await)
    {
        assert!(answer.unwrap().ends_with(&question[1..]));
    }
}

#[tokio::test]
async fn a_process_that_dies_is_started_anew_and_what_it_was_asked_is_asked_again() {
    let dir = tempfile::tempdir().unwrap();
    let script = format!(
        "cd {}; if mkdir once 2>/dev/null; then read -r line; exit 3; fi; {ECHO}",
        dir.path().display()
    );
    let asking = Asking::persistent(&script, 1);
    assert!(asking.ask().await.unwrap().contains("n1.example.net"));
}

#[tokio::test]
async fn a_question_that_kills_each_process_is_given_up() {
    let asking = Asking::persistent("read -r line; exit 3", 1);
    let Err(AskError::Died(why)) = asking.ask().await else {
        panic!("answered");
    };
    assert!(why.contains("exit status 3"), "{why}");
    assert!(asking.ask_of("{}").await.is_err());
}

#[tokio::test]
async fn a_process_that_hangs_is_killed_and_the_next_question_has_another() {
    let dir = tempfile::tempdir().unwrap();
    let script = format!(
        "cd {}; if mkdir once 2>/dev/null; then echo $$ > pid; sleep 600 & echo $! > child; wait; fi; {ECHO}",
        dir.path().display()
    );
    let asking = Asking::persistent(&script, 1);
    let started = Instant::now();
    assert_eq!(asking.ask().await, Err(AskError::TimedOut(LIMIT)));
    assert!(started.elapsed() < LIMIT * 3 / 2);
    for name in ["pid", "child"] {
        wait_for_end(pid_in(&dir.path().join(name)).await).await;
    }
    assert!(asking.ask().await.is_ok());
}

#[tokio::test]
async fn a_process_that_floods_or_lies_is_killed() {
    for (script, part) in [
        ("read -r line; exec cat /dev/zero", "more than"),
        ("read -r line; echo nonsense; cat", "a line is no answer"),
        ("read -r line; echo '[]'; cat", "a line is no answer"),
        (
            "read -r line; echo '{\"id\":7}'; cat",
            "a line is no answer",
        ),
        ("read -r line; exec yes '{\"id\":\"999999\"}'", "not asked"),
        ("exec >&-; cat", "closed its output"),
    ] {
        let asking = Asking::persistent(script, 1);
        let fault = asking.ask().await.unwrap_err();
        assert!(fault.to_string().contains(part), "{script}: {fault}");
    }
}

#[tokio::test]
async fn an_answer_to_what_was_not_asked_is_passed_over() {
    let asking = Asking::persistent(
        "while read -r line; do echo '{\"id\":\"4711\",\"defer\":true}'; echo \"$line\"; done",
        1,
    );
    assert!(asking.ask().await.unwrap().contains("n1.example.net"));
}

#[tokio::test]
async fn a_second_process_answers_while_the_first_is_down() {
    let dir = tempfile::tempdir().unwrap();
    // The first to start never lives; the other one answers.
    let script = format!(
        "cd {}; if mkdir once 2>/dev/null; then echo $$ > bad; fi; [ \"$$\" = \"$(cat bad)\" ] && exec sleep 600; {ECHO}",
        dir.path().display()
    );
    let asking = Asking::persistent(&script, 2);
    let asked = futures_util::future::join_all((0..4).map(|_| asking.ask())).await;
    assert!(asked.iter().any(Result::is_ok), "{asked:?}");
    // From then on both work.
    let asked = futures_util::future::join_all((0..4).map(|_| asking.ask())).await;
    assert!(asked.iter().all(Result::is_ok), "{asked:?}");
}

#[tokio::test]
async fn readiness_tells_that_there_is_no_helper() {
    let asking = Asking::persistent("exit 1", 1);
    eventually(SOON, OFTEN, || async {
        !asking.readiness.report().is_ready()
    })
    .await;
    let started = Instant::now();
    assert!(asking.ask().await.is_err());
    assert!(started.elapsed() < LIMIT * 3 / 2);
}

#[tokio::test]
async fn processes_end_at_the_stop() {
    let dir = tempfile::tempdir().unwrap();
    let script = format!("echo $$ > {}/pid; {ECHO}", dir.path().display());
    let asking = Asking::persistent(&script, 1);
    assert!(asking.ask().await.is_ok());
    let pid = pid_in(&dir.path().join("pid")).await;
    asking.shutdown.cancel();
    wait_for_end(pid).await;
    eventually(SOON, OFTEN, || async { asking.tasks.running().is_empty() }).await;
}

/// A service that answers each request with the same bytes, and keeps what it was sent.
struct Service {
    port: u16,
    seen: std::sync::Arc<std::sync::Mutex<Vec<String>>>,
    _work: tokio::task::JoinSet<()>,
}

impl Service {
    async fn start(response: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let mut work = tokio::task::JoinSet::new();
        let log = std::sync::Arc::clone(&seen);
        work.spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let (response, log) = (response.clone(), std::sync::Arc::clone(&log));
                log.lock().unwrap().push("connected".to_owned());
                connections.spawn(async move {
                    let mut bytes = Vec::new();
                    let mut chunk = [0; 4096];
                    loop {
                        match stream.read(&mut chunk).await {
                            Ok(read) if read > 0 => bytes.extend_from_slice(&chunk[..read]),
                            _ => return,
                        }
                        let text = String::from_utf8_lossy(&bytes).into_owned();
                        if text.ends_with(QUESTION) {
                            log.lock().unwrap().push(text);
                            bytes.clear();
                            if response.is_empty() {
                                continue;
                            }
                            stream.write_all(response.as_bytes()).await.unwrap();
                        }
                    }
                });
            }
        });
        Self {
            port,
            seen,
            _work: work,
        }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/helper", self.port)
    }
}

fn response(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[tokio::test]
async fn a_service_is_posted_the_question_over_a_connection_that_is_kept() {
    let service = Service::start(response("200 OK", r#"{"defer":true}"#)).await;
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    std::fs::write(&token, "t0ken\n").unwrap();
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o600)).unwrap();
    let asking = Asking::http(service.url(), Some(token), None);
    for _ in 0..3 {
        assert_eq!(asking.ask().await.unwrap(), r#"{"defer":true}"#);
    }
    let seen = service.seen.lock().unwrap().clone();
    assert_eq!(seen.iter().filter(|text| *text == "connected").count(), 1);
    let request = seen.last().unwrap().to_lowercase();
    assert!(
        request.starts_with("post /helper http/1.1\r\n"),
        "{request}"
    );
    assert!(
        request.contains("authorization: bearer t0ken\r\n"),
        "{request}"
    );
    assert!(
        request.contains("content-type: application/json\r\n"),
        "{request}"
    );
}

#[tokio::test]
async fn what_a_service_does_wrong_is_a_fault() {
    let large = "x".repeat(5000);
    let chunked = format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1388\r\n{large}\r\n0\r\n\r\n"
    );
    for (answer, fault) in [
        (response("500 Oh", "{}"), AskError::Status(500)),
        (response("302 Found", "{}"), AskError::Status(302)),
        (response("200 OK", ""), AskError::NoOutput),
        (
            "HTTP/1.1 204 No Content\r\n\r\n".to_owned(),
            AskError::NoOutput,
        ),
        (
            response("200 OK", &large),
            AskError::TooMuchOutput { limit: 4096 },
        ),
        (chunked, AskError::TooMuchOutput { limit: 4096 }),
        (String::new(), AskError::TimedOut(LIMIT)),
    ] {
        let service = Service::start(answer.clone()).await;
        let asking = Asking::http(service.url(), None, None);
        assert_eq!(asking.ask().await, Err(fault), "{answer}");
    }
    let service = Service::start("nonsense\r\n\r\n".to_owned()).await;
    let asking = Asking::http(service.url(), None, None);
    assert!(matches!(asking.ask().await, Err(AskError::Unreachable(_))));
    let asking = Asking::http("http://127.0.0.1:1/helper".to_owned(), None, None);
    assert!(matches!(asking.ask().await, Err(AskError::Unreachable(_))));
}

#[tokio::test]
async fn a_service_whose_certificate_is_of_another_authority_is_not_asked() {
    let service = overlay_testkit::mint::Authority::new();
    let files = service.server("helper", &[]);
    let port = tls_service(&files).await;
    let url = format!("https://localhost:{port}/helper");
    let asking = Asking::http(url.clone(), None, Some(service.ca_file()));
    assert_eq!(asking.ask().await.unwrap(), "{}");
    let other = overlay_testkit::mint::Authority::new();
    let asking = Asking::http(url, None, Some(other.ca_file()));
    let fault = asking.ask().await.unwrap_err();
    assert!(
        matches!(&fault, AskError::Unreachable(why) if why.contains("certificate")),
        "{fault}"
    );
}

async fn tls_service(files: &overlay_testkit::TlsFiles) -> u16 {
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let chain = CertificateDer::pem_file_iter(&files.cert)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let key = PrivateKeyDer::from_pem_file(&files.key).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    Tasks::new().spawn_job("service", async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut chunk = [0; 4096];
            let _read = stream.read(&mut chunk).await.unwrap();
            stream
                .write_all(response("200 OK", "{}").as_bytes())
                .await
                .unwrap();
        }
    });
    port
}

#[test]
fn addresses_that_are_none_are_found_at_the_start() {
    for url in [
        "",
        "localhost:80",
        "ftp://x/",
        "http://",
        "/helper",
        "http://helper.example.net/",
    ] {
        let settings = HelperSettings {
            kind: HelperKind::Http {
                url: url.to_owned(),
                token_file: None,
                ca_file: None,
            },
            ..bounds(LIMIT, 4096)
        };
        let started = Helper::start(
            &settings,
            &Tasks::new(),
            &CancellationToken::new(),
            &Secrets::default(),
            Readiness::new().part("helper"),
        );
        assert!(started.is_err(), "{url}");
    }
}
