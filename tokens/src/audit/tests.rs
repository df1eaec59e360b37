use std::time::Duration;

use overlay_protocol::audit::{Data, Head, Kind, Notice};
use proptest::prelude::*;

use super::*;
use crate::claims::{ServerClaims, ServerPermissions};
use crate::issue::{ServerToken, sign};
use crate::{Issuers, Key, UnixTime, Unverified};

const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);
const NAME: &str = "aaa-1.lhr";

fn org() -> Key {
    Key::from_seed([1; 32])
}

fn issuers() -> Issuers {
    Issuers::new([("choria".to_owned(), org().public())]).unwrap()
}

fn token(identity: &str, service_host: bool, org: &Key, key: &Key) -> String {
    let claims = ServerToken {
        identity: identity.to_owned(),
        collectives: vec!["choria".to_owned()],
        public_key: Some(key.public()),
        validity: Duration::from_secs(3600),
        permissions: Some(ServerPermissions {
            service_host,
            ..ServerPermissions::default()
        }),
        ..ServerToken::default()
    };
    sign(&claims.claims(NOW).unwrap(), org).unwrap()
}

fn sealer(identity: &str) -> Sealer {
    let key = Key::from_seed([2; 32]);
    let text = token(identity, true, &org(), &key);
    let verified = Unverified::<ServerClaims>::decode(&text)
        .unwrap()
        .verify(&issuers(), NOW)
        .unwrap();
    Sealer::new(&verified, key).unwrap()
}

