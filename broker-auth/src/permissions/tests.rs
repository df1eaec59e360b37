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
    let granted = Granted::checked(vec!["a b".into()], vec!["..".into()], Vec::new());
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
