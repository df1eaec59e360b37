use super::*;

const GRACE: Duration = Duration::from_secs(20);

async fn supervised(
    run: impl Future<Output = anyhow::Result<()>>,
    tasks: &Tasks,
    shutdown: &CancellationToken,
) -> (anyhow::Result<()>, bool) {
    let mut told = false;
    let outcome = supervise(run, tasks, shutdown, GRACE, || told = true).await;
    (outcome, told)
}

#[tokio::test]
async fn a_stop_waits_for_the_component_and_is_no_fault() {
    let (tasks, shutdown) = (Tasks::new(), CancellationToken::new());
    let stopped = shutdown.clone();
    shutdown.cancel();
    let run = async {
        stopped.cancelled().await;
        tokio::task::yield_now().await;
        Ok(())
    };
    let (outcome, told) = supervised(run, &tasks, &shutdown).await;
    assert!(outcome.is_ok() && told);
}

#[tokio::test]
async fn a_component_that_returns_leaves_its_tasks_at_work() {
    let (tasks, shutdown) = (Tasks::new(), CancellationToken::new());
    let (worker, stopper) = (shutdown.clone(), shutdown.clone());
    let spawner = tasks.clone();
    let run = async move {
        spawner.spawn("worker", async move {
            worker.cancelled().await;
            Ok(())
        });
        spawner.spawn_job("stopper", async move { stopper.cancel() });
        Ok(())
    };
    let (outcome, _) = supervised(run, &tasks, &shutdown).await;
    assert!(outcome.is_ok());
    assert!(tasks.running().is_empty());
}

#[tokio::test]
async fn a_task_that_fails_while_stopping_is_a_fault_too() {
    let (tasks, shutdown) = (Tasks::new(), CancellationToken::new());
    let (stopped, others) = (shutdown.clone(), shutdown.clone());
    tasks.spawn("first", async move {
        others.cancelled().await;
        Ok(())
    });
    tasks.spawn("flusher", async move {
        stopped.cancelled().await;
        tokio::task::yield_now().await;
        anyhow::bail!("disk is full")
    });
    shutdown.cancel();
    let (outcome, _) = supervised(async { Ok(()) }, &tasks, &shutdown).await;
    assert_eq!(
        format!("{:#}", outcome.unwrap_err()),
        "task flusher: disk is full"
    );
}

#[tokio::test]
async fn a_component_that_returns_without_tasks_ends_the_process() {
    let (outcome, told) =
        supervised(async { Ok(()) }, &Tasks::new(), &CancellationToken::new()).await;
    assert!(outcome.is_ok() && told);
}

#[tokio::test]
async fn a_failed_task_stops_the_component_and_is_the_fault_told() {
    let (tasks, shutdown) = (Tasks::new(), CancellationToken::new());
    let stopped = shutdown.clone();
    tasks.spawn("reader", async { anyhow::bail!("disk is full") });
    let run = async {
        stopped.cancelled().await;
        anyhow::bail!("a later fault")
    };
    let (outcome, told) = supervised(run, &tasks, &shutdown).await;
    assert_eq!(
        format!("{:#}", outcome.unwrap_err()),
        "task reader: disk is full"
    );
    assert!(told && shutdown.is_cancelled());
}

#[tokio::test]
async fn a_failed_component_is_a_fault() {
    let run = async { anyhow::bail!("no streams") };
    let (outcome, _) = supervised(run, &Tasks::new(), &CancellationToken::new()).await;
    assert_eq!(outcome.unwrap_err().to_string(), "no streams");
}

#[tokio::test]
async fn a_component_that_does_not_stop_is_left_after_the_grace_period() {
    let (tasks, shutdown) = (Tasks::new(), CancellationToken::new());
    shutdown.cancel();
    let grace = Duration::from_millis(10);
    tasks.spawn("stuck", std::future::pending());
    let outcome = supervise(std::future::pending(), &tasks, &shutdown, grace, || ()).await;
    assert!(outcome.is_ok());
    assert!(tasks.running().is_empty());
}

#[test]
fn the_component_is_named_after_its_package() {
    let app = App::new("overlay-broker-auth", "0.1.0", None, false);
    assert_eq!((app.component, app.commit), ("broker-auth", "unknown"));
    assert_eq!(app.program(), "overlay-broker-auth");
}
