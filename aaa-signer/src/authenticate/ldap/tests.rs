//! Logins at a real directory: OpenLDAP's slapd.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use openidconnect::url::Url;
use overlay_testkit::mint::{self, Authority};
use overlay_testkit::{Proxy, Slapd, skip};
use tempfile::TempDir;

use super::*;
use crate::authenticate::mapping::{Domains, Grants, Names, Rule, Rules, Separator, When};
use crate::config::{Find, GroupSearch};

const PEOPLE: &str = "ou=people,dc=example,dc=net";

const LDIF: &str = "\
dn: ou=people,dc=example,dc=net
objectClass: organizationalUnit
ou: people

dn: ou=groups,dc=example,dc=net
objectClass: organizationalUnit
ou: groups

dn: uid=bob,ou=people,dc=example,dc=net
objectClass: inetOrgPerson
uid: bob
cn: Bob
sn: Smith
mail: bob@example.net
employeeType: staff
userPassword: of bob
memberOf: cn=ops,ou=groups,dc=example,dc=net

dn: uid=alice,ou=people,dc=example,dc=net
objectClass: inetOrgPerson
uid: alice
cn: Alice (of *sales*)
sn: Smith
userPassword: of alice

dn: uid=o\\,neil,ou=people,dc=example,dc=net
objectClass: inetOrgPerson
uid: o,neil
cn: O Neil
sn: Neil
userPassword: of neil
memberOf: cn=ops,ou=groups,dc=example,dc=net

dn: uid=two,ou=people,dc=example,dc=net
objectClass: inetOrgPerson
uid: two
uid: zwei
cn: Two
sn: Two
userPassword: of two
memberOf: cn=ops,ou=groups,dc=example,dc=net

dn: uid=locked,ou=people,dc=example,dc=net
objectClass: inetOrgPerson
uid: locked
cn: Locked
sn: Locked

dn: cn=ops,ou=groups,dc=example,dc=net
objectClass: groupOfNames
cn: ops
member: uid=bob,ou=people,dc=example,dc=net
member: uid=two,ou=people,dc=example,dc=net

dn: cn=web,ou=groups,dc=example,dc=net
objectClass: groupOfNames
cn: web
member: uid=bob,ou=people,dc=example,dc=net

dn: cn=sales,ou=groups,dc=example,dc=net
objectClass: groupOfNames
cn: sales
member: uid=alice,ou=people,dc=example,dc=net

dn: ou=elsewhere,dc=example,dc=net
objectClass: referral
objectClass: extensibleObject
ou: elsewhere
ref: ldap://192.0.2.1/ou=elsewhere,dc=example,dc=net
";

struct World {
    slapd: Slapd,
    authority: Authority,
    dir: TempDir,
}

impl World {
    fn start(test: &str) -> Option<Self> {
        let program = match Slapd::locate() {
            Ok(program) => program,
            Err(why) => {
                skip(test, &why, Slapd::INSTALL);
                return None;
            }
        };
        let authority = Authority::new();
        Some(Self {
            slapd: Slapd::start(&program, &authority, LDIF),
            authority,
            dir: tempfile::tempdir().expect("a directory can be made"),
        })
    }

    fn settings(&self, find: Find) -> Ldap {
        let rule = |group: &str, agents: &str| Rule {
            when: When::Group(spelled(group)),
            grants: Grants {
                agents: vec![agents.to_owned()],
                ..Grants::default()
            },
        };
        let staff = When::Claim {
            name: "employeeType".to_owned(),
            value: "staff".to_owned(),
        };
        Ldap {
            url: Url::parse(&self.slapd.encrypted_url()).expect("an address"),
            start_tls: false,
            ca_file: Some(self.authority.ca_file()),
            find,
            name_attribute: "uid".to_owned(),
            names: Names::new(Separator::Dot, Domains::OfTwoLabels),
            member_attribute: "memberOf".to_owned(),
            groups: None,
            timeout: Duration::from_secs(5),
            connections: 4,
            properties: BTreeMap::from([("mail".to_owned(), "mail".to_owned())]),
            rules: Rules::new(vec![
                rule("CN=ops, OU=groups, DC=example, DC=net", "rpcutil.*"),
                rule("web", "httpd.restart"),
                Rule {
                    when: staff,
                    grants: Grants {
                        tenant: Some("inside".to_owned()),
                        ..Grants::default()
                    },
                },
            ]),
        }
    }

