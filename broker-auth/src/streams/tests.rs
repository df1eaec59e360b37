use super::*;

const DAY: Duration = Duration::from_secs(24 * 3600);
const EVENTS: Settings = Settings {
    retention: DAY,
    replicas: 1,
    max_bytes: 1 << 30,
};

fn created(stream: SystemStream, settings: Settings) -> Map<String, Value> {
    let Action::Create(Value::Object(config)) = stream.reconcile(settings, None) else {
        panic!("a stream that does not exist is made");
    };
    config
}

#[test]
fn a_stream_that_does_not_exist_is_made_as_choria_makes_it_but_bounded() {
    let config = created(SystemStream::Events, EVENTS);
    let wanted = json!({
        "name": "CHORIA_EVENTS", "subjects": ["choria.lifecycle.>"], "retention": "limits", "storage": "file",
        "max_age": 86_400_000_000_000_u64, "discard": "old", "num_replicas": 1, "max_consumers": -1,
        "max_msgs": -1, "max_bytes": 1_073_741_824, "max_msgs_per_subject": -1, "max_msg_size": 65_536,
    });
    assert_eq!(Value::Object(config), wanted);
}

#[test]
fn every_stream_that_tokens_can_write_to_is_bounded_in_bytes_and_message_size() {
    for stream in SystemStream::ALL {
        let config = created(stream, EVENTS);
        let (bytes, message) = match stream {
            SystemStream::Election => (-1, 1024),
            SystemStream::Executor => (1 << 30, 1 << 20),
            SystemStream::Positions => (1 << 30, 4 << 10),
            // As large as what the target refused.
            SystemStream::DeadLetters => (1 << 30, -1),
            SystemStream::Events
            | SystemStream::Machine
            | SystemStream::Advisories
            | SystemStream::AgeAdvisories => (1 << 30, 64 << 10),
        };
        assert_eq!(
            (&config["max_bytes"], &config["max_msg_size"]),
            (&json!(bytes), &json!(message)),
            "{stream:?}"
        );
    }
    let unbounded = Settings {
        max_bytes: 0,
        ..EVENTS
    };
    assert_eq!(created(SystemStream::Events, unbounded)["max_bytes"], -1);
}

#[test]
fn bounds_of_a_stream_that_exists_are_the_operators() {
    let mut config = created(SystemStream::Events, EVENTS);
    config.insert("max_bytes".into(), json!(-1));
    config.insert("max_msg_size".into(), json!(-1));
    assert_eq!(
        SystemStream::Events.reconcile(EVENTS, Some(&config)),
        Action::Keep
    );
}

#[test]
fn the_election_bucket_is_the_one_that_choria_clients_know() {
    let ttl = Settings {
        retention: Duration::from_secs(60),
        replicas: 3,
        ..EVENTS
    };
    let config = created(SystemStream::Election, ttl);
    let wanted = json!({
        "name": "KV_CHORIA_LEADER_ELECTION", "subjects": ["$KV.CHORIA_LEADER_ELECTION.>"], "retention": "limits",
        "storage": "file", "max_age": 60_000_000_000_u64, "discard": "new", "num_replicas": 3,
        "description": "Choria Leader Election Bucket", "max_msg_size": 1024, "max_msgs_per_subject": 1,
        "deny_delete": true, "allow_rollup_hdrs": true, "allow_direct": true, "max_consumers": -1,
        "max_msgs": -1, "max_bytes": -1,
    });
    assert_eq!(Value::Object(config), wanted);
}

#[test]
fn job_events_are_stored_under_short_subjects() {
    let config = created(SystemStream::Executor, EVENTS);
    assert_eq!(
        config["subject_transform"],
        json!({ "src": "choria.submission.in.choria.executor.>", "dest": "choria.executor.>" })
    );
    assert_eq!(config["description"], "Choria Executor Events");
}

#[test]
fn a_stream_as_it_must_be_is_kept_whatever_else_it_has() {
    for stream in SystemStream::ALL {
        let mut config = created(stream, EVENTS);
        config.insert("duplicate_window".into(), json!(120_000_000_000_u64));
        config.insert("max_bytes".into(), json!(1 << 30));
        config.insert("metadata".into(), json!({ "owner": "ops" }));
        assert_eq!(
            stream.reconcile(EVENTS, Some(&config)),
            Action::Keep,
            "{stream:?}"
        );
    }
}

#[test]
fn a_stream_that_differs_is_changed_in_that_and_nothing_else() {
    let mut config = created(SystemStream::Events, EVENTS);
    config.insert("max_bytes".into(), json!(5));
    config.insert("max_age".into(), json!(1));
    config.insert("subjects".into(), json!(["other"]));
    let Action::Update {
        config: Value::Object(changed),
        changes,
    } = SystemStream::Events.reconcile(EVENTS, Some(&config))
    else {
        panic!("a stream that differs is changed");
    };
    assert_eq!(changes, ["subjects", "max_age"]);
    assert_eq!(
        (&changed["max_bytes"], &changed["max_age"]),
        (&json!(5), &json!(86_400_000_000_000_u64))
    );
}

