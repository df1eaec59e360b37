use std::fs;

use super::*;

fn even(file: &Value, _loader: &Loader) -> Outcome {
    for_cases(file, |case| {
        let number = case["number"].as_u64().ok_or("no number")?;
        assert!(number < 100, "number is too large");
        if number % 2 == 0 {
            Ok(())
        } else {
            Err(format!("{number} is odd"))
        }
    })
}

fn same_as_other(file: &Value, loader: &Loader) -> Outcome {
    let mut outcome = Outcome::default();
    for reference in ["../b/other.json", "b/other.json"] {
        outcome.run(reference, || {
            let other = loader.load(reference).map_err(|error| error.to_string())?;
            if other["value"] == file["value"] {
                Ok(())
            } else {
                Err(format!("{} differs", other["value"]))
            }
        });
    }
    outcome
}

/// `<dir>/one/tests/vectors` with the given files.
fn crate_with(dir: &Path, files: &[(&str, &str)]) -> PathBuf {
    let root = dir.join("one/tests/vectors");
    for (key, text) in files {
        let file = root.join(key);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }
    root
}

#[test]
fn counts_passes_failures_and_panics() {
    let dir = tempfile::tempdir().unwrap();
    let text = r#"{"cases":[{"number":2},{"name":"three","number":3},{"number":102},{}]}"#;
    let root = crate_with(dir.path(), &[("a/numbers.json", text)]);
    let summary = replay_from(&root, None, &[("a/numbers.json", even)], &[]);
    assert_eq!((summary.passed(), summary.failed()), (1, 3));
    assert_eq!(
        summary.files()[0].outcome.failed,
        [
            "[1] three: 3 is odd",
            "[2]: panicked: number is too large",
            "[3]: no number"
        ]
    );
}

#[test]
fn a_file_without_handler_and_a_handler_without_file_are_failures() {
    let dir = tempfile::tempdir().unwrap();
    let root = crate_with(dir.path(), &[("a/unknown.json", "{}")]);
    let summary = replay_from(&root, None, &[("a/absent.json", even)], &[]);
    let keys: Vec<&str> = summary.files().iter().map(|f| f.key.as_str()).collect();
    assert_eq!(keys, ["a/absent.json", "a/unknown.json"]);
    assert_eq!(summary.failed(), 2);
}

