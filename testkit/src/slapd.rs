//! OpenLDAP's server, as a process.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::eventually::poll_blocking;
use crate::mint::Authority;
use crate::port::free_port;
use crate::process::Process;

const START: Duration = Duration::from_secs(20);
const PERIOD: Duration = Duration::from_millis(20);
/// Where distributions put it, which is in few people's `PATH`.
const PLACES: [&str; 3] = [
    "/usr/sbin/slapd",
    "/usr/libexec/slapd",
    "/usr/local/libexec/slapd",
];
const MODULES: [&str; 3] = [
    "/usr/lib/ldap",
    "/usr/lib/openldap",
    "/usr/libexec/openldap",
];
const SCHEMAS: [&str; 2] = ["/etc/ldap/schema", "/etc/openldap/schema"];

/// A directory server with what a test puts into it; gone with its value.
#[derive(Debug)]
pub struct Slapd {
    process: Process,
    plain: u16,
    encrypted: u16,
    dir: TempDir,
    program: PathBuf,
}

impl Slapd {
    /// The base below which everything is.
    pub const BASE: &str = "dc=example,dc=net";

    /// What installs it.
    pub const INSTALL: &str = "apt-get install slapd";

    /// The program, from `OVERLAY_SLAPD`, the `PATH` or where distributions put it.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn locate() -> Result<PathBuf, String> {
        if let Some(path) = crate::env::var("OVERLAY_SLAPD") {
            return Ok(PathBuf::from(path));
        }
        let of_path = crate::env::var("PATH").unwrap_or_default();
        let of_path = std::env::split_paths(&of_path).map(|dir| dir.join("slapd"));
        let mut places = of_path.chain(PLACES.map(PathBuf::from));
        places
            .find(|path| path.is_file())
            .ok_or_else(|| "no slapd".to_owned())
    }

    /// Starts a server with these entries (LDIF below [`Slapd::BASE`], which is there already) on two ports: one for `ldap` with
    /// StartTLS, one for `ldaps`. Nobody reads anything without a bind, people read their own entry, and
    /// `cn=service,dc=example,dc=net` (password `of the service`) reads all except passwords.
    ///
    /// # Panics
    ///
    /// When it does not start or does not take the entries.
    #[track_caller]
    pub fn start(program: &Path, authority: &Authority, ldif: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory can be made");
        let files = authority.server("directory", &[]);
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("data")).expect("the directory is ours");
        let of = |places: &[&str], file: &str| {
            let mut places = places.iter().map(PathBuf::from);
            places.find(|dir| dir.join(file).exists())
        };
        let schemas = of(&SCHEMAS, "core.schema").expect("slapd's schemas are beside it");
        let schema = |name: &str| format!("include {}\n", schemas.join(name).display());
        let mut config: String = ["core.schema", "cosine.schema", "inetorgperson.schema"]
            .map(schema)
            .concat();
        if let Some(modules) = of(&MODULES, "back_mdb.la") {
            config.push_str(&format!(
                "modulepath {}\nmoduleload back_mdb\nmoduleload memberof\n",
                modules.display()
            ));
        }
        let base = Self::BASE;
        config.push_str(&format!(
            "pidfile {pid}\nargsfile {args}\n\
             TLSCACertificateFile {ca}\nTLSCertificateFile {cert}\nTLSCertificateKeyFile {key}\n\
             database mdb\nsuffix \"{base}\"\nrootdn \"cn=root,{base}\"\nrootpw root\ndirectory {data}\nmaxsize 16777216\n\
             access to attrs=userPassword by anonymous auth by * none\n\
             access to * by dn.exact=\"cn=service,{base}\" read by self read by * none\n\
             overlay memberof\n",
            pid = at("pid").display(),
            args = at("args").display(),
            ca = files.ca.display(),
            cert = files.cert.display(),
            key = files.key.display(),
            data = at("data").display(),
        ));
        let config_file = at("slapd.conf");
        fs::write(&config_file, config).expect("the directory is ours");
        let entries = format!(
            "dn: {base}\nobjectClass: organization\nobjectClass: dcObject\no: example\ndc: example\n\n\
             dn: cn=service,{base}\nobjectClass: person\ncn: service\nsn: service\nuserPassword: of the service\n\n{ldif}"
        );
        let ldif_file = at("entries.ldif");
        fs::write(&ldif_file, entries).expect("the directory is ours");
        let added = Command::new(program)
            .args(["-T", "add", "-f"])
            .arg(&config_file)
            .arg("-l")
            .arg(&ldif_file)
            .output()
            .expect("slapd can be run");
        assert!(
            added.status.success(),
            "slapd takes the entries: {}",
            String::from_utf8_lossy(&added.stderr)
        );
        let (plain, encrypted) = (free_port(), free_port());
        let process = run(program, &config_file, plain, encrypted);
        Self {
            process,
            plain,
            encrypted,
            dir,
            program: program.to_owned(),
        }
    }

    /// Its address for `ldap`, on which StartTLS is possible.
    pub fn url(&self) -> String {
        format!("ldap://localhost:{}", self.plain)
    }

    /// Its address for `ldaps`.
    pub fn encrypted_url(&self) -> String {
        format!("ldaps://localhost:{}", self.encrypted)
    }

    /// Its process: to be paused, or killed.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Starts it again on the same ports.
    ///
    /// # Panics
    ///
    /// When it does not start.
    #[track_caller]
    pub fn start_again(&mut self) {
        self.process.kill();
        let config = self.dir.path().join("slapd.conf");
        self.process = run(&self.program, &config, self.plain, self.encrypted);
    }
}

#[track_caller]
fn run(program: &Path, config: &Path, plain: u16, encrypted: u16) -> Process {
    let urls = format!("ldap://127.0.0.1:{plain}/ ldaps://127.0.0.1:{encrypted}/");
    let mut process = Process::builder(program)
        .args(["-d", "0", "-h", &urls, "-f"])
        .arg(config)
        .start();
    let listens = |port| std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
    let waited = poll_blocking(START, PERIOD, || {
        if let Some(status) = process.has_ended() {
            return Some(Err(status));
        }
        (listens(plain) && listens(encrypted)).then_some(Ok(()))
    });
    match waited {
        Ok(Ok(())) => process,
        Ok(Err(status)) => panic!("slapd ended: {status}: {}", process.stderr()),
        Err(_) => panic!("slapd does not listen: {}", process.stderr()),
    }
}
