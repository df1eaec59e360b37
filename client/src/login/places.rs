//! Login services on the web: ours, and Choria's.

use std::time::Duration;

use bytes::Bytes;
use hyper::Uri;
use zeroize::Zeroizing;

use super::{LoginError, Step};
use crate::config;
use crate::tls::TlsError;
use crate::web::{Said, Web};

const CHORIA: &str = "/choria/v1/login";
const OURS: &str = "/overlay/v1/login";

/// A web service that logs people in.
#[derive(Debug)]
pub(super) struct Service {
    web: Web,
    routes: Routes,
    /// Whether it answers on our routes too; not known before it was asked.
    is_ours: Option<bool>,
}

/// Where a service takes what.
#[derive(Debug, PartialEq, Eq)]
struct Routes {
    /// The address as it was configured.
    name: String,
    choria: String,
    /// None when the address is neither of ours nor of the usual form.
    ours: Option<String>,
}

impl Service {
    pub(super) fn new(url: &str, web: &config::Web, limit: Duration) -> Result<Self, TlsError> {
        Ok(Self {
            web: Web::new(web, limit)?,
            routes: Routes::of(url),
            is_ours: None,
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.routes.name
    }

    /// Whether it answered on our routes.
    pub(super) fn is_ours(&self) -> bool {
        self.is_ours == Some(true)
    }

    /// The methods that it names; none when it is of Choria's kind, which has no such page.
    pub(super) async fn methods(&mut self) -> Result<Option<Bytes>, LoginError> {
        let Some(url) = &self.routes.ours else {
            self.is_ours = Some(false);
            return Ok(None);
        };
        let said = self.web.get(url).await?;
        if matches!(said.status, 404 | 405 | 501) {
            self.is_ours = Some(false);
            return Ok(None);
        }
        self.is_ours = Some(true);
        self.body(said).map(Some)
    }

    pub(super) async fn ask(
        &self,
        step: Step,
        body: Zeroizing<Vec<u8>>,
    ) -> Result<Bytes, LoginError> {
        let ours = |page: &str| {
            let base = self.routes.ours.as_ref()?;
            Some(format!("{base}/{page}"))
        };
        let url = match step {
            Step::Methods => self.routes.ours.clone(),
            Step::Password if self.is_ours() => ours("password"),
            Step::Password => Some(self.routes.choria.clone()),
            Step::Begin => ours("begin"),
            Step::Continue => ours("continue"),
            Step::Logout => ours("logout"),
        };
        let Some(url) = url else {
            return Err(LoginError::NotOffered(self.name().to_owned()));
        };
        let said = self.web.post(&url, body).await?;
        if step != Step::Password && matches!(said.status, 404 | 405 | 501) {
            return Err(LoginError::NotOffered(self.name().to_owned()));
        }
        self.body(said)
    }

    fn body(&self, said: Said) -> Result<Bytes, LoginError> {
        if said.status == 200 {
            return Ok(said.body);
        }
        Err(LoginError::Status {
            by: self.name().to_owned(),
            status: said.status,
            said: said.shown(),
        })
    }
}

impl Routes {
    fn of(url: &str) -> Self {
        let trimmed = url.trim_end_matches('/');
        let is_bare = url
            .parse::<Uri>()
            .is_ok_and(|uri| matches!(uri.path(), "" | "/") && uri.query().is_none());
        let base = if is_bare {
            Some(trimmed)
        } else {
            trimmed
                .strip_suffix(CHORIA)
                .or_else(|| trimmed.strip_suffix(OURS))
        };
        match base {
            Some(base) => Self {
                name: url.to_owned(),
                choria: format!("{base}{CHORIA}"),
                ours: Some(format!("{base}{OURS}")),
            },
            None => Self {
                name: url.to_owned(),
                choria: url.to_owned(),
                ours: None,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_the_service_whichever_of_its_pages_it_is() {
        for url in [
            "https://aaa.example.net:8443",
            "https://aaa.example.net:8443/",
            "https://aaa.example.net:8443/choria/v1/login",
            "https://aaa.example.net:8443/choria/v1/login/",
            "https://aaa.example.net:8443/overlay/v1/login",
        ] {
            let routes = Routes::of(url);
            let base = "https://aaa.example.net:8443";
            assert_eq!(routes.choria, format!("{base}/choria/v1/login"), "{url}");
            assert_eq!(
                routes.ours.as_deref(),
                Some(format!("{base}/overlay/v1/login").as_str()),
                "{url}"
            );
        }
    }

    #[test]
    fn behind_a_prefix_the_pages_stay_together() {
        let routes = Routes::of("https://portal/aaa/choria/v1/login");
        assert_eq!(
            routes.ours.as_deref(),
            Some("https://portal/aaa/overlay/v1/login")
        );
    }

    #[test]
    fn an_address_of_another_form_is_taken_as_it_is() {
        for url in ["https://portal/sso/login", "https://portal/?login"] {
            let routes = Routes::of(url);
            assert_eq!((routes.choria.as_str(), routes.ours), (url, None));
        }
    }
}
