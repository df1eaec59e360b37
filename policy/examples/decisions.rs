//! Times decisions: `cargo run --release -p overlay-policy --example decisions`.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a measurement for a person"
)]

use std::sync::Arc;
use std::thread;
use std::time::Instant;

use overlay_policy::{Question, Rego, Verdict, action_list};
use overlay_protocol::filter::Filter;
use serde_json::{Value, json};

const ROUNDS: u32 = 20_000;

/// As policies in tokens are: a default, two rules, a helper, a look at the filter.
const POLICY: &str = r#"package io.choria.aaasvc

import rego.v1

default allow := false

allow if {
	input.agent == "rpcutil"
	input.action in {"ping", "inventory"}
}

allow if {
	input.agent == "puppet"
	input.collective == "production"
	requires_fact_filter("country=mt")
	input.claims.user_properties.group == "admins"
}
"#;

fn main() {
    let data = json!({"component": "frontend", "count": 5, "list": ["x", "y"]});
    let claims = json!({
        "callerid": "up=bob", "ou": "choria", "purpose": "choria_client_id",
        "permissions": {"fleet_management": true, "signed_fleet_management": true},
        "user_properties": {"group": "admins"},
        "public_key": "ed4928c628d1c2c6eae90338905995612959273a5c63f93636c14614ac8737d1",
        "iss": "C-x.y", "exp": 2_425_930_212_u64, "iat": 1_790_000_000, "jti": "3Jdnq5ybUoTCe3JOzVXbe1qxVqP",
        "opa_policy": POLICY,
    });
    let filter = Filter {
        identity: vec!["some.node".to_owned()],
        ..Filter::default()
    };
    let rego = Arc::new(Rego::default());

    let started = Instant::now();
    rego.check(POLICY).unwrap();
    println!(
        "compile                {:>8.1} µs",
        started.elapsed().as_secs_f64() * 1e6
    );

    for (name, agent) in [("first rule", "rpcutil"), ("no rule", "shell")] {
        let asked = question(agent, &data, &claims, &filter);
        time(&format!("rego, {name}"), || rego.decide(POLICY, &asked));
    }
    let simple =
        "package io.choria.aaasvc\ndefault allow := false\nallow if input.agent == \"rpcutil\"\n";
    let asked = question("rpcutil", &data, &claims, &filter);
    time("rego, one rule", || rego.decide(simple, &asked));
    let list: Vec<String> = (0..20)
        .map(|n| format!("agent{n}.*"))
        .chain(["rpcutil.*".to_owned()])
        .collect();
    time("action list of 21", || {
        action_list(&list, "rpcutil", "ping")
    });

    let started = Instant::now();
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let (rego, data, claims, filter) = (
                Arc::clone(&rego),
                data.clone(),
                claims.clone(),
                filter.clone(),
            );
            thread::spawn(move || {
                let asked = question("rpcutil", &data, &claims, &filter);
                for _ in 0..ROUNDS {
                    assert!(rego.decide(POLICY, &asked).is_allowed());
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    let rate = f64::from(2 * ROUNDS) / started.elapsed().as_secs_f64();
    println!("two threads            {rate:>8.0} decisions/s");
}

fn question<'a>(
    agent: &'a str,
    data: &'a Value,
    claims: &'a Value,
    filter: &'a Filter,
) -> Question<'a> {
    Question {
        agent,
        action: "ping",
        data,
        sender: "laptop.example.net",
        collective: "choria",
        ttl: 60,
        time_ns: 1_795_000_000_000_000_000,
        site: "london",
        filter,
        claims,
        tenant: None,
    }
}

fn time(name: &str, mut decide: impl FnMut() -> Verdict) {
    let started = Instant::now();
    for _ in 0..ROUNDS {
        std::hint::black_box(decide());
    }
    let each = started.elapsed().as_secs_f64() * 1e6 / f64::from(ROUNDS);
    println!("{name:<22} {each:>8.2} µs");
}
