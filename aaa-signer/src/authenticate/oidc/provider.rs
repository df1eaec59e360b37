//! What is known of the provider: its addresses and keys, asked for when needed and kept for a while.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use openidconnect::core::{
    CoreAuthDisplay, CoreClaimName, CoreClaimType, CoreClient, CoreClientAuthMethod,
    CoreGenderClaim, CoreGrantType, CoreIdToken, CoreJsonWebKey, CoreJweContentEncryptionAlgorithm,
    CoreJweKeyManagementAlgorithm, CoreResponseMode, CoreResponseType, CoreSubjectIdentifierType,
};
use openidconnect::url::Url;
use openidconnect::{
    AccessToken, AdditionalClaims, AdditionalProviderMetadata, AuthType, ClientId, ClientSecret,
    DeviceAuthorizationUrl, DiscoveryError, EndpointMaybeSet, EndpointNotSet, EndpointSet,
    IssuerUrl, JsonWebKeySet, Nonce, ProviderMetadata, SubjectIdentifier, UserInfoClaims,
    UserInfoError,
};
use overlay_runtime::{Secrets, err_chain};
use overlay_tokens::UnixTime;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::claims::Claims;
use super::http::{FetchError, Http};
use super::shown;
use super::verify::{self, Expected, VerifyError};
use crate::authenticate::trust::TrustError;
use crate::config::{ClientAuthentication, Oidc, is_confidential};

/// How long what a provider says of itself is good.
const KEPT: Duration = Duration::from_secs(60 * 60);
/// For how long a provider that has just failed is not asked again, so that those who wait do not queue up.
const FAILED: Duration = Duration::from_secs(1);
/// Keys are fetched again at most this often, whatever tokens are shown.
const KEYS: Duration = Duration::from_secs(1);

/// A provider.
pub(super) struct Provider {
    issuer: IssuerUrl,
    client_id: ClientId,
    client_secret_file: Option<PathBuf>,
    client_authentication: AuthType,
    audiences: Vec<String>,
    secrets: Secrets,
    http: Http,
    known: Mutex<Known>,
}

/// What the provider said last.
#[derive(Default)]
struct Known {
    metadata: Option<(Instant, Arc<Metadata>)>,
    keys: Option<Instant>,
    failed: Option<(Instant, ProviderError)>,
}

/// One step of a login, with what is known of the provider at its begin.
pub(super) struct Session<'a> {
    provider: &'a Provider,
    metadata: Arc<Metadata>,
    client: ReadyClient,
}

/// Why the provider does not help.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum ProviderError {
    /// It does not answer, or says that it is unwell.
    #[error("the provider cannot be reached: {0}")]
    Unavailable(String),
    /// It says no.
    #[error("the provider refused: {0}")]
    Refused(String),
    /// What it says cannot be used, or our part of it is wrong.
    #[error("the provider cannot be used: {0}")]
    Unusable(String),
}

/// Where codes for other devices are made; not every provider has it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct DeviceEndpoint {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    device_authorization_endpoint: Option<DeviceAuthorizationUrl>,
}

impl AdditionalProviderMetadata for DeviceEndpoint {}

/// Claims beyond those of the standard.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct FurtherClaims(Map<String, Value>);

impl AdditionalClaims for FurtherClaims {}

type Metadata = ProviderMetadata<
    DeviceEndpoint,
    CoreAuthDisplay,
    CoreClientAuthMethod,
    CoreClaimName,
    CoreClaimType,
    CoreGrantType,
    CoreJweContentEncryptionAlgorithm,
    CoreJweKeyManagementAlgorithm,
    CoreJsonWebKey,
    CoreResponseMode,
    CoreResponseType,
    CoreSubjectIdentifierType,
>;

/// The client with the addresses that every provider has, and those that some have.
pub(super) type ReadyClient<Device = EndpointNotSet> = CoreClient<
    EndpointSet,
    Device,
    EndpointNotSet,
    EndpointNotSet,
    EndpointMaybeSet,
    EndpointMaybeSet,
>;

