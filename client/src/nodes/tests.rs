//! Lists of nodes as people and programs write them.

use overlay_protocol::filter::{Filter, from_cli};

use super::*;

fn names(nodes: &[Identity]) -> Vec<&str> {
    nodes.iter().map(Identity::as_str).collect()
}

#[test]
fn text_has_a_name_per_line_and_comments() {
    let nodes = parse(
        "# web\nb.example.net\n\n a.example.net # first\nb.example.net\n",
        Format::Text,
    )
    .unwrap();
    assert_eq!(names(&nodes), ["a.example.net", "b.example.net"]);
}

#[test]
fn json_is_a_list_or_the_results_of_a_request() {
    assert_eq!(
        names(&parse(r#"["b", "a"]"#, Format::Json).unwrap()),
        ["a", "b"]
    );
    let results = r#"{"agent":"rpcutil","replies":[{"sender":"x","statuscode":5},{"sender":"y"}]}"#;
    assert_eq!(names(&parse(results, Format::Results).unwrap()), ["x", "y"]);
    assert!(matches!(parse("{}", Format::Json), Err(NodesError::Shape)));
    assert!(matches!(parse("[1]", Format::Json), Err(NodesError::Shape)));
    assert!(matches!(
        parse("[\"a\"]", Format::Results),
        Err(NodesError::Shape)
    ));
    assert!(matches!(
        parse("no json", Format::Json),
        Err(NodesError::Json(_))
    ));
}

#[test]
fn yaml_is_a_plain_list() {
    let nodes = parse("---\n# web\n- a\n- 'b'\n", Format::Yaml).unwrap();
    assert_eq!(names(&nodes), ["a", "b"]);
    assert!(matches!(
        parse("a: b", Format::Yaml),
        Err(NodesError::Yaml { line: 1 })
    ));
}

#[test]
fn a_name_that_would_break_a_subject_is_refused() {
    for wrong in ["a b", "a..b", "web.*", ">"] {
        assert!(
            matches!(parse(wrong, Format::Text), Err(NodesError::Name { .. })),
            "{wrong}"
        );
    }
}

#[test]
fn a_filter_of_plain_names_needs_no_traffic() {
    let filter = |identities: &[&str]| Filter {
        agent: vec!["rpcutil".to_owned()],
        identity: identities.iter().map(|&name| name.to_owned()).collect(),
        ..Filter::default()
    };
    assert_eq!(
        names(&named_by(&filter(&["b", "a", "a"])).unwrap()),
        ["a", "b"]
    );
    assert!(named_by(&filter(&["a", "/b/"])).is_none());
    assert!(named_by(&filter(&[])).is_none());
    let with_fact = from_cli(&["a=b".to_owned()], &[], &[], &["x".to_owned()], &[], None).unwrap();
    assert!(named_by(&with_fact).is_none());
}

#[test]
fn names_can_be_filtered_by_name_only() {
    let nodes = parse("web1\nweb2\ndb1", Format::Text).unwrap();
    let web = Filter {
        identity: vec!["/^web/".to_owned()],
        ..Filter::default()
    };
    assert_eq!(
        names(&filter_names(nodes.clone(), &web).unwrap()),
        ["web1", "web2"]
    );
    let class = Filter {
        cf_class: vec!["apache".to_owned()],
        ..Filter::default()
    };
    assert!(matches!(
        filter_names(nodes, &class),
        Err(NodesError::OnlyNames)
    ));
}

const INVENTORY: &str = r#"{
    "groups": [{"name": "lhr", "filter": {"facts": ["site=lhr"]}}],
    "nodes": [
        {"name": "a", "collectives": ["choria"], "facts": {"site": "lhr"}, "classes": ["web"], "agents": ["rpcutil"]},
        {"name": "b", "collectives": ["choria"], "facts": {"site": "ams"}, "classes": ["db"], "agents": ["rpcutil"]},
        {"name": "c", "collectives": ["other"], "facts": {"site": "lhr"}}
    ]
}"#;

#[test]
fn an_inventory_is_filtered_here() {
    let inventory = Inventory::parse(INVENTORY).unwrap();
    let all = inventory.select("choria", &Filter::default()).unwrap();
    assert_eq!(names(&all), ["a", "b"]);
    let site = from_cli(
        &["site=ams".to_owned()],
        &[],
        &["rpcutil".to_owned()],
        &[],
        &[],
        None,
    )
    .unwrap();
    assert_eq!(names(&inventory.select("choria", &site).unwrap()), ["b"]);
    let group = Filter {
        identity: vec!["group:lhr".to_owned()],
        ..Filter::default()
    };
    assert_eq!(
        names(&inventory.select("choria", &group).unwrap()),
        ["a", "c"]
    );
    let unknown = Filter {
        identity: vec!["group:x".to_owned()],
        ..Filter::default()
    };
    assert!(matches!(
        inventory.select("choria", &unknown),
        Err(NodesError::Group(_))
    ));
}
