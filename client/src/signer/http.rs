//! Signers as web services.

use std::time::Duration;

use overlay_protocol::envelope::v2::SecureRequest;
use overlay_protocol::signing::{HttpSignRequest, HttpSignResponse};
use zeroize::Zeroizing;

use super::{AnswerFault, Check, Order, SignerError};
use crate::clock;
use crate::config;
use crate::message::chain;
use crate::tls::TlsError;
use crate::web::{Said, Web};

/// Web services that sign, asked in turn.
#[derive(Debug)]
pub(super) struct Services {
    web: Web,
    urls: Vec<String>,
}

impl Services {
    /// Each may take its share of `limit`.
    pub(super) fn new(config: &config::Web, limit: Duration) -> Result<Self, TlsError> {
        let count = u32::try_from(config.urls.len()).unwrap_or(u32::MAX).max(1);
        Ok(Self {
            web: Web::new(config, limit / count)?,
            urls: config.urls.clone(),
        })
    }

    pub(super) fn names(&self) -> String {
        self.urls.join(", ")
    }

    /// The first that answers decides; one that cannot be asked, or answers nonsense, does not.
    pub(super) async fn sign(&self, order: &Order<'_>) -> Result<SecureRequest, SignerError> {
        let question = HttpSignRequest::new(
            order.credentials().token().into(),
            &order.request,
            order.signature(),
        );
        // Three texts, which can always be written.
        let question = Zeroizing::new(serde_json::to_vec(&question).unwrap_or_default());
        let mut tries = Vec::new();
        let mut unusable = None;
        for url in &self.urls {
            let said = match self.web.post(url, question.clone()).await {
                Ok(said) => said,
                Err(error) => {
                    tries.push(chain(&error));
                    continue;
                }
            };
            match read(order, url, &said) {
                Ok(signed) => return Ok(signed),
                Err(Fault::Refused(refusal)) => return Err(refusal),
                Err(Fault::Status) => {
                    tries.push(format!(
                        "{url} answered with status {}: {}",
                        said.status,
                        said.shown()
                    ));
                }
                Err(Fault::Unusable(source)) => {
                    let by = url.clone();
                    tries.push(format!("{url}: {source}"));
                    unusable.get_or_insert(SignerError::Answer { by, source });
                }
            }
        }
        match unusable {
            Some(unusable) if self.urls.len() == 1 => Err(unusable),
            Some(_) | None => Err(SignerError::Unreachable { tries }),
        }
    }
}

enum Fault {
    Refused(SignerError),
    Status,
    Unusable(AnswerFault),
}

fn read(order: &Order<'_>, url: &str, said: &Said) -> Result<SecureRequest, Fault> {
    if said.status != 200 {
        return Err(Fault::Status);
    }
    let answer = serde_json::from_slice::<HttpSignResponse>(&said.body)
        .map_err(|error| Fault::Unusable(AnswerFault::Shape(error)))?;
    if !answer.error.is_empty() {
        return Err(Fault::Refused(order.denied(url.to_owned(), &answer.error)));
    }
    let check = Check {
        submitted: &order.request,
        token: order.credentials().token(),
        issuers: order.config.issuers.as_ref(),
        now: clock::now(),
        limits: order.limits,
    };
    let signed = answer
        .secure_request_bytes()
        .map_err(|error| Fault::Unusable(AnswerFault::Decode(error)))?;
    check.signed(&signed).map_err(Fault::Unusable)
}
