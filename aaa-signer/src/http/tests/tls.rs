//! Real TLS, and files that change under it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use overlay_testkit::TlsFiles as Minted;
use overlay_testkit::mint::Authority;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::config::TlsFiles;

use super::*;

/// Files that a server reads, in a directory of their own.
struct Files {
    directory: TempDir,
}

impl Files {
    fn new(pair: &Minted) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let files = Self { directory };
        files.put(pair);
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn put(&self, pair: &Minted) {
        self.put_one(&pair.cert, "aaa.pem");
        self.put_one(&pair.key, "aaa.key");
    }

    /// Puts a file in place as careful people do: whole, by its name.
    fn put_one(&self, from: &Path, name: &str) {
        let new = self.path("new");
        fs::write(&new, fs::read(from).unwrap()).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).unwrap();
        fs::rename(new, self.path(name)).unwrap();
    }

    fn settings(&self, client_ca: Option<PathBuf>) -> Http {
        let mut settings = settings();
        settings.tls = Some(TlsFiles {
            certificate: self.path("aaa.pem"),
            key: self.path("aaa.key"),
            client_ca,
            reload: Duration::from_millis(20),
        });
        settings
    }
}

fn trusting(authority: &Authority, own: Option<&Minted>) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(authority.ca_file()).unwrap() {
        roots.add(certificate.unwrap()).unwrap();
    }
    let builder =
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
    let config = match own {
        None => builder.with_no_client_auth(),
        Some(own) => {
            let chain = CertificateDer::pem_file_iter(&own.cert).unwrap();
            let chain = chain.collect::<Result<_, _>>().unwrap();
            let key = PrivateKeyDer::from_pem_file(&own.key).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    TlsConnector::from(Arc::new(config))
}

async fn connect(
    served: &Served,
    connector: &TlsConnector,
) -> std::io::Result<Client<TlsStream<TcpStream>>> {
    let stream = TcpStream::connect(served.address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    Ok(Client::new(connector.connect(name, stream).await?))
}

/// Whether a client that trusts that authority gets an answer.
async fn serves(served: &Served, connector: &TlsConnector) -> bool {
    let Ok(mut client) = connect(served, connector).await else {
        return false;
    };
    if client
        .stream
        .write_all(get("/healthz").as_bytes())
        .await
        .is_err()
    {
        return false;
    }
    client
        .try_answer()
        .await
        .is_some_and(|answer| answer.status == 200)
}

const TAKEN: &str = "overlay_aaa_http_certificate_reloads_total{outcome=\"taken\"}";
const REFUSED: &str = "overlay_aaa_http_certificate_reloads_total{outcome=\"refused\"}";

#[tokio::test]
async fn requests_come_over_tls_and_plain_ones_get_nowhere() {
    let authority = Authority::new();
    let files = Files::new(&authority.server("aaa", &[]));
    let served = Served::start(&files.settings(None)).await;
    let mut client = connect(&served, &trusting(&authority, None)).await.unwrap();
    for _ in 0..2 {
        client.send(post("/choria/v1/sign", "{}").as_bytes()).await;
        assert_eq!(client.answer().await.status, 501);
    }
    assert!(!serves(&served, &trusting(&Authority::new(), None)).await);
    let mut plain = served.connect().await;
    plain.send(get("/healthz").as_bytes()).await;
    assert!(plain.try_answer().await.is_none());
    served
        .metric_becomes(
            "overlay_aaa_http_connections_total{outcome=\"handshake_failed\"}",
            2.0,
        )
        .await;
    assert!(served.metric("overlay_aaa_http_certificate_expires_seconds") > 1.7e9);
}

#[tokio::test]
async fn a_handshake_that_does_not_come_ends() {
    let authority = Authority::new();
    let files = Files::new(&authority.server("aaa", &[]));
    let mut settings = files.settings(None);
    settings.limits.header_timeout = Duration::from_millis(300);
    let served = Served::start(&settings).await;
    let mut silent = served.connect().await;
    assert!(silent.is_closed().await);
    assert!(serves(&served, &trusting(&authority, None)).await);
}

#[tokio::test]
async fn a_new_pair_is_taken_and_open_connections_stay() {
    let (old, new) = (Authority::new(), Authority::new());
    let files = Files::new(&old.server("aaa", &[]));
    let served = Served::start(&files.settings(None)).await;
    let mut kept = connect(&served, &trusting(&old, None)).await.unwrap();
    files.put(&new.server("aaa", &[]));
    served.metric_becomes(TAKEN, 1.0).await;
    assert!(serves(&served, &trusting(&new, None)).await);
    assert!(!serves(&served, &trusting(&old, None)).await);
    kept.send(get("/healthz").as_bytes()).await;
    assert_eq!(kept.answer().await.status, 200);
}

#[tokio::test]
async fn a_pair_that_does_not_fit_is_told_and_the_old_one_stays() {
    let (old, new) = (Authority::new(), Authority::new());
    let files = Files::new(&old.server("aaa", &[]));
    let served = Served::start(&files.settings(None)).await;
    let pair = new.server("aaa", &[]);
    // The certificate alone: its key is still the old one's.
    files.put_one(&pair.cert, "aaa.pem");
    served.metric_becomes(REFUSED, 1.0).await;
    assert!(serves(&served, &trusting(&old, None)).await);
    fs::write(files.path("aaa.pem"), "no certificate").unwrap();
    served.metric_becomes(REFUSED, 2.0).await;
    fs::remove_file(files.path("aaa.pem")).unwrap();
    served.metric_becomes(REFUSED, 3.0).await;
    assert!(serves(&served, &trusting(&old, None)).await);
    assert!(served.metric(TAKEN) < 0.5);
    files.put(&pair);
    served.metric_becomes(TAKEN, 1.0).await;
    assert!(serves(&served, &trusting(&new, None)).await);
}

#[tokio::test]
async fn clients_need_a_certificate_where_their_authority_is_named_and_it_can_change() {
    let (authority, clients, others) = (Authority::new(), Authority::new(), Authority::new());
    let files = Files::new(&authority.server("aaa", &[]));
    files.put_one(&clients.ca_file(), "clients.pem");
    let served = Served::start(&files.settings(Some(files.path("clients.pem")))).await;
    let of_clients = trusting(&authority, Some(&clients.client("bob")));
    let of_others = trusting(&authority, Some(&others.client("bob")));
    assert!(serves(&served, &of_clients).await);
    assert!(!serves(&served, &of_others).await);
    assert!(!serves(&served, &trusting(&authority, None)).await);
    files.put_one(&others.ca_file(), "clients.pem");
    served.metric_becomes(TAKEN, 1.0).await;
    assert!(serves(&served, &of_others).await);
    assert!(!serves(&served, &of_clients).await);
}

#[tokio::test]
async fn aaa_case_64_files_that_make_no_tls_and_a_taken_port_are_told_at_the_start() {
    let authority = Authority::new();
    let files = Files::new(&authority.server("aaa", &[]));
    let good = files.settings(None);
    let bind = async |settings: &Http| {
        let bound = Server::bind(settings, &Secrets::default(), &Registry::new()).await;
        bound
            .map(drop)
            .map_err(|error| overlay_runtime::err_chain(&error))
    };
    bind(&good).await.unwrap();
    assert!(good.inspect(&Secrets::default()).is_empty());

    let mut taken = good.clone();
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    taken.listen = holder.local_addr().unwrap();
    assert!(
        bind(&taken)
            .await
            .unwrap_err()
            .contains("listen on 127.0.0.1:")
    );

    let pem = files.path("aaa.pem");
    let told = async |content: Option<&[u8]>, part: &str| {
        match content {
            Some(content) => fs::write(&pem, content).unwrap(),
            None => fs::remove_file(&pem).unwrap(),
        }
        let error = bind(&good).await.unwrap_err();
        assert!(error.contains("aaa.pem") && error.contains(part), "{error}");
        let faults = good.inspect(&Secrets::default());
        assert!(faults[0].to_string().contains("aaa.pem"), "{faults:?}");
    };
    let other = authority.server("other", &[]);
    told(Some(&fs::read(other.cert).unwrap()), "make no TLS").await;
    told(Some(b"no PEM"), "no certificate").await;
    told(None, "No such file").await;

    files.put(&authority.server("aaa", &[]));
    fs::set_permissions(files.path("aaa.key"), fs::Permissions::from_mode(0o644)).unwrap();
    assert!(
        bind(&good)
            .await
            .unwrap_err()
            .contains("lets others read it")
    );
}
