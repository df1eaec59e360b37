//! Conformance cases of the provisioner, the system user, certificates, and kinds of connections.

use super::*;
use crate::hosts::HostList;

fn provisioner() -> ClientPermissions {
    ClientPermissions {
        provisioner: true,
        ..fleet()
    }
}

fn system() -> ClientPermissions {
    ClientPermissions {
        system_user: true,
        ..ClientPermissions::default()
    }
}

fn hosts(text: &str) -> HostList {
    [text.parse().unwrap()].into_iter().collect()
}

#[test]
fn case_34_the_provisioner_has_what_it_needs_of_the_provisioning_account() {
    let login = Try::with(token(&client_claims(provisioner())))
        .with_user("provisioner", "provS3cret")
        .login(&policy());
    assert_eq!(
        (login.role, login.account.as_str()),
        (Role::Provisioner, "provisioning")
    );
    assert_eq!(
        (login.name.as_str(), login.expires),
        ("provisioner", Some(LATER))
    );
    assert_eq!(login.permissions, Permissions::provisioner());
    let publish = sorted(login.permissions.publish.allow());
    for own in [
        "provisioning.node.>",
        "provisioning.vetted.*",
        "choria.streams.STREAM.INFO.KV_CHORIA_LEADER_ELECTION",
        "$KV.PROVISIONING_CLAIMS.>",
        "$JS.API.STREAM.CREATE.PROVISIONING_AUDIT",
    ] {
        assert!(publish.contains(&own), "{own}");
    }
    for subject in &publish {
        assert!(
            !subject.contains("STREAM.DELETE") && !subject.contains("STREAM.PURGE"),
            "{subject}"
        );
        assert!(
            *subject != ">" && !subject.starts_with("$JS.API.>") && !subject.starts_with("$KV.>"),
            "{subject}"
        );
    }
    let lax = ProvisioningCompat {
        provisioner_unrestricted: true,
        ..ProvisioningCompat::default()
    };
    let login = Try::with(token(&client_claims(provisioner())))
        .with_user("provisioner", "provS3cret")
        .login(&with_compat(lax));
    assert_eq!(login.permissions, Permissions::unrestricted());
}

#[test]
fn a_provisioner_that_did_not_sign_the_nonce_is_refused() {
    let good =
        Try::with(token(&client_claims(provisioner()))).with_user("provisioner", "provS3cret");
    Try::unsigned(good.token.clone())
        .with_user("provisioner", "provS3cret")
        .refused_for(Reason::NonceNotSigned);
    Try {
        signature: sign_nonce(&org(), NONCE).unwrap(),
        ..good
    }
    .refused_for(Reason::NonceSignatureWrong);
}

#[test]
fn case_34_a_provisioner_short_of_anything_is_refused() {
    let good =
        Try::with(token(&client_claims(provisioner()))).with_user("provisioner", "provS3cret");
    for password in ["", "no", "provS3cre", "provS3cretx"] {
        good.clone()
            .with_user("provisioner", password)
            .refused_for(Reason::ProvisionerPassword);
    }
    Try {
        token: String::new(),
        ..good.clone()
    }
    .refused_for(Reason::ProvisionerToken);
    let admin = ClientPermissions {
        org_admin: true,
        ..ClientPermissions::default()
    };
    for permissions in [fleet(), admin] {
        Try {
            token: token(&client_claims(permissions)),
            ..good.clone()
        }
        .refused_for(Reason::NotAProvisioner);
    }
    let mut expired = client_claims(provisioner());
    expired.standard.exp = Some(NOW.secs - 1);
    Try {
        token: token(&expired),
        ..good.clone()
    }
    .refused_for(Reason::TokenExpired);
    let node = token(&server_claims(&["choria"], ServerPermissions::default()));
    let bearer = token(&provisioning_claims());
    for other in [node, bearer] {
        Try {
            token: other,
            ..good.clone()
        }
        .refused_for(Reason::WrongPurpose);
    }
    let off = Policy {
        provisioning: None,
        ..policy()
    };
    assert_eq!(good.refusal(&off).reason, Reason::ProvisioningOff);
}

#[test]
fn a_provisioner_proves_that_it_holds_its_key() {
    let good =
        Try::with(token(&client_claims(provisioner()))).with_user("provisioner", "provS3cret");
    Try {
        signature: String::new(),
        nonce: String::new(),
        ..good.clone()
    }
    .refused_for(Reason::NonceNotSigned);
    Try {
        signature: sign_nonce(&org(), NONCE).unwrap(),
        ..good
    }
    .refused_for(Reason::NonceSignatureWrong);
}

