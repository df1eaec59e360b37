use serde_json::json;

use super::*;

fn evaluate(text: &str) -> Result<bool, String> {
    let agents = ["rpcutil".to_owned(), "puppet".to_owned()];
    let classes = ["apache".to_owned(), "role::web".to_owned()];
    let facts = json!({
        "os": {"family": "RedHat", "release": {"major": "8"}},
        "int": 1, "list": ["a", "b"], "nums": [1, 2, 3], "obj": {"k": "v"}, "t": true, "version": "1.10.0"
    });
    let node = NodeView {
        identity: "n1",
        agents: &agents,
        classes: &classes,
        facts: &facts,
    };
    let mut patterns = crate::filter::MAX_PATTERNS;
    Program::new(text, &mut patterns)
        .and_then(|program| program.is_true(&node, &mut Budget::default()))
        .map_err(|error| error.reason)
}

#[track_caller]
fn assert_true(texts: &[&str]) {
    for text in texts {
        assert_eq!(evaluate(text), Ok(true), "{text}");
    }
}

#[track_caller]
fn assert_fault(texts: &[&str]) {
    for text in texts {
        assert!(evaluate(text).is_err(), "{text}: {:?}", evaluate(text));
    }
}

#[test]
fn operators_bind_as_in_the_language() {
    assert_true(&[
        "1 + 2 * 3 == 7",
        "not false and true",
        "true or false and false",
        "-2 ** 2 == -4",
        "2 ** 3 ** 2 == 512",
        "1 < 2 <= 2",
        "not ('x' in classes)",
        "'x' not in classes",
        "(fact('nosuch') ?? 'a') == 'a'",
        "(1 > 2 ? 'a' : 'b') == 'b'",
        "if fact('int') == 1 { true } else { false }",
        "let x = fact('int'); x + 1 == 2",
        "'a' + 'b' == \"ab\" // comment",
        "7 % 4 == 3 /* so */ && 1_000 == 1e3",
    ]);
}

#[test]
fn members_slices_and_chains_are_followed() {
    assert_true(&[
        "fact('os').family == 'RedHat'",
        "fact('os')['release'].major == '8'",
        "fact('nosuch')?.family == nil",
        "fact('nosuch')?.family.more == nil",
        "fact('list')[-1] == 'b'",
        "fact('list')[:1] == ['a']",
        "{a: 1, 'b': 2}.b == 2",
    ]);
    assert_fault(&[
        "fact('nosuch').family == nil",
        "fact('list')[5] == nil",
        "fact('os').family.more == nil",
    ]);
}

#[test]
fn predicates_look_at_elements() {
    assert_true(&[
        "any(classes, # startsWith 'role')",
        "all(fact('nums'), {# > 0})",
        "none(fact('nums'), # > 3) and one(fact('nums'), # == 2)",
        "count(fact('nums'), # > 1) == 2",
        "filter(fact('nums'), # > 1) == [2, 3]",
        "map(fact('nums'), # * 2)[2] == 6",
        "sum(fact('nums')) == 6",
        "reduce(fact('nums'), #acc + #) == 6",
        "find(fact('list'), # == 'b') == 'b'",
        "classes | filter(# contains '::') | len() == 1",
        "any([{n: 1}], .n == 1)",
    ]);
}

#[test]
fn types_are_checked_where_evaluation_does_not_go() {
    assert_fault(&[
        "true or 'x'",
        "false and 1",
        "true or 1 > 'a'",
        "true or classes.x",
        "'x'",
        "1",
        "nil",
        "true or len(1) == 1",
    ]);
}

#[test]
fn literal_decisions_drop_the_faults_of_the_rest() {
    assert_true(&[
        "true or fact('nosuch') > 1",
        "fact('nosuch') > 1 or true",
        "not (fact('nosuch') > 1 and false)",
    ]);
    assert_fault(&["fact('nosuch') > 1 or fact('t')"]);
}

