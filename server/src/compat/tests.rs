use super::*;
use crate::config::{RawConfig, RawMode};

fn translated(text: &str) -> (RawConfig, Vec<Notice>) {
    let mut pairs = Pairs::new();
    add_lines(text, "", &mut pairs);
    translate(pairs)
}

fn names(notices: &[Notice]) -> Vec<&str> {
    notices.iter().map(|notice| notice.key.as_str()).collect()
}

const SERVER: &str = "
# a fleet server
identity = n1.example.net
plugin.choria.use_srv = false
plugin.choria.middleware_hosts = nats://b1.example.net:4222, b2.example.net:4222
plugin.security.provider = choria
plugin.security.choria.token_file = /etc/choria/server.jwt
plugin.security.choria.seed_file = /etc/choria/server.seed
plugin.security.choria.ca = /etc/choria/ca.pem
plugin.security.issuer.names = choria
plugin.security.issuer.choria.public = 03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8
rpcauthorization = 1
rpcauthprovider = AAAsvc
plugin.yaml = /etc/choria/facts.yaml:/etc/choria/more.json
classesfile = /etc/choria/classes.txt
rpcaudit = true
plugin.rpcaudit.logfile = /var/log/choria-audit.log
plugin.choria.status_file_path = /var/lib/choria/status.json
loglevel = warn
";

#[test]
fn a_servers_file_says_the_same_as_ours() {
    let (raw, notices) = translated(SERVER);
    assert_eq!(notices, []);
    assert_eq!(raw.identity.as_deref(), Some("n1.example.net"));
    assert_eq!(
        raw.broker.servers.as_deref(),
        Some(
            &[
                "nats://b1.example.net:4222".to_owned(),
                "b2.example.net:4222".to_owned()
            ][..]
        )
    );
    assert_eq!(raw.broker.use_srv, Some(false));
    assert_eq!(raw.broker.verify, None);
    assert_eq!(raw.issuers.unwrap().len(), 1);
    assert_eq!(raw.authorization.mode, Some(RawMode::CallerToken));
    assert_eq!(raw.facts.files.unwrap().len(), 2);
    assert_eq!(
        raw.audit.file.unwrap(),
        Path::new("/var/log/choria-audit.log")
    );
}

#[test]
fn an_authority_that_is_named_is_demanded_and_one_that_is_not_is_said() {
    let (raw, notices) =
        translated("plugin.security.choria.ca = /nowhere\nplugin.security.provider=choria");
    assert_eq!(raw.broker.ca_file.as_deref(), Some(Path::new("/nowhere")));
    assert_eq!(raw.broker.verify, None);
    assert_eq!(names(&notices), [""; 0]);
    let (raw, notices) = translated("plugin.security.provider=choria");
    assert_eq!(raw.broker.ca_file, None);
    // What the operator's own file says of it holds.
    assert_eq!(raw.broker.verify, None);
    assert_eq!(names(&notices), ["plugin.security.choria.ca"]);
    assert_eq!(raw.broker.use_srv, Some(true));
    assert_eq!(
        raw.broker.fallback_servers,
        Some(vec!["puppet:4222".to_owned()])
    );
}

#[test]
fn policies_that_this_node_cannot_judge_are_never_read_as_none() {
    assert_eq!(
        translated("").0.authorization.mode,
        Some(RawMode::ActionPolicy)
    );
    let rego = translated("rpcauthprovider = rego_policy").0;
    assert_eq!(rego.authorization.mode, Some(RawMode::RegoPolicy));
    let typo = translated("rpcauthprovider = asvc").0;
    assert_eq!(typo.authorization.mode, Some(RawMode::ActionPolicy));
    let off = translated("rpcauthorization = no").0;
    assert_eq!(off.authorization.mode, Some(RawMode::None));
}

#[test]
fn unknown_keys_are_named_once_and_odd_lines_skipped() {
    let (_, notices) = translated(
        "plugin.security.provider = choria\nplugin.security.choria.ca=/etc/choria/ca.pem\n\
         wibble = 1\nwibble = 2\n=x\nno pair\nempty =\n# identity = x\nregisterinterval = 10\n\
         plugin.choria.use_srv = perhaps\nplugin.scout.tags = /x",
    );
    assert_eq!(
        names(&notices),
        [
            "plugin.choria.use_srv",
            "registerinterval",
            "plugin.scout.tags",
            "wibble"
        ]
    );
}

#[test]
fn plugin_d_adds_keys_under_its_file_name() {
    let dir = tempfile::tempdir().unwrap();
    let main = dir.path().join("server.conf");
    std::fs::write(&main, "identity = a.b\n").unwrap();
    std::fs::create_dir(dir.path().join("plugin.d")).unwrap();
    std::fs::write(dir.path().join("plugin.d/choria.cfg"), "use_srv = 0\n").unwrap();
    std::fs::write(dir.path().join("plugin.d/notes.txt"), "use_srv = 1\n").unwrap();
    let pairs = read(&main).unwrap();
    assert_eq!(pairs["plugin.choria.use_srv"], "0");
    assert_eq!(pairs["identity"], "a.b");
    assert_eq!(pairs.len(), 2);
    assert!(read(&dir.path().join("absent.conf")).is_err());
}
