//! What is written of a decision.

use super::*;

#[test]
fn the_record_marks_names_that_nobody_vouches_for() {
    let world = World::new();
    let forged = Organisation::new().client(ClientToken::new("up=admin"));
    let mut bytes = request(world.now);
    bytes.caller = "up=root".to_owned();
    let submission = submission(&forged, bytes.encode());
    let decision = world.decide(&submission);
    let data = decision.data(&submission, "london", world.now.secs);
    assert_eq!(data.callerid, "up=root");
    let token = data.token.unwrap();
    assert!(!token.verified);
    assert_eq!(token.callerid, "up=admin");
}

#[test]
fn strangers_write_little_into_the_record() {
    let world = World::new();
    let long = "é".repeat(100_000);
    let forged = Organisation::new().client(ClientToken::new("up=admin"));
    let mut asked = request(world.now);
    asked.caller.clone_from(&long);
    let mut stranger = submission(&forged, asked.encode());
    stranger.peer.clone_from(&long);
    let unread = Submission {
        token: long,
        ..stranger.clone()
    };
    for submission in [&stranger, &unread] {
        let mut world = World::new();
        world.rules.max_request_bytes = 1 << 20;
        let decision = world.decide(submission);
        assert_eq!(decision.verdict.as_ref().err(), Some(&Reason::Token));
        let data = decision.data(submission, "london", world.now.secs);
        assert!(data.request.is_none());
        let message = data.decision.as_ref().unwrap().message.clone();
        let hash = hex::encode(Sha256::digest(&submission.request));
        assert!(message.contains(&hash), "{message}");
        assert!(data.callerid.starts_with('é') && data.callerid.ends_with('…'));
        assert!(data.to_json().len() < 4096);
    }
    // Who is known and denied: the request is the evidence, and stays whole. A token alone makes nobody known.
    let user = world.user();
    let mut endless = request(world.now);
    endless.ttl = Duration::from_secs(10 * 365 * 86_400);
    let bytes = endless.encode();
    let mut known = submission(&user, bytes.clone());
    let data = world.decide(&known).data(&known, "london", world.now.secs);
    assert_eq!(data.request.unwrap().get().as_bytes(), bytes);
    known.signature = None;
    let data = world.decide(&known).data(&known, "london", world.now.secs);
    assert!(data.request.is_none());
}

#[test]
fn the_record_of_a_request_is_one_line_whatever_its_form() {
    let world = World::new();
    let user = world.user();
    let pretty = String::from_utf8(request(world.now).encode())
        .unwrap()
        .replace(',', ",\r\n");
    for bytes in [
        pretty.into_bytes(),
        b"hello\nworld".to_vec(),
        vec![0xff; 10],
    ] {
        let mut submission = submission(&user, bytes);
        submission.signature = None;
        let decision = world.decide(&submission);
        let line = decision
            .data(&submission, "london", world.now.secs)
            .to_json();
        assert!(!line.contains(&b'\n') && !line.contains(&b'\r'));
    }
}

fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..256),
        "\\PC{0,200}".prop_map(String::into_bytes),
    ]
}

proptest! {
    #[test]
    fn nothing_is_signed_without_the_callers_signature(
        token in "[A-Za-z0-9_.-]{0,200}",
        request in any_bytes(),
        signature in proptest::option::of("[0-9a-f]{0,140}"),
    ) {
        let world = World::new();
        let submission = Submission {
            token,
            request: request.into(),
            signature,
            via: Via::Rpc,
            peer: String::new(),
        };
        let decision = world.decide(&submission);
        prop_assert!(decision.verdict.is_err());
        let line = decision.data(&submission, "london", 0).to_json();
        prop_assert!(!line.contains(&b'\n'));
    }

    #[test]
    fn what_is_changed_after_it_was_signed_is_denied(at in 0_usize..400, bit in 0_u8..8) {
        let world = World::new();
        let user = world.user();
        let bytes = request(world.now).encode();
        let mut submission = submission(&user, bytes.clone());
        let mut changed = bytes;
        let at = at % changed.len();
        changed[at] ^= 1 << bit;
        submission.request = changed.into();
        prop_assert_eq!(world.decide(&submission).verdict.unwrap_err(), Reason::Signature);
    }
}
