//! A cell whose people come from an OpenID provider: over the broker, at whichever signer is there.

use overlay_testkit::mint::Authority;
use overlay_testkit::{OpenidProvider, skip};
use serde_json::json;

use crate::people::says;
use crate::world::{PATIENCE, World};

#[test]
fn a_login_that_was_begun_is_finished_though_every_signer_was_killed_meanwhile() {
    let package = match OpenidProvider::locate() {
        Ok(package) => package,
        Err(why) => {
            return skip(
                "a provider's people at a cell",
                &why,
                OpenidProvider::INSTALL,
            );
        }
    };
    let authority = Authority::new();
    let people = json!({ "id-1": { "preferred_username": "bob", "groups": ["ops"] } });
    let provider = OpenidProvider::start(&package, &authority, &people, &json!({}));
    let world = World::with_signers(2, &[]);
    let table = format!(
        r#"
[login.oidc]
issuer = "{issuer}"
client_id = "public"
ca_file = {ca:?}
scopes = ["profile"]
name_claim = "preferred_username"
[[login.oidc.rules]]
group = "ops"
agents = ["rpcutil.ping"]
permissions = ["fleet_management", "signed_fleet_management"]
"#,
        issuer = provider.issuer(),
        ca = authority.ca_file().display().to_string(),
    );
    world.edit("aaa-signer/aaa-signer.toml", "", &table);
    let bob = world.person("bob");
    let _up = world.up();
    world.wait_for_nodes(1);

    let mut pty = bob.at_terminal(&["login", "--over", "broker", "--device"]);
    pty.expect("or open ", PATIENCE);
    pty.expect(" and compare the code", PATIENCE);
    let shown = pty.shown();
    let page = shown.split("or open ").nth(1).unwrap();
    let page = page.split_whitespace().next().unwrap();
    world.kill("aaa-signer-1");
    world.kill("aaa-signer-2");
    let mut browser = provider.browser();
    let page = browser.open(page);
    browser.log_in(page, "id-1");
    pty.expect("Logged in as oidc=bob", PATIENCE);
    let (status, shown) = pty.wait(PATIENCE);
    assert!(status.success(), "{shown}");

    world.wait_for_signer(1, true);
    bob.req("rpcutil", "ping").ok();
    assert_ne!(bob.req("rpcutil", "inventory").code, 0);
    world.wait_for_records(2, |record| says(record, "oidc=bob", "allow"));
    world.wait_for_records(1, |record| says(record, "oidc=bob", "deny"));
    world.overlay(&["audit", "verify"]).ok();
}
