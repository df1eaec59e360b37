use serde_json::json;

use super::*;

fn asked(caller: &'static str, action: &'static str, facts: &'static Value) -> Asked<'static> {
    Asked {
        caller,
        agent: "puppet",
        action,
        node: NodeView {
            identity: "node1",
            agents: &[],
            classes: &[],
            facts,
        },
    }
}

fn says(policy: &str, caller: &'static str, action: &'static str) -> bool {
    let facts = Box::leak(Box::new(json!({"country": "mt"})));
    let groups = read_groups("# people\nadmins up=ann up=ron\n");
    decide(policy, &groups, false, &asked(caller, action, facts)).is_ok()
}

#[test]
fn the_first_line_that_fits_decides() {
    let policy = "policy default deny\n\n# people\nallow\tup=bob\tstatus enable\t*\t*\ndeny\tup=ann\tdisable\t*\t*\nallow\tadmins\t*\t*\t*\n";
    assert!(says(policy, "up=bob", "status"));
    assert!(!says(policy, "up=bob", "disable"));
    assert!(says(policy, "up=ann", "status"));
    assert!(!says(policy, "up=ann", "disable"));
    assert!(says(policy, "up=ron", "disable"));
    assert!(!says(policy, "up=eve", "status"));
}

#[test]
fn the_default_holds_where_no_line_fits() {
    assert!(says(
        "policy default allow\ndeny\tup=bob\t*\t*\t*\n",
        "up=ann",
        "x"
    ));
    assert!(!says(
        "policy default allow\ndeny\tup=bob\t*\t*\t*\n",
        "up=bob",
        "x"
    ));
    assert!(!says("allow\tup=bob\t*\t*\t*\n", "up=ann", "x"));
}

#[test]
fn callers_facts_and_classes_are_compared() {
    assert!(says("allow\t/^up=b/\t*\tcountry=mt\t*\n", "up=bob", "x"));
    assert!(!says("allow\t/^up=b/\t*\tcountry=mt\t*\n", "up=ann", "x"));
    assert!(!says("allow\t*\t*\tcountry=uk\t*\n", "up=bob", "x"));
    assert!(!says("allow\t*\t*\tcountry=mt\tapache\n", "up=bob", "x"));
    assert!(
        says("allow\t\t*\t\t*\tcountry=mt\t*\n", "up=bob", "x"),
        "several tabs are one"
    );
}

#[test]
fn what_cannot_be_read_is_no_yes() {
    for line in [
        "allow\t*\t*\tcountry=mt and !x=y\t*",
        "allow\t*\t*\tnonsense\t*",
        "allow\t*\t*\t*",
        "allow\t/(/\t*\t*\t*",
        "allow *\t*\t*\t*",
        "deny\t*\t*\tnot x=y\t*\nallow\t*\t*\t*\t*",
        "deny\t/(/\t*\t*\t*\nallow\t*\t*\t*\t*",
    ] {
        assert!(!says(&format!("{line}\n"), "up=bob", "x"), "{line}");
    }
}

#[test]
fn files_are_looked_up_by_agent_then_by_default() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    let mut files = PolicyFiles {
        directory: dir.path().to_owned(),
        allow_unconfigured: false,
        default: None,
    };
    let call = asked("up=bob", "status", &Value::Null);
    assert!(files.judge(&call).is_err());
    write("site.policy", "allow\tup=bob\t*\t*\t*\n");
    assert!(files.judge(&call).is_err());
    files.default = Some("site".to_owned());
    assert_eq!(files.judge(&call), Ok(()));
    write("puppet.policy", "policy default deny\n");
    assert_eq!(
        files.judge(&call),
        Err("puppet.policy: no line fits, and line 1 denies the rest".to_owned())
    );
    let other = Asked {
        agent: "../puppet",
        ..call
    };
    assert!(files.judge(&other).is_err());
}
