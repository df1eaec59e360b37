use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use overlay_schemas::{by_id, by_path, schemas};
use serde_json::Value;

/// Paths of all JSON files below a directory, relative to it, without extension.
fn files(root: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut left = vec![root.to_path_buf()];
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
            } else {
                let path = path.strip_prefix(root).unwrap().with_extension("");
                found.insert(path.to_str().unwrap().to_owned());
            }
        }
    }
    found
}

#[test]
fn every_file_is_in_the_registry() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let paths: BTreeSet<String> = schemas()
        .iter()
        .map(|schema| schema.path.to_owned())
        .collect();
    assert_eq!(files(&root.join("data")), paths);
    for (kind, pick) in [("valid", true), ("invalid", false)] {
        let named: BTreeSet<String> = schemas()
            .iter()
            .flat_map(|schema| {
                let examples = if pick { schema.valid } else { schema.invalid };
                examples
                    .iter()
                    .map(|example| format!("{}/{}", schema.path, example.name))
            })
            .collect();
        assert_eq!(files(&root.join("examples").join(kind)), named);
    }
}

#[test]
fn every_schema_says_its_id_and_its_draft() {
    for schema in schemas() {
        let text: Value = serde_json::from_str(schema.text).unwrap();
        assert_eq!(text.get("$id").unwrap(), schema.id);
        assert_eq!(
            text.get("$schema").unwrap(),
            "https://json-schema.org/draft/2020-12/schema"
        );
        assert!(text.get("description").is_some(), "{}", schema.path);
        assert_eq!(by_id(schema.id).unwrap().path, schema.path);
        assert_eq!(by_path(schema.path).unwrap().id, schema.id);
    }
    assert!(by_id("urn:overlay:schema:protocol:v2:nothing").is_none());
}
