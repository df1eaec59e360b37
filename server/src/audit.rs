//! The audit file: one line of JSON for each call that was allowed, as Choria writes it.
//!
//! The file is opened for each line, so that it may be moved away at any time. Inputs above a bound
//! are replaced by a note of their size, so that no caller can fill the disk with one call.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::PathBuf;

use overlay_protocol::envelope::v2::Request;
use serde::Serialize;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::FormatItem;
use time::macros::format_description;

/// Inputs above this size are noted by size only.
const MAX_DATA_BYTES: usize = 64 * 1024;

const TIMESTAMP: &[FormatItem<'static>] = format_description!(
    "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6][offset_hour sign:mandatory][offset_minute]"
);

/// Where calls are recorded.
#[derive(Debug)]
pub struct Audit {
    file: PathBuf,
}

#[derive(Serialize)]
struct Line<'a> {
    timestamp: String,
    request_id: &'a str,
    request_time: i64,
    caller: &'a str,
    sender: &'a str,
    agent: &'a str,
    action: &'a str,
    data: &'a Value,
}

impl Audit {
    /// Records into `file`, which is made with mode 0600 when it is not there.
    pub fn new(file: PathBuf) -> Self {
        Self { file }
    }

    /// Adds the line of one call. `now_ns` is in nanoseconds since 1970.
    pub fn record(
        &self,
        request: &Request,
        action: &str,
        data: &Map<String, Value>,
        now_ns: i64,
    ) -> io::Result<()> {
        let line = line(request, action, data, now_ns)?;
        let mut options = OpenOptions::new();
        options.create(true).append(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        // One write: lines of several calls never mix.
        options.open(&self.file)?.write_all(&line)
    }
}

fn line(
    request: &Request,
    action: &str,
    data: &Map<String, Value>,
    now_ns: i64,
) -> io::Result<Vec<u8>> {
    let at =
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(now_ns)).map_err(io::Error::other)?;
    let mut data = Value::Object(data.clone());
    let bytes = serde_json::to_vec(&data)?.len();
    if bytes > MAX_DATA_BYTES {
        data = json!({ "overlay_omitted_bytes": bytes });
    }
    let mut line = serde_json::to_vec(&Line {
        timestamp: at.format(TIMESTAMP).map_err(io::Error::other)?,
        request_id: &request.id,
        request_time: request.time_ns / 1_000_000_000,
        caller: &request.caller,
        sender: &request.sender,
        agent: &request.agent,
        action,
        data: &data,
    })?;
    line.push(b'\n');
    Ok(line)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    use super::*;

    fn request() -> Request {
        Request {
            message: Vec::new(),
            id: "2ecvzXAzWRTIbJ5YMQTXGLJmC8V".to_owned(),
            sender: "client.example.net".to_owned(),
            caller: "up=bob".to_owned(),
            collective: "choria".to_owned(),
            agent: "rpcutil".to_owned(),
            ttl: Duration::from_secs(60),
            time_ns: 1_700_000_000_000_000_000,
            filter: None,
        }
    }

    #[test]
    fn a_line_has_the_keys_and_the_time_form_of_choria() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("audit.log");
        let audit = Audit::new(file.clone());
        let mut data = Map::new();
        data.insert("fact".to_owned(), json!("os.family"));
        audit
            .record(&request(), "get_fact", &data, 1_700_000_000_123_456_789)
            .unwrap();
        audit
            .record(&request(), "ping", &Map::new(), 1_700_000_001_000_000_000)
            .unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        let lines = text.lines().collect::<Vec<_>>();
        assert_eq!(lines.len(), 2);
        assert_eq!(
            lines[0],
            r#"{"timestamp":"2023-11-14T22:13:20.123456+0000","request_id":"2ecvzXAzWRTIbJ5YMQTXGLJmC8V","request_time":1700000000,"caller":"up=bob","sender":"client.example.net","agent":"rpcutil","action":"get_fact","data":{"fact":"os.family"}}"#
        );
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn large_inputs_are_noted_by_their_size() {
        let mut data = Map::new();
        data.insert("x".to_owned(), Value::String("y".repeat(MAX_DATA_BYTES)));
        let line = line(&request(), "x", &data, 0).unwrap();
        assert!(line.len() < 1024);
        let line: Value = serde_json::from_slice(&line).unwrap();
        assert!(line["data"]["overlay_omitted_bytes"].as_u64().unwrap() > 65_536);
    }

    #[test]
    fn a_file_that_cannot_be_written_is_an_error() {
        let audit = Audit::new(PathBuf::from("/nonexistent/dir/audit.log"));
        assert!(audit.record(&request(), "ping", &Map::new(), 0).is_err());
    }
}
