use proptest::prelude::*;

use super::*;
use crate::authenticate::Person;
use crate::login::Reason;

fn rule(when: When, grants: Grants) -> Rule {
    Rule { when, grants }
}

fn group(name: &str) -> When {
    When::Group(name.to_owned())
}

fn agents(entries: &[&str]) -> Grants {
    Grants {
        agents: entries.iter().map(|&entry| entry.to_owned()).collect(),
        ..Grants::default()
    }
}

fn of_tenant(tenant: &str, entries: &[&str]) -> Grants {
    Grants {
        tenant: Some(tenant.to_owned()),
        ..agents(entries)
    }
}

fn member_of(groups: &[&str]) -> Facts {
    Facts {
        groups: groups.iter().map(|&group| group.to_owned()).collect(),
        claims: BTreeMap::new(),
    }
}

#[test]
fn somebody_whom_no_rule_names_gets_nothing() {
    let rules = Rules::new(vec![rule(group("ops"), agents(&["*"]))]);
    assert_eq!(rules.apply(&member_of(&["sales", "Ops", "ops "])), None);
    assert_eq!(Rules::default().apply(&member_of(&["ops"])), None);
}

#[test]
fn what_several_rules_grant_adds_up_once() {
    let lives = |seconds| Some(Duration::from_secs(seconds));
    let rules = Rules::new(vec![
        rule(
            When::Everyone,
            Grants {
                validity: lives(3600),
                ..agents(&["rpcutil.ping"])
            },
        ),
        rule(group("sales"), agents(&["crm.*"])),
        rule(
            group("ops"),
            Grants {
                validity: lives(600),
                permissions: ClientPermissions {
                    signed_fleet_management: true,
                    ..ClientPermissions::default()
                },
                ..agents(&["puppet.*", "rpcutil.ping"])
            },
        ),
    ]);
    let mapped = rules
        .apply(&member_of(&["ops"]))
        .expect("two rules are met");
    assert_eq!(mapped.grants.agents, ["rpcutil.ping", "puppet.*"]);
    assert_eq!(mapped.grants.validity, lives(600));
    assert!(mapped.grants.permissions.signed_fleet_management);
    assert_eq!(mapped.applied, [1, 3]);
    assert!(mapped.skipped.is_empty());
}

#[test]
fn a_claim_with_the_value_among_others_meets_a_rule() {
    let rules = Rules::new(vec![rule(
        When::Claim {
            name: "department".to_owned(),
            value: "it".to_owned(),
        },
        agents(&["*"]),
    )]);
    let with = |values: &[&str]| Facts {
        claims: BTreeMap::from([(
            "department".to_owned(),
            values.iter().map(|&value| value.to_owned()).collect(),
        )]),
        ..Facts::default()
    };
    assert!(rules.apply(&with(&["hr", "it"])).is_some());
    assert_eq!(rules.apply(&with(&["itx"])), None);
    assert_eq!(rules.apply(&with(&[])), None);
}

#[test]
fn nothing_of_one_tenant_gets_into_a_token_of_another() {
    let rules = Rules::new(vec![
        rule(group("a-ops"), of_tenant("a", &["puppet.*"])),
        rule(group("b-ops"), of_tenant("b", &["shell.*"])),
        rule(When::Everyone, agents(&["rpcutil.ping"])),
    ]);
    let mapped = rules
        .apply(&member_of(&["a-ops", "b-ops"]))
        .expect("rules are met");
    assert_eq!(mapped.grants.tenant.as_deref(), Some("a"));
    assert_eq!(mapped.grants.agents, ["puppet.*", "rpcutil.ping"]);
    assert_eq!((mapped.applied, mapped.skipped), (vec![1, 3], vec![2]));
}

#[test]
fn a_token_has_actions_or_a_policy_as_the_first_rule_says() {
    let policy = |file: &str| Grants {
        policy_file: Some(PathBuf::from(file)),
        ..Grants::default()
    };
    let rules = |first: Grants, second: Grants| {
        Rules::new(vec![rule(group("x"), first), rule(group("x"), second)])
            .apply(&member_of(&["x"]))
            .expect("both are met")
            .grants
    };
    assert_eq!(rules(agents(&["a.b"]), policy("p")), agents(&["a.b"]));
    assert_eq!(rules(policy("p"), agents(&["a.b"])), policy("p"));
    assert_eq!(rules(policy("p"), policy("q")), policy("p"));
    assert_eq!(rules(policy("p"), policy("p")), policy("p"));
}

#[tokio::test]
async fn a_policy_is_read_when_somebody_logs_in_and_none_means_no_login() {
    let dir = tempfile::tempdir().expect("a directory can be made");
    let path = dir.path().join("ops.rego");
    let rules = Rules::new(vec![rule(
        group("ops"),
        Grants {
            policy_file: Some(path.clone()),
            tenant: Some("a".to_owned()),
            ..Grants::default()
        },
    )]);
    let facts = member_of(&["ops"]);
    let log_in = async || rules.grant(Person::default(), &facts).await;
    let refused = async || log_in().await.expect_err("it is refused").reason;
    assert_eq!(refused().await, Reason::UserFile, "it is not there");
    std::fs::write(&path, "package io.choria.aaasvc").expect("the directory is ours");
    let person = log_in().await.expect("it is there");
    assert_eq!(
        person.opa_policy.as_deref(),
        Some("package io.choria.aaasvc")
    );
    assert_eq!(person.tenant.as_deref(), Some("a"));
    std::fs::write(&path, "package other").expect("the directory is ours");
    let person = log_in().await.expect("it is there");
    assert_eq!(person.opa_policy.as_deref(), Some("package other"));
    for content in [Vec::new(), vec![b'#'; 256 * 1024 + 1], vec![0xff]] {
        std::fs::write(&path, content).expect("the directory is ours");
        assert_eq!(refused().await, Reason::UserFile);
    }
    let stranger = rules.grant(Person::default(), &Facts::default()).await;
    assert_eq!(stranger.expect_err("no rule").reason, Reason::NotAllowed);
}

proptest! {
    #[test]
    fn every_entry_of_a_sum_comes_from_an_applied_rule(
        rules in proptest::collection::vec((0u8..4, 0u8..3, "[a-c]{1}\\.[x-z]{1}"), 0..8),
        mine in proptest::collection::btree_set(0u8..4, 0..4),
    ) {
        let built = rules.iter().map(|(of, tenant, entry)| {
            let mut grants = agents(&[entry]);
            grants.tenant = (*tenant > 0).then(|| tenant.to_string());
            rule(group(&of.to_string()), grants)
        });
        let rules = Rules::new(built.collect());
        let groups: Vec<String> = mine.iter().map(ToString::to_string).collect();
        let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
        if let Some(mapped) = rules.apply(&member_of(&groups)) {
            for entry in &mapped.grants.agents {
                let comes_from_applied = mapped.applied.iter().any(|&number| {
                    let grants = &rules.0[number - 1].grants;
                    let same = grants.tenant.is_none() || grants.tenant == mapped.grants.tenant;
                    same && grants.agents.contains(entry)
                });
                prop_assert!(comes_from_applied);
            }
        }
    }
}