impl Provider {
    pub(super) fn new(settings: &Oidc, secrets: Secrets) -> Result<Self, TrustError> {
        Ok(Self {
            issuer: settings.issuer.clone(),
            client_id: ClientId::new(settings.client_id.clone()),
            client_secret_file: settings.client_secret_file.clone(),
            client_authentication: match settings.client_authentication {
                ClientAuthentication::Basic => AuthType::BasicAuth,
                ClientAuthentication::Post => AuthType::RequestBody,
            },
            audiences: settings.audiences.clone(),
            secrets,
            http: Http::new(settings.ca_file.as_deref())?,
            known: Mutex::default(),
        })
    }

    /// Begins a step.
    pub(super) async fn session(&self) -> Result<Session<'_>, ProviderError> {
        let metadata = self.metadata().await?;
        self.session_with(metadata)
    }

    /// The same step with the keys that the provider has now.
    pub(super) async fn with_new_keys(
        &self,
        session: &Session<'_>,
    ) -> Result<Session<'_>, ProviderError> {
        let mut known = self.known.lock().await;
        if let Some((_, newer)) = &known.metadata
            && !Arc::ptr_eq(newer, &session.metadata)
        {
            return self.session_with(Arc::clone(newer));
        }
        if let Some(fetched) = known.keys {
            tokio::time::sleep_until(fetched + KEYS).await;
        }
        known.keys = Some(Instant::now());
        let keys = JsonWebKeySet::fetch_async(session.metadata.jwks_uri(), &self.http).await;
        let keys = keys.map_err(|error| failed(&error))?;
        let metadata = Metadata::clone(&session.metadata).set_jwks(keys);
        let metadata = Arc::new(metadata);
        known.metadata = Some((Instant::now(), Arc::clone(&metadata)));
        self.session_with(metadata)
    }

    async fn metadata(&self) -> Result<Arc<Metadata>, ProviderError> {
        let mut known = self.known.lock().await;
        match &known.metadata {
            Some((at, metadata)) if at.elapsed() < KEPT => return Ok(Arc::clone(metadata)),
            Some(_) | None => {}
        }
        if let Some((at, error)) = &known.failed
            && at.elapsed() < FAILED
        {
            return Err(error.clone());
        }
        match Metadata::discover_async(self.issuer.clone(), &self.http).await {
            Ok(metadata) => {
                let metadata = Arc::new(metadata);
                known.metadata = Some((Instant::now(), Arc::clone(&metadata)));
                known.keys = Some(Instant::now());
                known.failed = None;
                Ok(metadata)
            }
            Err(error) => {
                let error = failed(&error);
                tracing::warn!(issuer = self.issuer.as_str(), %error, "no word from the OpenID provider");
                known.failed = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    fn session_with(&self, metadata: Arc<Metadata>) -> Result<Session<'_>, ProviderError> {
        let secret = self.client_secret()?;
        let client = CoreClient::from_provider_metadata(
            Metadata::clone(&metadata),
            self.client_id.clone(),
            secret,
        )
        .set_auth_type(self.client_authentication.clone());
        Ok(Session {
            provider: self,
            metadata,
            client,
        })
    }

    /// The secret as the file has it now: whoever changes it need not tell us.
    fn client_secret(&self) -> Result<Option<ClientSecret>, ProviderError> {
        let Some(path) = &self.client_secret_file else {
            return Ok(None);
        };
        let unusable = |error: &dyn std::error::Error| {
            ProviderError::Unusable(format!("client secret: {}", err_chain(error)))
        };
        let secret = self.secrets.read(path).map_err(|error| unusable(&error))?;
        let text = secret.expose_text().map_err(|error| unusable(&error))?;
        Ok(Some(ClientSecret::new(text.to_owned())))
    }
}

impl Session<'_> {
    pub(super) fn client(&self) -> ReadyClient {
        self.client.clone()
    }

    pub(super) fn http(&self) -> &Http {
        &self.provider.http
    }

    /// The client with the address where codes for other devices are made.
    pub(super) fn device_client(&self) -> Result<ReadyClient<EndpointSet>, ProviderError> {
        let endpoint = &self
            .metadata
            .additional_metadata()
            .device_authorization_endpoint;
        match endpoint {
            Some(endpoint) => Ok(self.client().set_device_authorization_url(endpoint.clone())),
            None => Err(ProviderError::Unusable("it has no device flow".to_owned())),
        }
    }

    pub(super) fn has_userinfo(&self) -> bool {
        self.metadata.userinfo_endpoint().is_some()
    }

    /// Refuses an address that somebody is to be sent to when what is typed there could be read on the way.
    pub(super) fn check_address(&self, address: &Url) -> Result<(), ProviderError> {
        if is_confidential(address) {
            return Ok(());
        }
        let address = FetchError::Plain(shown(address.as_str()));
        Err(ProviderError::Unusable(address.to_string()))
    }

    /// Verifies an ID token of this provider for this service.
    pub(super) fn verify(
        &self,
        id_token: &CoreIdToken,
        nonce: Option<&Nonce>,
        now: UnixTime,
    ) -> Result<Claims, VerifyError> {
        let expected = Expected {
            issuer: &self.provider.issuer,
            client_id: &self.provider.client_id,
            audiences: &self.provider.audiences,
            keys: self.metadata.jwks(),
        };
        verify::verify(id_token, &expected, nonce, now)
    }

    /// What the provider says of `subject` to whoever has the access token.
    pub(super) async fn userinfo(
        &self,
        access_token: &AccessToken,
        subject: String,
    ) -> Result<Map<String, Value>, ProviderError> {
        // The library expects a text that fits a header.
        if !access_token.secret().bytes().all(|c| c.is_ascii_graphic()) {
            let text = "its access token is no text for a header";
            return Err(ProviderError::Unusable(text.to_owned()));
        }
        let subject = SubjectIdentifier::new(subject);
        let request = self
            .client
            .user_info(access_token.clone(), Some(subject))
            .map_err(|error| ProviderError::Unusable(error.to_string()))?;
        let claims: UserInfoClaims<FurtherClaims, CoreGenderClaim> = request
            .request_async(self.http())
            .await
            .map_err(|error| userinfo_failed(&error))?;
        match serde_json::to_value(claims) {
            Ok(Value::Object(claims)) => Ok(claims),
            Ok(_) | Err(_) => Err(ProviderError::Unusable(
                "its userinfo is no object".to_owned(),
            )),
        }
    }
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provider")
            .field("issuer", &self.issuer.as_str())
            .finish_non_exhaustive()
    }
}

