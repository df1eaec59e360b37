//! The few HTTP requests that the kit and admin tests need, on loopback.

use std::io::{Error, Read as _, Result, Write as _};
use std::net::TcpStream;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(20);

/// Fetches `page` from a port of 127.0.0.1, and yields status and body.
///
/// # Errors
///
/// When nobody answers in time, or not with HTTP.
pub fn get(port: u16, page: &str) -> Result<(u16, String)> {
    send(port, "GET", page, "")
}

/// Puts `body` to `page` at a port of 127.0.0.1, and yields status and body.
///
/// # Errors
///
/// When nobody answers in time, or not with HTTP.
pub fn put(port: u16, page: &str, body: &str) -> Result<(u16, String)> {
    send(port, "PUT", page, body)
}

/// Fetches `page`; any status but 200 is an error.
pub(crate) fn get_ok(port: u16, page: &str) -> Result<String> {
    match get(port, page)? {
        (200, body) => Ok(body),
        (status, body) => Err(Error::other(format!("status {status}: {body}"))),
    }
}

fn send(port: u16, method: &str, page: &str, body: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(LIMIT))?;
    // HTTP/1.0: the end of the body is the end of the stream, never a chunk.
    let length = body.len();
    write!(
        stream,
        "{method} {page} HTTP/1.0\r\nHost: 127.0.0.1\r\nContent-Length: {length}\r\n\r\n{body}"
    )?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (head, body) = text
        .split_once("\r\n\r\n")
        .ok_or_else(|| Error::other("no end of the headers"))?;
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .ok_or_else(|| Error::other(format!("no status in {head:?}")))?;
    Ok((status, body.to_owned()))
}
