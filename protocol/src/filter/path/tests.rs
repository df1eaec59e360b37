use serde_json::json;

use super::*;

fn facts() -> Value {
    json!({
        "os": {"family": "RedHat", "release": {"major": "8", "minor": 4}},
        "with.dot": 1,
        "star*": 2,
        "list": ["a", "b", "c"],
        "mounts": [{"path": "/", "size": 10, "tags": ["x"]}, {"path": "/data", "size": 200, "tags": ["x", "y"]}],
        "text": "{\"a\":[1,2]}",
        "nul": null,
    })
}

#[track_caller]
fn assert_found(path: &str, expected: impl Into<Option<Value>>) {
    assert_eq!(lookup(&facts(), path), expected.into(), "{path}");
}

#[test]
fn members_and_elements_are_found() {
    assert_found("os.release.major", json!("8"));
    assert_found("with\\.dot", json!(1));
    assert_found("with.dot", None);
    assert_found("star\\*", json!(2));
    assert_found("os.fam*", json!("RedHat"));
    assert_found("*.release.m?jor", json!("8"));
    assert_found("list.1", json!("b"));
    assert_found("list.3", None);
    assert_found("list.x", None);
    assert_found("list.#", json!(3));
    assert_found("nul", json!(null));
    assert_found("..0.os.family", json!("RedHat"));
    assert_found("", None);
}

#[test]
fn each_element_is_followed() {
    assert_found("mounts.#.size", json!([10, 200]));
    assert_found("mounts.#.nosuch", json!([]));
    assert_found("mounts.#.tags.#", json!([1, 2]));
    assert_found("mounts.#.size|1", json!(200));
}

#[test]
fn queries_pick_elements() {
    assert_found("mounts.#(path==\"/data\").size", json!(200));
    assert_found("mounts.#(size>5)#.path", json!(["/", "/data"]));
    assert_found("mounts.#(size>500)#", json!([]));
    assert_found("mounts.#(size>500)", None);
    assert_found("mounts.#(tags.#(==\"y\")).path", json!("/data"));
    assert_found("list.#(%\"*c\")", json!("c"));
    assert_found("list.#(!%\"a\")#", json!(["b", "c"]));
    assert_found("list.#(size", json!("a"));
}

#[test]
fn modifiers_change_the_result() {
    assert_found("list|@reverse|0", json!("c"));
    assert_found("list.@reverse.0", json!("c"));
    assert_found("os.release.@keys", json!(["major", "minor"]));
    assert_found("os.release.@values|0", json!("8"));
    assert_found("nosuch|@keys", json!([]));
    assert_found("mounts.#.tags|@flatten", json!(["x", "x", "y"]));
    assert_found("mounts|@join|size", json!(200));
    assert_found("text.@fromstr.a.1", json!(2));
    assert_found("os.release.@tostr", json!("{\"major\":\"8\",\"minor\":4}"));
    assert_found("@dig:size", json!([10, 200]));
    assert_found("list.@nosuch", None);
}

#[test]
fn several_paths_are_collected() {
    assert_found("{os.family,\"n\":os.release.minor}.n", json!(4));
    assert_found("[os.family,nosuch,list.#].1", json!(3));
    assert_found("!\"x\"", json!("x"));
}

#[test]
fn costly_paths_are_given_up() {
    let doubling = vec!["[@this,@this]"; 60].join("|");
    assert_eq!(find(&facts(), &doubling), Err(PathError::TooMuchWork));
    let digging = "@dig:".repeat(100);
    assert!(find(&facts(), &digging).is_err());
    assert_eq!(find(&facts(), &"a".repeat(2_000)), Err(PathError::TooLong));
}

#[test]
fn deep_paths_end_before_the_stack_does() {
    let mut deep = json!([1]);
    for _ in 0..120 {
        deep = json!([deep]);
    }
    let path = "#(".repeat(200) + &")".repeat(200);
    assert!(matches!(
        find(&deep, &path),
        Ok(_) | Err(PathError::TooDeep)
    ));
    let path = "#.".repeat(300);
    assert!(matches!(
        find(&deep, &path),
        Ok(_) | Err(PathError::TooDeep)
    ));
}
