//! Provisioners and brokers end at each step, nodes misbehave at each step: every node is enrolled once, or reported.

use std::time::Duration;

use overlay_testkit::emulated::{AfterRestart, Behaviour, Fault, Fleet, Seen, Step};
use overlay_testkit::{Admin, eventually};

use crate::bare::{QUICK, emulated, record, records, wait_for_state};
use crate::world::{PATIENCE, PERIOD, World};

/// A lock that is over soon after its holder: nodes of ours and of Choria's keep it for two minutes.
const LOCK: Duration = Duration::from_secs(2);

fn site(flags: &[&str]) -> World {
    let world = World::new(0, flags);
    world.edit("provisioner/provisioner.toml", "", QUICK);
    world
}

fn sound() -> Behaviour {
    Behaviour::default()
        .lock(LOCK)
        .after_restart(AfterRestart::Member(Duration::from_millis(100)))
}

/// For each step a node that once does nothing there, and one that does it and whose answer is lost.
fn stuck_at_each_step() -> Vec<(String, Step, Behaviour)> {
    let mut nodes = Vec::new();
    for step in Step::FLOW {
        let name = |how: &str| format!("{how}-{step:?}.example.net").to_lowercase();
        let silent = sound().fault_times(Fault::Silent(step), 1);
        let lost = sound().fault_times(Fault::Loses(step), 1);
        nodes.push((name("silent"), step, silent));
        nodes.push((name("lost"), step, lost));
    }
    nodes
}

async fn stuck(world: &World) -> (Fleet, Vec<(String, Step)>) {
    let nodes = stuck_at_each_step();
    let behaviours: Vec<Behaviour> = nodes.iter().map(|(_, _, how)| how.clone()).collect();
    let names: Vec<(String, Step)> = nodes
        .into_iter()
        .map(|(name, step, _)| (name, step))
        .collect();
    let fleet = emulated(world)
        .names(names.iter().map(|(name, _)| name.clone()))
        .behave(move |index, _| behaviours[index].clone())
        .start()
        .await;
    fleet.announce().await;
    (fleet, names)
}

/// Waits until each node was asked for its step.
async fn at_their_steps(fleet: &Fleet, names: &[(String, Step)]) {
    eventually(PATIENCE, Duration::from_millis(20), || async {
        let missing: Vec<_> = names
            .iter()
            .filter(|(name, step)| fleet.node(name).calls_of(*step) == 0)
            .collect();
        if missing.is_empty() {
            Ok(())
        } else {
            Err(format!("not yet at {missing:?}"))
        }
    })
    .await;
}