#[test]
fn a_file_without_cases_is_a_failure() {
    let dir = tempfile::tempdir().unwrap();
    let files = [("a/none.json", r#"{"cases":[]}"#), ("a/no_list.json", "{}")];
    let root = crate_with(dir.path(), &files);
    let handlers: [(&str, Handler); 2] = [("a/none.json", even), ("a/no_list.json", even)];
    assert_eq!(replay_from(&root, None, &handlers, &[]).failed(), 2);
}

#[test]
fn foreign_files_replace_the_copies_and_absent_ones_are_skipped() {
    let dir = tempfile::tempdir().unwrap();
    let root = crate_with(
        dir.path(),
        &[
            ("a/numbers.json", r#"{"cases":[{"number":1}]}"#),
            ("a/more.json", r#"{"cases":[{"number":1}]}"#),
        ],
    );
    let foreign = tempfile::tempdir().unwrap();
    fs::create_dir(foreign.path().join("a")).unwrap();
    let text = r#"{"cases":[{"number":4},{"number":6}]}"#;
    fs::write(foreign.path().join("a/numbers.json"), text).unwrap();
    let handlers: [(&str, Handler); 2] = [("a/numbers.json", even), ("a/more.json", even)];
    let summary = replay_from(&root, Some(foreign.path()), &handlers, &[]);
    assert_eq!((summary.passed(), summary.failed()), (2, 0));
    assert_eq!(summary.files().len(), 1);
}

#[test]
fn referenced_files_come_from_the_foreign_root_then_the_tree_then_other_crates() {
    let dir = tempfile::tempdir().unwrap();
    let root = crate_with(dir.path(), &[("a/first.json", r#"{"value":1}"#)]);
    let neighbour = dir.path().join("two/tests/vectors/b");
    fs::create_dir_all(&neighbour).unwrap();
    fs::write(neighbour.join("other.json"), r#"{"value":1}"#).unwrap();
    let handlers: [(&str, Handler); 1] = [("a/first.json", same_as_other)];
    assert_eq!(replay_from(&root, None, &handlers, &[]).passed(), 2);

    let foreign = tempfile::tempdir().unwrap();
    for (key, value) in [("a/first.json", 2), ("b/other.json", 2)] {
        let file = foreign.path().join(key);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, format!(r#"{{"value":{value}}}"#)).unwrap();
    }
    let summary = replay_from(&root, Some(foreign.path()), &handlers, &[]);
    assert_eq!((summary.passed(), summary.failed()), (2, 0));
}

#[test]
fn a_reference_cannot_leave_the_roots() {
    let dir = tempfile::tempdir().unwrap();
    let root = crate_with(dir.path(), &[("a/first.json", "{}")]);
    let loader = Loader::new(&root, None, "a/first.json");
    assert!(matches!(
        loader.load("../../../Cargo.toml"),
        Err(LoadError::Absent { .. })
    ));
    assert!(matches!(
        loader.load("/etc/passwd"),
        Err(LoadError::Absent { .. })
    ));
}

#[test]
fn the_report_holds_counts_and_all_handled_keys() {
    let dir = tempfile::tempdir().unwrap();
    let text = r#"{"cases":[{"number":2},{"number":3}]}"#;
    let root = crate_with(dir.path(), &[("a/numbers.json", text)]);
    let report = dir.path().join("report");
    let handlers: [(&str, Handler); 1] = [("a/numbers.json", even)];
    replay_from(&root, None, &handlers, &[]).append_to(&report);
    let lines: Vec<Value> = fs::read_to_string(&report)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        lines,
        [
            serde_json::json!({"crate": "one", "key": "a/numbers.json", "passed": 1, "failed": 1,
                "failures": ["[1]: 3 is odd"]}),
            serde_json::json!({"crate": "one", "handles": ["a/numbers.json"]}),
        ]
    );
}

#[test]
fn brought_files_are_replayed_only_from_the_foreign_root() {
    let dir = tempfile::tempdir().unwrap();
    let text = r#"{"cases":[{"number":2}]}"#;
    let root = crate_with(dir.path(), &[]);
    let brought: [(&str, Handler); 2] = [("a/*.json", even), ("b/one.json", even)];
    let summary = replay_from(&root, None, &[], &brought);
    assert!(summary.files().is_empty());

    let foreign = tempfile::tempdir().unwrap();
    for key in [
        "a/x.json",
        "a/y.json",
        "a/deeper/z.json",
        "b/one.json",
        "b/two.json",
    ] {
        let file = foreign.path().join(key);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }
    let summary = replay_from(&root, Some(foreign.path()), &[], &brought);
    let keys: Vec<&str> = summary.files().iter().map(|f| f.key.as_str()).collect();
    assert_eq!(keys, ["a/x.json", "a/y.json", "b/one.json"]);
    assert_eq!((summary.passed(), summary.failed()), (3, 0));

    let report = dir.path().join("report");
    summary.append_to(&report);
    let handles = fs::read_to_string(&report).unwrap();
    let last = handles.lines().last().unwrap();
    assert_eq!(
        last,
        r#"{"crate":"one","handles":["a/*.json","b/one.json"]}"#
    );
}

#[test]
fn a_copy_of_a_file_that_is_only_brought_is_a_failure() {
    let dir = tempfile::tempdir().unwrap();
    let root = crate_with(dir.path(), &[("a/x.json", r#"{"cases":[{"number":2}]}"#)]);
    assert_eq!(
        replay_from(&root, None, &[], &[("a/*.json", even)]).failed(),
        1
    );
}