/// What an error of discovery, or of fetching the keys, means.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the library may name more errors, which are of the provider too"
)]
fn failed(error: &DiscoveryError<FetchError>) -> ProviderError {
    match error {
        DiscoveryError::Request(error) => asked_in_vain(error),
        DiscoveryError::Response(status, _, _) if status.is_server_error() => {
            ProviderError::Unavailable(format!("HTTP status {status}"))
        }
        DiscoveryError::Response(status, _, text) => {
            ProviderError::Unusable(shown(&format!("HTTP status {status}: {text}")))
        }
        other => ProviderError::Unusable(shown(&err_chain(other))),
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the library may name more errors, which are of the provider too"
)]
fn userinfo_failed(error: &UserInfoError<FetchError>) -> ProviderError {
    match error {
        UserInfoError::Request(error) => asked_in_vain(error),
        UserInfoError::Response(status, _, _) if status.is_server_error() => {
            ProviderError::Unavailable(format!("userinfo: HTTP status {status}"))
        }
        other => ProviderError::Unusable(shown(&format!("userinfo: {}", err_chain(other)))),
    }
}

/// What it means that a question got no answer.
pub(super) fn asked_in_vain(error: &FetchError) -> ProviderError {
    match error {
        FetchError::Broken(text) => ProviderError::Unavailable(text.clone()),
        FetchError::Plain(_) | FetchError::TooLarge => ProviderError::Unusable(error.to_string()),
    }
}
