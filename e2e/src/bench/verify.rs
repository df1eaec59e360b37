//! `bench verify`: signed requests verified a second on one core, and how much of that is the signature.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use overlay_protocol::envelope::Limits;
use overlay_protocol::envelope::v2::{Request, SecureRequest, Transport};
use overlay_tokens::claims::ClientPermissions;
use overlay_tokens::request::{RequestPolicy, RequestVerifier, sign_request, verify_request};
use overlay_tokens::{Issuers, Key, UnixTime, issue};

use super::report::{Report, median};

/// Flags of `bench verify`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// Requests to verify
    #[arg(short = 'n', long, default_value_t = 50_000)]
    requests: usize,
}

/// Callers whose requests are mixed, so that neither a hot token nor a cold cache decides.
const CALLERS: usize = 16;

/// Messages in one turn of a measurement: about a millisecond, which a busy machine seldom interrupts.
const TURN: usize = CALLERS;

/// Places on the stack that turns go through: where its tables come to lie makes a signature up to a fifth slower, so no
/// start of the program decides it for one of the measurements and not for the other.
const DEPTHS: usize = 61;

/// Measures: transport to verified request, as a node does for each message, against the bare signature.
///
/// # Errors
///
/// When a request that was just signed does not verify.
pub(crate) fn run(options: &Options) -> Result<Report> {
    let now = UnixTime::from_secs(1_800_000_000);
    let org = Key::generate().context("make the organisation's key")?;
    let issuers =
        Issuers::new([("choria".to_owned(), org.public())]).context("trust the organisation")?;
    let mut keys = Vec::new();
    let mut messages = Vec::new();
    for number in 0..CALLERS {
        let key = Key::generate().context("make a caller's key")?;
        messages.push(message(number, &org, &key, now)?);
        keys.push(key.public());
    }

    let policy = RequestPolicy::default();
    let verifier = RequestVerifier::new(issuers.clone(), policy.clone(), 1024);
    let limits = Limits::default();
    let decoded = |bytes: &[u8]| -> Result<SecureRequest> {
        Ok(SecureRequest::decode(
            &Transport::decode(bytes, &limits)?.data,
            &limits,
        )?)
    };

    let secure: Vec<SecureRequest> = messages
        .iter()
        .map(|bytes| decoded(bytes))
        .collect::<Result<_>>()?;
    let turns = (options.requests / TURN).max(1);
    let (mut cached, mut fresh, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    for turn in 0..turns {
        let depth = turn % DEPTHS;
        cached.push(timed(depth, |index| {
            let request = decoded(&messages[index % CALLERS])?;
            verifier
                .verify(&request, now)
                .map(drop)
                .context("verify a request")
        })?);
        fresh.push(timed(depth, |index| {
            let request = decoded(&messages[index % CALLERS])?;
            verify_request(&request, &issuers, now, &policy)
                .map(drop)
                .context("verify a request")
        })?);
        bare.push(timed(depth, |index| {
            let (request, key) = (&secure[index % CALLERS], &keys[index % CALLERS]);
            anyhow::ensure!(
                key.verify(&request.request, &request.signature),
                "the signature holds"
            );
            Ok(())
        })?);
    }
    // The three take short turns, so that a machine that is slow for a while is slow for each of them. The shares are
    // those of the fastest third of the turns, on average: what is slower was interrupted, which says nothing about the
    // code, and a third of them is at a good many depths.
    let quiets = (quiet(&mut cached), quiet(&mut fresh), quiet(&mut bare));
    let (share, share_fresh) = (quiets.2 / quiets.0, 2.0 * quiets.2 / quiets.1);
    let (cached, fresh, bare) = (median(&mut cached), median(&mut fresh), median(&mut bare));

    let mut report = Report::new("verify");
    let per_second = |each: f64| 1.0 / each;
    report.figure("message size", messages[0].len() as f64, "bytes");
    report.figure(
        "verified a second and core, known token",
        per_second(cached),
        "1/s",
    );
    report.figure(
        "verified a second and core, new token",
        per_second(fresh),
        "1/s",
    );
    report.figure("bare signatures a second and core", per_second(bare), "1/s");
    for (what, median, quiet) in [
        ("time of one, known token", cached, quiets.0),
        ("time of one, new token", fresh, quiets.1),
        ("time of the bare signature", bare, quiets.2),
    ] {
        report.figure(what, median * 1e6, "µs");
        report.figure(format!("{what}, fastest third"), quiet * 1e6, "µs");
    }
    report.figure("share of the signature, known token", 100.0 * share, "%");
    report.figure(
        "share of the two signatures, new token",
        100.0 * share_fresh,
        "%",
    );
    Ok(report)
}

/// The mean of the fastest third.
fn quiet(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    let fastest = times.get(..times.len().div_ceil(3)).unwrap_or_default();
    fastest.iter().sum::<f64>() / fastest.len().max(1) as f64
}

/// Seconds of one call, over one turn so many frames deep.
fn timed(depth: usize, mut each: impl FnMut(usize) -> Result<()>) -> Result<f64> {
    at_depth(depth, &mut || turn(&mut each))
}

/// Calls `turn` from so many frames below, each of them somewhat larger than a line of the cache.
#[inline(never)]
fn at_depth(depth: usize, turn: &mut dyn FnMut() -> Result<f64>) -> Result<f64> {
    let frame = std::hint::black_box([0_u8; 80]);
    let took = if depth == 0 {
        turn()
    } else {
        at_depth(depth - 1, turn)
    };
    std::hint::black_box(&frame);
    took
}

#[inline(never)]
#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn turn(each: &mut dyn FnMut(usize) -> Result<()>) -> Result<f64> {
    let start = Instant::now();
    for index in 0..TURN {
        each(index)?;
    }
    Ok(start.elapsed().as_secs_f64() / TURN as f64)
}

/// A signed request of one caller as it arrives.
fn message(number: usize, org: &Key, key: &Key, now: UnixTime) -> Result<Vec<u8>> {
    let mut token = issue::ClientToken::new(format!("up=caller{number}"));
    token.public_key = Some(key.public());
    token.validity = Duration::from_secs(86_400);
    token.permissions = Some(ClientPermissions {
        fleet_management: true,
        ..ClientPermissions::default()
    });
    let text = issue::OrgIssuer::new(org.clone()).issue(&token.claims(now)?)?;
    let request = Request {
        message: br#"{"agent":"rpcutil","action":"ping","data":{}}"#.to_vec(),
        id: "2ecvzXAzWRTIbJ5YMQTXGLJmC8V".to_owned(),
        sender: "client.example.net".to_owned(),
        caller: format!("up=caller{number}"),
        collective: "choria".to_owned(),
        agent: "rpcutil".to_owned(),
        ttl: Duration::from_secs(60),
        time_ns: now.as_nanos(),
        filter: None,
    };
    let mut transport = Transport::new(sign_request(request.encode(), key, &text).encode());
    transport.reply = Some(
        "choria.reply.72dc525f8fe0064c0372c1fb3d729560.2ecvzXAzWRTIbJ5YMQTXGLJmC8V".to_owned(),
    );
    Ok(transport.encode())
}
