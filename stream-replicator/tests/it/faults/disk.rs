//! The disk of the target is full: a broker whose writes fail, which is another thing than one that counts what it may hold.
//!
//! The broker stores on a small file system in memory, in a namespace that a helper keeps: it is there over restarts, can be
//! made larger, and takes no rights on the machine.

use std::path::{Path, PathBuf};
use std::process::Command;

use overlay_testkit::nats_server::{self, NatsServer};
use overlay_testkit::{Broker, Process, eventually, skip};
use serde_json::json;
use tempfile::TempDir;

use super::world::{World, ask, connect};
use super::{LIMIT, PERIOD};

/// Writes that fail until then take longer than a message is tried that alone is never answered.
const OFTEN: usize = 13;
const NAMESPACE: [&str; 3] = ["--user", "--map-root-user", "--mount"];
/// Size, where it is mounted, nats-server, and the program that starts it there. The program is not written by the test:
/// while another of its threads begins a process, nobody could run it.
const HOLD: &str = r#"mount -t tmpfs -o "size=$1" tmpfs "$2" &&
printf '#!/bin/sh\nexec nsenter --preserve-credentials --user --mount --target %s -- "%s" "$@"\n' $$ "$3" > "$4" &&
chmod 755 "$4" && echo mounted && exec sleep infinity"#;

/// A small file system, and a nats-server that sees it.
struct Disk {
    holder: Process,
    program: NatsServer,
    dir: TempDir,
}

impl Disk {
    /// One of this size; nothing where the machine lets nobody make a namespace.
    fn of(size: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        std::fs::create_dir(&store).unwrap();
        let mut tried = Command::new("unshare");
        tried
            .args(NAMESPACE)
            .args(["mount", "-t", "tmpfs", "tmpfs"]);
        if !tried.arg(&store).output().ok()?.status.success() {
            return None;
        }
        let program = nats_server::locate().unwrap();
        let started = dir.path().join("nats-server");
        let mut holder = Process::builder("unshare")
            .args(NAMESPACE)
            .args(["sh", "-c", HOLD, "sh", size])
            .args([&store, &program.path, &started])
            .start();
        holder.wait_for_line("mounted", LIMIT);
        Some(Self {
            holder,
            program: NatsServer {
                path: started,
                ..program
            },
            dir,
        })
    }

    fn store(&self) -> PathBuf {
        store(self.dir.path())
    }

    fn grow(&self, size: &str) {
        let mut mount = Command::new("nsenter");
        mount.args(["--preserve-credentials", "--user", "--mount", "--target"]);
        mount.arg(self.holder.pid().to_string());
        mount.args(["--", "mount", "-o", &format!("remount,size={size}")]);
        let done = mount.arg(self.store()).output().unwrap();
        assert!(done.status.success(), "{done:?}");
    }
}

fn store(dir: &Path) -> PathBuf {
    dir.join("store")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_at_the_target_is_waited_for_and_no_message_given_up() {
    let Some(disk) = Disk::of("1m") else {
        let why = "nobody may make a user namespace";
        let install = "sysctl -w user.max_user_namespaces=1000 kernel.apparmor_restrict_unprivileged_userns=0";
        skip("a_full_disk_at_the_target…", why, install);
        return;
    };
    // Left to itself the broker counts on three quarters of what is free, and refuses before the disk is full.
    let store = disk.store();
    let config = format!(
        "jetstream {{ store_dir: \"{}\", max_file_store: 64MB }}",
        store.display()
    );
    let target = Broker::builder().name("target").config(config);
    let target = target.program(disk.program.clone()).start();
    let mut world = World::with_target(target).await;
    world.publish(0, 10_000).await;
    let mut replicator = world.replicator("");
    world.copied_up_to(500).await;
    // So often, the message would be given up if it were the only one that is not answered.
    eventually(LIMIT, PERIOD, || async {
        let log = world.target.log();
        let failed = log.matches("no space left on device").count();
        if failed >= OFTEN {
            Ok(())
        } else {
            Err(format!("the broker failed to write {failed} times"))
        }
    })
    .await;
    assert!(replicator.has_ended().is_none());

    disk.grow("64m");
    world.target.restart();
    world.verify(&mut replicator).await;
    let source = connect(&world.source).await;
    let dead = ask(&source, "STREAM.INFO.OVERLAY_REPLICATION_DEAD", &json!({})).await;
    assert!(!dead["error"].is_null(), "{dead}");
}
