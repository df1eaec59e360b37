//! Finding nodes.

use std::time::Duration;

use overlay_client::{CallError, Fleet, Question, Window};
use overlay_protocol::filter::{Filter, from_cli};

use crate::cell::Cell;
use crate::fleet::{self, node};

const LIMIT: Duration = Duration::from_secs(20);

fn question(filter: Filter, window: Window) -> Question {
    Question {
        collective: None,
        filter,
        window,
        enough: None,
    }
}

#[tokio::test]
async fn discovery_ends_when_it_gets_quiet() {
    let cell = Cell::start(fleet::nodes(30));
    let fleet = cell.connect().await;
    let everybody = question(Filter::default(), Window::adaptive(LIMIT));
    let mut delays = Vec::new();
    let heard = fleet
        .ping(everybody, |_, delay| delays.push(delay))
        .await
        .unwrap();
    assert_eq!(heard.nodes.len(), 30);
    assert_eq!(delays.len(), 30);
    assert!(heard.nodes.is_sorted());
    assert!(heard.took < LIMIT / 2, "{:?}", heard.took);
}

#[tokio::test]
async fn a_fixed_window_is_waited_for() {
    let cell = Cell::start(vec![node("a")]);
    let fleet = cell.connect().await;
    let limit = Duration::from_millis(700);
    let heard = fleet
        .ping(question(Filter::default(), Window::fixed(limit)), |_, _| {})
        .await
        .unwrap();
    assert!(heard.took >= limit);
}

#[tokio::test]
async fn the_filter_goes_with_the_question() {
    let cell = Cell::start(vec![node("a"), node("b").fact("site", "ams")]);
    let fleet = cell.connect().await;
    let filter = from_cli(
        &["site=ams".to_owned()],
        &[],
        &["rpcutil".to_owned()],
        &[],
        &[],
        None,
    )
    .unwrap();
    let heard = fleet
        .ping(question(filter, Window::adaptive(LIMIT)), |_, _| {})
        .await
        .unwrap();
    assert_eq!(heard.nodes, ["b"]);
    assert_eq!(
        cell.nodes.seen()[0].subject,
        "choria.broadcast.agent.discovery"
    );
}

#[tokio::test]
async fn enough_replies_end_the_waiting() {
    let cell = Cell::start(fleet::nodes(10));
    let fleet = cell.connect().await;
    let mut some = question(Filter::default(), Window::fixed(LIMIT));
    some.enough = Some(4);
    let heard = fleet.ping(some, |_, _| {}).await.unwrap();
    assert_eq!(heard.nodes.len(), 4);
}

#[tokio::test]
async fn a_question_to_everybody_can_be_forbidden() {
    let cell = Cell::start(vec![node("a")]);
    let mut config = cell.config("");
    config.require_filter = true;
    let fleet = Fleet::connect(config, "test").await.unwrap();
    // An agent alone narrows nothing down.
    for agents in [vec![], vec!["rpcutil".to_owned()]] {
        let filter = Filter {
            agent: agents,
            ..Filter::default()
        };
        let result = fleet
            .ping(question(filter, Window::fixed(LIMIT)), |_, _| {})
            .await;
        assert!(matches!(result, Err(CallError::NeedsFilter)));
    }
}

#[tokio::test]
async fn two_thousand_nodes_answer_completely() {
    let cell = Cell::start(fleet::nodes(2_000));
    let fleet = cell.connect().await;
    let mut all = question(Filter::default(), Window::fixed(LIMIT));
    all.enough = Some(2_000);
    let heard = fleet.ping(all, |_, _| {}).await.unwrap();
    assert_eq!(heard.nodes.len(), 2_000);
    assert_eq!(heard.notices.overruns, 0);
}
