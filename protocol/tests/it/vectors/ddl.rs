//! `rpc/ddl/*.json`: descriptions of agents as others wrote them.
//!
//! They are decoded, every input is used with texts and values of all kinds, and an agent that is built in
//! must be the same to those who call it: actions, inputs and names of outputs.

use std::panic::{AssertUnwindSafe, catch_unwind};

use overlay_protocol::rpc::ddl::{
    Action, Aggregates, Ddl, Input, InputError, InputKind, builtin, decode,
};
use overlay_testkit::vectors::{Loader, Outcome};
use serde_json::{Map, Value, json};

use super::{fault, limits, same};

/// Texts that a person might give for an input.
const TEXTS: [&str; 8] = ["", "a", "1", "-1.5", "true", "{}", "[]", "`\u{0}é"];

pub(crate) fn descriptions(file: &Value, _loader: &Loader) -> Outcome {
    let mut outcome = Outcome::default();
    let ddl = match decode(file.to_string().as_bytes(), &limits()) {
        Ok(ddl) => ddl,
        Err(error) => {
            outcome.record("decode", Err(fault("decode")(error)));
            return outcome;
        }
    };
    let written = file.get("actions").and_then(Value::as_array);
    outcome.run("actions", || {
        let names: Vec<_> = written
            .into_iter()
            .flatten()
            .map(|action| action["action"].as_str().unwrap_or_default().to_owned())
            .collect();
        let ours: Vec<_> = ddl.actions.iter().map(|a| a.action.clone()).collect();
        same("names", &ours, &names)
    });
    for action in &ddl.actions {
        outcome.run(&action.action, || usable(action));
    }
    if let Some(ours) = builtin(&ddl.metadata.name) {
        outcome.run("built in", || same_for_callers(ours, &ddl));
    }
    outcome
}

fn usable(action: &Action) -> Result<(), String> {
    for (name, input) in &action.input {
        if let Some(default) = &input.default
            && !stands_for_none(input, default)
        {
            input
                .validate(default)
                .map_err(|error| format!("default of {name}: {error}"))?;
        }
        catch_unwind(AssertUnwindSafe(|| try_values(action, name, input)))
            .map_err(|_panic| format!("{name}: a value panics"))??;
        if input.kind == InputKind::List {
            for allowed in &input.list {
                input
                    .validate(&json!(allowed))
                    .map_err(|error| format!("{name}: {allowed:?}: {error}"))?;
            }
        }
    }
    if let Err(InputError::Required(name)) = action.convert_inputs(&[])
        && action
            .input
            .get(&name)
            .is_none_or(|input| input.default.is_some())
    {
        return Err(format!("{name} has a default and is missing"));
    }
    let mut outputs = Map::new();
    action.set_output_defaults(&mut outputs);
    let mut sums = Aggregates::new(action);
    sums.add(&outputs);
    same(
        "summaries",
        &sums.summaries().len(),
        &action.aggregate.len(),
    )
}

/// A value that passes alone passes as part of the action's inputs too, and so does a text.
fn try_values(action: &Action, name: &str, input: &Input) -> Result<(), String> {
    let values = [
        json!(null),
        json!(true),
        json!(7),
        json!(0.5),
        json!({"a": 1}),
        json!([1]),
    ];
    let given = TEXTS
        .iter()
        .filter_map(|text| input.convert(text).ok())
        .chain(values);
    for value in given {
        let alone = input.validate(&value).is_ok();
        let mut data = Map::new();
        data.insert(name.to_owned(), value.clone());
        let together = action.validate(&data).err();
        let about_it = together
            .as_ref()
            .is_some_and(|error| error.to_string().contains(&format!("'{name}'")));
        if alone && about_it {
            return Err(format!("{name}: {value} passes, but not for the action"));
        }
    }
    for text in TEXTS {
        action
            .convert_inputs(&[(name.to_owned(), text.to_owned())])
            .ok();
    }
    let longest = "x".repeat(input.maxlength + 1);
    if input.kind == InputKind::String && input.maxlength > 0 {
        let refused = input.validate(&json!(longest)).is_err();
        same("a text above maxlength is refused", &refused, &true)?;
    }
    Ok(())
}

/// The original's descriptions give texts an empty default that their own expressions refuse.
fn stands_for_none(input: &Input, default: &Value) -> bool {
    input.kind == InputKind::String && default == ""
}

fn same_for_callers(ours: &Ddl, theirs: &Ddl) -> Result<(), String> {
    same("actions", &ours.action_names(), &theirs.action_names())?;
    for their in &theirs.actions {
        let our = ours.action(&their.action).ok_or("no such action")?;
        let name = &their.action;
        // ours may have more, as long as who does not know of it need not
        let mut our = our.clone();
        our.input.retain(|input, rule| {
            their.input.contains_key(input) || !rule.optional || rule.default.is_some()
        });
        our.output
            .retain(|output, _| their.output.contains_key(output));
        same(&format!("{name}: inputs"), &rules(&our), &rules(their))?;
        let outputs = |action: &Action| action.output.keys().cloned().collect::<Vec<_>>();
        same(&format!("{name}: outputs"), &outputs(&our), &outputs(their))?;
        same(
            &format!("{name}: aggregate"),
            &our.aggregate,
            &their.aggregate,
        )?;
    }
    Ok(())
}

/// What an input demands, without the words for people.
fn rules(action: &Action) -> Vec<(String, Input)> {
    let silent = |input: &Input| Input {
        prompt: String::new(),
        description: String::new(),
        ..input.clone()
    };
    action
        .input
        .iter()
        .map(|(name, input)| (name.clone(), silent(input)))
        .collect()
}
