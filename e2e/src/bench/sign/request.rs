//! Requests to be signed, and whether an answer is a signature.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use overlay_protocol::envelope::Limits;
use overlay_protocol::envelope::v2::{Request, SecureRequest};
use overlay_protocol::filter::Filter;
use overlay_protocol::id::Ksuid;
use overlay_testkit::mint::now;
use overlay_tokens::{Key, PublicKey};

/// One answer of so many is checked with its signature; every answer is looked at.
const CHECKED: usize = 16;

/// A person who wants requests signed.
#[derive(Debug, Clone)]
pub(crate) struct Person {
    pub(crate) callerid: String,
    pub(crate) token: String,
    pub(crate) key: Key,
    /// Whose signature is expected.
    pub(crate) delegator: PublicKey,
}

/// A request as its caller signed it.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) request: Vec<u8>,
    pub(crate) signature: String,
}

impl Person {
    /// A fresh request for `rpcutil#ping`; `caller` and `number` make its id.
    pub(crate) fn question(&self, caller: usize, number: usize) -> Result<Question> {
        let message = br#"{"agent":"rpcutil","action":"ping","data":{}}"#.to_vec();
        let filter = Filter {
            agent: vec!["rpcutil".to_owned()],
            ..Filter::default()
        };
        let request = self.envelope("rpcutil", message, Some(filter), caller, number)?;
        let signature = self.key.sign(&request);
        Ok(Question {
            request,
            signature: hex(&signature),
        })
    }

    /// A request envelope in the person's name.
    pub(crate) fn envelope(
        &self,
        agent: &str,
        message: Vec<u8>,
        filter: Option<Filter>,
        caller: usize,
        number: usize,
    ) -> Result<Vec<u8>> {
        let now = now();
        let mut random = [0_u8; 16];
        random[..8].copy_from_slice(&u64::try_from(caller)?.to_be_bytes());
        random[8..].copy_from_slice(&u64::try_from(number)?.to_be_bytes());
        let seconds = u64::try_from(now.secs).context("read the clock")?;
        let id = Ksuid::from_parts(seconds, random)
            .context("make a request id")?
            .to_string();
        let request = Request {
            message,
            id,
            sender: "client.example.net".to_owned(),
            caller: self.callerid.clone(),
            collective: "choria".to_owned(),
            agent: agent.to_owned(),
            ttl: Duration::from_secs(60),
            time_ns: now.as_nanos(),
            filter: Some(filter.unwrap_or_default()),
        };
        Ok(request.encode())
    }

    /// Whether the bytes are a request of this person, signed by the delegator.
    pub(crate) fn check(&self, secure_request: &[u8], number: usize) -> Result<()> {
        let limits = Limits::default();
        let secure =
            SecureRequest::decode(secure_request, &limits).context("read the secure request")?;
        ensure!(
            secure.signer.is_some(),
            "no delegator's token in the answer"
        );
        if number.is_multiple_of(CHECKED) {
            ensure!(
                self.delegator.verify(&secure.request, &secure.signature),
                "the delegator's signature does not hold"
            );
            let request = Request::decode(&secure.request, &limits).context("read the request")?;
            ensure!(
                request.caller == self.callerid,
                "signed for {}",
                request.caller
            );
        }
        Ok(())
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
