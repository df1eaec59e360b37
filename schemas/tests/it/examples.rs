use boon::{Compiler, Draft, Schemas};
use overlay_schemas::{Schema, schemas};
use serde_json::Value;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// Compiles a schema, which checks it against the draft as well.
fn compile(schema: &Schema) -> (Schemas, boon::SchemaIndex) {
    let mut compiled = Schemas::new();
    let mut compiler = Compiler::new();
    compiler.set_default_draft(Draft::V2020_12);
    compiler.add_resource(schema.id, json(schema.text)).unwrap();
    let index = compiler
        .compile(schema.id, &mut compiled)
        .unwrap_or_else(|error| panic!("{}: {error:#}", schema.path));
    (compiled, index)
}

#[test]
fn valid_examples_pass_and_invalid_ones_do_not() {
    for schema in schemas() {
        let (compiled, index) = compile(schema);
        assert!(
            !schema.valid.is_empty() && !schema.invalid.is_empty(),
            "{}",
            schema.path
        );
        for example in schema.valid {
            if let Err(error) = compiled.validate(&json(example.text), index) {
                panic!("{} valid/{}: {error}", schema.path, example.name);
            }
        }
        for example in schema.invalid {
            assert!(
                compiled.validate(&json(example.text), index).is_err(),
                "{} invalid/{} passes",
                schema.path,
                example.name
            );
        }
    }
}
