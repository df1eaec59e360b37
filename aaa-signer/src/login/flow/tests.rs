use std::sync::Mutex;
use std::time::SystemTime;

use futures_util::future::FutureExt as _;
use overlay_runtime::Clock;
use overlay_testkit::mint;
use proptest::prelude::*;

use super::*;

const NOW: i64 = 1_700_000_000;

/// A provider that hands out `state`, and recognises whoever comes back with the progress that is set.
#[derive(Debug)]
struct Door {
    single_step: bool,
    pending: Mutex<bool>,
}

impl Flow for Door {
    fn name(&self) -> &'static str {
        "door"
    }

    fn kinds(&self) -> Vec<MethodKind> {
        vec![MethodKind::Device]
    }

    fn begin<'a>(&'a self, _start: &'a Start) -> BoxFuture<'a, Result<Opening, Refusal>> {
        let opening = Opening {
            begun: Begun::default(),
            state: zeroize::Zeroizing::new(b"state".to_vec()),
            validity: Duration::from_secs(600),
            single_step: self.single_step,
        };
        async { Ok(opening) }.boxed()
    }

    fn finish<'a>(
        &'a self,
        state: &'a [u8],
        _next: &'a Next,
    ) -> BoxFuture<'a, Result<Progress, Refusal>> {
        assert_eq!(state, b"state", "what was sealed comes back");
        let is_pending = *self.pending.lock().expect("no test panics with it");
        async move {
            if is_pending {
                Ok(Progress::Pending(Duration::from_millis(10)))
            } else {
                Ok(Progress::Person(Box::default()))
            }
        }
        .boxed()
    }
}

fn at(secs: i64) -> UnixTime {
    UnixTime { secs, nanos: 0 }
}

fn instance(single_step: bool, pending: bool) -> Flows {
    let door = Door {
        single_step,
        pending: Mutex::new(pending),
    };
    let clock = Clock::manual(SystemTime::UNIX_EPOCH);
    Flows::new(vec![Arc::new(door)], Memory::alone(clock))
}

fn start(holder: &Key) -> Start {
    Start {
        method: "door".to_owned(),
        kind: MethodKind::Device,
        redirect_uri: String::new(),
        public_key: holder.public(),
        now: at(NOW),
    }
}

fn next(flow: &str, holder: &Key, secs: i64) -> Next {
    Next {
        flow: flow.to_owned(),
        code: SecretText::default(),
        state: String::new(),
        public_key: holder.public(),
        now: at(secs),
    }
}

/// A login that was begun.
struct Started {
    flows: Flows,
    issuer: Key,
    holder: Key,
    flow: String,
}

impl Started {
    async fn at(flows: Flows) -> Self {
        let (issuer, holder) = (mint::key(), mint::key());
        let begun = flows.begin(&issuer, &start(&holder)).await;
        Self {
            flow: begun.expect("it begins").flow,
            flows,
            issuer,
            holder,
        }
    }

    async fn finish(&self, secs: i64) -> Result<Step, Refusal> {
        self.finish_at(&self.flows, secs).await
    }

    async fn finish_at(&self, flows: &Flows, secs: i64) -> Result<Step, Refusal> {
        flows
            .finish(&self.issuer, &next(&self.flow, &self.holder, secs))
            .await
    }
}

fn reason(step: Result<Step, Refusal>) -> Reason {
    step.expect_err("it is refused").reason
}

#[tokio::test]
async fn any_instance_of_the_issuer_goes_on_with_a_login() {
    let (issuer, holder) = (mint::key(), mint::key());
    let begun = instance(false, false).begin(&issuer, &start(&holder)).await;
    let begun = begun.expect("it begins");
    assert_eq!(begun.expires_in, Some(600));
    let step = instance(false, false)
        .finish(&issuer, &next(&begun.flow, &holder, NOW + 599))
        .await
        .expect("it goes on");
    assert!(matches!(step, Step::Person { method: "door", .. }));
}

