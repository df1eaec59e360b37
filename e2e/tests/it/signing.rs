//! Requests of people who have logged in: what is decided, what is signed, what is kept.

use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use overlay_testkit::eventually_blocking;

use crate::people::{Way, says};
use crate::world::{PATIENCE, PERIOD, World};

#[test]
fn what_a_person_may_is_signed_and_what_not_is_denied_with_its_reason_on_record() {
    let world = World::with_signers(1, &[]);
    let bob = world.user("bob", "correct horse", &["--acl", "rpcutil.ping"]);
    let _up = world.up();
    world.wait_for_nodes(1);
    bob.login(Way::Https, "correct horse").ok();
    let said = bob.req("rpcutil", "ping").ok().json();
    assert_eq!(said["request_stats"]["ok"], 1, "{said}");
    let denied = bob.req("rpcutil", "inventory");
    assert_ne!(denied.code, 0, "{denied:?}");
    assert!(denied.err.contains("enied"), "{denied:?}");
    let records = world.wait_for_records(1, |record| says(record, "up=bob", "deny"));
    let record = &records[0]["data"];
    assert_eq!(record["rpc"]["agent"], "rpcutil", "{record}");
    assert_eq!(record["rpc"]["action"], "inventory", "{record}");
    assert_eq!(record["token"]["verified"], true, "{record}");
    assert!(!record["decision"]["reason"].as_str().unwrap().is_empty());
    let allowed = world.wait_for_records(1, |record| {
        says(record, "up=bob", "allow") && record["data"]["rpc"]["action"] == "ping"
    });
    let rule = allowed[0]["data"]["decision"]["rule"].as_str().unwrap();
    assert!(rule.contains("rpcutil.ping"), "{rule}");
}

#[test]
fn a_policy_decides_by_the_filter_of_the_request_that_is_signed() {
    let world = World::with_signers(1, &[]);
    let policy = world.dir().join("users/policies/sample.rego");
    let flags = ["--policy", policy.to_str().unwrap()];
    let bob = world.user("bob", "correct horse", &flags);
    let _up = world.up();
    world.wait_for_nodes(1);
    bob.login(Way::Broker, "correct horse").ok();
    bob.req("rpcutil", "ping").ok();
    assert_ne!(bob.req("rpcutil", "collective_info").code, 0);
    let denied = world.wait_for_records(1, |record| says(record, "up=bob", "deny"));
    let decision = &denied[0]["data"]["decision"];
    assert_eq!(decision["policy"].as_str().unwrap().len(), 64, "{decision}");
}

#[test]
fn a_token_of_another_tenant_is_not_served() {
    let world = World::with_signers(1, &[]);
    let add = |name: &str, tenant: &str| {
        world.user(name, "correct horse", &["--acl", "*", "--tenant", tenant])
    };
    let (own, other) = (add("ann", "acme"), add("gus", "globex"));
    let config = "\n[tenants]\nserve = [\"acme\"]\nrequired = true\n";
    world.edit("aaa-signer/aaa-signer.toml", "", config);
    let none = world.user("bob", "correct horse", &["--acl", "*"]);
    let _up = world.up();
    world.wait_for_nodes(1);
    own.login(Way::Https, "correct horse").ok();
    own.req("rpcutil", "ping").ok();
    for person in [&other, &none] {
        // Whether it gets a token or none: nothing is signed for it.
        person.login(Way::Https, "correct horse");
        assert_ne!(person.req("rpcutil", "ping").code, 0, "{person:?}");
    }
    let served = world.wait_for_records(1, |record| {
        says(record, "up=ann", "allow") && record["data"]["rpc"].is_object()
    });
    assert_eq!(served[0]["data"]["decision"]["tenant"], "acme");
    let strangers = world.wait_for_records(1, |record| {
        record["data"]["action"] == "deny" && record["data"]["decision"]["tenant"] == "globex"
    });
    assert!(!strangers.is_empty());
}