#[test]
fn a_provisioner_of_another_organisation_is_refused() {
    let claims = ClientClaims {
        ou: Some("acme".to_owned()),
        ..client_claims(provisioner())
    };
    let foreign =
        Try::with(issue::sign(&claims, &acme()).unwrap()).with_user("provisioner", "provS3cret");
    foreign.refused_for(Reason::ForeignProvisioner);
    let theirs = Policy {
        organisation: "acme".to_owned(),
        ..policy()
    };
    foreign.login(&theirs);
}

#[test]
fn a_provisioner_without_a_token_gets_in_where_the_policy_says_so() {
    let lax = Policy {
        provisioning: Some(Provisioning {
            password: Password::new("provS3cret"),
            without_token: true,
            compat: ProvisioningCompat::default(),
        }),
        ..policy()
    };
    let bare = Try::unsigned("").with_user("provisioner", "provS3cret");
    assert_eq!(bare.login(&lax).role, Role::Provisioner);
    let with_bad_token = Try {
        token: token(&client_claims(fleet())),
        ..Try::with("")
    }
    .with_user("provisioner", "provS3cret");
    assert_eq!(with_bad_token.refusal(&lax).reason, Reason::NotAProvisioner);
}

#[test]
fn case_37_the_system_user_needs_password_and_token() {
    let admin = ClientPermissions {
        org_admin: true,
        ..ClientPermissions::default()
    };
    for permissions in [system(), admin] {
        let login = Try::with(token(&client_claims(permissions)))
            .with_user("system", "sysS3cret")
            .login(&policy());
        assert_eq!(
            (login.role, login.account.as_str(), login.name.as_str()),
            (Role::System, "system", "system")
        );
        assert_eq!(
            (login.permissions, login.expires),
            (Permissions::unrestricted(), Some(LATER))
        );
    }
}

#[test]
fn case_37_a_system_user_short_of_anything_is_refused() {
    let good = Try::with(token(&client_claims(system()))).with_user("system", "sysS3cret");
    good.clone()
        .with_user("system", "no")
        .refused_for(Reason::SystemPassword);
    good.clone()
        .with_user("system", "")
        .refused_for(Reason::SystemPassword);
    Try {
        token: String::new(),
        ..good.clone()
    }
    .refused_for(Reason::SystemToken);
    Try {
        token: token(&client_claims(fleet())),
        ..good.clone()
    }
    .refused_for(Reason::NotASystemUser);
    Try {
        signature: String::new(),
        ..good.clone()
    }
    .refused_for(Reason::NonceNotSigned);
    let node = token(&server_claims(&["choria"], ServerPermissions::default()));
    Try {
        token: node,
        ..good
    }
    .refused_for(Reason::WrongPurpose);
}

#[test]
fn the_system_user_may_show_a_verified_certificate_instead() {
    let bare = Try {
        tls: Tls::Verified,
        ..Try::unsigned("")
    }
    .with_user("system", "sysS3cret");
    assert_eq!(bare.login(&policy()).role, Role::System);
    bare.clone()
        .with_user("system", "no")
        .refused_for(Reason::SystemPassword);
    let ignored = Policy {
        certificates: Certificates::Ignored,
        ..policy()
    };
    assert_eq!(bare.refusal(&ignored).reason, Reason::SystemToken);
}

#[test]
fn the_name_of_a_system_user_that_is_not_configured_means_nothing() {
    let unset = Policy {
        system: None,
        ..policy()
    };
    let login = Try::with(token(&client_claims(system())))
        .with_user("system", "x")
        .login(&unset);
    assert_eq!(
        (login.role, login.account.as_str()),
        (Role::Client, "choria")
    );
}

#[test]
fn case_38_nothing_presented_or_nothing_encrypted_is_refused() {
    Try::unsigned("").refused_for(Reason::NothingPresented);
    Try::unsigned("")
        .with_user("rip", "x")
        .refused_for(Reason::NothingPresented);
    let plain = Try {
        tls: Tls::None,
        ..Try::with(token(&client_claims(fleet())))
    };
    plain.refused_for(Reason::NotEncrypted);
    Try {
        tls: Tls::None,
        ..Try::unsigned("")
    }
    .refused_for(Reason::NotEncrypted);
}

#[test]
fn a_proxy_that_ends_tls_counts_as_encrypted_where_it_is_listed() {
    let plain = Try {
        tls: Tls::None,
        ..Try::with(token(&client_claims(fleet())))
    };
    let listed = Policy {
        offload: hosts("192.0.2.0/24"),
        ..policy()
    };
    assert_eq!(plain.login(&listed).role, Role::Client);
    let bare = Try {
        tls: Tls::None,
        ..Try::unsigned("")
    };
    assert_eq!(bare.refusal(&listed).reason, Reason::NothingPresented);
    let elsewhere = Try {
        host: "198.51.100.1".to_owned(),
        ..plain
    };
    assert_eq!(elsewhere.refusal(&listed).reason, Reason::NotEncrypted);
}

