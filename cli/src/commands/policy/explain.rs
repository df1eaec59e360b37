//! `overlay policy explain`: what would be decided, and which rule says so.

use overlay_policy::{
    Explanation, NODE_SITE, Question, Rego, RuleStep, StepState, TokenPolicy, Verdict, from_token,
};
use overlay_protocol::id::Collective;
use serde_json::{Value, json};

use super::holder::{Holder, HolderArgs};
use crate::app::App;
use crate::args::FilterArgs;
use crate::commands::now;
use crate::error::Failure;
use crate::select;

#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  overlay policy explain --agent rpcutil --action ping                     the session at hand
  overlay policy explain --token rip.jwt --agent puppet --action disable --site lhr -F country=mt
  overlay policy explain --users users.json --user rip --agent shell --action run --json
  overlay policy explain --policy new.rego --token rip.jwt --agent rpcutil --action ping

The token is not verified: what it says is taken as it is. A policy in Rego sees the input that --json shows.")]
pub(super) struct Args {
    #[command(flatten)]
    holder: HolderArgs,
    /// The agent
    #[arg(long)]
    agent: String,
    /// The action
    #[arg(long)]
    action: String,
    /// The inputs of the action, a JSON object
    #[arg(long, value_name = "JSON", default_value = "{}", value_parser = object)]
    data: Value,
    /// The collective of the request [default: that of -T, else choria]
    #[arg(long, value_name = "COLLECTIVE")]
    collective: Option<Collective>,
    /// The host that the request comes from
    #[arg(long, value_name = "HOST", default_value = "localhost")]
    sender: String,
    /// The site of the signer; fleet nodes say `server`
    #[arg(long, value_name = "SITE", default_value = "default")]
    site: String,
    /// Decide as a fleet node does, at the site `server`
    #[arg(long, conflicts_with = "site")]
    node: bool,
    /// How long the request may be answered, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    ttl: u64,
    #[command(flatten)]
    filters: FilterArgs,
}

/// The inputs of an action.
fn object(text: &str) -> Result<Value, String> {
    match serde_json::from_str(text) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) => Err("not a JSON object".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

pub(super) fn run(args: &Args, app: &App) -> Result<(), Failure> {
    let holder = Holder::find(&args.holder, app)?;
    let filter = select::parse(&args.filters, Some(&args.agent))?;
    let claims = serde_json::to_value(&holder.claims)?;
    let collective = args
        .collective
        .as_ref()
        .or(args.filters.target.as_ref())
        .map_or(
            overlay_client::config::DEFAULT_COLLECTIVE,
            Collective::as_str,
        );
    let now = now();
    let question = Question {
        agent: &args.agent,
        action: &args.action,
        data: &args.data,
        sender: &args.sender,
        collective,
        ttl: args.ttl,
        time_ns: now.as_nanos(),
        site: if args.node { NODE_SITE } else { &args.site },
        filter: &filter,
        claims: &claims,
        tenant: holder.claims.tenant.as_deref(),
    };

    let rego = Rego::default();
    let explanation = match TokenPolicy::of(&holder.claims) {
        TokenPolicy::Rego(text) => rego.explain(text, &question),
        TokenPolicy::ActionList(_) | TokenPolicy::Neither | TokenPolicy::Both => Explanation {
            verdict: from_token(&holder.claims, &rego, &question),
            policy: None,
            faults: Vec::new(),
            rules: Vec::new(),
            input: None,
        },
    };
    if app.output.is_json() {
        let mut shown = serde_json::to_value(&explanation)?;
        if let Value::Object(shown) = &mut shown {
            shown.insert("caller".to_owned(), json!(holder.claims.callerid));
            shown.insert("source".to_owned(), json!(holder.source));
            shown.insert("agent".to_owned(), json!(args.agent));
            shown.insert("action".to_owned(), json!(args.action));
        }
        app.output.json(&shown)?;
    } else {
        app.output.text(describe(args, &holder, &explanation))?;
    }
    match explanation.verdict {
        Verdict::Allow(_) => Ok(()),
        Verdict::Deny(why) => Err(Failure::new(format!("denied: {}", why.message))),
    }
}

fn describe(args: &Args, holder: &Holder, explanation: &Explanation) -> String {
    let verdict = match &explanation.verdict {
        Verdict::Allow(_) => "allowed",
        Verdict::Deny(_) => "denied",
    };
    let caller = match holder.claims.callerid.as_str() {
        "" => "a caller without name",
        named => named,
    };
    let why = explanation.verdict.why();
    let mut text = format!(
        "{verdict}: {}.{} for {caller}\n  by      {}\n  reason  {}\n  claims  {}\n",
        args.agent, args.action, why.rule, why.message, holder.source
    );
    if let Some(tenant) = &holder.claims.tenant {
        text.push_str(&format!("  tenant  {tenant}\n"));
    }
    if let Some(policy) = &explanation.policy {
        text.push_str(&format!(
            "  policy  {}, sha256 {}\n",
            policy.dialect, policy.hash
        ));
    }
    for fault in &explanation.faults {
        text.push_str(&format!("  fault   {fault}\n"));
        if let Some(help) = &fault.help {
            text.push_str(&format!("          {help}\n"));
        }
    }
    for rule in &explanation.rules {
        text.push_str(&step(rule));
    }
    text
}

fn step(rule: &RuleStep) -> String {
    let name = if rule.is_else { "else" } else { "allow" };
    let state = match &rule.state {
        StepState::Holds => "holds".to_owned(),
        StepState::Fails { at, statement } => {
            let statement = statement.split_whitespace().collect::<Vec<_>>().join(" ");
            format!("does not hold, by line {at}: {statement}")
        }
        StepState::Unknown => "could not be told".to_owned(),
    };
    format!(
        "  line {:>3}  {name} := {}  {state}\n",
        rule.line, rule.value
    )
}