/// Lines of a chain: opened, `count` records with a checkpoint after each five, closed.
fn written(count: u64) -> (Vec<Vec<u8>>, Chain) {
    let sealer = sealer(NAME);
    let mut chain = Chain::new(NAME, Head::START);
    let mut lines = vec![chain.seal(Kind::Opened, Some(&sealer), NOW, Data::default())];
    for index in 0..count {
        let data = format!(r#"{{"callerid":"up=bob","action":"allow","n":{index}}}"#);
        lines.push(chain.append(Kind::Signature, "up=bob", NOW, data.as_bytes()));
        if index % 5 == 4 {
            lines.push(chain.seal(Kind::Checkpoint, Some(&sealer), NOW, Data::default()));
        }
    }
    lines.push(chain.seal(Kind::Closed, Some(&sealer), NOW, Data::default()));
    (lines, chain)
}

fn place(index: usize) -> Place {
    Place::File {
        name: "audit".into(),
        line: u64::try_from(index).unwrap() + 1,
    }
}

fn read(mut verifier: Verifier, lines: &[Vec<u8>]) -> Verdict {
    for (index, line) in lines.iter().enumerate() {
        verifier.line(place(index), line);
    }
    verifier.finish()
}

fn verify(lines: &[Vec<u8>]) -> Verdict {
    read(Verifier::new(Some(issuers())), lines)
}

/// Kinds, numbers and lines of the faults.
fn faults(verdict: &Verdict) -> Vec<(FaultKind, Option<u64>, u64)> {
    let line = |place: &Place| match place {
        Place::File { line, .. } => *line,
        Place::Stream { .. } | Place::Nowhere => 0,
    };
    verdict
        .faults
        .iter()
        .map(|fault| (fault.kind, fault.sequence, line(&fault.place)))
        .collect()
}

#[test]
fn a_chain_that_nobody_touched_is_whole_and_sealed_to_its_end() {
    let (lines, chain) = written(12);
    let verdict = verify(&lines);
    assert!(verdict.is_whole(), "{:?}", verdict.faults);
    let found = &verdict.chains[0];
    assert_eq!((found.first, found.last), (1, 16));
    assert_eq!(found.sealed, Some(16));
    assert_eq!(found.hash, chain.head().hash);
    assert!(found.closed);
    assert_eq!(verdict.records, 16);
}

#[test]
fn a_changed_line_is_named() {
    let (mut lines, _) = written(12);
    let text = String::from_utf8(lines[3].clone()).unwrap();
    lines[3] = text.replace("allow", "deny_").into_bytes();
    let verdict = verify(&lines);
    assert_eq!(faults(&verdict), [(FaultKind::Changed, Some(4), 4)]);
    lines[3] = b"{}".to_vec();
    assert_eq!(
        faults(&verify(&lines)),
        [(FaultKind::Changed, None, 4)],
        "what is no record at all is told once"
    );
}

#[test]
fn a_line_with_another_number_is_named() {
    let (mut lines, _) = written(12);
    let text = String::from_utf8(lines[3].clone()).unwrap();
    lines[3] = text
        .replace("000000000004\",\"prev", "000000000009\",\"prev")
        .into_bytes();
    let verdict = verify(&lines);
    assert_eq!(
        faults(&verdict),
        [
            (FaultKind::Changed, Some(4), 4),
            (FaultKind::Changed, Some(4), 4)
        ]
    );
}

#[test]
fn missing_lines_are_named_with_the_place_of_the_gap() {
    let (mut lines, _) = written(12);
    lines.drain(3..5);
    let verdict = verify(&lines);
    assert_eq!(faults(&verdict), [(FaultKind::Missing, Some(4), 4)]);
    assert!(verdict.faults[0].message.contains("4 to 5"));
}

#[test]
fn swapped_and_repeated_lines_are_named() {
    let (mut lines, _) = written(12);
    lines.swap(3, 4);
    assert_eq!(
        faults(&verify(&lines)),
        [(FaultKind::Reordered, Some(4), 5)]
    );
    lines.swap(3, 4);
    lines.insert(9, lines[2].clone());
    assert_eq!(
        faults(&verify(&lines)),
        [(FaultKind::Repeated, Some(3), 10)]
    );
}

#[test]
fn a_line_that_moved_far_is_named_once() {
    let (mut lines, _) = written(12);
    let line = lines.remove(3);
    lines.insert(10, line);
    assert_eq!(
        faults(&verify(&lines)),
        [(FaultKind::Reordered, Some(4), 11)]
    );
}

#[test]
fn a_cut_end_is_found_by_a_signed_head_and_by_an_expectation() {
    let (mut lines, chain) = written(12);
    let signed = sealer(NAME).head(chain.head(), NOW);
    let head = signed.verify(&issuers()).unwrap();
    assert_eq!(head, chain.head());
    lines.truncate(10);
    assert!(verify(&lines).is_whole(), "the chain alone cannot tell");
    let mut verifier = Verifier::new(None);
    verifier.expect(NAME, head);
    assert_eq!(
        faults(&read(verifier, &lines)),
        [(FaultKind::Truncated, Some(11), 10)]
    );
    let mut verifier = Verifier::new(None);
    verifier.expect("other", head);
    assert_eq!(
        faults(&read(verifier, &lines)),
        [(FaultKind::Truncated, Some(1), 0)]
    );
}

#[test]
fn a_head_that_somebody_else_signed_or_changed_says_nothing() {
    let (_, chain) = written(1);
    let signed = sealer(NAME).head(chain.head(), NOW);
    let mut other = signed.clone();
    other.sequence -= 1;
    assert!(matches!(
        other.verify(&issuers()),
        Err(SealError::Signature)
    ));
    let mut other = signed.clone();
    other.chain = "aaa-2.lhr".to_owned();
    assert!(matches!(
        other.verify(&issuers()),
        Err(SealError::Identity { .. })
    ));
    let strangers = Issuers::new([("choria".to_owned(), Key::from_seed([9; 32]).public())]);
    assert!(matches!(
        signed.verify(&strangers.unwrap()),
        Err(SealError::Token(_))
    ));
}

#[test]
fn lines_made_anew_from_some_point_on_lack_good_checkpoints() {
    let (mut lines, _) = written(12);
    lines.truncate(5);
    let mut verifier = Chain::new(NAME, Head::START);
    for line in &lines {
        verifier = Chain::new(
            NAME,
            Head {
                sequence: verifier.head().sequence + 1,
                hash: overlay_protocol::audit::LineHash::of(line),
            },
        );
    }
    let forger = verifier;
    // an ordinary node's token, and a service's that is not the writer of the chain
    for (identity, service_host) in [(NAME, false), ("aaa-2.lhr", true)] {
        let (mut lines, mut chain) = (lines.clone(), forger.clone());
        let key = Key::from_seed([3; 32]);
        let data = Data {
            seal: Some(overlay_protocol::audit::Seal {
                signature: hex::encode(
                    key.sign(
                        overlay_protocol::audit::checkpoint_text(
                            Kind::Closed,
                            NAME,
                            chain.head().sequence + 1,
                            chain.head().hash,
                            NOW.secs,
                        )
                        .as_bytes(),
                    ),
                ),
                token: token(identity, service_host, &org(), &key),
            }),
            time: NOW.secs,
            ..Data::default()
        };
        lines.push(chain.append(Kind::Closed, "", NOW, &data.to_json()));
        assert_eq!(
            faults(&verify(&lines)),
            [(FaultKind::BadCheckpoint, Some(6), 6)]
        );
    }
    let mut unsigned = forger;
    lines.push(unsigned.seal(Kind::Checkpoint, None, NOW, Data::default()));
    let verdict = verify(&lines);
    assert_eq!(faults(&verdict), [(FaultKind::BadCheckpoint, Some(6), 6)]);
    assert_eq!(verdict.chains[0].sealed, Some(1));
    assert!(read(Verifier::new(None), &lines).is_whole());
}

#[test]
fn a_chain_that_begins_anew_is_told_and_one_that_begins_late_is_not_a_fault() {
    let (mut lines, _) = written(2);
    let (again, _) = written(3);
    let began = lines.len();
    lines.extend(again);
    assert_eq!(
        faults(&verify(&lines)),
        [(
            FaultKind::Restarted,
            Some(1),
            u64::try_from(began).unwrap() + 1
        )]
    );
    let (lines, _) = written(12);
    let verdict = verify(&lines[4..]);
    assert!(verdict.is_whole());
    assert_eq!(verdict.chains[0].first, 5);
}

#[test]
fn a_chain_that_must_begin_at_its_begin_and_does_not_is_told() {
    let (lines, _) = written(12);
    let mut verifier = Verifier::new(None);
    verifier.expect_begins();
    assert_eq!(
        faults(&read(verifier, &lines[4..])),
        [(FaultKind::Missing, Some(1), 1)]
    );
}

#[test]
fn a_signed_head_is_expected_and_a_false_one_is_a_fault() {
    let (lines, chain) = written(3);
    let signed = sealer(NAME).head(chain.head(), NOW);
    let mut verifier = Verifier::new(Some(issuers()));
    verifier.expect_signed(place(0), &signed);
    assert!(read(verifier, &lines).is_whole());
    let mut verifier = Verifier::new(Some(issuers()));
    verifier.expect_signed(place(0), &signed);
    assert_eq!(
        faults(&read(verifier, &lines[..2])),
        [(FaultKind::Truncated, Some(3), 2)]
    );
    let mut verifier = Verifier::new(Some(issuers()));
    let unsigned = SignedHead {
        seal: overlay_protocol::audit::Seal::default(),
        ..signed
    };
    verifier.expect_signed(place(0), &unsigned);
    assert_eq!(
        faults(&read(verifier, &lines)),
        [(FaultKind::BadCheckpoint, Some(5), 1)]
    );
}

#[test]
fn chains_of_several_writers_are_told_apart() {
    let (one, _) = written(4);
    let mut chain = Chain::new("aaa-2.lhr", Head::START);
    let other = sealer("aaa-2.lhr");
    let mut two = vec![chain.seal(Kind::Opened, Some(&other), NOW, Data::default())];
    two.push(chain.append(Kind::Login, "up=x", NOW, b"{}"));
    let mixed: Vec<_> = one
        .iter()
        .zip(&two)
        .flat_map(|(a, b)| [a.clone(), b.clone()])
        .chain(one[two.len()..].iter().cloned())
        .collect();
    let verdict = verify(&mixed);
    assert!(verdict.is_whole(), "{:?}", verdict.faults);
    assert_eq!(verdict.chains.len(), 2);
}

#[test]
fn what_the_writer_says_of_its_chain_is_shown() {
    let mut chain = Chain::new(NAME, Head::START);
    let data = Data {
        notice: Some(Notice {
            what: "partial_line".to_owned(),
            message: "a line without its end was set aside".to_owned(),
        }),
        ..Data::default()
    };
    let line = chain.seal(Kind::Opened, Some(&sealer(NAME)), NOW, data);
    let verdict = verify(&[line]);
    assert!(verdict.is_whole());
    assert_eq!(verdict.notices[0].what, "partial_line");
}

/// One way to spoil a file.
#[derive(Debug, Clone)]
enum Spoil {
    Flip(usize, usize),
    Remove(usize),
    Swap(usize, usize),
    Repeat(usize, usize),
    Cut(usize),
    Rewrite(usize),
}

fn spoils() -> impl Strategy<Value = Spoil> {
    let any = 0_usize..1000;
    prop_oneof![
        (any.clone(), any.clone()).prop_map(|(line, byte)| Spoil::Flip(line, byte)),
        any.clone().prop_map(Spoil::Remove),
        (any.clone(), any.clone()).prop_map(|(one, two)| Spoil::Swap(one, two)),
        (any.clone(), any.clone()).prop_map(|(one, two)| Spoil::Repeat(one, two)),
        any.clone().prop_map(Spoil::Cut),
        any.prop_map(Spoil::Rewrite),
    ]
}

impl Spoil {
    fn apply(&self, lines: &mut Vec<Vec<u8>>) {
        let count = lines.len();
        match *self {
            Self::Flip(line, byte) => {
                let line = &mut lines[line % count];
                let byte = byte % line.len();
                line[byte] ^= 1;
            }
            Self::Remove(line) => {
                lines.remove(line % count);
            }
            Self::Swap(one, two) => lines.swap(one % count, two % count),
            Self::Repeat(one, two) => {
                let line = lines[one % count].clone();
                lines.insert(two % (count + 1), line);
            }
            Self::Cut(at) => lines.truncate(at % count),
            Self::Rewrite(line) => {
                let line = &mut lines[line % count];
                let text = String::from_utf8(line.clone()).unwrap();
                *line = text.replace("allow", "deny").into_bytes();
            }
        }
    }
}

proptest! {
    /// With the head known, no change of any kind goes unseen, and nothing makes the verifier panic.
    #[test]
    fn nothing_is_spoilt_unseen(count in 0..30_u64, spoils in prop::collection::vec(spoils(), 1..4)) {
        let (lines, chain) = written(count);
        let mut spoilt = lines.clone();
        for spoil in spoils {
            if !spoilt.is_empty() {
                spoil.apply(&mut spoilt);
            }
        }
        let mut verifier = Verifier::new(Some(issuers()));
        verifier.expect(NAME, chain.head());
        let verdict = read(verifier, &spoilt);
        let first = verdict.chains.first().map(|chain| chain.first);
        // what is removed before the first record that is left looks like what has expired
        let expired = lines.ends_with(&spoilt) && first.is_some_and(|first| first > 1);
        prop_assert_eq!(verdict.is_whole(), spoilt == lines || expired, "{:?}", verdict);
    }

    #[test]
    fn no_lines_make_the_verifier_panic(lines in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..20)) {
        verify(&lines);
    }
}
