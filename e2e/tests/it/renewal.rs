//! A node renews its token before it ends, and serves on meanwhile.

use overlay_testkit::mint;
use overlay_tokens::Unverified;
use overlay_tokens::claims::ServerClaims;

use crate::bare::{Bare, QUICK};
use crate::world::{PATIENCE, World};

const NAME: &str = "n1.example.net";

#[test]
fn a_node_answers_while_its_token_is_renewed_and_after_the_old_one_has_ended() {
    let world = World::new(0, &["--provisioners", "1"]);
    world.edit("provisioner/provisioner.toml", "", QUICK);
    world.edit(
        "provisioner/provisioner.toml",
        "validity = \"90d\"",
        "validity = \"24s\"\nmin_validity = \"1s\"",
    );
    let _up = world.up();
    let node = Bare::start(&world, NAME, None);
    world.wait_for_nodes(1);
    let pid = node.process.pid();
    let token = node.file("server.jwt").unwrap();
    let claims = Unverified::<ServerClaims>::decode(&token).unwrap();
    let expires = claims.claims_unverified().standard.exp.unwrap();
    let give_up = mint::now().secs + i64::try_from(PATIENCE.as_secs()).unwrap();
    // Not a single request goes unanswered until the first token is over.
    let (mut asked, mut silent) = (0, Vec::new());
    while mint::now().secs < expires + 3 && mint::now().secs < give_up {
        asked += 1;
        let said = world.overlay(&["req", "rpcutil", "ping", "-I", NAME, "--json"]);
        if said.code != 0 || said.json()["request_stats"]["ok"] != 1 {
            silent.push(expires - mint::now().secs);
        }
    }
    assert!(asked > 10, "{asked} requests were made");
    // The swap itself re-executes the program: it may miss what comes in that moment, and nothing else.
    assert!(
        silent.len() <= 2,
        "unanswered, in seconds before the end of the token: {silent:?}"
    );
    assert_ne!(
        node.file("server.jwt").unwrap(),
        token,
        "the token was renewed"
    );
    assert_eq!(node.process.pid(), pid);
    assert!(world.answering() == [NAME]);
}
