//! One login from its arrival to its answer.

use std::sync::Arc;

use overlay_protocol::SecretText;
use overlay_protocol::signing::login::{
    Begin, Begun, Continue, Continued, LoginRequest, MethodKind, begin_text, continue_text,
    password_text,
};
use overlay_protocol::signing::{CANNOT_SIGN, LOGIN_FAILED};
use overlay_runtime::err_chain;
use overlay_tokens::{PublicKey, UnixTime};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::flow::{Next, Start, Step};
use super::issuer::Issued;
use super::places::folded;
use super::proof::{Proof, Proved};
use super::{Busy, From, Inner, LoginAnswer, Reason};
use crate::authenticate::userlist::MAX_NAME_BYTES;
use crate::authenticate::{Attempt, Authenticator, Person, Refusal};
use crate::source::source;

/// Longest password, in bytes; it is never cut.
const MAX_PASSWORD_BYTES: usize = 1024;
/// Longest one-time code, in bytes.
const MAX_OTP_BYTES: usize = 64;
/// Longest kind, method and address of a begun login, together with what else is signed.
const MAX_BEGIN_BYTES: usize = 4096;
/// Longest further step.
const MAX_CONTINUE_BYTES: usize = 32 * 1024;
/// A used request is remembered for so long beyond its window.
const REMEMBERED: u64 = 60;

/// What is known of an attempt: for the log and the record.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) from: From,
    pub(super) began: Instant,
    pub(super) now: UnixTime,
    pub(super) method: &'static str,
    pub(super) user: String,
    pub(super) key: Option<PublicKey>,
    pub(super) factor: Option<&'static str>,
    /// The person's tenant, or that of the token whose session is to end; once it is proved.
    pub(super) tenant: Option<String>,
}

/// What became of an attempt that was not refused on the way.
pub(super) type Outcome = Result<Issued, Refusal>;

impl Known {
    pub(super) fn new(from: From, user: String, now: UnixTime) -> Self {
        Self {
            from,
            began: Instant::now(),
            now,
            method: "",
            user,
            key: None,
            factor: None,
            tenant: None,
        }
    }
}

impl Inner {
    pub(super) async fn password(
        &self,
        login: LoginRequest,
        otp: Option<SecretText>,
        from: From,
    ) -> LoginAnswer {
        let mut known = Known::new(from, login.username.clone(), self.now());
        // Whoever is refused before anybody is asked would have been asked for this first.
        known.method = self
            .authenticators
            .first()
            .map_or("", |authenticator| authenticator.name());
        let outcome = self.try_password(login, otp, &mut known).await;
        match self.conclude(known, outcome).await {
            Ok(token) => LoginAnswer::Token(token),
            Err(Reason::Issue) => LoginAnswer::CannotSign,
            Err(reason) if reason.is_busy() => LoginAnswer::Busy,
            Err(_) => LoginAnswer::Failed,
        }
    }

    pub(super) async fn begin(&self, begin: Begin, from: From) -> Result<Begun, Busy> {
        let mut known = Known::new(from, String::new(), self.now());
        match self.try_begin(begin, &mut known).await {
            Ok(begun) => Ok(begun),
            Err(refusal) => Ok(Begun {
                error: Some(refusal_text(self.refuse(known, refusal).await)?),
                ..Begun::default()
            }),
        }
    }

    pub(super) async fn go_on(&self, step: Continue, from: From) -> Result<Continued, Busy> {
        let mut known = Known::new(from, String::new(), self.now());
        let outcome = match self.try_step(step, &mut known).await {
            Ok(Step::Pending { seconds }) => {
                return Ok(Continued {
                    pending: Some(seconds),
                    ..Continued::default()
                });
            }
            Ok(Step::Person { method, person }) => {
                known.method = method;
                self.issue(&person, &mut known)
            }
            Err(refusal) => Err(refusal),
        };
        match self.conclude(known, outcome).await {
            Ok(token) => Ok(Continued {
                token: Some(token),
                ..Continued::default()
            }),
            Err(reason) => Ok(Continued {
                error: Some(refusal_text(reason)?),
                ..Continued::default()
            }),
        }
    }

