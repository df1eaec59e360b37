//! `[[login.oidc.rules]]` and `[[login.ldap.rules]]`: who may do what.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use overlay_protocol::id::Tenant;
use overlay_runtime::{Fault, Period, err_chain};
use overlay_tokens::claims::ClientPermissions;
use serde::Deserialize;
use serde_json::Value;

use crate::authenticate::mapping::{Domains, Grants, Names, Rule, Rules, Separator, When};
use crate::authenticate::userlist;

/// Permissions of programs; who logs in is a person.
const NOT_FOR_PEOPLE: [&str; 3] = ["authentication_delegator", "provisioner", "service"];

/// The longest life of a token.
const MAX_VALIDITY: Duration = Duration::from_secs(366 * 24 * 3600);

/// A rule as files hold it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawRule {
    everyone: bool,
    group: Option<String>,
    #[serde(alias = "attribute")]
    claim: Option<String>,
    value: Option<String>,
    agents: Vec<String>,
    opa_policy_file: Option<PathBuf>,
    permissions: Vec<String>,
    tenant: Option<String>,
    organisation: Option<String>,
    validity: Option<Period>,
}

/// Checks the rules of table `at`; `spell` brings a group's name into the form of the facts.
pub(super) fn check(
    raw: Vec<RawRule>,
    at: &str,
    spell: fn(&str) -> String,
    faults: &mut Vec<Fault>,
) -> Rules {
    if raw.is_empty() {
        let fault = Fault::new(format!("{at}.rules"), "is missing: nobody could log in");
        faults.push(fault.remedy(format!(
            "write [[{at}.rules]] with group = \"...\" and agents = [...]"
        )));
    }
    let rules = raw.into_iter().enumerate().filter_map(|(index, rule)| {
        let at = format!("{at}.rules[{index}]");
        let when = when(&rule, &at, spell, faults);
        let grants = grants(rule, &at, faults);
        Some(Rule {
            when: when?,
            grants,
        })
    });
    Rules::new(rules.collect())
}

/// Checks how names are told apart: `name_separator` and `name_domains` of table `at`.
pub(super) fn names(
    separator: Separator,
    domains: Option<Vec<String>>,
    at: &str,
    faults: &mut Vec<Fault>,
) -> Names {
    for domain in domains.iter().flatten() {
        let letter = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if !domain
            .split('.')
            .all(|label| !label.is_empty() && label.chars().all(letter))
        {
            faults.push(
                Fault::new(format!("{at}.name_domains"), "has what is no domain")
                    .value(domain)
                    .remedy("write such as \"example.net\": what stands behind the @"),
            );
        }
    }
    Names::new(
        separator,
        domains.map_or(Domains::OfTwoLabels, Domains::These),
    )
}

/// Looks at the policies that the rules name.
pub(super) fn inspect(rules: &Rules, at: &str) -> Vec<Fault> {
    let faults = rules.policy_files().filter_map(|path| {
        let error = std::fs::File::open(path).err()?;
        Some(unreadable(at, "rules", path, &error))
    });
    faults.collect()
}

/// The fault of a file that the table `at` names by `key`.
pub(super) fn unreadable(at: &str, key: &str, path: &Path, error: &dyn std::error::Error) -> Fault {
    let problem = format!("names a file that cannot be used: {}", err_chain(error));
    Fault::new(format!("{at}.{key}"), problem).value(path.display())
}

fn when(
    rule: &RawRule,
    at: &str,
    spell: fn(&str) -> String,
    faults: &mut Vec<Fault>,
) -> Option<When> {
    let when = match (rule.everyone, &rule.group, &rule.claim, &rule.value) {
        (true, None, None, None) => Some(When::Everyone),
        (false, Some(group), None, None) if !group.is_empty() => Some(When::Group(spell(group))),
        (false, None, Some(name), Some(value)) if !name.is_empty() => Some(When::Claim {
            name: name.clone(),
            value: value.clone(),
        }),
        _ => None,
    };
    if when.is_none() {
        faults.push(
            Fault::new(at, "does not say for whom it is, or says it twice")
                .remedy("write one of group = \"...\"; claim = \"...\" with value = \"...\"; everyone = true"),
        );
    }
    when
}

fn grants(rule: RawRule, at: &str, faults: &mut Vec<Fault>) -> Grants {
    if !rule.agents.is_empty() && rule.opa_policy_file.is_some() {
        faults.push(
            Fault::new(format!("{at}.opa_policy_file"), "stands beside agents")
                .remedy("a token has a policy or a list of actions: leave one out"),
        );
    }
    for agent in rule.agents.iter().filter(|agent| !is_action(agent)) {
        faults.push(
            Fault::new(format!("{at}.agents"), "has an entry that allows nothing")
                .value(agent)
                .remedy("write \"*\", \"agent.*\" or \"agent.action\""),
        );
    }
    let tenant = rule.tenant.filter(|tenant| {
        let good = tenant.parse::<Tenant>().is_ok();
        if !good {
            faults.push(
                Fault::new(format!("{at}.tenant"), "is no name of a tenant")
                    .value(tenant)
                    .remedy("write 1 to 63 of a-z 0-9 _ -, the first a letter or a digit"),
            );
        }
        good
    });
    let validity = rule.validity.map(|Period(validity)| validity);
    if validity.is_some_and(|validity| validity.is_zero() || validity > MAX_VALIDITY) {
        faults.push(
            Fault::new(format!("{at}.validity"), "is no time that a token can live")
                .remedy("write such as \"8h\""),
        );
    }
    Grants {
        agents: rule.agents,
        policy_file: rule.opa_policy_file,
        permissions: permissions(&rule.permissions, at, faults),
        tenant,
        organisation: rule.organisation.filter(|name| !name.is_empty()),
        validity,
    }
}

/// The permissions of these names.
fn permissions(names: &[String], at: &str, faults: &mut Vec<Fault>) -> ClientPermissions {
    let mut known = BTreeMap::new();
    for name in names {
        let fault = |problem| Fault::new(format!("{at}.permissions"), problem).value(name);
        let one = BTreeMap::from([(name.clone(), Value::Bool(true))]);
        if NOT_FOR_PEOPLE.contains(&name.as_str()) {
            let fault = fault("has a permission that people must not have");
            faults
                .push(fault.remedy("leave it out; such tokens are made with `overlay jwt client`"));
        } else if userlist::permissions(&one).is_ok_and(|one| one.names() == [name]) {
            known.extend(one);
        } else {
            let fault = fault("has a name that is no permission");
            faults.push(fault.remedy("write such as \"fleet_management\""));
        }
    }
    userlist::permissions(&known).unwrap_or_default()
}

/// Whether an entry of an action list can ever allow something.
fn is_action(entry: &str) -> bool {
    entry == "*"
        || matches!(entry.split_once('.'), Some((agent, action))
            if !agent.is_empty() && agent != "*" && !action.is_empty() && !action.contains('.'))
}
