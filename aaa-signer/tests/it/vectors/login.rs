//! Logins of the original, replayed against a service in this process whose clock is the vectors'.
//!
//! Rules by which we differ, each a predicate over the data, are the functions of [`rules`].

mod desk;
mod modes;
mod rules;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use overlay_testkit::vectors::{Loader, Outcome, for_cases};
use serde_json::{Value, json};

use super::keys::text;
use desk::{Answer, Desk, Login, Setup};

pub(super) use modes::configurations;

/// `login-http.json`: raw requests, each to a service of its own, since one signed request is one login.
pub(super) fn over_http(file: &Value, loader: &Loader) -> Outcome {
    let loaded = Setup::load(file, loader);
    for_cases(file, |case| {
        let setup = loaded.clone()?;
        if let Some(shape) = case.get("body_shape") {
            return described(shape, &Desk::start(&setup, now(case)?)?, now(case)?);
        }
        let raw = STANDARD
            .decode(text(case, "request_b64")?)
            .map_err(|error| error.to_string())?;
        let desk = Desk::start(&setup, now(case)?)?;
        let answer = desk.send(&raw)?;
        drop(desk);
        compare(case, &raw, &answer, &setup)
    })
}

/// A body that is only described, by the length of its password. Rule: what is longer than any login is refused unread.
fn described(shape: &Value, desk: &Desk, now: i64) -> Result<(), String> {
    let words = shape.as_str().ok_or("a shape is told in words")?;
    let length = words
        .split(' ')
        .find_map(|word| word.parse().ok())
        .ok_or("a shape without a length")?;
    let login = Login::new("bob", &"x".repeat(length), now);
    let answer = desk.log_in(&login)?;
    let expected = if length > rules::MOST_BYTES { 413 } else { 200 };
    if answer.status == expected && answer.token().is_none() {
        Ok(())
    } else {
        Err(format!("{answer:?}, not {expected}"))
    }
}

/// `userlist.json`: who is in the file, and whose clear password is known, logs in.
pub(super) fn users(file: &Value, _loader: &Loader) -> Outcome {
    for_cases(file, |case| {
        let setup = Setup::of_users(case)?;
        let users = case["file_json"].as_array().ok_or("no users")?.len();
        if case["expect"]["users"] != json!(users) {
            return Err(format!("{users} users"));
        }
        let now = overlay_testkit::mint::now().secs;
        let desk = Desk::start(&setup, now)?;
        let passwords = case["clear_passwords"].as_object().ok_or("no passwords")?;
        for (name, password) in passwords {
            let password = password.as_str().ok_or("a password is a text")?;
            // Some are described in words instead.
            if password.contains(' ') {
                continue;
            }
            let answer = desk.log_in(&Login::new(name, password, now))?;
            let expected = !rules::names_an_absent_file(case, name);
            if answer.token().is_some() != expected {
                return Err(format!("{name}: {answer:?}"));
            }
            let wrong = desk.log_in(&Login::new(name, "no such password", now))?;
            if wrong.body != rules::login_failed() {
                return Err(format!("{name} with a wrong password: {wrong:?}"));
            }
        }
        Ok(())
    })
}

/// `crypt.json`: each hash is that of its line, and lines that bcrypt would cut have none.
pub(super) fn hashes(file: &Value, _loader: &Loader) -> Outcome {
    for_cases(file, |case| {
        let input = STANDARD
            .decode(text(case, "input_b64")?)
            .map_err(|error| error.to_string())?;
        let input = String::from_utf8(input).map_err(|error| error.to_string())?;
        let lines: Vec<_> = input.lines().collect();
        let hashes = case["expect"]["output"].as_array().ok_or("no output")?;
        if lines.iter().any(|line| line.len() > rules::BCRYPT_BYTES) {
            return if case["expect"]["exit"] == 0 {
                Err("a line is cut".to_owned())
            } else {
                Ok(())
            };
        }
        if hashes.len() != lines.len() {
            return Err(format!("{} hashes for {} lines", hashes.len(), lines.len()));
        }
        let users: Vec<_> = hashes
            .iter()
            .enumerate()
            .map(|(index, hash)| json!({"username": format!("line {index}"), "password": hash}))
            .collect();
        let now = overlay_testkit::mint::now().secs;
        let desk = Desk::start(&Setup::of_list(&users.into()), now)?;
        for (index, line) in lines.iter().enumerate() {
            let name = format!("line {index}");
            let right = desk.log_in(&Login::new(&name, line, now))?;
            let wrong = desk.log_in(&Login::new(&name, &format!("{line}x"), now))?;
            if right.token().is_none() || wrong.token().is_some() {
                return Err(format!("{line:?}: {right:?}, {wrong:?}"));
            }
        }
        Ok(())
    })
}

