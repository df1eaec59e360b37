use std::fs;

use super::*;

const ALWAYS: Duration = Duration::ZERO;

fn facts_of(path: &Path) -> Facts {
    Facts::of_files(vec![path.to_owned()], ALWAYS)
}

#[test]
fn facts_are_read_again_when_the_file_changes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("facts.json");
    fs::write(&path, r#"{"os":{"family":"RedHat"}}"#).unwrap();
    let facts = facts_of(&path);
    assert_eq!(facts.current()["os"]["family"], "RedHat");
    let first = facts.current();
    assert!(Arc::ptr_eq(&first, &facts.current()));

    fs::write(&path, r#"{"os":{"family":"Debian!"}}"#).unwrap();
    assert_eq!(facts.current()["os"]["family"], "Debian!");
    assert_eq!(first["os"]["family"], "RedHat");
}

#[test]
fn the_last_good_facts_survive_a_broken_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("facts.json");
    fs::write(&path, r#"{"a":1}"#).unwrap();
    let facts = facts_of(&path);
    assert_eq!(facts.current()["a"], 1);
    for broken in ["{\"a\":", "[1]", "null", ""] {
        fs::write(&path, broken).unwrap();
        assert_eq!(facts.current()["a"], 1, "{broken}");
    }
    fs::write(&path, r#"{"a":22222}"#).unwrap();
    assert_eq!(facts.current()["a"], 22222);
}

#[test]
fn files_are_not_looked_at_within_the_period() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("facts.json");
    fs::write(&path, r#"{"a":1}"#).unwrap();
    let facts = Facts::of_files(vec![path.clone()], Duration::from_secs(3600));
    assert_eq!(facts.current()["a"], 1);
    fs::write(&path, r#"{"a":22222}"#).unwrap();
    assert_eq!(facts.current()["a"], 1);
}

#[test]
fn later_files_replace_top_level_names_and_yaml_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let json = dir.path().join("a.json");
    let yaml = dir.path().join("b.yaml");
    fs::write(&json, r#"{"site":"lhr","cpus":4}"#).unwrap();
    fs::write(
        &yaml,
        "---\nsite: ams\nload: 0.5\nvirtual: true\nlist:\n  - a\n",
    )
    .unwrap();
    let facts = Facts::of_files(vec![json, yaml], ALWAYS);
    assert_eq!(
        *facts.current(),
        serde_json::json!({"site":"ams","cpus":4,"load":0.5,"virtual":true,"list":["a"]})
    );
}

#[test]
fn absent_files_give_no_facts_and_no_classes() {
    let facts = facts_of(Path::new("/nonexistent/facts.json"));
    assert_eq!(*facts.current(), serde_json::json!({}));
    let classes = Classes::of_file(None, ALWAYS);
    assert!(classes.current().is_empty());
}

#[test]
fn a_hostile_facts_file_does_not_end_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join("deep.json");
    fs::write(&deep, "[".repeat(200_000)).unwrap();
    assert_eq!(*facts_of(&deep).current(), serde_json::json!({}));

    let laughs = dir.path().join("laughs.yaml");
    let mut text = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for level in 1..12 {
        let row = vec![format!("*a{}", level - 1); 10].join(",");
        text.push_str(&format!("a{level}: &a{level} [{row}]\n"));
    }
    fs::write(&laughs, text).unwrap();
    assert_eq!(*facts_of(&laughs).current(), serde_json::json!({}));
}

#[test]
fn classes_are_sorted_and_each_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("classes.txt");
    fs::write(&path, "role::web\napache\n\n  apache \nprofile::base\n").unwrap();
    let classes = Classes::of_file(Some(path), ALWAYS);
    assert_eq!(*classes.current(), ["apache", "profile::base", "role::web"]);
}