#[test]
fn what_is_unknown_is_nil() {
    assert_true(&["nosuch == nil"]);
    assert_eq!(evaluate("nosuch"), Ok(false));
    assert_fault(&[
        "nosuch('x')",
        "agents('x')",
        "with()",
        "with('a', 'b')",
        "now() == nil",
    ]);
}

#[test]
fn functions_of_the_fleet_are_evaluated() {
    assert_true(&[
        "with('apache') and with('APACHE') and with('/^role/') and with('rpcutil') and with('int=1')",
        "!with('int<two')",
        "include(fact('list'), 'b') and include(fact('nums'), 2) and not include(fact('nosuch'), 2)",
        "semver(fact('version'), '>= 1.9, < 2')",
        "with('ap' + 'ache')",
        "facts != nil",
    ]);
    assert_fault(&[
        "include(classes, 'apache')",
        "semver(fact('os.family'), '>1')",
        "fact(1) == 1",
        "include(fact('os'), 1)",
    ]);
}

#[test]
fn costly_expressions_are_given_up() {
    assert_fault(&[
        "len(1..10000000) > 0",
        "len(repeat('abcdefgh', 1000000)) > 0",
        "all(1..1000, all(1..1000, # > 0))",
        "len(1..9223372036854775807) > 0",
        "none(1..10000, 'a' matches string(#))",
    ]);
}

#[test]
fn deep_expressions_are_refused_before_the_stack_ends() {
    for text in [
        "(".repeat(4_000),
        "not ".repeat(2_000) + "true",
        "- ".repeat(4_000) + "1 == 1",
        "[".repeat(4_000),
        "1+".repeat(4_000) + "1 == 1",
        "a".to_owned() + &".a".repeat(4_000),
        "a".to_owned() + &"[0]".repeat(2_000),
        "true ? ".repeat(1_000),
        "if ".repeat(2_000),
        "let a = 1; ".repeat(700),
        "any(a, ".repeat(1_000),
        "1 ** ".repeat(1_000) + "1",
        "a ?? ".repeat(1_000) + "a",
        "if true {true} else ".repeat(300) + "{true}",
    ] {
        assert!(evaluate(&text).is_err(), "{}", &text[..20]);
    }
}

#[test]
fn long_chains_of_and_are_fine() {
    assert_eq!(
        evaluate(&("true and ".repeat(500) + "with('int=1')")),
        Ok(true)
    );
}

#[test]
fn texts_are_unescaped() {
    assert_true(&[
        r"'\x41\u0042\u{43}\104\n' == 'ABCD' + `
`",
        r#"'a\'b' == "a'b""#,
        "`a``b` == 'a`b'",
    ]);
    assert_fault(&[
        "'a",
        "'\\q' == ''",
        "`a",
        "b'x' == ''",
        "'\n' == ''",
        "@",
        "1x == 1",
        "0xzz == 1",
        "/* true",
    ]);
}

struct Reply;

impl Scope for Reply {
    fn variable(&self, name: &str) -> Option<serde_json::Value> {
        (name == "code").then(|| json!(0))
    }

    fn call(
        &self,
        name: &str,
        arguments: &[serde_json::Value],
    ) -> Option<Result<serde_json::Value, String>> {
        match name {
            "data" => Some(Ok(json!({"pong": 1, "list": ["a"]})
                [arguments[0].as_str()?]
            .clone())),
            "broken" => Some(Err("it is broken".to_owned())),
            _ => None,
        }
    }
}

#[test]
fn an_expression_about_a_scope_knows_its_names_and_no_others() {
    let evaluate =
        |text: &str| Expression::new(text).and_then(|expression| expression.is_true(&Reply));
    for text in [
        "code == 0 and data('pong') > 0",
        "include(data('list'), 'a')",
        "classes == nil",
        "data('list') | len() == 1",
    ] {
        assert_eq!(evaluate(text), Ok(true), "{text}");
    }
    for text in [
        "with('x')",
        "fact('x') == 1",
        "nosuch()",
        "broken()",
        "code == 0 and",
        "'x'",
    ] {
        assert!(evaluate(text).is_err(), "{text}");
    }
}