    fn by_search(&self, filter: &str) -> Find {
        Find::Search {
            bind_dn: "cn=service,dc=example,dc=net".to_owned(),
            password_file: self.secret_file("of the service"),
            base: Slapd::BASE.to_owned(),
            filter: filter.to_owned(),
        }
    }

    fn secret_file(&self, secret: &str) -> PathBuf {
        let path = self.dir.path().join("service.password");
        let mut options = fs::OpenOptions::new();
        let file = options.create(true).truncate(true).write(true).mode(0o600);
        let mut file = file.open(&path).expect("the directory is ours");
        std::io::Write::write_all(&mut file, secret.as_bytes()).expect("the file is ours");
        path
    }
}

fn by_template() -> Find {
    Find::Template(format!("uid={{user}},{PEOPLE}"))
}

async fn log_in(settings: &Ldap, name: &str, password: &str) -> Result<Person, Refusal> {
    let ldap = LdapAuthenticator::new(settings.clone(), &Secrets::default());
    let attempt = Attempt {
        username: name.to_owned(),
        password: SecretText::from(password),
        otp: None,
        now: mint::now(),
    };
    ldap.expect("it is set up").authenticate(&attempt).await
}

async fn reason(settings: &Ldap, name: &str, password: &str) -> Reason {
    let verdict = log_in(settings, name, password).await;
    verdict.expect_err(name).reason
}

#[tokio::test]
async fn who_knows_the_password_is_who_the_entry_says() {
    let Some(world) = World::start("directory: password") else {
        return;
    };
    for settings in [
        world.settings(by_template()),
        world.settings(world.by_search("(&(objectClass=inetOrgPerson)(uid={user}))")),
        Ldap {
            url: Url::parse(&world.slapd.url()).expect("an address"),
            start_tls: true,
            ..world.settings(by_template())
        },
    ] {
        let bob = log_in(&settings, "bob", "of bob").await.expect("it is bob");
        assert_eq!(
            (bob.name.as_str(), bob.callerid.as_str()),
            ("bob", "ldap=bob")
        );
        assert_eq!(bob.agents, ["rpcutil.*"]);
        assert_eq!(bob.tenant.as_deref(), Some("inside"));
        assert_eq!(
            bob.properties.get("mail").map(String::as_str),
            Some("bob@example.net")
        );
        let shouted = log_in(&settings, "BOB", "of bob").await.expect("it is bob");
        assert_eq!(shouted.callerid, "ldap=bob", "a person has one caller id");

        assert_eq!(reason(&settings, "bob", "of alice").await, Reason::Password);
        assert_eq!(reason(&settings, "bob", "").await, Reason::Password);
        assert_eq!(reason(&settings, "", "x").await, Reason::UnknownUser);
        assert_eq!(reason(&settings, "locked", "x").await, Reason::Password);
        let nobody = reason(&settings, "nobody", "x").await;
        assert!(
            matches!(nobody, Reason::UnknownUser | Reason::Password),
            "{nobody:?}"
        );
        assert_eq!(
            reason(&settings, "alice", "of alice").await,
            Reason::NotAllowed
        );
        // A name that no caller id can hold.
        assert_eq!(
            reason(&settings, "o,neil", "of neil").await,
            Reason::Provider
        );
    }
}

