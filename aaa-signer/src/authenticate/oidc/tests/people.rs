//! Logins at a real provider: the npm package `oidc-provider`, certified by the OpenID Foundation.

use overlay_testkit::mint::Authority;
use overlay_testkit::{Browser, OpenidProvider, Page, eventually, skip};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;

struct World {
    provider: OpenidProvider,
    authority: Authority,
    dir: TempDir,
}

impl World {
    fn start(test: &str, further: &Value) -> Option<Self> {
        let package = match OpenidProvider::locate() {
            Ok(package) => package,
            Err(why) => {
                skip(test, &why, OpenidProvider::INSTALL);
                return None;
            }
        };
        let person = |name: &str, groups: &[&str]| {
            json!({
                "preferred_username": name,
                "groups": groups,
                "email": format!("{name}@example.net"),
                "email_verified": name != "eve",
            })
        };
        let people = json!({
            "id-1": person("bob", &["ops", "web"]),
            "id-2": person("alice", &["sales"]),
            "id-3": person("eve smith", &["ops"]),
            "id-4": { "preferred_username": "carol" },
            "id-5": { "preferred_username": "dave", "groups": { "ops": true } },
            "id-6": person("eve", &["ops"]),
        });
        let authority = Authority::new();
        let provider = OpenidProvider::start(&package, &authority, &people, further);
        Some(Self {
            provider,
            authority,
            dir: tempfile::tempdir().expect("a directory can be made"),
        })
    }

    fn settings(&self) -> Oidc {
        let ca_file = Some(self.authority.ca_file());
        Oidc {
            client_secret_file: Some(secret_file(self.dir.path(), OpenidProvider::SECRET)),
            ..settings(self.provider.issuer(), ca_file)
        }
    }

    /// Has somebody do something in a browser.
    async fn browse<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Browser) -> T + Send + 'static,
    ) -> T {
        let mut browser = self.provider.browser();
        let acting = tokio::task::spawn_blocking(move || act(&mut browser));
        acting.await.expect("the browser gets through")
    }

    /// Goes through a login by a browser; yields the page that brings the code.
    async fn agree(&self, begun: &Begun, name: &'static str) -> Page {
        let page = begun.authorize_url.clone().expect("a page to open");
        self.browse(move |browser| {
            let page = browser.open(&page);
            browser.log_in(page, name)
        })
        .await
    }

    /// Has the provider sign with a new key.
    async fn rotate_keys(&self) {
        let address = format!("{}/rotate", self.provider.issuer());
        let page = self
            .browse(move |browser| browser.post(&address, &[]))
            .await;
        assert_eq!(page.status, 200);
    }

    /// Logs somebody in at another device.
    async fn by_device(&self, desk: &Desk, name: &'static str) -> Result<Step, Refusal> {
        let begun = desk.begin(MethodKind::Device, "").await?;
        let page = begun
            .verification_uri_complete
            .clone()
            .expect("a page to open");
        let page = self
            .browse(move |browser| {
                let page = browser.open(&page);
                browser.log_in(page, name)
            })
            .await;
        assert_eq!(page.status, 200, "{}", page.body);
        desk.finish(&begun.flow, "", "").await
    }
}

fn person(step: Result<Step, Refusal>) -> Person {
    match step {
        Ok(Step::Person { method, person }) => {
            assert_eq!(method, NAME);
            *person
        }
        other => panic!("nobody was recognised: {other:?}"),
    }
}

#[tokio::test]
async fn somebody_who_confirms_the_code_elsewhere_is_recognised() {
    let Some(world) = World::start("device flow", &json!({})) else {
        return;
    };
    let desk = Desk::new(world.settings());
    let begun = desk.begin(MethodKind::Device, "").await.expect("it begins");
    assert_eq!(begun.expires_in, Some(600));
    assert_eq!(begun.interval, Some(5));
    let code = begun.user_code.clone().expect("a code to type");
    let page = begun.verification_uri.clone().expect("a page to open");
    assert!(page.starts_with(world.provider.issuer()), "{page}");
    let waits = desk.finish(&begun.flow, "", "").await;
    assert!(
        matches!(waits, Ok(Step::Pending { seconds: 5 })),
        "{waits:?}"
    );

    let end = world
        .browse(move |browser| {
            let page = browser.open(&page);
            let page = browser.submit(&page, &[("user_code", &code)]);
            browser.log_in(page, "id-1")
        })
        .await;
    assert_eq!(end.status, 200, "{}", end.body);
    let stranger = Desk {
        holder: mint::key(),
        issuer: desk.issuer.clone(),
        ..Desk::new(world.settings())
    };
    let stolen = refusal(stranger.finish(&begun.flow, "", "").await);
    assert_eq!(stolen.reason, Reason::Flow);

    let bob = person(desk.finish(&begun.flow, "", "").await);
    assert_eq!(
        (bob.name.as_str(), bob.callerid.as_str()),
        ("bob", "oidc=bob")
    );
    assert_eq!(bob.agents, ["rpcutil.*", "httpd.restart"]);
    assert_eq!(
        bob.properties.get("mail").map(String::as_str),
        Some("bob@example.net")
    );
    let again = refusal(desk.finish(&begun.flow, "", "").await);
    assert!(
        matches!(again.reason, Reason::Flow | Reason::Provider),
        "{again:?}"
    );
}