/// Waits until all are members, told to restart once, with a token for the key that they have.
async fn all_members(fleet: &Fleet) {
    let whole = |seen: &Seen| seen.memberships == 1 && seen.restarts == 1;
    eventually(2 * PATIENCE, PERIOD, || async {
        let others = fleet.names_where(|seen| !whole(seen));
        match others.first() {
            None => Ok(()),
            Some(name) => Err(format!("{others:?}; the first: {:#?}", fleet.node(name))),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_at_every_step_are_enrolled_once_though_the_provisioner_is_killed() {
    let world = site(&["--provisioners", "1"]);
    // One that was told to restart may come back while no provisioner listens: it is looked for after this.
    world.edit(
        "provisioner/provisioner.toml",
        "member = \"30s\"",
        "member = \"10s\"",
    );
    let _up = world.up();
    let (fleet, names) = stuck(&world).await;
    at_their_steps(&fleet, &names).await;
    world.kill("provisioner-1");
    all_members(&fleet).await;
    for (name, _) in &names {
        wait_for_state(&world, name, &["member"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_provisioner_takes_over_what_a_killed_one_had_begun() {
    let world = site(&["--provisioners", "2"]);
    let _up = world.up();
    let (fleet, names) = stuck(&world).await;
    at_their_steps(&fleet, &names).await;
    world.kill("provisioner-1");
    all_members(&fleet).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_at_every_step_are_enrolled_once_though_the_broker_is_killed() {
    let world = site(&["--provisioners", "1"]);
    let _up = world.up();
    let (fleet, names) = stuck(&world).await;
    at_their_steps(&fleet, &names).await;
    world.kill("nats-server");
    all_members(&fleet).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_provisioners_share_the_work_and_do_each_node_once() {
    let world = site(&["--provisioners", "2"]);
    let _up = world.up();
    let fleet = emulated(&world)
        .count(60)
        .behaviour(sound().latency(Duration::from_millis(20)).announcements(2))
        .start()
        .await;
    fleet.announce().await;
    all_members(&fleet).await;
    for seen in fleet.all() {
        assert!(seen.is_enrolled_once(), "{seen:?}");
        assert_eq!(
            seen.callers.len(),
            1,
            "one provisioner did it all: {:?}",
            seen.callers
        );
    }
    let senders: std::collections::BTreeSet<_> = fleet
        .all()
        .into_iter()
        .flat_map(|seen| seen.callers)
        .collect();
    assert_eq!(senders.len(), 2, "both worked: {senders:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_vanishes_at_any_step_is_reported_with_its_reason_and_holds_up_nobody() {
    let world = site(&["--provisioners", "1"]);
    let up = world.up();
    let steps = Step::FLOW;
    let names: Vec<String> = steps
        .iter()
        .map(|step| format!("vanishes-{step:?}.example.net").to_lowercase())
        .chain(["sound.example.net".to_owned()])
        .collect();
    let fleet = emulated(&world)
        .names(names.clone())
        .behave(move |index, _| match steps.get(index) {
            Some(step) => sound().fault(Fault::VanishBefore(*step)),
            None => sound(),
        })
        .start()
        .await;
    fleet.announce().await;
    eventually(PATIENCE, PERIOD, || async { fleet.tally().members == 1 }).await;
    for (name, step) in names.iter().zip(steps) {
        let reason = match step {
            // It never said a word, and may not exist: it is counted and named in the log, and no record is made of it.
            Step::Jwt => {
                let line = format!("stopped with {name}: ");
                eventually(PATIENCE, PERIOD, || async {
                    let log = up.stdout();
                    if log.contains(&line) {
                        Ok(())
                    } else {
                        Err(log)
                    }
                })
                .await;
                assert_eq!(record(&world, name), None);
                gone_is_counted(&world).await;
                continue;
            }
            // It may have heard that it is to restart: whether it arrives shows.
            Step::Restart => "not_seen",
            Step::Discovery
            | Step::Gen25519
            | Step::Inventory
            | Step::Gencsr
            | Step::Configure
            | Step::Shutdown
            | Step::ReleaseUpdate => "gone",
        };
        eventually(PATIENCE, PERIOD, || async {
            let record = record(&world, name);
            if record.as_ref().is_some_and(|one| one["reason"] == reason) {
                Ok(())
            } else {
                Err(format!("{name} is to be {reason}: {record:?}"))
            }
        })
        .await;
    }
    for name in &names[..steps.len()] {
        assert_eq!(fleet.node(name).restarts, 0);
    }
}

/// Waits until the provisioner has counted one for each node that leaves before it is configured.
async fn gone_is_counted(world: &World) {
    let config = world.read("provisioner/provisioner.toml");
    let (_, port) = config
        .split_once("listen = \"127.0.0.1:")
        .expect("the provisioner has a port for its metrics");
    let port: String = port.chars().take_while(char::is_ascii_digit).collect();
    let admin = Admin(port.parse().unwrap());
    let gone = "overlay_provisioner_not_enrolled_total{reason=\"gone\"}";
    eventually(PATIENCE, PERIOD, || async {
        let counted = admin.metric(gone);
        if counted >= 4.0 {
            Ok(())
        } else {
            Err(format!("{counted} of 4 are counted as gone"))
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_lies_is_never_configured_and_its_reason_is_on_record() {
    let world = site(&["--provisioners", "1"]);
    let _up = world.up();
    let lies = [
        ("wrong-signature", Fault::WrongSignature),
        ("replayed-signature", Fault::ReplaysSignature),
        ("decoded-nonce", Fault::SignsDecodedNonce),
        ("no-key", Fault::Lacks(Step::Gen25519, "public_key")),
        ("no-token", Fault::Lacks(Step::Jwt, "jwt")),
        ("no-json", Fault::NotJson(Step::Inventory)),
        ("bad-hash", Fault::BadHash(Step::Gen25519)),
        (
            "other-node",
            Fault::AsNode(Step::Gen25519, "sound.example.net".to_owned()),
        ),
        ("replayed-reply", Fault::Replays(Step::Gen25519)),
    ];
    let names: Vec<String> = lies
        .iter()
        .map(|(name, _)| format!("{name}.example.net"))
        .chain(["sound.example.net".to_owned()])
        .collect();
    let liars = lies.len();
    let fleet = emulated(&world)
        .names(names.clone())
        .behave(move |index, _| match lies.get(index) {
            Some((_, lie)) => sound().fault(lie.clone()),
            None => sound(),
        })
        .start()
        .await;
    fleet.announce().await;
    eventually(PATIENCE, PERIOD, || async { fleet.tally().members == 1 }).await;
    eventually(PATIENCE, PERIOD, || async {
        let known = records(&world);
        let open: Vec<&String> = names[..liars]
            .iter()
            .filter(|name| {
                !known.iter().any(|record| {
                    record["identity"] == name.as_str()
                        && record["reason"]
                            .as_str()
                            .is_some_and(|reason| !reason.is_empty())
                })
            })
            .collect();
        if open.is_empty() {
            Ok(())
        } else {
            Err(format!("no reason yet for {open:?}: {known:#?}"))
        }
    })
    .await;
    for name in &names[..liars] {
        assert_eq!(
            fleet.node(name).configured,
            0,
            "{name}: {:?}",
            fleet.node(name)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn provision_case_25_a_node_that_comes_back_bare_each_time_is_left_alone_in_the_end() {
    let world = site(&["--provisioners", "1"]);
    world.edit(
        "provisioner/provisioner.toml",
        "keep = \"10s\"",
        "keep = \"1s\"",
    );
    world.edit(
        "provisioner/provisioner.toml",
        "",
        "[quarantine]\nenrolments = 2\n",
    );
    world.edit(
        "provisioner/provisioner.toml",
        "member = \"30s\"",
        "member = \"3s\"",
    );
    let _up = world.up();
    let again = AfterRestart::Loops(Duration::from_secs(2));
    let fleet = emulated(&world)
        .count(1)
        .behaviour(sound().after_restart(again))
        .start()
        .await;
    fleet.announce().await;
    let record = wait_for_state(&world, "n00000.example.net", &["quarantined"]);
    assert!(
        record["reason"]
            .as_str()
            .is_some_and(|reason| !reason.is_empty()),
        "{record}"
    );
    let restarts = fleet.node("n00000.example.net").restarts;
    assert!((2..=3).contains(&restarts), "{restarts}");
}