#[tokio::test]
async fn groups_that_name_somebody_count_by_both_their_names() {
    let Some(world) = World::start("directory: groups") else {
        return;
    };
    let groups = |filter: &str| {
        Some(GroupSearch {
            base: "ou=groups,dc=example,dc=net".to_owned(),
            filter: filter.to_owned(),
            name_attribute: "cn".to_owned(),
        })
    };
    let settings = Ldap {
        groups: groups("(&(objectClass=groupOfNames)(member={dn}))"),
        member_attribute: "description".to_owned(),
        ..world.settings(world.by_search("(uid={user})"))
    };
    let bob = log_in(&settings, "bob", "of bob").await.expect("it is bob");
    assert_eq!(bob.agents, ["rpcutil.*", "httpd.restart"]);
    assert_eq!(
        reason(&settings, "alice", "of alice").await,
        Reason::NotAllowed
    );
    let broken = Ldap {
        groups: groups("(member={dn}"),
        ..settings
    };
    assert_eq!(reason(&broken, "bob", "of bob").await, Reason::Provider);
}

#[tokio::test]
async fn what_is_typed_is_a_value_and_never_a_filter_or_a_name_of_an_entry() {
    let Some(world) = World::start("directory: injection") else {
        return;
    };
    let searches = world.settings(world.by_search("(|(uid={user})(cn={user}))"));
    for typed in [
        "*",
        "b*",
        "bob)(uid=*",
        "bob*)(|(uid=*",
        "*)(objectClass=*",
        "nobody))(|(uid=bob",
        "\\2a",
        "bob\\",
    ] {
        assert_eq!(
            reason(&searches, typed, "of bob").await,
            Reason::UnknownUser,
            "{typed}"
        );
    }
    let alice = reason(&searches, "Alice (of *sales*)", "of alice").await;
    assert_eq!(
        alice,
        Reason::NotAllowed,
        "a value with such characters is found"
    );
    assert_eq!(
        reason(&searches, "bob\0", "of bob").await,
        Reason::UnknownUser
    );
    let templates = world.settings(by_template());
    for typed in [
        "bob,ou=people,dc=example,dc=net",
        "x+uid=bob",
        "bob,",
        "\"bob\"",
        "bob\\",
        "#04036d6f62",
        "x,ou=people,dc=example,dc=net?sub",
    ] {
        let refused = reason(&templates, typed, "of bob").await;
        assert!(
            matches!(refused, Reason::Password | Reason::UnknownUser),
            "{typed}: {refused:?}"
        );
    }
    // Whatever matches more than one entry is nobody.
    let broad = world.settings(world.by_search("(|(uid={user})(objectClass=inetOrgPerson))"));
    assert_eq!(reason(&broad, "bob", "of bob").await, Reason::Provider);
}

#[tokio::test]
async fn of_several_names_the_one_that_was_typed_counts_and_none_else() {
    let Some(world) = World::start("directory: several names") else {
        return;
    };
    let settings = world.settings(world.by_search("(|(uid={user})(cn={user}))"));
    for (typed, callerid) in [("two", "ldap=two"), ("ZWEI", "ldap=zwei")] {
        // What else is in common: the entry's own name `Two` is no name of the attribute.
        let person = log_in(&settings, typed, "of two").await.expect(typed);
        assert_eq!(person.callerid, callerid);
    }
    let other = Ldap {
        name_attribute: "mail".to_owned(),
        ..settings
    };
    assert_eq!(
        reason(&other, "two", "of two").await,
        Reason::Provider,
        "it has no mail"
    );
}