#[test]
fn case_39_a_certificate_alone_publishes_and_subscribes_away_from_the_fleet() {
    let login = Try {
        tls: Tls::Verified,
        ..Try::unsigned("")
    }
    .login(&policy());
    assert_eq!(
        (login.role, login.account.as_str(), login.name.as_str()),
        (Role::Certificate, "choria", "pubsub")
    );
    let mut deny = [
        "*.broadcast.>",
        "*.node.>",
        "*.reply.>",
        "choria.federation.>",
        "choria.lifecycle.>",
        "choria.machine.>",
    ];
    deny.sort_unstable();
    for side in [&login.permissions.publish, &login.permissions.subscribe] {
        assert_eq!(
            (sorted(side.allow()), sorted(side.deny())),
            (vec![">"], deny.to_vec())
        );
    }
    let ignored = Policy {
        certificates: Certificates::Ignored,
        ..policy()
    };
    let refusal = Try {
        tls: Tls::Verified,
        ..Try::unsigned("")
    }
    .refusal(&ignored);
    assert_eq!(refusal.reason, Reason::CertificateAlone);
}

#[test]
fn certificates_count_only_from_the_hosts_that_are_listed() {
    let bare = Try {
        tls: Tls::Verified,
        ..Try::unsigned("")
    };
    let listed = Policy {
        certificate_hosts: hosts("192.0.2.7"),
        ..policy()
    };
    bare.login(&listed);
    let other = Policy {
        certificate_hosts: hosts("10.0.0.0/8"),
        ..policy()
    };
    assert_eq!(bare.refusal(&other).reason, Reason::CertificateAlone);
}

#[test]
fn a_certificate_may_count_as_a_node_of_old_times() {
    let old = Policy {
        certificates: Certificates::Node,
        ..policy()
    };
    let login = Try {
        tls: Tls::Verified,
        ..Try::unsigned("")
    }
    .with_user("bridge", "")
    .login(&old);
    assert_eq!(login.name, "bridge");
    let publish = [
        "*.broadcast.agent.>",
        "*.broadcast.service.>",
        "*.node.>",
        "choria.federation.*.federation",
    ];
    assert_eq!(sorted(login.permissions.publish.deny()), publish);
    let subscribe = ["*.reply.>", "choria.federation.>", "choria.lifecycle.>"];
    assert_eq!(sorted(login.permissions.subscribe.deny()), subscribe);
    let silent = Policy {
        silence_nodes: true,
        ..old
    };
    let login = Try {
        tls: Tls::Verified,
        ..Try::unsigned("")
    }
    .login(&silent);
    assert_eq!(login.permissions, Permissions::nothing());
}

#[test]
fn a_token_beside_a_certificate_is_judged_as_without() {
    let certified = Try {
        tls: Tls::Verified,
        ..Try::with(token(&client_claims(fleet())))
    };
    assert_eq!(certified.login(&policy()).role, Role::Client);
    let foreign = ClientClaims {
        ou: Some("other".to_owned()),
        ..client_claims(fleet())
    };
    Try {
        tls: Tls::Verified,
        ..Try::with(token(&foreign))
    }
    .refused_for(Reason::UnknownOrganisation);
}

#[test]
fn a_node_with_a_certificate_is_not_an_unprovisioned_one() {
    let bearer = Try {
        tls: Tls::Verified,
        ..Try::unsigned(token(&provisioning_claims()))
    };
    bearer.refused_for(Reason::ProvisioningWithCertificate);
    let ignored = Policy {
        certificates: Certificates::Ignored,
        ..policy()
    };
    assert_eq!(bearer.login(&ignored).role, Role::Unprovisioned);
}

#[test]
fn case_40_leaf_nodes_and_mqtt_are_refused_whatever_they_present() {
    let tokens = [
        String::new(),
        token(&client_claims(fleet())),
        token(&server_claims(&["choria"], ServerPermissions::default())),
        token(&provisioning_claims()),
    ];
    for token in tokens {
        for (kind, reason) in [
            (Kind::Leaf, Reason::LeafNode),
            (Kind::Mqtt, Reason::Mqtt),
            (Kind::Other, Reason::UnknownConnection),
        ] {
            for tls in [Tls::None, Tls::Encrypted, Tls::Verified] {
                Try {
                    kind,
                    tls,
                    ..Try::with(token.clone())
                }
                .refused_for(reason);
            }
        }
    }
    let provisioner =
        Try::with(token(&client_claims(provisioner()))).with_user("provisioner", "provS3cret");
    Try {
        kind: Kind::Leaf,
        ..provisioner
    }
    .refused_for(Reason::LeafNode);
}

#[test]
fn a_trial_of_the_service_by_itself_is_refused_as_such() {
    Try::unsigned(format!("{SELF_CHECK}abc")).refused_for(Reason::SelfCheck);
}