/// A request to sign by HTTP needs no broker of its own, but its record does.
#[test]
fn nothing_leaves_while_the_record_cannot_be_kept() {
    let world = World::with_signers(1, &[]);
    let bob = world.user("bob", "correct horse", &["--acl", "rpcutil.*"]);
    let _up = world.up();
    bob.login(Way::Https, "correct horse").ok();
    let session = std::fs::read_to_string(bob.token()).unwrap();
    let before = world.records().len();
    world.signal("nats-server", "STOP");
    let said = bob.login(Way::Https, "correct horse");
    world.signal("nats-server", "CONT");
    assert_ne!(said.code, 0, "{said:?}");
    assert_eq!(std::fs::read_to_string(bob.token()).unwrap(), session);
    world.wait_for_signer(1, true);
    bob.login(Way::Https, "correct horse").ok();
    world.wait_for_records(before + 1, |_| true);
    world.overlay(&["audit", "verify"]).ok();
}

#[test]
fn a_spool_bridges_an_outage_where_it_may_and_nothing_is_missing_afterwards() {
    let world = World::with_signers(1, &[]);
    let bob = world.user("bob", "correct horse", &["--acl", "rpcutil.*"]);
    let spool = world.dir().join("run/spool");
    world.edit(
        "aaa-signer/aaa-signer.toml",
        "on_outage = \"refuse\"",
        "on_outage = \"spool\"",
    );
    let table = format!(
        "\n[audit.spool]\ndirectory = {:?}\n",
        spool.display().to_string()
    );
    world.edit("aaa-signer/aaa-signer.toml", "", &table);
    let _up = world.up();
    bob.login(Way::Https, "correct horse").ok();
    let before = world.records().len();
    world.signal("nats-server", "STOP");
    for _ in 0..3 {
        bob.login(Way::Https, "correct horse").ok();
    }
    world.signal("nats-server", "CONT");
    world.wait_for_records(before + 3, |_| true);
    world.overlay(&["audit", "verify"]).ok();
}

/// Requests one after the other by several people at once, until `enough` have been answered.
#[derive(Debug, Default)]
struct Load {
    answered: AtomicUsize,
    /// What the others were told.
    failed: Mutex<Vec<String>>,
}

impl Load {
    /// Runs requests of `people` while `disturb` does its work, and some more afterwards.
    fn run(world: &World, people: usize, disturb: impl FnOnce(&Self)) -> Self {
        let load = Self::default();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..people {
                scope.spawn(|| {
                    let person = world.person("bob");
                    while !done.load(Ordering::SeqCst) {
                        let said = person.req("rpcutil", "ping");
                        if said.code == 0 {
                            load.answered.fetch_add(1, Ordering::SeqCst);
                        } else {
                            assert!(!said.err.is_empty(), "it fails without a word");
                            load.failed.lock().unwrap().push(said.err);
                        }
                    }
                });
            }
            load.wait(people * 2);
            disturb(&load);
            load.wait(people * 4);
            done.store(true, Ordering::SeqCst);
        });
        load
    }

    /// Waits until so many more have been answered.
    fn wait(&self, more: usize) {
        let enough = self.answered() + more;
        eventually_blocking(PATIENCE * 2, PERIOD, || {
            let answered = self.answered();
            if answered >= enough {
                Ok(())
            } else {
                Err(format!("{answered} of {enough} answered"))
            }
        });
    }

    fn answered(&self) -> usize {
        self.answered.load(Ordering::SeqCst)
    }
}

fn signed_pings(world: &World) -> usize {
    let signed = |record: &serde_json::Value| {
        says(record, "up=bob", "allow") && record["data"]["rpc"]["action"] == "ping"
    };
    world.records().into_iter().filter(signed).count()
}

#[test]
fn a_signer_that_is_killed_under_load_leaves_nothing_unrecorded_and_the_other_goes_on() {
    let world = World::with_signers(2, &[]);
    world.user("bob", "correct horse", &["--acl", "rpcutil.*"]);
    let _up = world.up();
    world.wait_for_nodes(1);
    world.wait_for_signer(2, true);
    world.person("bob").login(Way::Https, "correct horse").ok();
    let load = Load::run(&world, 4, |load| {
        for _ in 0..3 {
            world.kill("aaa-signer-1");
            load.wait(4);
            world.wait_for_signer(1, true);
        }
    });
    let answered = load.answered();
    let failed = load.failed.into_inner().unwrap();
    let signed = signed_pings(&world);
    assert!(
        signed >= answered,
        "{answered} answered, {signed} on record"
    );
    // What a killed one had in hand is told as unanswered to its callers, no more.
    assert!(
        failed.len() <= 3 * 4,
        "beside {answered} that were answered: {failed:?}"
    );
    world.overlay(&["audit", "verify"]).ok();
}