#[tokio::test]
async fn a_login_is_of_one_key_one_issuer_and_one_method() {
    let login = Started::at(instance(false, false)).await;
    let Started {
        flows,
        issuer,
        holder,
        flow,
    } = &login;
    let other_key = flows.finish(issuer, &next(flow, &mint::key(), NOW)).await;
    assert_eq!(reason(other_key), Reason::Flow);
    let other_issuer = flows.finish(&mint::key(), &next(flow, holder, NOW)).await;
    assert_eq!(reason(other_issuer), Reason::Flow);
    let renamed = flow.replacen("door", "oidc", 1);
    let other_method = flows.finish(issuer, &next(&renamed, holder, NOW)).await;
    assert_eq!(reason(other_method), Reason::Flow);
    for broken in ["", "door", "door.", "door.AAAA", "door.****"] {
        let step = flows.finish(issuer, &next(broken, holder, NOW)).await;
        assert_eq!(reason(step), Reason::Flow, "{broken}");
    }
    assert!(login.finish(NOW).await.is_ok());
}

#[tokio::test]
async fn a_login_expires() {
    let login = Started::at(instance(false, false)).await;
    assert_eq!(reason(login.finish(NOW + 600).await), Reason::Flow);
}

#[tokio::test]
async fn a_login_yields_one_person_however_often_it_waited() {
    let login = Started::at(instance(false, true)).await;
    for _ in 0..3 {
        let step = login.finish(NOW).await;
        assert!(matches!(step, Ok(Step::Pending { seconds: 1 })));
    }
    let done = instance(false, false);
    assert!(login.finish_at(&done, NOW).await.is_ok());
    let again = login.finish_at(&done, NOW).await;
    assert_eq!(reason(again), Reason::Flow);
}

#[tokio::test]
async fn a_login_of_a_single_step_is_used_up_by_the_attempt() {
    let login = Started::at(instance(true, true)).await;
    assert!(login.finish(NOW).await.is_ok());
    assert_eq!(reason(login.finish(NOW).await), Reason::Flow);
}

#[tokio::test]
async fn what_is_not_offered_does_not_begin() {
    let (issuer, holder) = (mint::key(), mint::key());
    let flows = instance(true, true);
    for (method, kind) in [("door", MethodKind::Code), ("window", MethodKind::Device)] {
        let start = Start {
            method: method.to_owned(),
            kind,
            ..start(&holder)
        };
        let begun = flows.begin(&issuer, &start).await;
        assert_eq!(begun.expect_err("it is refused").reason, Reason::Method);
    }
    let long = Next {
        code: "x".repeat(MAX_HANDED_ON + 1).into(),
        ..next("door.x", &holder, NOW)
    };
    assert_eq!(reason(flows.finish(&issuer, &long).await), Reason::Flow);
}

#[test]
fn the_same_state_never_looks_the_same() {
    let (issuer, holder) = (mint::key(), mint::key().public());
    let state = seal::State {
        expires: NOW,
        single_step: true,
        of_method: zeroize::Zeroizing::new(Vec::new()),
    };
    let sealer = Sealer::new(&issuer);
    let seal = || sealer.seal("door", &holder, &state).expect("it is sealed");
    let (one, two) = (seal(), seal());
    assert_ne!(one, two);
    let id = |text: &str| sealer.open("door", &holder, text).expect("it opens").id;
    assert_ne!(id(&one), id(&two));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn what_is_changed_anywhere_does_not_open(position in any::<prop::sample::Index>(), letter in "[A-Za-z0-9_-]") {
        let issuer = Key::from_seed([7; 32]);
        let holder = Key::from_seed([8; 32]).public();
        let state = seal::State {
            expires: NOW,
            single_step: false,
            of_method: zeroize::Zeroizing::new(b"some state of a method".to_vec()),
        };
        let sealer = Sealer::new(&issuer);
        let text = sealer.seal("door", &holder, &state).expect("it is sealed");
        let at = position.index(text.len());
        let mut changed = text.clone();
        changed.replace_range(at..=at, &letter);
        if changed != text {
            prop_assert!(sealer.open("door", &holder, &changed).is_err());
        }
    }
}
