use overlay_tokens::key_transport::decrypt_private_key;

use super::*;

fn identity() -> Identity {
    Identity::new("n1.example.net").unwrap()
}

fn answer(configuration: &[(&str, &str)]) -> Answer {
    Answer {
        configuration: configuration
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
        ..Answer::default()
    }
}

fn checked(answer: &Answer) -> Result<Configuration, Why> {
    configuration(answer, &identity(), &BTreeMap::new())
}

#[test]
fn an_empty_configuration_is_none() {
    assert_eq!(
        checked(&answer(&[])).unwrap_err().reason,
        Reason::HelperOutput
    );
    assert!(checked(&answer(&[("loglevel", "info")])).is_ok());
}

#[test]
fn line_breaks_and_another_identity_are_refused() {
    for setting in [
        ("loglevel", "info\nplugin.choria.server.provision = true"),
        ("loglevel\rx", "info"),
        ("a=b", "c"),
        ("identity", "n2.example.net"),
        ("identity", ""),
    ] {
        let why = checked(&answer(&[setting])).unwrap_err();
        assert_eq!(why.reason, Reason::HelperOutput, "{setting:?}");
    }
    assert!(checked(&answer(&[("identity", "n1.example.net")])).is_ok());
}

#[test]
fn a_placement_fills_in_what_the_helper_left_out() {
    let lon = Placement {
        hosts: vec!["nats://a:1".to_owned(), "nats://b:1".to_owned()],
        collectives: vec!["choria".to_owned(), "lon".to_owned()],
    };
    let placements = BTreeMap::from([("lon".to_owned(), lon)]);
    let mut placed = answer(&[("collectives", "mine")]);
    placed.placement = "lon".to_owned();
    let configuration = configuration(&placed, &identity(), &placements).unwrap();
    assert_eq!(configuration[HOSTS], "nats://a:1,nats://b:1");
    assert_eq!(configuration[COLLECTIVES], "mine");

    placed.placement = "nowhere".to_owned();
    let why = super::configuration(&placed, &identity(), &placements).unwrap_err();
    assert_eq!(why.reason, Reason::HelperOutput);
    assert!(checked(&placed).is_ok(), "no overlay is configured");
}

#[test]
fn policies_are_plain_file_names() {
    let one = |name: &str| BTreeMap::from([(name.to_owned(), "policy".to_owned())]);
    for good in ["rpcutil.policy", "a-b_c.policy"] {
        assert_eq!(policies(&one(good), ".policy").unwrap().len(), 1);
    }
    for bad in [
        "rpcutil",
        "../x.policy",
        "a/b.policy",
        "a\\b.policy",
        "c:x.policy",
        ".policy",
        "..policy",
        "x.rego",
        "a\u{0}.policy",
    ] {
        assert!(policies(&one(bad), ".policy").is_err(), "{bad:?}");
    }
    // Nodes skip files without a name.
    assert!(policies(&one(""), ".policy").unwrap().is_empty());
}

#[test]
fn provision_case_36_without_an_exchange_key_a_private_key_stays_here() {
    let mut answer = answer(&[("a", "b")]);
    let pem = rcgen::KeyPair::generate().unwrap().serialize_pem();
    answer.key = pem.as_str().into();
    let configuration = checked(&answer).unwrap();
    let mut entropy = Entropy::new([5; 32]);
    let mut send = |ecdh: &str| request(&answer, &configuration, None, ecdh, &mut entropy);
    for ecdh in ["", "zz", &"0".repeat(64), &"1".repeat(63)] {
        let why = send(ecdh).unwrap_err();
        assert_eq!(why.reason, Reason::KeyTransport, "{ecdh:?}");
    }
    let node = ExchangeKey::from_bytes([8; 32]);
    let sent = send(&node.public_hex()).unwrap();
    assert!(!sent.key.expose().contains(pem.lines().nth(1).unwrap()));
    let shared = node.shared(&sent.ecdh_public).unwrap();
    let received = decrypt_private_key(sent.key.expose(), &shared).unwrap();
    let body = |pem: &str| {
        pem.lines()
            .filter(|line| !line.starts_with('-'))
            .collect::<String>()
    };
    assert_eq!(body(&received), body(&pem));
}

#[test]
fn the_directory_of_the_signing_request_comes_before_the_helpers() {
    let mut answer = answer(&[("b", "1"), ("a", "<2>")]);
    answer.ssldir = "/helper".to_owned();
    let csr = SigningRequest {
        csr: String::new(),
        public_key: String::new(),
        ssldir: "/node".to_owned(),
    };
    let configuration = checked(&answer).unwrap();
    let mut entropy = Entropy::new([5; 32]);
    let sent = request(&answer, &configuration, Some(&csr), "", &mut entropy).unwrap();
    assert_eq!(sent.ssldir, "/node");
    // As Go writes it: names in order, angle brackets escaped.
    assert_eq!(sent.config.expose(), r#"{"a":"\u003c2\u003e","b":"1"}"#);
    assert!(sent.ecdh_public.is_empty() && sent.key.is_empty());
}

#[test]
fn a_configuration_that_does_not_switch_provisioning_off_is_noticed() {
    for (value, on) in [("false", false), ("0", false), ("true", true), ("", true)] {
        let configuration = BTreeMap::from([(PROVISION.to_owned(), value.to_owned())]);
        assert_eq!(leaves_provisioning_on(&configuration), on, "{value:?}");
    }
    assert!(leaves_provisioning_on(&BTreeMap::new()));
}