    async fn try_password(
        &self,
        login: LoginRequest,
        otp: Option<SecretText>,
        known: &mut Known,
    ) -> Outcome {
        self.admit(&known.from)?;
        let _place = self.admitted.try_acquire().map_err(|_full| Reason::Busy)?;
        let too_long = login.username.len() > MAX_NAME_BYTES
            || login.password.expose().len() > MAX_PASSWORD_BYTES
            || otp
                .as_ref()
                .is_some_and(|otp| otp.expose().len() > MAX_OTP_BYTES);
        if too_long {
            return Err(Reason::TooLong.into());
        }
        let proved = self.prove(
            &login.timestamp,
            &login.public_key,
            &login.signature,
            &password_text(&login.timestamp, &login.username, login.password.expose()),
            known,
        )?;
        // Before anything is counted: nobody has such a name, and what is counted by it must not be another's.
        if login.username.trim() != login.username || login.username.chars().any(char::is_control) {
            return Err(Refusal::new(
                Reason::UnknownUser,
                "the name has spaces around it, or control characters in it",
            ));
        }
        let name = folded(&login.username);
        if !self.names.take(&name, self.elapsed_ms()) {
            return Err(Reason::Rate.into());
        }
        let _pass = self
            .gates
            .enter(&name)
            .await
            .map_err(|_crowded| Reason::Busy)?;
        let attempt = Attempt {
            username: login.username,
            password: login.password,
            otp,
            now: known.now,
        };
        // Where somebody has logged in before, wrong passwords from elsewhere do not lock them out.
        let source = source(&known.from.peer);
        let is_familiar = self.memory.is_familiar(&name, &source).await;
        let counted = self
            .keeper
            .places()
            .place(&name, if is_familiar { &source } else { "" });
        let failures = self.memory.failures(&counted).await;
        if failures.is_locked(known.now.secs) {
            for authenticator in &self.authenticators {
                authenticator.pretend(&attempt).await;
            }
            return Err(Refusal::new(
                Reason::Locked,
                format!(
                    "{}: {} in a row, for {} s more",
                    Reason::Locked.message(),
                    failures.count,
                    failures.until.saturating_sub(known.now.secs)
                ),
            ));
        }
        let asked = ask(&self.authenticators, &attempt, &mut known.method).await;
        let person = match asked {
            Ok(person) => person,
            Err(refusal) => {
                if refusal.reason.is_guess() {
                    self.memory.failed(&counted, self.lockout).await;
                }
                return Err(refusal);
            }
        };
        self.use_up(&proved).await?;
        if failures.count > 0 {
            self.memory.forgive(&counted).await;
        }
        if !is_familiar {
            self.memory.familiarise(&name, &source).await;
        }
        self.issue(&person, known)
    }

    async fn try_begin(&self, begin: Begin, known: &mut Known) -> Result<Begun, Refusal> {
        self.admit(&known.from)?;
        let _place = self.admitted.try_acquire().map_err(|_full| Reason::Busy)?;
        let length = begin.method.len() + begin.kind.len() + begin.redirect_uri.len();
        if length > MAX_BEGIN_BYTES {
            return Err(Reason::TooLong.into());
        }
        let proved = self.prove(
            &begin.timestamp,
            &begin.public_key,
            &begin.signature,
            &begin_text(
                &begin.timestamp,
                &begin.method,
                &begin.kind,
                &begin.redirect_uri,
            ),
            known,
        )?;
        let (method, kind) = self
            .flows
            .methods()
            .into_iter()
            .find(|(name, kind)| *name == begin.method && kind.as_str() == begin.kind)
            .ok_or(Reason::Method)?;
        known.method = method;
        debug_assert!(kind != MethodKind::Password);
        let start = Start {
            method: begin.method,
            kind,
            redirect_uri: begin.redirect_uri,
            public_key: proved.key,
            now: known.now,
        };
        let issuer = self.keeper.current();
        self.flows.begin(issuer.sealing(), &start).await
    }

    async fn try_step(&self, step: Continue, known: &mut Known) -> Result<Step, Refusal> {
        self.admit(&known.from)?;
        let _place = self.admitted.try_acquire().map_err(|_full| Reason::Busy)?;
        let code = step.code.unwrap_or_default();
        let state = step.state.unwrap_or_default();
        if step.flow.len() + code.expose().len() + state.len() > MAX_CONTINUE_BYTES {
            return Err(Reason::TooLong.into());
        }
        let proved = self.prove(
            &step.timestamp,
            &step.public_key,
            &step.signature,
            &continue_text(&step.timestamp, &step.flow, code.expose(), &state),
            known,
        )?;
        let next = Next {
            flow: step.flow,
            code,
            state,
            public_key: proved.key,
            now: known.now,
        };
        let issuer = self.keeper.current();
        if let Some(method) = self.flows.method_of(&next.flow) {
            known.method = method;
        }
        self.flows.finish(issuer.sealing(), &next).await
    }

    /// Takes one attempt of the source.
    pub(super) fn admit(&self, from: &From) -> Result<(), Reason> {
        if self.sources.take(source(&from.peer), self.elapsed_ms()) {
            Ok(())
        } else {
            Err(Reason::Rate)
        }
    }

    fn prove(
        &self,
        timestamp: &str,
        public_key: &str,
        signature: &str,
        text: &str,
        known: &mut Known,
    ) -> Result<Proved, Reason> {
        let proof = Proof {
            timestamp,
            public_key,
            signature,
        };
        let proved = proof.check(text, self.window, known.now.secs)?;
        known.key = Some(proved.key);
        Ok(proved)
    }

