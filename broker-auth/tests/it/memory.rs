//! Whether the memory for verified tokens is large enough for a cell.

use overlay_broker_auth::Memory;
use overlay_testkit::mint::{Organisation, now};
use overlay_tokens::issue::{ClientToken, ServerToken};

/// What `[limits] token_memory_mib` is unless it is set.
const DEFAULT: u64 = 72 << 20;

/// A twentieth of it for a twentieth of a cell of 20,000 nodes, whose tokens a provisioner issued.
#[test]
fn the_tokens_of_a_whole_cell_are_remembered() {
    let organisation = Organisation::new();
    let provisioner = organisation.chain(ClientToken::new("provisioner=cell"));
    let issuers = organisation.issuers();
    let memory = Memory::new(DEFAULT / 20);
    let tokens: Vec<_> = (0..1000)
        .map(|node| {
            let token = ServerToken {
                identity: format!("node-{node:05}.rack-17.site-lhr.example.net"),
                collectives: vec!["choria".to_owned(), "lhr".to_owned()],
                ..ServerToken::default()
            };
            provisioner.server(token).token
        })
        .collect();
    for token in &tokens {
        memory.servers.verify(token, &issuers, now()).unwrap();
    }
    let remembered = tokens
        .iter()
        .filter(|token| memory.servers.find(token, &issuers, now()).is_some())
        .count();
    assert!(remembered >= 950, "{remembered} of 1000");
}