#[tokio::test]
async fn a_browser_brings_a_code_that_only_this_login_can_use() {
    let Some(world) = World::start("code flow", &json!({})) else {
        return;
    };
    let desk = Desk::new(world.settings());
    let begun = desk
        .begin(MethodKind::Code, REDIRECT)
        .await
        .expect("it begins");
    let authorize = begun.authorize_url.clone().expect("a page to open");
    assert!(
        authorize.contains("code_challenge_method=S256"),
        "{authorize}"
    );
    let end = world.agree(&begun, "id-1").await;
    assert!(end.address.starts_with(REDIRECT), "{end:?}");
    let (code, state) = (end.parameter("code"), end.parameter("state"));
    let (code, state) = (code.expect("a code"), state.expect("a state"));

    // Another login of the same person does not take this login's code: it has another verifier.
    let other = desk
        .begin(MethodKind::Code, REDIRECT)
        .await
        .expect("it begins");
    let address = other.authorize_url.clone().expect("a page to open");
    let page = Page {
        address,
        ..end.clone()
    };
    let other_state = page.parameter("state").expect("a state");
    let wrong_state = refusal(desk.finish(&other.flow, &code, &state).await);
    assert_eq!(wrong_state.reason, Reason::Flow);
    let used_up = refusal(desk.finish(&other.flow, &code, &other_state).await);
    assert_eq!(used_up.reason, Reason::Flow, "one attempt is all");

    let bob = person(desk.finish(&begun.flow, &code, &state).await);
    assert_eq!(bob.callerid, "oidc=bob");
    let again = refusal(desk.finish(&begun.flow, &code, &state).await);
    assert_eq!(again.reason, Reason::Flow);
}

#[tokio::test]
async fn a_code_is_of_no_use_with_another_verifier() {
    let Some(world) = World::start("verifier of another login", &json!({})) else {
        return;
    };
    let desk = Desk::new(world.settings());
    let mine = desk
        .begin(MethodKind::Code, REDIRECT)
        .await
        .expect("it begins");
    let theirs = desk
        .begin(MethodKind::Code, REDIRECT)
        .await
        .expect("it begins");
    let end = world.agree(&theirs, "id-1").await;
    let address = mine.authorize_url.clone().expect("a page to open");
    let page = Page {
        address,
        ..end.clone()
    };
    let state = page.parameter("state").expect("a state");
    let code = end.parameter("code").expect("a code");
    let refused = refusal(desk.finish(&mine.flow, &code, &state).await);
    assert_eq!(refused.reason, Reason::Provider);
    assert!(refused.message.contains("invalid_grant"), "{refused}");
}

#[tokio::test]
async fn who_says_no_is_not_logged_in() {
    let Some(world) = World::start("denied by the user", &json!({})) else {
        return;
    };
    let desk = Desk::new(world.settings());
    let begun = desk.begin(MethodKind::Device, "").await.expect("it begins");
    let page = begun
        .verification_uri_complete
        .clone()
        .expect("a page to open");
    world
        .browse(move |browser| {
            let page = browser.open(&page);
            let page = browser.submit(&page, &[]);
            browser.submit(&page, &[("abort", "yes")])
        })
        .await;
    let refused = refusal(desk.finish(&begun.flow, "", "").await);
    assert_eq!(refused.reason, Reason::Provider);
    assert!(refused.message.contains("access_denied"), "{refused}");
}

#[tokio::test]
async fn a_code_that_nobody_typed_in_time_expires() {
    let Some(world) = World::start("expired code", &json!({ "deviceSeconds": 1 })) else {
        return;
    };
    let desk = Desk::new(world.settings());
    let before = mint::now();
    let begun = desk.begin(MethodKind::Device, "").await.expect("it begins");
    assert_eq!(begun.expires_in, Some(1));
    // By our clock it is still good, so that it is the provider who says no.
    let next = Next {
        flow: begun.flow,
        code: SecretText::default(),
        state: String::new(),
        public_key: desk.holder.public(),
        now: before,
    };
    let refused = eventually(Duration::from_secs(10), PERIOD, async || {
        desk.flows.finish(&desk.issuer, &next).await.err()
    })
    .await;
    assert_eq!(refused.reason, Reason::Provider);
    assert!(refused.message.contains("expired_token"), "{refused}");
}

