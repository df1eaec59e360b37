use super::*;

const SEARCH: &str = r#"
url = "ldaps://ldap.example.net"
base = "ou=people,dc=example,dc=net"
bind_dn = "cn=overlay,dc=example,dc=net"
bind_password_file = "/etc/overlay/ldap.password"
group_base = "ou=groups,dc=example,dc=net"
[[rules]]
attribute = "department"
value = "it"
agents = ["*"]
"#;

const TEMPLATE: &str = r#"
url = "ldap://ldap.example.net"
start_tls = true
user_dn = "uid={user},ou=people,dc=example,dc=net"
[[rules]]
everyone = true
"#;

fn checked(text: &str) -> (Option<Ldap>, Vec<String>) {
    let raw: RawLdap = toml::from_str(text).expect("the table can be read");
    let mut faults = Vec::new();
    let ldap = raw.check("login.ldap", &mut faults);
    let keys = faults.iter().map(|fault| fault.key().to_owned());
    (ldap, keys.collect())
}

#[test]
fn a_table_with_what_is_needed_has_careful_defaults() {
    let (ldap, faults) = checked(SEARCH);
    let ldap = ldap.expect("it is good");
    assert!(faults.is_empty(), "{faults:?}");
    assert!(matches!(ldap.find, Find::Search { filter, .. } if filter == "(uid={user})"));
    assert_eq!(ldap.groups.expect("groups").filter, "(member={dn})");
    assert_eq!(ldap.member_attribute, "memberOf");
    assert_eq!(checked(TEMPLATE).1, Vec::<String>::new());
}

#[test]
fn whatever_cannot_work_is_told_by_its_key() {
    let of_search = [
        ("url = \"ldaps://ldap.example.net\"", "", "login.ldap.url"),
        (
            "ldaps://ldap.example.net",
            "ldap://ldap.example.net",
            "login.ldap.url",
        ),
        (
            "ldaps://ldap.example.net",
            "https://ldap.example.net",
            "login.ldap.url",
        ),
        (
            "ldaps://ldap.example.net",
            "ldaps://[2001:db8::1]",
            "login.ldap.url",
        ),
        ("ldaps://ldap.example.net", "ldaps:///", "login.ldap.url"),
        ("base = ", "start_tls = true\nbase = ", "login.ldap.url"),
        (
            "bind_dn = \"cn=overlay,dc=example,dc=net\"",
            "",
            "login.ldap.bind_dn",
        ),
        (
            "bind_dn = \"cn=overlay,dc=example,dc=net\"",
            "bind_dn = \"\"",
            "login.ldap.bind_dn",
        ),
        ("base = ", "user_dn = \"uid={user}\"\nbase = ", "login.ldap"),
        (
            "group_base",
            "filter = \"(uid=bob)\"\ngroup_base",
            "login.ldap.filter",
        ),
        (
            "group_base",
            "group_filter = \"(member=x)\"\ngroup_base",
            "login.ldap.group_filter",
        ),
        (
            "group_base",
            "timeout = \"1ms\"\ngroup_base",
            "login.ldap.timeout",
        ),
        (
            "group_base",
            "connections = 0\ngroup_base",
            "login.ldap.connections",
        ),
    ];
    for (from, to, key) in of_search {
        let text = SEARCH.replacen(from, to, 1);
        assert_ne!(text, SEARCH, "{from}");
        assert_eq!(checked(&text).1, [key], "{from} -> {to}");
    }
    let of_template = [
        (
            "uid={user},ou=people",
            "uid=bob,ou=people",
            "login.ldap.user_dn",
        ),
        ("user_dn", "#user_dn", "login.ldap"),
        ("start_tls = true", "start_tls = false", "login.ldap.url"),
    ];
    for (from, to, key) in of_template {
        let text = TEMPLATE.replacen(from, to, 1);
        assert_eq!(checked(&text).1, [key], "{from} -> {to}");
    }
}

#[test]
fn on_this_host_a_directory_needs_no_encryption() {
    for url in [
        "ldap://localhost",
        "ldap://127.0.0.1:1389",
        "ldap://[::1]:1389",
    ] {
        let text = SEARCH.replacen("ldaps://ldap.example.net", url, 1);
        assert_eq!(checked(&text).1, Vec::<String>::new(), "{url}");
    }
}

#[test]
fn the_reference_is_a_table_that_can_be_read() {
    let text: String = REFERENCE
        .lines()
        .skip_while(|line| !line.starts_with("# [login.ldap]"))
        .filter(|line| !line.starts_with("# Either") && !line.starts_with("# ..."))
        // People are found in one of the two ways.
        .filter(|line| !line.starts_with("# user_dn"))
        .filter_map(|line| line.strip_prefix("# "))
        .map(|line| format!("{line}\n"))
        .collect();
    let table: toml::Table = text.parse().expect("TOML");
    let text = toml::to_string(&table["login"]["ldap"]).expect("TOML");
    assert_eq!(checked(&text).1, Vec::<String>::new());
}
