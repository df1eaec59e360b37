use super::*;

#[test]
fn an_empty_list_denies_everything_by_name() {
    let side = Side::only(Vec::new());
    assert_eq!(side, Side::nothing());
    assert_eq!(
        (side.allow().len(), side.deny()),
        (0, [Cow::Borrowed(">")].as_slice())
    );
}

#[test]
fn a_list_of_nothing_but_malformed_subjects_denies_everything() {
    let granted = Granted::checked(
        vec!["a b".to_owned().into()],
        vec!["..".to_owned().into()],
        Vec::new(),
    );
    assert_eq!(granted.permissions, Permissions::nothing());
    assert_eq!(granted.dropped, ["a b", ".."]);
}

#[test]
fn an_organisation_that_is_no_subject_loses_what_is_named_after_it() {
    let claims = ClientClaims {
        callerid: "up=rip".to_owned(),
        permissions: Some(overlay_tokens::claims::ClientPermissions {
            streams_user: true,
            ..Default::default()
        }),
        ..ClientClaims::default()
    };
    let granted = Permissions::client(&claims, "a b");
    assert_eq!(granted.dropped, ["a b.republish.>"]);
    assert_eq!(granted.permissions.subscribe.allow().len(), 2);
}

#[test]
fn every_constant_is_a_subject_that_the_broker_takes() {
    let lists: [&[&str]; 15] = [
        &[piece::ALL, piece::USER_INFO],
        &piece::STREAMS_USER_PUBLISH,
        &[piece::STREAMS_ADMIN_PUBLISH, piece::STREAMS_ADMIN_SUBSCRIBE],
        &piece::EVENTS_VIEWER_SUBSCRIBE,
        &piece::ELECTION_USER_PUBLISH,
        &piece::GOVERNOR_PUBLISH,
        &piece::FLEET_PUBLISH,
        &piece::JETSTREAM_FLOW,
        &piece::SERVER_PUBLISH,
        &piece::UNPROVISIONED_EVENTS,
        &piece::UNPROVISIONED_BROADCASTS,
        &[
            piece::UNPROVISIONED_ANY_NODE,
            piece::UNPROVISIONED_ANY_REPLY,
        ],
        &piece::PROVISIONER_SUBSCRIBE,
        &piece::PUBSUB_DENY,
        &piece::NO_TOKEN_SUBSCRIBE_DENY,
    ];
    for subject in lists.into_iter().flatten() {
        assert!(is_valid_permission(subject), "{subject}");
    }
    for subject in piece::provisioner_publish() {
        assert!(is_valid_permission(&subject), "{subject}");
    }
}