    /// Lets a signed request through once. What is remembered tells nothing about the password that it covers.
    async fn use_up(&self, proved: &Proved) -> Result<(), Refusal> {
        let mut hash = Sha256::new();
        hash.update(proved.key.as_bytes());
        hash.update(proved.signature);
        let key = format!("login.{}", hex::encode(hash.finalize()));
        let window = self.window.back.saturating_add(self.window.ahead);
        let seconds = u64::try_from(window).unwrap_or_default();
        match self
            .memory
            .once(&key, seconds.saturating_add(REMEMBERED))
            .await
        {
            Ok(true) => Ok(()),
            Ok(false) => Err(Reason::Replayed.into()),
            Err(error) => Err(Refusal::new(Reason::Busy, err_chain(&error))),
        }
    }

    fn issue(&self, person: &Person, known: &mut Known) -> Outcome {
        known.user.clone_from(&person.name);
        known.factor = person.factor;
        known.tenant.clone_from(&person.tenant);
        let key = known.key.ok_or(Reason::NoKey)?;
        self.keeper
            .current()
            .issue(person, key, &self.defaults, known.now)
            .map_err(|error| Refusal::new(Reason::Issue, err_chain(&error)))
    }

    pub(super) fn now(&self) -> UnixTime {
        self.clock.now().into()
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Asks authenticators in their order and notes each in `method`; the first that knows the name decides. A refusal takes the work
/// of all of them, so that it does not tell which one knows the name.
async fn ask(
    authenticators: &[Arc<dyn Authenticator>],
    attempt: &Attempt,
    method: &mut &'static str,
) -> Result<Person, Refusal> {
    let mut outcome = Err(Reason::Method.into());
    let mut authenticators = authenticators.iter();
    for authenticator in authenticators.by_ref() {
        *method = authenticator.name();
        outcome = authenticator.authenticate(attempt).await;
        match &outcome {
            Err(refusal) if refusal.reason == Reason::UnknownUser => {}
            Ok(_) | Err(_) => break,
        }
    }
    if outcome
        .as_ref()
        .is_err_and(|refusal| !refusal.reason.is_busy())
    {
        for authenticator in authenticators {
            authenticator.pretend(attempt).await;
        }
    }
    outcome
}

/// What the wire says of a refusal: never why.
fn refusal_text(reason: Reason) -> Result<String, Busy> {
    if reason.is_busy() {
        return Err(Busy);
    }
    let text = if reason == Reason::Issue {
        CANNOT_SIGN
    } else {
        LOGIN_FAILED
    };
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures_util::future::{BoxFuture, FutureExt as _};

    use super::*;

    /// An authenticator that always answers the same, and what it was asked for.
    #[derive(Debug)]
    struct Answers(&'static str, Option<Reason>, Arc<Mutex<Vec<String>>>);

    impl Answers {
        fn note(&self, what: &str) {
            self.2.lock().unwrap().push(format!("{} {what}", self.0));
        }
    }

    impl Authenticator for Answers {
        fn name(&self) -> &'static str {
            self.0
        }

        fn authenticate<'a>(
            &'a self,
            _attempt: &'a Attempt,
        ) -> BoxFuture<'a, Result<Person, Refusal>> {
            self.note("decides");
            let refusal = self.1.map(Refusal::from);
            async move { refusal.map_or_else(|| Ok(Person::default()), Err) }.boxed()
        }

        fn pretend<'a>(&'a self, _attempt: &'a Attempt) -> BoxFuture<'a, ()> {
            self.note("pretends");
            async {}.boxed()
        }
    }

    #[tokio::test]
    async fn a_refusal_takes_the_work_of_all_whoever_knows_the_name() {
        use Reason::{Password, Unavailable, UnknownUser};
        for (first, second, expected, method) in [
            (Some(Password), None, vec!["a decides", "b pretends"], "a"),
            (
                Some(UnknownUser),
                Some(Password),
                vec!["a decides", "b decides"],
                "b",
            ),
            (None, None, vec!["a decides"], "a"),
            // It says itself that somebody was not there to ask.
            (Some(Unavailable), None, vec!["a decides"], "a"),
        ] {
            let asked = Arc::new(Mutex::new(Vec::new()));
            let answers = |name, reason| {
                Arc::new(Answers(name, reason, Arc::clone(&asked))) as Arc<dyn Authenticator>
            };
            let authenticators = [answers("a", first), answers("b", second)];
            let attempt = Attempt {
                username: "bob".to_owned(),
                password: "secret".into(),
                otp: None,
                now: UnixTime::from_secs(0),
            };
            let mut decided = "";
            drop(ask(&authenticators, &attempt, &mut decided).await);
            assert_eq!(*asked.lock().unwrap(), expected);
            assert_eq!(decided, method);
        }
    }
}
