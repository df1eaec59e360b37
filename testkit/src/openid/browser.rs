//! A person's browser, as far as forms and cookies go.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ureq::http::Response;
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};
use ureq::{Agent, Body};

const LIMIT: Duration = Duration::from_secs(20);
const MOST_STEPS: usize = 20;

/// Opens pages and sends forms; keeps cookies.
#[derive(Debug)]
pub struct Browser {
    agent: Agent,
    cookies: BTreeMap<String, String>,
}

/// What the browser shows.
#[derive(Clone, Debug)]
pub struct Page {
    /// Where it is.
    pub address: String,
    /// The HTTP status; 0 when the page is not the provider's: the browser stops there.
    pub status: u16,
    /// Its text.
    pub body: String,
}

impl Browser {
    /// A browser that trusts the authority of a file.
    ///
    /// # Panics
    ///
    /// When the file holds no certificate.
    #[track_caller]
    pub fn new(ca_file: &Path) -> Self {
        let pem = fs::read(ca_file).expect("the authority's certificate can be read");
        let authority = Certificate::from_pem(&pem).expect("a certificate");
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .root_certs(RootCerts::Specific(Arc::new(vec![authority])))
            .build();
        let agent = Agent::config_builder()
            .tls_config(tls)
            .timeout_global(Some(LIMIT))
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .build();
        Self {
            agent: agent.into(),
            cookies: BTreeMap::new(),
        }
    }

    /// Opens a page, and goes where it leads to on the same host.
    #[track_caller]
    pub fn open(&mut self, address: &str) -> Page {
        let response = self
            .agent
            .get(address)
            .header("cookie", self.cookie())
            .header("accept", "text/html")
            .call();
        self.follow(address, response.expect("the provider answers"))
    }

    /// Sends a form, and goes where its answer leads to on the same host.
    #[track_caller]
    pub fn post(&mut self, address: &str, fields: &[(&str, &str)]) -> Page {
        let fields = fields.iter().copied();
        let response = self
            .agent
            .post(address)
            .header("cookie", self.cookie())
            .header("accept", "text/html")
            .send_form(fields);
        self.follow(address, response.expect("the provider answers"))
    }

    /// Sends the form of a page: what it has already, and these fields.
    ///
    /// # Panics
    ///
    /// When the page has no form.
    #[track_caller]
    pub fn submit(&mut self, page: &Page, fields: &[(&str, &str)]) -> Page {
        let form = page.form().unwrap_or_else(|| panic!("no form in {page:?}"));
        let mut all = page.inputs();
        for (name, value) in fields {
            all.insert((*name).to_owned(), (*value).to_owned());
        }
        let all: Vec<(&str, &str)> = all
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        self.post(&form, &all)
    }

    /// Goes through the provider's pages as `name`, who agrees to everything, until no form is left.
    ///
    /// # Panics
    ///
    /// When there is no end of forms.
    #[track_caller]
    pub fn log_in(&mut self, mut page: Page, name: &str) -> Page {
        for _ in 0..MOST_STEPS {
            if page.form().is_none() {
                return page;
            }
            page = if page.inputs().contains_key("login") {
                self.submit(&page, &[("login", name), ("password", "any")])
            } else {
                self.submit(&page, &[])
            };
        }
        panic!("no end of forms: {page:?}");
    }

    #[track_caller]
    fn follow(&mut self, address: &str, response: Response<Body>) -> Page {
        let mut address = address.to_owned();
        let mut response = response;
        for _ in 0..MOST_STEPS {
            self.keep_cookies(&response);
            let location = response.headers().get("location");
            let Some(location) = location.and_then(|value| value.to_str().ok()) else {
                let status = response.status().as_u16();
                let body = response.body_mut().read_to_string().unwrap_or_default();
                return Page {
                    address,
                    status,
                    body,
                };
            };
            let host = host(&address);
            address = if location.starts_with('/') {
                format!("{host}{location}")
            } else {
                location.to_owned()
            };
            if !address.starts_with(&host) {
                return Page {
                    address,
                    status: 0,
                    body: String::new(),
                };
            }
            response = self
                .agent
                .get(&address)
                .header("cookie", self.cookie())
                .header("accept", "text/html")
                .call()
                .expect("the provider answers");
        }
        panic!("no end of redirects at {address}");
    }

    fn cookie(&self) -> String {
        let pairs = self.cookies.iter();
        let pairs: Vec<String> = pairs
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        pairs.join("; ")
    }

    fn keep_cookies(&mut self, response: &Response<Body>) {
        for cookie in response.headers().get_all("set-cookie") {
            let pair = cookie.to_str().unwrap_or_default().split(';').next();
            if let Some((name, value)) = pair.and_then(|pair| pair.split_once('=')) {
                if value.is_empty() {
                    self.cookies.remove(name);
                } else {
                    self.cookies.insert(name.to_owned(), value.to_owned());
                }
            }
        }
    }
}

impl Page {
    /// Where the page's form is sent.
    pub fn form(&self) -> Option<String> {
        let form = self.body.split("<form").nth(1)?;
        let action = attribute(form.split('>').next()?, "action")?;
        if action.starts_with('/') {
            return Some(format!("{}{action}", host(&self.address)));
        }
        Some(action)
    }

    /// What the page's inputs hold.
    pub fn inputs(&self) -> BTreeMap<String, String> {
        let inputs = self.body.split("<input").skip(1);
        let inputs = inputs.filter_map(|input| {
            let input = input.split('>').next()?;
            let name = attribute(input, "name")?;
            Some((name, attribute(input, "value").unwrap_or_default()))
        });
        inputs.collect()
    }

    /// What the address says of `name`.
    pub fn parameter(&self, name: &str) -> Option<String> {
        let (_, query) = self.address.split_once('?')?;
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let mut found = pairs.filter(|(key, _)| *key == name);
        found.next().map(|(_, value)| value.to_owned())
    }
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let (_, rest) = tag.split_once(&format!(" {name}=\""))?;
    let (value, _) = rest.split_once('"')?;
    Some(value.replace("&amp;", "&"))
}

/// Scheme, host and port of an address.
fn host(address: &str) -> String {
    let slashes = address.match_indices('/').nth(2);
    slashes
        .map_or(address, |(end, _)| address.get(..end).unwrap_or(address))
        .to_owned()
}