#[test]
fn a_signer_that_is_stopped_answers_what_it_has_and_closes_its_record() {
    let world = World::with_signers(2, &[]);
    world.user("bob", "correct horse", &["--acl", "rpcutil.*"]);
    let _up = world.up();
    world.wait_for_nodes(1);
    world.wait_for_signer(2, true);
    world.person("bob").login(Way::Https, "correct horse").ok();
    let load = Load::run(&world, 4, |load| {
        for _ in 0..2 {
            world.signal("aaa-signer-1", "TERM");
            load.wait(4);
            world.wait_for_signer(1, true);
        }
    });
    let answered = load.answered();
    let failed = load.failed.into_inner().unwrap();
    assert!(
        failed.is_empty(),
        "beside {answered} that were answered: {failed:?}"
    );
    assert!(signed_pings(&world) >= answered);
    let closed = world.wait_for_records(2, |record| {
        record["type"]
            .as_str()
            .is_some_and(|kind| kind.ends_with(".closed"))
    });
    assert!(
        closed.iter().all(|record| record["chain"] == "aaa-1.e2e"),
        "{closed:?}"
    );
    world.overlay(&["audit", "verify"]).ok();
}

#[test]
fn the_audit_is_verified_on_the_stream_on_a_file_and_not_on_a_file_that_was_changed() {
    let world = World::with_signers(1, &[]);
    let bob = world.user("bob", "correct horse", &["--acl", "rpcutil.ping"]);
    let up = world.up();
    world.wait_for_nodes(1);
    bob.login(Way::Https, "correct horse").ok();
    bob.req("rpcutil", "ping").ok();
    bob.req("rpcutil", "inventory");
    // What comes after a record holds it; before that, and before a seal, only a noted end does.
    bob.req("rpcutil", "ping").ok();
    world.wait_for_records(1, |record| says(record, "up=bob", "deny"));
    let whole = world.overlay(&["audit", "verify"]).ok();
    let end = whole
        .out
        .split_whitespace()
        .find(|word| word.starts_with("aaa-1.e2e:") && word.matches(':').count() == 2)
        .unwrap_or_else(|| panic!("no end is told: {whole:?}"));
    let file = world.dir().join("run/audit.jsonl");
    let path = file.display().to_string();
    world.overlay(&["audit", "export", &path]).ok();
    world.overlay(&["audit", "verify", &path]).ok();
    let text = std::fs::read_to_string(&file).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines.len() >= 3, "{text}");
    let tampered = |lines: Vec<String>| {
        let copy = world.dir().join("run/copy.jsonl");
        std::fs::write(&copy, lines.join("\n") + "\n").unwrap();
        let copy = copy.to_str().unwrap();
        let said = world.overlay(&["audit", "verify", "--expect", end, copy]);
        assert_ne!(said.code, 0, "{said:?}");
        said
    };
    let own = || lines.iter().map(|line| (*line).to_owned());
    let deny = lines
        .iter()
        .position(|line| line.contains("\"deny\""))
        .unwrap();
    let changed = own()
        .map(|line| line.replace("\"deny\"", "\"allow\""))
        .collect();
    tampered(changed);
    tampered(
        own()
            .enumerate()
            .filter(|(at, _)| *at != deny)
            .map(|(_, line)| line)
            .collect(),
    );
    let mut swapped: Vec<String> = own().collect();
    swapped.swap(1, 2);
    tampered(swapped);
    tampered(own().take(lines.len() - 1).collect());
    // Nobody but readers of the audit reads it.
    let refused = bob.overlay(&["audit", "search", "--json"]);
    assert_ne!(refused.code, 0, "{refused:?}");
    // Without a cell: a file and the issuer's key are enough.
    drop(up);
    world.overlay(&["audit", "verify", &path]).ok();
}

impl World {
    /// Sends a signal to a process of the cell.
    pub(crate) fn signal(&self, name: &str, signal: &str) {
        let pid = self
            .pid(name)
            .unwrap_or_else(|| panic!("no process {name}"));
        let sent = Command::new("kill")
            .args([&format!("-{signal}"), &pid.to_string()])
            .status()
            .unwrap();
        assert!(sent.success());
    }
}