#[tokio::test]
async fn a_provider_may_change_its_keys_at_any_time() {
    let Some(world) = World::start("rotated keys", &json!({})) else {
        return;
    };
    let desk = Desk::new(world.settings());
    assert_eq!(
        person(world.by_device(&desk, "id-1").await).callerid,
        "oidc=bob"
    );
    world.rotate_keys().await;
    assert_eq!(
        person(world.by_device(&desk, "id-1").await).callerid,
        "oidc=bob"
    );
}

#[tokio::test]
async fn who_is_in_no_group_of_a_rule_or_has_no_name_is_refused() {
    let Some(world) = World::start("rules", &json!({})) else {
        return;
    };
    let desk = Desk::new(world.settings());
    let cases = [
        ("id-2", Reason::NotAllowed, "no rule"),
        ("id-3", Reason::Provider, "' '"),
        ("id-4", Reason::NotAllowed, "no rule"),
        ("id-5", Reason::Provider, "no list"),
    ];
    for (name, reason, part) in cases {
        let refused = refusal(world.by_device(&desk, name).await);
        assert_eq!(refused.reason, reason, "{name}: {refused}");
        assert!(refused.message.contains(part), "{name}: {refused}");
    }
    let by_mail = Desk::new(Oidc {
        name_claim: "email".to_owned(),
        ..world.settings()
    });
    let bob = person(world.by_device(&by_mail, "id-1").await);
    assert_eq!(bob.callerid, "oidc=bob@example.net");
    let unverified = refusal(world.by_device(&by_mail, "id-6").await);
    assert!(unverified.message.contains("verified"), "{unverified}");
}

#[tokio::test]
async fn claims_that_the_id_token_lacks_are_asked_for_when_that_is_allowed() {
    let Some(world) = World::start("userinfo", &json!({ "userinfoOnly": true })) else {
        return;
    };
    let desk = Desk::new(world.settings());
    assert_eq!(
        person(world.by_device(&desk, "id-1").await).callerid,
        "oidc=bob"
    );
    let never = Desk::new(Oidc {
        userinfo: AskUserinfo::Never,
        ..world.settings()
    });
    let refused = refusal(world.by_device(&never, "id-1").await);
    assert!(refused.message.contains("preferred_username"), "{refused}");
}

#[tokio::test]
async fn a_client_without_a_secret_and_one_that_posts_it_log_in_and_a_wrong_secret_does_not() {
    let Some(world) = World::start("kinds of clients", &json!({})) else {
        return;
    };
    let public = Desk::new(Oidc {
        client_id: "public".to_owned(),
        client_secret_file: None,
        ..world.settings()
    });
    assert_eq!(
        person(world.by_device(&public, "id-1").await).callerid,
        "oidc=bob"
    );
    let posting = Desk::new(Oidc {
        client_id: "posting".to_owned(),
        client_authentication: ClientAuthentication::Post,
        ..world.settings()
    });
    assert_eq!(
        person(world.by_device(&posting, "id-1").await).callerid,
        "oidc=bob"
    );
    let wrong = Desk::new(Oidc {
        client_secret_file: Some(secret_file(world.dir.path(), "another")),
        ..world.settings()
    });
    // The file is written once more by `settings`, which is what the last one reads.
    secret_file(world.dir.path(), "another");
    let refused = wrong
        .begin(MethodKind::Device, "")
        .await
        .expect_err("it is refused");
    assert_eq!(refused.reason, Reason::Provider);
    assert!(refused.message.contains("invalid_client"), "{refused}");
    secret_file(world.dir.path(), OpenidProvider::SECRET);
    assert!(
        wrong.begin(MethodKind::Device, "").await.is_ok(),
        "the secret is read anew"
    );
}

#[tokio::test]
async fn a_provider_that_is_not_trusted_or_away_logs_nobody_in_and_holds_nobody_up() {
    let Some(mut world) = World::start("provider away", &json!({})) else {
        return;
    };
    let untrusted = Desk::new(Oidc {
        ca_file: Some(Authority::new().ca_file()),
        ..world.settings()
    });
    let refused = untrusted
        .begin(MethodKind::Device, "")
        .await
        .expect_err("it is refused");
    assert_eq!(refused.reason, Reason::Unavailable);

    let desk = Desk::new(Oidc {
        timeout: Duration::from_secs(5),
        ..world.settings()
    });
    let begun = desk.begin(MethodKind::Device, "").await.expect("it begins");
    world.provider.process().pause();
    let stuck = refusal(desk.finish(&begun.flow, "", "").await);
    assert_eq!(stuck.reason, Reason::Unavailable);
    assert!(stuck.message.contains("5000 ms"), "{stuck}");
    world.provider.process().unpause();
    let waits = eventually(Duration::from_secs(30), PERIOD, async || {
        desk.finish(&begun.flow, "", "").await.ok()
    })
    .await;
    assert!(matches!(waits, Step::Pending { .. }), "{waits:?}");
    world.provider.process().kill();
    let gone = refusal(desk.finish(&begun.flow, "", "").await);
    assert_eq!(gone.reason, Reason::Unavailable);
}
