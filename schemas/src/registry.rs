//! Every schema of `data/`, embedded.

/// One schema with its examples.
#[derive(Debug, Clone, Copy)]
pub struct Schema {
    /// Id, the same as `$id` in the text.
    pub id: &'static str,
    /// Area, version and name: its place in `data/`, without the extension.
    pub path: &'static str,
    /// The schema, JSON Schema draft 2020-12.
    pub text: &'static str,
    /// Documents that it allows.
    pub valid: &'static [Example],
    /// Documents that it refuses; the name says why.
    pub invalid: &'static [Example],
}

/// One document.
#[derive(Debug, Clone, Copy)]
pub struct Example {
    /// Name of its file, without the extension.
    pub name: &'static str,
    /// The document, JSON.
    pub text: &'static str,
}

/// Returns all schemas, sorted by path.
#[must_use]
pub fn schemas() -> &'static [Schema] {
    SCHEMAS
}

/// Returns a schema by its id.
#[must_use]
pub fn by_id(id: &str) -> Option<&'static Schema> {
    SCHEMAS.iter().find(|schema| schema.id == id)
}

/// Returns a schema by area, version and name, as in `protocol/v2/request`.
#[must_use]
pub fn by_path(path: &str) -> Option<&'static Schema> {
    SCHEMAS.iter().find(|schema| schema.path == path)
}

macro_rules! schema {
    (@examples $kind:literal, $path:expr, [$($name:literal),*]) => {
        &[$(Example {
            name: $name,
            text: include_str!(concat!("../examples/", $kind, "/", $path, "/", $name, ".json")),
        }),*]
    };
    ($area:literal, $version:literal, $name:literal, valid: $valid:tt, invalid: $invalid:tt) => {
        Schema {
            id: concat!("urn:overlay:schema:", $area, ":", $version, ":", $name),
            path: concat!($area, "/", $version, "/", $name),
            text: include_str!(concat!("../data/", $area, "/", $version, "/", $name, ".json")),
            valid: schema!(@examples "valid", concat!($area, "/", $version, "/", $name), $valid),
            invalid: schema!(@examples "invalid", concat!($area, "/", $version, "/", $name), $invalid),
        }
    };
}

// kept in step with the files by a test
const SCHEMAS: &[Schema] = &[
    schema!("ddl", "v1", "agent", valid: ["nothing", "parcel"], invalid: ["action_upper_case", "actions_missing", "display_unknown",
            "input_with_space", "input_of_unknown_type", "maxlength_negative", "name_with_dot", "output_without_heading", "timeout_missing", "timeout_negative"]),
    schema!("lifecycle", "v1", "refused", valid: ["expired", "least"], invalid: ["data_missing", "data_null", "data_of_version_2", "old_specversion", "other_source", "reason_number", "timestamp_text"]),
    schema!("protocol", "v2", "reply", valid: ["ping"], invalid: ["message_no_base64", "sender_number", "time_text"]),
    schema!("protocol", "v2", "request", valid: ["every_filter", "ping", "without_filter"], invalid: ["caller_empty", "filter_compound_of_texts", "filter_fact_empty", "filter_fact_null", "filter_null", "filter_operator_unknown", "filter_without_compound", "id_missing", "message_empty", "time_zero", "ttl_fraction", "ttl_text", "ttl_zero"]),
    schema!("protocol", "v2", "secure_reply", valid: ["signed", "unsigned"], invalid: ["hash_in_hex", "hash_missing", "protocol_of_a_request", "reply_empty", "reply_no_base64"]),
    schema!("protocol", "v2", "secure_request", valid: ["delegated", "self_signed", "unsigned"], invalid: ["caller_empty", "caller_missing", "protocol_of_a_reply", "request_an_object", "request_empty", "signature_in_hex", "signature_missing"]),
    schema!("protocol", "v2", "transport", valid: ["federated", "request", "without_headers"], invalid: ["data_empty", "data_missing", "data_no_base64", "headers_list", "headers_null", "protocol_of_version_1", "sender_number", "trace_of_two"]),
    schema!("provisioning", "v1", "audit", valid: ["enrolled", "least"], invalid: ["attempt_text", "data_list", "id_empty", "kind_unknown", "old_specversion", "other_source", "subject_wildcard", "time_missing", "time_text"]),
    schema!("provisioning", "v1", "node", valid: ["failed", "least", "of_later_version"], invalid: ["enrolments_number", "failures_negative", "identity_wildcard", "since_text", "state_missing", "state_unknown"]),
    schema!("replication", "v1", "lifecycle_advisory", valid: ["shutdown"], invalid: ["event_timeout", "seen_missing"]),
    schema!("replication", "v2", "age_advisory", valid: ["never_seen", "timeout"], invalid: ["age_fraction", "age_text", "event_id_short", "event_missing", "event_shutdown", "inspect_field_empty", "protocol_of_version_1", "value_empty"]),
    schema!("rpc", "v1", "reply", valid: ["aborted", "not_understood", "ok"], invalid: ["code_negative", "code_text", "message_number"]),
    schema!("rpc", "v1", "request", valid: ["get_fact", "ping", "without_data"], invalid: ["action_number", "data_list"]),
];