#[test]
fn replicas_grow_and_never_shrink() {
    let mut config = created(SystemStream::Events, EVENTS);
    let three = Settings {
        replicas: 3,
        ..EVENTS
    };
    let Action::Update {
        config: grown,
        changes,
    } = SystemStream::Events.reconcile(three, Some(&config))
    else {
        panic!("more replicas are made");
    };
    assert_eq!(
        (changes, &grown["num_replicas"]),
        (vec!["num_replicas"], &json!(3))
    );
    config.insert("num_replicas".into(), json!(5));
    assert_eq!(
        SystemStream::Events.reconcile(three, Some(&config)),
        Action::Keep
    );
    assert_eq!(
        SystemStream::Events.reconcile(EVENTS, Some(&config)),
        Action::Keep
    );
}

#[test]
fn what_cannot_be_changed_is_left_alone() {
    let mut config = created(SystemStream::Events, EVENTS);
    config.insert("storage".into(), json!("memory"));
    config.insert("max_age".into(), json!(1));
    assert_eq!(
        SystemStream::Events.reconcile(EVENTS, Some(&config)),
        Action::Conflict { setting: "storage" }
    );
}

#[test]
fn a_shortened_age_takes_the_duplicate_window_along() {
    let mut config = created(SystemStream::Election, EVENTS);
    config.insert("duplicate_window".into(), json!(120_000_000_000_u64));
    let minute = Settings {
        retention: Duration::from_secs(60),
        ..EVENTS
    };
    let Action::Update { config, .. } = SystemStream::Election.reconcile(minute, Some(&config))
    else {
        panic!("the age is changed");
    };
    assert_eq!(config["duplicate_window"], config["max_age"]);
}

#[test]
fn streams_without_retention_are_not_looked_after_but_elections_are() {
    let none = Settings {
        retention: Duration::ZERO,
        ..EVENTS
    };
    let plan = Plan {
        events: none,
        machine: none,
        advisories: none,
        executor: none,
        election: none,
        replication: None,
    };
    let looked_after = |plan: &Plan| -> Vec<_> {
        let all = SystemStream::ALL.into_iter();
        all.filter(|stream| plan.of(*stream).is_some()).collect()
    };
    assert_eq!(looked_after(&plan), [SystemStream::Election]);
    let replication = Some(Replication {
        positions: none,
        dead_letters: none,
        age_advisories: EVENTS,
    });
    let plan = Plan {
        replication,
        ..plan
    };
    assert_eq!(
        looked_after(&plan),
        [
            SystemStream::Election,
            SystemStream::Positions,
            SystemStream::AgeAdvisories
        ]
    );
}

#[test]
fn positions_are_a_bucket_that_forgets_nothing() {
    let forever = Settings {
        retention: Duration::ZERO,
        replicas: 3,
        max_bytes: 1 << 24,
    };
    let config = created(SystemStream::Positions, forever);
    let wanted = json!({
        "name": "KV_OVERLAY_REPLICATION", "subjects": ["$KV.OVERLAY_REPLICATION.>"], "retention": "limits",
        "storage": "file", "max_age": 0, "discard": "new", "num_replicas": 3,
        "description": "How far streams were copied", "max_msg_size": 4096, "max_msgs_per_subject": 1,
        "deny_delete": true, "allow_rollup_hdrs": true, "allow_direct": true, "max_consumers": -1,
        "max_msgs": -1, "max_bytes": 16_777_216,
    });
    assert_eq!(Value::Object(config), wanted);
}

#[test]
fn a_stream_for_copies_is_made_and_kept_like_the_others() {
    let copy = Kept::Copy(CopyStream {
        name: "lon_CHORIA_EVENTS".into(),
        subjects: vec!["replica.lon.CHORIA_EVENTS.>".into()],
        settings: EVENTS,
    });
    let Action::Create(Value::Object(mut config)) = copy.reconcile(None) else {
        panic!("a stream that does not exist is made");
    };
    let wanted = json!({
        "name": "lon_CHORIA_EVENTS", "subjects": ["replica.lon.CHORIA_EVENTS.>"], "retention": "limits",
        "storage": "file", "max_age": 86_400_000_000_000_u64, "discard": "old", "allow_direct": true,
        "num_replicas": 1, "max_consumers": -1, "max_msgs": -1, "max_bytes": 1_073_741_824,
        "max_msgs_per_subject": -1, "max_msg_size": -1,
    });
    assert_eq!(Value::Object(config.clone()), wanted);
    config.insert("max_bytes".into(), json!(5));
    assert_eq!(copy.reconcile(Some(&config)), Action::Keep);
    config.insert("subjects".into(), json!([">"]));
    let Action::Update { changes, .. } = copy.reconcile(Some(&config)) else {
        panic!("a stream that differs is changed");
    };
    assert_eq!(changes, ["subjects"]);
}
