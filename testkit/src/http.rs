//! The one HTTP request that the kit needs: GET on loopback.

use std::io::{Error, Read as _, Result, Write as _};
use std::net::TcpStream;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(5);

/// Fetches `page` from 127.0.0.1 and yields its body; any status but 200 is an error.
pub(crate) fn get(port: u16, page: &str) -> Result<String> {
    let (status, body) = get_with_status(port, page)?;
    if status == 200 {
        Ok(body)
    } else {
        Err(Error::other(format!("status {status}: {body}")))
    }
}

/// Fetches `page` from 127.0.0.1 and yields status and body.
pub(crate) fn get_with_status(port: u16, page: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(LIMIT))?;
    // HTTP/1.0: the end of the body is the end of the stream, never a chunk.
    write!(stream, "GET {page} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")?;
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