/// `login-bruteforce.json`: what protects the original is the cost of its hash; what protects us is looked at here.
pub(super) fn guesses(file: &Value, loader: &Loader) -> Outcome {
    let users = loader
        .load("userlist.json")
        .map_err(|error| error.to_string());
    for_cases(file, |case| {
        let users = users.as_ref().map_err(Clone::clone)?;
        let setup = Setup::of_users(&users["cases"][0])?;
        let now = now(case)?;
        let expect = &case["expect"];
        match expect.get("refused").and_then(Value::as_u64) {
            Some(refused) => many_guesses(&setup, refused, now),
            None if expect.get("median_milliseconds").is_some() => work_of_a_guess(&setup, now),
            None => Err("nothing is known of this kind of case".to_owned()),
        }
    })
}

/// Rule: after a few wrong passwords the name is locked, for a time that is bounded; each attempt is recorded.
fn many_guesses(setup: &Setup, guesses: u64, now: i64) -> Result<(), String> {
    let desk = Desk::start(&setup.locking(), now)?;
    for guess in 0..guesses {
        let answer = desk.log_in(&Login::new("bob", &format!("guess {guess}"), now))?;
        if answer.body != rules::login_failed() {
            return Err(format!("guess {guess}: {answer:?}"));
        }
    }
    let right = Login::new("bob", "secret", now);
    if desk.log_in(&right)?.token().is_some() {
        return Err("the name is not locked".to_owned());
    }
    let later = desk.advance(rules::LONGEST_LOCK);
    let right = Login::new("bob", "secret", later);
    if desk.log_in(&right)?.token().is_none() {
        return Err("the lock does not end".to_owned());
    }
    if desk.log_in(&right)?.token().is_some() {
        return Err("one signed request gives two tokens".to_owned());
    }
    let errors =
        desk.metric(r#"choria_aaa_authenticator_errors{authenticator="userlist",site="vectors"}"#);
    let records = desk.records();
    // The guesses, the right password while locked, and the one that was used before.
    if errors != guesses + 2 || records != guesses + 3 {
        return Err(format!("{errors} errors counted, {records} records"));
    }
    Ok(())
}

/// Rule: whoever the name is, refusing computes one hash.
fn work_of_a_guess(setup: &Setup, now: i64) -> Result<(), String> {
    let desk = Desk::start(setup, now)?;
    let mut names = setup.names();
    names.push("nobody-here".to_owned());
    for name in names {
        let before = desk.metric("overlay_aaa_password_hashes_total");
        desk.log_in(&Login::new(&name, "wrong", now))?;
        let hashes = desk.metric("overlay_aaa_password_hashes_total") - before;
        if hashes != 1 {
            return Err(format!("{name:?}: {hashes} hashes"));
        }
    }
    Ok(())
}

fn now(case: &Value) -> Result<i64, String> {
    case["now"]
        .as_i64()
        .ok_or_else(|| "the case has no time".to_owned())
}

/// Compares an answer with the original's, by the rules.
fn compare(case: &Value, raw: &[u8], answer: &Answer, setup: &Setup) -> Result<(), String> {
    let expect = &case["expect"];
    let asked = rules::Asked::read(raw);
    if rules::original_broke_down(expect) || rules::is_cut_by_bcrypt(&asked, setup) {
        return answer.is(200, &rules::login_failed());
    }
    let now = now(case)?;
    if rules::is_slightly_ahead(&asked, now) {
        return match answer.token() {
            Some(_) => Ok(()),
            None => Err(format!("a clock that is a little ahead: {answer:?}")),
        };
    }
    let status = expect["status"].as_u64().ok_or("no status")?;
    let body = &expect["body_json"];
    match expect.get("token_claims") {
        Some(claims) => {
            let token = answer.token().ok_or_else(|| format!("{answer:?}"))?;
            if answer.body.as_object().is_none_or(|body| body.len() != 1) {
                return Err(format!("more than a token: {answer:?}"));
            }
            rules::same_claims(claims, token, setup, now)
        }
        None if status >= 400 => rules::same_problem(status, body, answer),
        None => answer.is(status, body),
    }
}
