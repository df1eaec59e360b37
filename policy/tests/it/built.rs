//! What a policy may build: values that share their parts are small to keep and large to look at.

use std::fmt::Write as _;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use overlay_policy::{PolicyErrorKind, Verdict};

use crate::request::{Request, allows, decide, patient};

/// Far more than any of these take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The stack of a worker.
const STACK: usize = 2 * 1024 * 1024;

fn policy(lines: &str) -> String {
    format!("package io.choria.aaasvc\ndefault allow := false\n{lines}\n")
}

/// The verdict, on a thread that may be left behind.
fn decide_in_time(text: String) -> Verdict {
    let (tell, told) = mpsc::channel();
    let asked = text.clone();
    thread::Builder::new()
        .stack_size(STACK)
        .spawn(move || tell.send(patient().decide(&asked, &Request::default().question())))
        .unwrap();
    told.recv_timeout(PATIENCE)
        .unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// What is wrong when a policy is not refused for what it builds.
fn wrong(text: String) -> Option<String> {
    let verdict = decide_in_time(text.clone());
    let is_refused =
        !verdict.is_allowed() && verdict.is_error() && verdict.why().message.contains("too large");
    (!is_refused).then(|| format!("{text}: {verdict:?}"))
}

fn is_refused(text: String) {
    assert_eq!(wrong(text), None);
}

/// Lines `first`, and then one for each of `count` steps: `{n}` is the step, `{m}` the one before.
fn steps(first: &str, step: &str, count: u32, between: &str) -> String {
    let mut text = first.to_owned();
    for n in 1..=count {
        let line = step
            .replace("{n}", &n.to_string())
            .replace("{m}", &(n - 1).to_string());
        write!(text, "{between}{line}").unwrap();
    }
    text
}

/// Two values that are equal and share nothing with each other, `x` and `y` with the last number.
fn twice(first: &str, step: &str, count: u32, between: &str) -> String {
    let one = |name: &str| {
        let named = |text: &str| text.replace("$", name);
        steps(&named(first), &named(step), count, between)
    };
    format!("{}{between}{}", one("x"), one("y"))
}

#[test]
fn values_that_share_their_parts_cost_a_bounded_time_however_they_are_looked_at() {
    let doubled = twice("$0 := [1]", "${n} := [${m}, ${m}]", 59, "\n");
    for look in [
        "x59 == y59",
        "x59 != y59",
        "x59 < y59",
        "x59 in [y59]",
        "count({x59, y59}) == 1",
        "x59 = y59",
        "x59 + 1 == 2",
        "abs(x59) == 1",
        "startswith(x59, \"a\")",
        "some x in x59; x == y59[0]",
        "max([x59, y59])",
        "{x59: 1}[y59] == 1",
    ] {
        is_refused(policy(&format!("{doubled}\nallow if {{ {look} }}")));
    }
}

#[test]
fn values_that_share_their_parts_are_found_however_they_are_built() {
    let body = |first: &str, step: &str| {
        let built = twice(first, step, 40, "; ");
        format!("allow if {{ {built}; x40 == y40 }}")
    };
    let rules = |first: &str, step: &str, count: u32| {
        let built = twice(first, step, count, "\n");
        format!("{built}\nallow if x{count} == y{count}")
    };
    let nested = |name: &str| format!("{}1{}", format!("{name}(").repeat(25), ")".repeat(25));
    let mut found = Vec::new();
    for lines in [
        body("$0 := [1]", "${n} := [${m}, ${m}]"),
        body("$0 = [1]", "${n} = [${m}, ${m}]"),
        body("$0 = [1]", "[${n}, _] = [[${m}, ${m}], 2]"),
        body("$0 = [1]", "{\"a\": ${n}} = {\"a\": [${m}, ${m}]}"),
        body("$0 := {1}", "${n} := {[1, ${m}], [2, ${m}]}"),
        body("$0 := 1", "${n} := {\"a\": ${m}, \"b\": ${m}}"),
        body("$0 := 1", "${n} := {${m}: ${m}}"),
        rules("$0 := [1]", "${n} := v if v = [${m}, ${m}]", 40),
        rules("$0 := [1]", "${n} := [${m} | some i in numbers.range(1, 1000)]", 8),
        rules("$0 := [1]", "default ${n} := [${m} | some i in numbers.range(1, 1000)]", 8),
        rules("$0 := 1", "${n} := {i: ${m} | some i in numbers.range(1, 1000)}", 8),
        rules("$0 := 1", "${n}[i] := ${m} if some i in numbers.range(1, 1000)", 8),
        rules("$0 := 1", "${n} contains [i, ${m}] if some i in numbers.range(1, 1000)", 8),
        rules("$0 := 1", "${n}[k] if { some i in numbers.range(1, 1000); k := [i, ${m}] }", 8),
        rules("$0.a := 1", "${n}.l := ${m}\n${n}.r := ${m}", 40),
        rules("$0 := input", "${n} := v if v := ${m} with input as {\"a\": input, \"b\": input}", 40),
        format!("f(x) := [x, x, x, x]\nallow if {} == {}", nested("f"), nested("f")),
        format!("f(x) := y if y = [x, x, x, x]\nallow if {} == {}", nested("f"), nested("f")),
        "p := json.patch({\"a\": {}}, [{\"op\": \"copy\", \"from\": \"/a\", \"path\": concat(\"\", [\"/a/\", format_int(i, 10)])} | some i in numbers.range(1, 40)])\nallow if p.a".to_owned(),
        "x := numbers.range(1, 1000000)\nallow if { y := [z | some i in numbers.range(1, 1000); z := x]; y[0][0] == 1 }".to_owned(),
        "x := concat(\"\", [\"0123456789\" | some i in numbers.range(1, 300000)])\nallow if { z := [x | some i in numbers.range(1, 1000)]; count(z) > 1 }".to_owned(),
    ] {
        found.extend(wrong(policy(&lines)));
    }
    assert_eq!(found, Vec::<String>::new());
    let older = format!(
        "{}\nallow {{ x8 == y8 }}",
        twice(
            "$0 = 1",
            "${n}[i] = ${m} { i := numbers.range(1, 1000)[_] }",
            8,
            "\n"
        )
    );
    is_refused(format!("package io.choria.aaasvc\n{older}\n"));
    let older = format!(
        "{}\nallow {{ x8 == y8 }}",
        twice(
            "$0 = 1",
            "${n}[k] { i := numbers.range(1, 1000)[_]; k = [i, ${m}] }",
            8,
            "\n"
        )
    );
    is_refused(format!("package io.choria.aaasvc\n{older}\n"));
}

#[test]
fn a_value_that_is_too_large_is_no_yes_by_negation_or_by_another_definition() {
    let doubled = twice("$0 := [1]", "${n} := [${m}, ${m}]", 59, "\n");
    for rule in [
        "allow if not x59 == y59",
        "f(x) := 1 if x59 == y59\nf(x) := 2 if x > 0\nallow if f(1) == 2",
        "allow if x59 == y59\nelse := true",
    ] {
        let verdict = decide_in_time(policy(&format!("{doubled}\n{rule}")));
        assert!(!verdict.is_allowed(), "{rule}: {verdict:?}");
    }
}

#[test]
fn values_that_are_deep_and_loops_within_loops_stay_within_a_workers_stack() {
    let deep = steps("x0 := [1]", "x{n} := [[x{m}]]", 2_500, "; ");
    let function = steps("y0 := x", "y{n} := [[y{m}]]", 2_000, "; ");
    let chain = format!(
        "f(x) := y2000 if {{ {function} }}\nallow if {}1{} != 3",
        "f(".repeat(20),
        ")".repeat(20)
    );
    is_refused(policy(&chain));
    is_refused(policy(&format!("allow if {{ {deep}; x2500 != 3 }}")));

    for step in [
        "some x{n} in [1]",
        "a[x{n}] == 1",
        "walk(a, [p{n}, [v{n}]])",
    ] {
        for count in [100, 300, 1_000, 2_500] {
            let body = steps("true", step, count, "; ");
            let verdict = decide_in_time(policy(&format!("a := [1]\nallow if {{ {body} }}")));
            assert!(verdict.is_error() || count <= 300, "{step} {count}");
        }
    }
}

#[test]
fn what_is_measured_means_what_it_meant() {
    let request = Request::default();
    for lines in [
        "allow if { x := [input.agent, input.action]; x == [\"myco\", \"deploy\"] }",
        "allow if [input.agent, input.action] == [\"myco\", \"deploy\"]",
        "allow if [\"myco\", input.action] in {[input.agent, \"deploy\"]}",
        "allow if [a, \"deploy\"] = [\"myco\", input.action]",
        "allow if { [a, b] := [input.agent, input.action]; a == \"myco\"; b == \"deploy\" }",
        "allow if { [a, [b, _]] = [input.agent, [input.action, 1]]; a == \"myco\"; b == \"deploy\" }",
        "allow if { {\"a\": x, \"b\": [y]} = {\"a\": input.agent, \"b\": [input.action]}; x != y }",
        "allow if { # why\n[a, b] = [input.agent, 1] # and so\n a == \"myco\" }",
        "allow if { x = [y, 1]; y = input.agent; x[0] == \"myco\" }",
        "allow if { not [input.agent] = [\"other\"] }",
        "allow if { count([x | some x in input.data.list]) == 2 }",
        "allow if { {x | some x in input.data.list} == {\"x\", \"y\"} }",
        "allow if { {k: v | some k, v in input.data.list}[1] == \"y\" }",
        "allow if { [x | x = [y, y]; y = input.agent][0][1] == \"myco\" }",
        "allow if { [[x, y] | some x in input.data.list; some y in input.data.list][3] == [\"y\", \"y\"] }",
        "allow if { [(x | {1}) | x := {2}][0] == {1, 2} }",
        "allow if { [(x - {1}) | x := {1, 2}][0] == {2} }",
        "allow if { [y | some x in [1, 2]; y := (1 + x) * 2] == [4, 6] }",
        "allow if { [input.data.list[_] | true] == [\"x\", \"y\"] }",
        "allow if { some [a, b] in [[input.agent, input.action]]; a == \"myco\"; b == \"deploy\" }",
        "allow if { every x in [input.agent, \"myco\"] { x = \"myco\" } }",
        "allow if { every x in {input.agent} { [y] := [x]; y == \"myco\" } }",
        "r := { # members {a}\n  \"a\": input.agent, \"b\": {\"c\": 1, \"d\": [input.action]}\n}\nallow if r.b.d[0] == \"deploy\"",
        "allow if { [{\"a\": x, input.action: 2} | some x in [1]] == [{\"a\": 1, \"deploy\": 2}] }",
        "allow if { [set() | some x in [1]] == [set()] }",
        "allow if { sprintf(\"%v %s\", [input.agent, \"(\"]) == \"myco (\" }",
        "allow if { concat(\"/\", [input.agent, input.action], x); x == \"myco/deploy\" }",
        "allow if { split(\"a/b\", \"/\", [x, y]); x == \"a\"; y == \"b\" }",
        "allow if { walk([input.agent], [p, v]); p == [0]; v == \"myco\" }",
        "allow if { [input.agent, 1][0] == \"myco\"; {\"a\": input.agent}.a == \"myco\" }",
        "p contains x if some x in input.data.list\nallow if p == {\"x\", \"y\"}",
        "p contains [input.agent, x] if { some x in input.data.list }\nallow if { p[[\"myco\", z]]; z == \"x\" }",
        "p contains input.agent\nallow if p[\"myco\"]",
        "p[k] := v if { some k, v in input.data.list }\nallow if p[1] == \"y\"",
        "p[k] := v if some k, v in input.data.list\nallow if p == {0: \"x\", 1: \"y\"}",
        "p[k] := [k, v] if { some k, v in input.data.list }\nallow if p[1][1] == \"y\"",
        "p.a.b := input.agent\np.a.c := [input.action]\nallow if p.a == {\"b\": \"myco\", \"c\": [\"deploy\"]}",
        "p.a[k] := v if some k, v in input.data.list\nallow if p.a[0] == \"x\"",
        "f(x) := [x, x]\nallow if f(input.agent)[1] == \"myco\"",
        "f([x, y]) := {\"a\": y, \"b\": x}\nallow if f([input.agent, 1]).b == \"myco\"",
        "f(x) := [x] if x == 1\nelse := {x}\nallow if f(2) == {2}",
        "f(x, y) := [x, y]\nallow if { f(1, input.agent, [a, b]); a == 1; b == \"myco\" }",
        "g(x) := 2\nf(x) := 1\nallow if f([input.agent]) == 2 with f as g",
        "f(x) := 1\nallow if f([input.agent]) == [\"myco\"] with f as [\"myco\"]",
        "r := input.agent\nallow if r == [\"myco\"] with input.agent as [input.agent]",
        "r := input.a\nallow if r.agent == \"myco\" with input as {\"a\": input}",
        "allow if { count([1, input.agent]) == 7 with count as 7 }",
        "default d := [x | some x in [1, 2]]\nallow if d == [1, 2]",
        "allow := x if { x := [input.agent] == [\"myco\"] }\nallow if [input.agent] == [1]",
        "r := {\n  \"a\": [input.agent],\n  \"b\": {input.action: \"]\"}, # }\n}\nallow if r.b.deploy == \"]\"",
        "r := [`a\"`, \"b\\\"\", input.agent]\nallow if r[2] == \"myco\"",
        "r contains \"a\"\nr contains \"b\"\nallow if r == {\"a\", \"b\"}",
        "allow if object.union({\"a\": input.agent}, {\"b\": 1}) == {\"a\": \"myco\", \"b\": 1}",
        "allow if json.patch({\"a\": 1}, [{\"op\": \"copy\", \"from\": \"/a\", \"path\": \"/b\"}]) == {\"a\": 1, \"b\": 1}",
    ] {
        let verdict = decide(lines, &request);
        assert!(verdict.is_allowed(), "{lines}: {verdict:?}");
    }
    for lines in [
        "allow { x = [input.agent, input.action]; x == [\"myco\", \"deploy\"] }",
        "allow { [\"myco\", y] = [input.agent, input.action]; y == \"deploy\" }",
        "p[x] { x := input.data.list[_] }\nallow { p[\"x\"]; count(p) == 2 }",
        "p[[x, 1]] { x := input.data.list[_] }\nallow { p[[\"x\", 1]] }",
        "p[k] = v { v := input.data.list[k] }\nallow { p[1] == \"y\" }",
        "p = [x] { x := 1 } else = {x} { x := 2 }\nallow { p == [1] }",
        "p = x { false; x = [input.agent] } else = x { x = [input.action] }\nallow { p == [\"deploy\"] }",
        "allow { any([x | x := input.agent == \"myco\"]) }",
        "allow { re_match(\"my.*\", input.agent); all([true, input.ttl == 60]) }",
    ] {
        let text = format!("package io.choria.aaasvc\ndefault allow = false\n{lines}\n");
        let verdict = patient().decide(&text, &request.question());
        assert!(verdict.is_allowed(), "{lines}: {verdict:?}");
    }
    assert!(!allows(
        "allow if { [x | some x in input.data.list] == [\"x\"] }",
        &request
    ));
}

#[test]
fn no_policy_can_put_its_own_function_in_the_place_of_the_one_that_measures() {
    for lines in [
        "overlay_measure(x) := x\nallow if true",
        "data_overlay_measure := 1\nallow if true",
    ] {
        let fault = patient().check(&policy(lines)).unwrap_err();
        assert_eq!(fault.kind, PolicyErrorKind::Conflict, "{lines}");
    }
}

#[test]
fn a_function_that_takes_longer_is_not_denied_in_a_hurry() {
    let rego = patient();
    let request = Request::default();
    let question = request.question();
    let slow = policy(
        "f(n) := true if { a := numbers.range(1, n); not any_of(a) }\nany_of(a) if { some x in a; some y in a; x + y == -1 }\nallow if f(3000)",
    );
    rego.check(&slow).unwrap();
    let hurry = Duration::from_millis(20);
    assert_eq!(rego.decide_quickly(&slow, &question, hurry), None);
    assert!(rego.decide(&slow, &question).is_allowed());
}
