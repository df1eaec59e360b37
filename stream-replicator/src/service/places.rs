//! Connections to sources that workers share for what is not copying: elections, pauses, messages kept aside.
//!
//! A worker's own connection is full of messages while it catches up: a vote behind them would come too late.

use std::sync::{Arc, Mutex, PoisonError};

use overlay_runtime::CancellationToken;
use tokio::sync::OnceCell;

use super::connect::{Link, LinkError, Links};
use crate::config::Endpoint;

/// One place for each endpoint.
#[derive(Debug)]
pub(super) struct Places {
    links: Links,
    places: Mutex<Vec<Arc<Place>>>,
}

/// A source, connected to when it is wanted first.
#[derive(Debug)]
pub(super) struct Place {
    /// What the connection is called.
    name: String,
    endpoint: Endpoint,
    links: Links,
    link: OnceCell<Link>,
}

impl Places {
    pub(super) fn new(links: Links) -> Self {
        Self {
            links,
            places: Mutex::default(),
        }
    }

    /// The place of an endpoint; `name` names the connection if it is a new one.
    pub(super) fn of(&self, endpoint: &Endpoint, name: &str) -> Arc<Place> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = places.iter().find(|place| place.endpoint == *endpoint) {
            return Arc::clone(place);
        }
        let place = Arc::new(Place {
            name: format!("operation {name}"),
            endpoint: endpoint.clone(),
            links: self.links.clone(),
            link: OnceCell::new(),
        });
        places.push(Arc::clone(&place));
        place
    }
}

impl Place {
    /// The connection, once it is there.
    ///
    /// # Errors
    ///
    /// Only when `shutdown` is cancelled.
    pub(super) async fn link(&self, shutdown: &CancellationToken) -> Result<&Link, LinkError> {
        self.link
            .get_or_try_init(|| self.links.open(&self.name, &self.endpoint, shutdown))
            .await
    }

    /// The connection, if it is there.
    pub(super) fn link_now(&self) -> Option<&Link> {
        self.link.get()
    }

    /// Prefix of the stream API.
    pub(super) fn api_prefix(&self) -> Option<&str> {
        self.endpoint.api_prefix.as_deref()
    }
}
