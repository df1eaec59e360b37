//! The node's token and key: read from their files at every connection, so that a renewed token
//! counts from the next connection on and no restart is needed.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use overlay_protocol::id::Identity;
use overlay_tokens::claims::Purpose;
use overlay_tokens::file::{self, FileError};
use overlay_tokens::own::{Holder, OwnError, check_own};
use overlay_tokens::{UnixTime, purpose};

/// Why the node cannot show who it is.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file could not be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The token is not that of a provisioned node.
    #[error("{} holds a `{purpose}` token, a node needs `choria_server`", path.display())]
    Purpose {
        /// The token's file.
        path: PathBuf,
        /// What the token is for.
        purpose: String,
    },
    /// Token or key do not hold.
    #[error("the token in {} is of no use", path.display())]
    Own {
        /// The token's file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: OwnError,
    },
    /// The token is another node's.
    #[error("the token is for `{token}`, this node is `{configured}`")]
    OtherNode {
        /// The identity in the token.
        token: String,
        /// The identity configured.
        configured: Identity,
    },
}

/// Where the credentials are, and what was read last.
#[derive(Debug)]
pub struct Credentials {
    identity: Identity,
    token_file: PathBuf,
    seed_file: PathBuf,
    current: Mutex<Option<Arc<Holder>>>,
}

impl Credentials {
    /// Names the files; nothing is read yet.
    pub fn new(identity: Identity, token_file: PathBuf, seed_file: PathBuf) -> Self {
        Self {
            identity,
            token_file,
            seed_file,
            current: Mutex::new(None),
        }
    }

    /// Reads the files and, when all is well, makes their content the current one.
    pub fn read(&self, now: UnixTime) -> Result<Arc<Holder>, IdentityError> {
        let own = |source| IdentityError::Own {
            path: self.token_file.clone(),
            source,
        };
        let text = file::read_token(&self.token_file)?;
        match purpose(&text) {
            Ok(Purpose::Server) => {}
            Ok(other) => {
                return Err(IdentityError::Purpose {
                    path: self.token_file.clone(),
                    purpose: other.as_str().to_owned(),
                });
            }
            Err(error) => return Err(own(error.into())),
        }
        check_own(&text, now).map_err(own)?;
        let key = file::read_seed(&self.seed_file)?;
        let holder = Holder::new(&text, key).map_err(own)?;
        if holder.name() != self.identity.as_str() {
            return Err(IdentityError::OtherNode {
                token: holder.name().to_owned(),
                configured: self.identity.clone(),
            });
        }
        let holder = Arc::new(holder);
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        *current = Some(Arc::clone(&holder));
        Ok(holder)
    }

    /// What was read last.
    pub fn current(&self) -> Option<Arc<Holder>> {
        self.current
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