#[tokio::test]
async fn a_directory_that_is_not_trusted_or_away_logs_nobody_in_and_holds_nobody_up() {
    let Some(mut world) = World::start("directory: away") else {
        return;
    };
    let good = world.settings(by_template());
    let stranger = Authority::new();
    let untrusted = Ldap {
        ca_file: Some(stranger.ca_file()),
        ..good.clone()
    };
    assert_eq!(
        reason(&untrusted, "bob", "of bob").await,
        Reason::Unavailable
    );
    let plain = Url::parse(&world.slapd.url()).expect("an address");
    let start_tls = Ldap {
        url: plain.clone(),
        start_tls: true,
        ..untrusted
    };
    assert_eq!(
        reason(&start_tls, "bob", "of bob").await,
        Reason::Unavailable
    );
    let other_name = Ldap {
        url: Url::parse(
            &world
                .slapd
                .encrypted_url()
                .replace("localhost", "127.0.0.2"),
        )
        .expect("an address"),
        ..good.clone()
    };
    assert_eq!(
        reason(&other_name, "bob", "of bob").await,
        Reason::Unavailable
    );

    let wrong = world.settings(world.by_search("(uid={user})"));
    world.secret_file("another");
    assert_eq!(
        reason(&wrong, "bob", "of bob").await,
        Reason::Provider,
        "not the person's fault"
    );

    let hurried = Ldap {
        timeout: Duration::from_millis(500),
        ..good.clone()
    };
    world.slapd.process().pause();
    let stuck = log_in(&hurried, "bob", "of bob")
        .await
        .expect_err("no answer");
    assert_eq!(stuck.reason, Reason::Unavailable, "{stuck}");
    world.slapd.process().unpause();
    world.slapd.process().kill();
    assert_eq!(reason(&good, "bob", "of bob").await, Reason::Unavailable);
    world.slapd.start_again();
    assert!(
        log_in(&good, "bob", "of bob").await.is_ok(),
        "it is asked anew each time"
    );
}

#[tokio::test]
async fn a_connection_that_breaks_or_says_nonsense_is_a_refusal() {
    let Some(world) = World::start("directory: broken connection") else {
        return;
    };
    let port = Url::parse(&world.slapd.url()).expect("an address").port();
    let proxy = Proxy::start(port.expect("a port")).await;
    let through = Ldap {
        url: Url::parse(&format!("ldap://127.0.0.1:{}", proxy.port())).expect("an address"),
        timeout: Duration::from_millis(2500),
        ..world.settings(by_template())
    };
    assert!(log_in(&through, "bob", "of bob").await.is_ok());
    proxy.stall();
    assert_eq!(reason(&through, "bob", "of bob").await, Reason::Unavailable);
    proxy.flow();
    proxy.refuse();
    assert_eq!(reason(&through, "bob", "of bob").await, Reason::Unavailable);

    for nonsense in [
        &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
        // A bind response whose message id is missing, one of an unknown kind, and a length without end.
        b"\x30\x09\x61\x07\x0a\x01\x00\x04\x00\x04\x00",
        b"\x30\x0c\x02\x01\x01\x7e\x07\x0a\x01\x00\x04\x00\x04\x00",
        b"\x30\x84\x7f\xff\xff\xff\x02\x01\x01",
        b"\x30\x00",
        b"",
    ] {
        let url = answering(nonsense).await;
        let settings = Ldap {
            url: Url::parse(&url).expect("an address"),
            ..through.clone()
        };
        let refused = reason(&settings, "bob", "of bob").await;
        assert!(
            matches!(refused, Reason::Unavailable | Reason::Provider),
            "{nonsense:?}: {refused:?}"
        );
    }
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_name_take_the_same_time() {
    let Some(world) = World::start("directory: time of refusals") else {
        return;
    };
    let settings = world.settings(world.by_search("(uid={user})"));
    for (name, password) in [("bob", "wrong"), ("nobody", "wrong"), ("bob", "")] {
        let begun = Instant::now();
        log_in(&settings, name, password)
            .await
            .expect_err("it is refused");
        assert!(begun.elapsed() >= STEP, "{name}");
    }
}

/// The address of somebody who says the same to everybody.
async fn answering(nonsense: &'static [u8]) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("a port is free");
    let port = listener.local_addr().expect("it listens").port();
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut asked = [0; 512];
            drop(stream.read(&mut asked).await);
            drop(stream.write_all(nonsense).await);
        }
    });
    serving.detach_all();
    format!("ldap://127.0.0.1:{port}")
}

#[test]
fn groups_are_compared_without_case_and_spaces() {
    assert_eq!(
        spelled(" CN = Ops Team , OU=Groups,DC=Example,DC=net"),
        "cn=ops team,ou=groups,dc=example,dc=net"
    );
    assert_eq!(spelled("Ops"), "ops");
    assert_ne!(spelled("cn=ops,ou=a"), spelled("cn=ops,ou=b"));
}
