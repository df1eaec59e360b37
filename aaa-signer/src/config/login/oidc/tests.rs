use super::*;
use crate::authenticate::mapping::{Domains, Facts, Mapped};

const GOOD: &str = r#"
issuer = "https://idp.example.net/realms/company"
client_id = "overlay"
[[rules]]
group = "ops"
agents = ["rpcutil.*", "puppet.status", "*"]
permissions = ["signed_fleet_management", "audit_viewer"]
tenant = "retail"
validity = "8h"
"#;

fn checked(text: &str) -> (Option<Oidc>, Vec<String>) {
    let raw: RawOidc = toml::from_str(text).expect("the table can be read");
    let mut faults = Vec::new();
    let oidc = raw.check("login.oidc", &mut faults);
    let keys = faults.iter().map(|fault| fault.key().to_owned());
    (oidc, keys.collect())
}

#[test]
fn a_table_with_what_is_needed_has_careful_defaults() {
    let (oidc, faults) = checked(GOOD);
    let oidc = oidc.expect("it is good");
    assert!(faults.is_empty(), "{faults:?}");
    assert_eq!(oidc.name_claim, "sub");
    assert_eq!(oidc.groups_claim, ["groups"]);
    assert_eq!(oidc.flows, [FlowKind::Device, FlowKind::Code]);
    assert_eq!(oidc.userinfo, AskUserinfo::IfNeeded);
    assert!(oidc.audiences.is_empty());
    let facts = Facts {
        groups: ["ops".to_owned()].into(),
        ..Facts::default()
    };
    let Mapped { grants, .. } = oidc.rules.apply(&facts).expect("a rule");
    assert_eq!(
        grants.permissions.names(),
        ["signed_fleet_management", "audit_viewer"]
    );
    assert_eq!(grants.validity, Some(Duration::from_secs(8 * 3600)));
}

#[test]
fn names_are_told_apart_by_what_the_claim_is_unless_set() {
    let names = |more: &str| checked(&format!("{more}{GOOD}")).0.expect(more).names;
    let subjects = Names::new(Separator::Underscore, Domains::These(Vec::new()));
    assert_eq!(names(""), subjects);
    let of_people = Names::new(Separator::Dot, Domains::OfTwoLabels);
    assert_eq!(names("name_claim = \"email\""), of_people);
    let set = "name_claim = \"email\"\nname_separator = \"_\"\nname_domains = [\"a.co.uk\"]";
    let domains = Domains::These(vec!["a.co.uk".to_owned()]);
    assert_eq!(names(set), Names::new(Separator::Underscore, domains));
    for bad in ["", ".a", "a..b", "a_b", "a@b"] {
        let (_, faults) = checked(&format!("name_domains = [\"{bad}\"]{GOOD}"));
        assert_eq!(faults, ["login.oidc.name_domains"], "{bad}");
    }
}

#[test]
fn whatever_cannot_work_is_told_by_its_key() {
    let cases = [
        (
            "issuer = \"https://idp.example.net/realms/company\"",
            "",
            "login.oidc.issuer",
        ),
        (
            "https://idp.example.net/realms/company",
            "http://idp.example.net",
            "login.oidc.issuer",
        ),
        (
            "https://idp.example.net/realms/company",
            "idp.example.net",
            "login.oidc.issuer",
        ),
        ("client_id = \"overlay\"", "", "login.oidc.client_id"),
        ("client_id", "flows = []\nclient_id", "login.oidc.flows"),
        (
            "client_id",
            "timeout = \"10m\"\nclient_id",
            "login.oidc.timeout",
        ),
        (
            "client_id",
            "flow_validity = \"2h\"\nclient_id",
            "login.oidc.flow_validity",
        ),
        (
            "client_id",
            "groups_claim = \"realm..roles\"\nclient_id",
            "login.oidc.groups_claim",
        ),
        ("group = \"ops\"", "", "login.oidc.rules[0]"),
        (
            "group = \"ops\"",
            "group = \"ops\"\neveryone = true",
            "login.oidc.rules[0]",
        ),
        (
            "group = \"ops\"",
            "claim = \"department\"",
            "login.oidc.rules[0]",
        ),
        (
            "\"puppet.status\"",
            "\"puppet\"",
            "login.oidc.rules[0].agents",
        ),
        (
            "\"puppet.status\"",
            "\"*.status\"",
            "login.oidc.rules[0].agents",
        ),
        (
            "\"puppet.status\"",
            "\"a.b.c\"",
            "login.oidc.rules[0].agents",
        ),
        (
            "tenant = \"retail\"",
            "tenant = \"Retail\"",
            "login.oidc.rules[0].tenant",
        ),
        (
            "tenant",
            "opa_policy_file = \"p.rego\"\ntenant",
            "login.oidc.rules[0].opa_policy_file",
        ),
        (
            "validity = \"8h\"",
            "validity = \"0s\"",
            "login.oidc.rules[0].validity",
        ),
        (
            "\"audit_viewer\"",
            "\"audit_reader\"",
            "login.oidc.rules[0].permissions",
        ),
        (
            "\"audit_viewer\"",
            "\"authentication_delegator\"",
            "login.oidc.rules[0].permissions",
        ),
        (
            "\"audit_viewer\"",
            "\"service\"",
            "login.oidc.rules[0].permissions",
        ),
    ];
    for (from, to, key) in cases {
        let text = GOOD.replacen(from, to, 1);
        assert_ne!(text, GOOD, "{from}");
        let (_, faults) = checked(&text);
        assert_eq!(faults, [key], "{from} -> {to}");
    }
    let without_rules = GOOD.split("[[rules]]").next().expect("the head");
    assert_eq!(checked(without_rules).1, ["login.oidc.rules"]);
}

#[test]
fn what_is_misspelt_is_not_passed_over() {
    for text in [
        "isuer = \"x\"",
        "flows = [\"implicit\"]",
        "[[rules]]\ngroups = [\"a\"]",
    ] {
        assert!(toml::from_str::<RawOidc>(text).is_err(), "{text}");
    }
}

#[test]
fn the_reference_is_a_table_that_can_be_read() {
    let text: String = REFERENCE
        .lines()
        .skip_while(|line| !line.starts_with("# [login.oidc]"))
        .filter_map(|line| line.strip_prefix("# "))
        .map(|line| format!("{line}\n"))
        .collect();
    let table: toml::Table = text.parse().expect("TOML");
    let text = toml::to_string(&table["login"]["oidc"]).expect("TOML");
    assert_eq!(checked(&text).1, Vec::<String>::new());
}
