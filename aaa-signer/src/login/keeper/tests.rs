use std::path::Path;
use std::time::Duration;

use overlay_testkit::mint::{self, Login, Organisation};
use overlay_tokens::issue::{ClientToken, OrgIssuer};
use prometheus::Registry;

use super::*;
use crate::config::TokenFiles;

fn keeper(dir: &Path, organisation: &Organisation) -> Keeper {
    let files = IssuerFiles::Chain(TokenFiles {
        token_file: dir.join("login.jwt"),
        seed_file: dir.join("login.seed"),
    });
    let (secrets, clock) = (Secrets::default(), Clock::system());
    Keeper::open(&files, &organisation.issuers(), &secrets, &clock).unwrap()
}

fn bob(keeper: &Keeper) -> String {
    keeper.places().place("bob", "")
}

#[test]
fn places_follow_the_secret_at_every_instance_and_outlive_a_renewed_token() {
    let dir = tempfile::tempdir().unwrap();
    let key = mint::key();
    let organisation = Organisation::with_key(key.clone());
    let org_issuer = OrgIssuer::new(key);
    let metrics = Metrics::register(&Registry::new(), "x").unwrap();
    let issuer = mint::key();
    let issue = |key: &Key| {
        let claims = ClientToken {
            public_key: Some(key.public()),
            validity: Duration::from_secs(3600),
            ..ClientToken::new("login")
        }
        .claims(mint::now());
        let token = org_issuer.issue_chain_issuer(claims.unwrap()).unwrap();
        let key = key.clone();
        Login { token, key }.write(dir.path(), "login");
    };
    issue(&issuer);
    let (one, two) = (
        keeper(dir.path(), &organisation),
        keeper(dir.path(), &organisation),
    );
    let before = bob(&one);
    assert_eq!(bob(&two), before);

    issue(&issuer);
    one.look(&metrics);
    assert_eq!(bob(&one), before, "the token is a new one, its key is not");

    issue(&mint::key());
    one.look(&metrics);
    assert_ne!(bob(&one), before);
    assert_eq!(bob(&two), before, "it has not looked yet");
    two.look(&metrics);
    assert_eq!(bob(&one), bob(&two));
    assert_eq!(bob(&one), bob(&keeper(dir.path(), &organisation)));
}
