//! `--filter-replies`: an expression over one reply.

use std::cell::RefCell;

use overlay_protocol::filter::{Expression, Scope, lookup};
use overlay_protocol::rpc::StatusCode;
use serde_json::Value;

use crate::error::Failure;
use crate::results::Row;

/// An expression, read once.
#[derive(Debug)]
pub(super) struct ReplyFilter(Expression);

/// Reads the expression, if there is one.
pub(super) fn compile(text: Option<&str>) -> Result<Option<ReplyFilter>, Failure> {
    let Some(text) = text else { return Ok(None) };
    let wrong = |error: Failure| {
        error.context("could not parse the reply filter").hint(
            "known are ok() aborted() invalid_data() missing_data() unknown_action() \
             unknown_error() code msg data('path') sender() time() include() semver()",
        )
    };
    let expression = Expression::new(text).map_err(|error| wrong(error.into()))?;
    // Names are looked up when the expression is evaluated: better now than when the nodes have acted.
    let trial = Trial::default();
    expression.is_true(&trial).unwrap_or_default();
    if let Some(name) = trial.unknown.into_inner() {
        return Err(wrong(Failure::new(format!(
            "`{name}` is not a part of a reply"
        ))));
    }
    Ok(Some(ReplyFilter(expression)))
}

impl ReplyFilter {
    /// Whether the expression is true for this reply.
    pub(super) fn wants(&self, row: &Row) -> Result<bool, Failure> {
        self.0.is_true(&Parts(row)).map_err(|error| {
            Failure::from(error).context(format!("could not filter the reply of {}", row.sender))
        })
    }
}

/// The names that Choria gives to the parts of a reply.
struct Parts<'a>(&'a Row);

impl Scope for Parts<'_> {
    fn variable(&self, name: &str) -> Option<Value> {
        match name {
            "code" => Some(Value::from(self.0.statuscode.as_u8())),
            "msg" => Some(Value::from(self.0.statusmsg.as_str())),
            _ => None,
        }
    }

    fn call(&self, name: &str, arguments: &[Value]) -> Option<Result<Value, String>> {
        let value = match name {
            "sender" => Value::from(self.0.sender.as_str()),
            "time" => Value::from(self.0.time_ns / 1_000_000_000),
            "data" => {
                let [Value::String(path)] = arguments else {
                    return Some(Err("data() takes one text".to_owned()));
                };
                return Some(Ok(lookup(&self.0.data, path).unwrap_or_default()));
            }
            _ => Value::from(self.0.statuscode == state(name)?),
        };
        if arguments.is_empty() {
            Some(Ok(value))
        } else {
            Some(Err(format!("{name}() takes nothing")))
        }
    }
}

fn state(name: &str) -> Option<StatusCode> {
    match name {
        "ok" => Some(StatusCode::Ok),
        "aborted" => Some(StatusCode::Aborted),
        "unknown_action" => Some(StatusCode::UnknownAction),
        "missing_data" => Some(StatusCode::MissingData),
        "invalid_data" => Some(StatusCode::InvalidData),
        "unknown_error" => Some(StatusCode::UnknownError),
        _ => None,
    }
}

/// Finds names that no reply has.
#[derive(Default)]
struct Trial {
    unknown: RefCell<Option<String>>,
}

impl Scope for Trial {
    fn variable(&self, name: &str) -> Option<Value> {
        if !matches!(name, "code" | "msg") {
            self.unknown.replace(Some(name.to_owned()));
        }
        None
    }

    fn call(&self, name: &str, _arguments: &[Value]) -> Option<Result<Value, String>> {
        if matches!(name, "sender" | "time" | "data") {
            return Some(Ok(Value::Null));
        }
        if state(name).is_none() {
            self.unknown.replace(Some(format!("{name}()")));
        }
        Some(Ok(Value::Bool(true)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn wants(expression: &str, row: &Row) -> bool {
        compile(Some(expression))
            .unwrap()
            .unwrap()
            .wants(row)
            .unwrap()
    }

    fn row(statuscode: StatusCode, data: Value) -> Row {
        Row {
            sender: "n1.example.net".to_owned(),
            action: "get_fact".to_owned(),
            statuscode,
            statusmsg: "it's ok()".to_owned(),
            data,
            time_utc: String::new(),
            time_ns: 1_700_000_000_000_000_000,
        }
    }

    #[test]
    fn parts_of_a_reply_can_be_asked_for() {
        let data = json!({"value": "lhr", "list": ["a", "b"], "idling": false, "n": {"x": 4}});
        let good = row(StatusCode::Ok, data);
        for expression in [
            "ok()",
            "ok() && data('value') == 'lhr'",
            "ok() && !data(\"idling\")",
            "include(data('list'), 'b')",
            "code == 0 and not aborted()",
            "data('n.x') > 3",
            "msg == \"it's ok()\"",
            "sender() startsWith 'n1.'",
            "time() > 1600000000",
        ] {
            assert!(wants(expression, &good), "{expression}");
        }
        let failed = row(StatusCode::Aborted, json!({}));
        assert!(wants("aborted() && code == 1", &failed));
        assert!(!wants("ok()", &failed));
        assert!(!wants("data('value') == 'x'", &failed));
    }

    #[test]
    fn what_is_no_part_of_a_reply_is_refused() {
        for expression in ["nosuch()", "nosuch == 1", "'", "ok() &&", "with('apache')"] {
            assert!(compile(Some(expression)).is_err(), "{expression}");
        }
    }
}
