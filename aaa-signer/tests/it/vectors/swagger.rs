//! The original's description of itself: its operations and models are in ours, with the same members.

use overlay_testkit::vectors::{Loader, Outcome};
use serde_json::Value;

use super::keys::text;
use crate::cell::Parts;
use crate::wire;

/// `swagger.json`, in OpenAPI 2.0; ours is in 3.1.
pub(super) fn document(file: &Value, _loader: &Loader) -> Outcome {
    let service = Parts::new().start_alone("");
    let asked = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let ours = wire::ask(service.http, asked).json();
    let mut outcome = Outcome::default();
    let mut operations = 0;
    for (path, item) in members(&file["paths"]) {
        for (method, operation) in members(item) {
            let base = file["basePath"].as_str().unwrap_or_default();
            let path = format!("{base}{path}");
            operations += 1;
            outcome.run(&format!("{method} {path}"), || {
                same_operation(operation, &ours["paths"][&path][method])
            });
        }
    }
    let mut models = 0;
    for (name, model) in members(&file["definitions"]) {
        models += 1;
        outcome.run(name, || {
            same_model(model, &ours["components"]["schemas"][name])
        });
    }
    outcome.run("something is described", || {
        if operations > 0 && models > 0 {
            Ok(())
        } else {
            Err(format!("{operations} operations and {models} models"))
        }
    });
    outcome
}

fn same_operation(theirs: &Value, ours: &Value) -> Result<(), String> {
    let parameters = theirs["parameters"].as_array().ok_or("no parameters")?;
    let [body] = parameters.as_slice() else {
        return Err(format!("{} parameters", parameters.len()));
    };
    if text(body, "in")? != "body" || body["required"] != ours["requestBody"]["required"] {
        return Err(format!("the body is {}", ours["requestBody"]));
    }
    same_content(&theirs["consumes"], &body["schema"], &ours["requestBody"])?;
    for (status, answer) in members(&theirs["responses"]) {
        let produces = &theirs["produces"];
        same_content(produces, &answer["schema"], &ours["responses"][status])
            .map_err(|error| format!("{status}: {error}"))?;
    }
    Ok(())
}

/// The same types of content, each of the model of the same name.
fn same_content(types: &Value, schema: &Value, ours: &Value) -> Result<(), String> {
    let types = types.as_array().ok_or("no types of content")?;
    let model = text(schema, "$ref")?.rsplit('/').next();
    let content = members(&ours["content"]).collect::<Vec<_>>();
    let is_same = content.len() == types.len()
        && types.iter().zip(&content).all(|(theirs, (ours, of))| {
            let ours_of = of["schema"]["$ref"].as_str().unwrap_or_default();
            theirs == *ours && ours_of.rsplit('/').next() == model
        });
    if is_same {
        Ok(())
    } else {
        Err(format!("{ours}, not {types:?} of {model:?}"))
    }
}

/// The same members of the same types, none of them required.
fn same_model(theirs: &Value, ours: &Value) -> Result<(), String> {
    if theirs["type"] != ours["type"] || theirs.get("required") != ours.get("required") {
        return Err(format!("{ours}"));
    }
    let names = |model: &Value| -> Vec<String> {
        let mut names: Vec<_> = members(&model["properties"])
            .map(|(name, _)| name.clone())
            .collect();
        names.sort();
        names
    };
    if names(theirs) != names(ours) {
        return Err(format!("{:?}, not {:?}", names(ours), names(theirs)));
    }
    for (name, property) in members(&theirs["properties"]) {
        let found = &ours["properties"][name];
        // What 2.0 calls the format `byte` is a text with an encoding in 3.1.
        let is_base64 = property["format"] == "byte";
        if property["type"] != found["type"] || is_base64 != (found["contentEncoding"] == "base64")
        {
            return Err(format!("{name}: {found}, not {property}"));
        }
    }
    Ok(())
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}
