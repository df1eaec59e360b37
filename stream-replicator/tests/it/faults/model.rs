//! Random sequences of faults; the model is a list, the judge is the target.

use std::time::Duration;

use overlay_testkit::{Process, Way};

use super::world::World;
use super::{Dice, LIMIT};

const STEPS: u64 = 14;

/// What may happen next.
#[derive(Debug, Clone, Copy)]
enum Step {
    Publish(u64),
    Wait(Duration),
    KillReplicator,
    StopReplicator,
    KillSource,
    KillTarget,
    CutSource,
    CutTarget,
    StallSource(Duration),
    StallTarget(Duration),
    LoseFromTarget(Duration),
    LoseToTarget(Duration),
    LoseFromSource(Duration),
}

impl Step {
    fn next(dice: &mut Dice) -> Self {
        let short = dice.millis(20, 700);
        match dice.below(16) {
            0..=2 => Self::Publish(1 + dice.below(4000)),
            3 => Self::Wait(short),
            4 | 5 => Self::KillReplicator,
            6 => Self::StopReplicator,
            7 => Self::KillSource,
            8 => Self::KillTarget,
            9 => Self::CutSource,
            10 => Self::CutTarget,
            11 => Self::StallSource(short),
            12 => Self::StallTarget(short),
            13 => Self::LoseFromTarget(short),
            14 => Self::LoseToTarget(short),
            _ => Self::LoseFromSource(short),
        }
    }

    async fn happen(
        self,
        world: &mut World,
        replicator: &mut Process,
        published: &mut u64,
        more: &str,
    ) {
        match self {
            Self::Publish(count) => {
                world.publish(*published, *published + count).await;
                *published += count;
            }
            Self::Wait(time) => tokio::time::sleep(time).await,
            Self::KillReplicator => {
                replicator.kill();
                *replicator = world.replicator(more);
            }
            Self::StopReplicator => {
                // Before it has begun, the signal just ends it.
                replicator.wait_for_line("replicating", LIMIT);
                let status = replicator.stop(Duration::from_secs(30));
                assert!(status.success(), "a clean stop ends with {status}");
                *replicator = world.replicator(more);
            }
            Self::KillSource => {
                world.source.kill();
                world.source.start_again();
            }
            Self::KillTarget => {
                world.target.kill();
                world.target.start_again();
            }
            Self::CutSource => world.to_source.cut(),
            Self::CutTarget => world.to_target.cut(),
            Self::StallSource(time) => {
                world.to_source.stall();
                tokio::time::sleep(time).await;
                world.to_source.flow();
            }
            Self::StallTarget(time) => {
                world.to_target.stall();
                tokio::time::sleep(time).await;
                world.to_target.flow();
            }
            Self::LoseFromTarget(time) => lose(&world.to_target, Way::ToClient, time).await,
            Self::LoseToTarget(time) => lose(&world.to_target, Way::ToTarget, time).await,
            Self::LoseFromSource(time) => lose(&world.to_source, Way::ToClient, time).await,
        }
    }
}

/// Loses what goes one way for a while; then the ends are told, as a restarted router does.
async fn lose(link: &overlay_testkit::Proxy, way: Way, time: Duration) {
    link.swallow(way);
    tokio::time::sleep(time).await;
    link.flow();
    link.cut();
}

#[expect(clippy::print_stdout, reason = "the harness shows it with a failure")]
async fn run(seed: u64, more: &str) {
    let mut dice = Dice::new(seed);
    let mut world = World::start().await;
    let mut published = 0;
    let mut replicator = world.replicator(more);
    let mut history = Vec::new();
    for _ in 0..STEPS {
        let step = Step::next(&mut dice);
        history.push(step);
        step.happen(&mut world, &mut replicator, &mut published, more)
            .await;
    }
    println!("seed {seed}: {history:?}");
    world.publish(published, published + 10).await;
    world.verify(&mut replicator).await;
}

/// The seeds of a run: a few, or those of `OVERLAY_FAULT_SEEDS` (`FROM..TO`) for a long hunt.
fn seeds(few: std::ops::Range<u64>) -> std::ops::Range<u64> {
    #[expect(clippy::disallowed_methods, reason = "the edge of a test")]
    let wanted = std::env::var("OVERLAY_FAULT_SEEDS").ok();
    wanted
        .and_then(|text| {
            let (from, to) = text.split_once("..")?;
            Some(from.parse().ok()?..to.parse().ok()?)
        })
        .unwrap_or(few)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_sequence_of_faults_leaves_each_message_once_and_in_order() {
    for seed in seeds(100..104) {
        run(seed, "").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_sequence_of_faults_leaves_a_target_initiated_copy_whole() {
    for seed in seeds(200..203) {
        run(
            seed,
            "    target_initiated: true\n    filter_subject: load.>\n",
        )
        .await;
    }
}
