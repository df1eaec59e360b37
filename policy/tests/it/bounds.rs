//! What a policy may cost, and that it can cost no more.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use overlay_policy::{Limits, PolicyErrorKind, Rego};

use crate::request::{Request, decide, patient};

fn policy(lines: &str) -> String {
    format!("package io.choria.aaasvc\ndefault allow := false\n{lines}\n")
}

fn kind(text: &str) -> PolicyErrorKind {
    patient().check(text).unwrap_err().kind
}

#[test]
fn aaa_case_59_a_slow_policy_is_denied_in_time() {
    let rego = Rego::new(Limits {
        time: Duration::from_secs(1),
        ..Limits::default()
    });
    let request = Request::default();
    let slow = policy(
        "allow if { a := numbers.range(1, 100000); some x in a; some y in a; some z in a; x + y + z == -1 }",
    );
    let verdict = rego.decide(&slow, &request.question());
    assert!(!verdict.is_allowed() && verdict.is_error());
    assert!(verdict.why().message.contains("1000 ms"), "{verdict:?}");
    assert!(
        rego.decide(&policy("allow if { input.ttl == 60 }"), &request.question())
            .is_allowed(),
        "the next one is not held up"
    );
}

#[test]
fn in_a_hurry_only_what_is_compiled_and_quick_is_decided() {
    let rego = patient();
    let request = Request::default();
    let question = request.question();
    let hurry = Duration::from_millis(50);
    let quickly = |text: &str| rego.decide_quickly(text, &question, hurry);
    let quick = policy("allow if { input.ttl == 60 }");
    assert_eq!(quickly(&quick), None, "it is yet to be compiled");
    let verdict = rego.decide(&quick, &question);
    // A busy machine may take its time now and then.
    assert!((0..100).any(|_| quickly(&quick).as_ref() == Some(&verdict)));

    let slow = policy(
        "slow if { a := numbers.range(1, 3000); some x in a; some y in a; x + y == -1 }\nallow if { not slow }",
    );
    rego.check(&slow).unwrap();
    assert_eq!(quickly(&slow), None);
    assert_eq!(quickly(&slow), None, "it is not even tried");
    assert!(rego.decide(&slow, &question).is_allowed());

    let broken = "package io.choria.aaasvc\nallow if {";
    rego.check(broken).unwrap_err();
    assert!(quickly(broken).is_some_and(|verdict| verdict.is_error()));
    let enough = rego.decide_quickly(&slow, &question, Duration::from_secs(60));
    assert!(enough.is_some_and(|verdict| verdict.is_allowed()));
    assert!(quickly("").is_some_and(|verdict| verdict.is_error()));
}

#[test]
fn a_denial_by_negation_of_something_slow_is_no_yes() {
    let rego = Rego::new(Limits {
        time: Duration::from_millis(50),
        ..Limits::default()
    });
    let slow = policy(
        "slow if { a := numbers.range(1, 100000); some x in a; some y in a; x + y == -1 }\nallow if { not slow }",
    );
    let verdict = rego.decide(&slow, &Request::default().question());
    assert!(!verdict.is_allowed(), "{verdict:?}");
}

#[test]
fn values_that_would_fill_the_memory_end_the_evaluation() {
    for call in [
        "numbers.range(1, 1000000000000)",
        "numbers.range(1, 1e300)",
        "numbers.range_step(1, 1000000000000, 1)",
        "bits.lsh(1, 100000000000)",
        "net.cidr_expand(\"10.0.0.0/8\")",
        "sprintf(\"%1000000000d\", [1])",
        "to_number(\"1e1000000000\")",
        "product(numbers.range(1, 100000))",
        "replace(concat(\"\", [\"a\" | some x in numbers.range(1, 100000)]), \"a\", concat(\"\", [\"b\" | some x in numbers.range(1, 1000)]))",
    ] {
        for body in ["x := ", "not "] {
            let text = format!("allow if {{ {body}{call} }}");
            let verdict = decide(&text, &Request::default());
            assert!(
                !verdict.is_allowed() && verdict.is_error(),
                "{text}: {verdict:?}"
            );
        }
    }
}

#[test]
fn values_that_share_their_parts_are_not_written_out() {
    let doubled: String = (1..60)
        .map(|n| format!("x{n} := [x{m}, x{m}]\n", m = n - 1))
        .collect();
    for call in ["json.marshal(x59)", "sprintf(\"%v\", [x59])", "walk(x59)"] {
        let text = format!("x0 := [1]\n{doubled}allow if {{ y := {call} }}");
        let verdict = decide(&text, &Request::default());
        assert!(
            !verdict.is_allowed() && verdict.is_error(),
            "{call}: {verdict:?}"
        );
    }
}

#[test]
fn deep_text_is_refused_without_a_deep_stack() {
    for (open, middle, close) in [
        ("(", "1", ")"),
        ("[", "1", "]"),
        ("{\"a\":", "1", "}"),
        ("[x | x := ", "1", "]"),
        ("1+", "1", ""),
        ("1|", "1", ""),
        ("a.", "a", ""),
        ("a[", "1", "]"),
        ("-", "1", ""),
        ("f(", "1", ")"),
        ("1==", "1", ""),
        ("1 in ", "1", ""),
        ("1,", "1", ""),
    ] {
        for count in [40, 400, 4_000, 12_000] {
            let text = policy(&format!(
                "allow if {{ x := {}{middle}{} }}",
                open.repeat(count),
                close.repeat(count)
            ));
            let verdict = patient().decide(&text, &Request::default().question());
            assert!(!verdict.is_allowed() || count == 40, "{open} {count}");
        }
    }
}

#[test]
fn long_chains_of_rules_stay_within_a_workers_stack() {
    // The longest chains of each form that pass the checks, and those beyond.
    for count in [10, 100, 200, 400, 1_000] {
        let rules: String = (0..count)
            .map(|n| format!("r{n} if {{ r{} }}\n", n + 1))
            .collect();
        let functions: String = (0..count)
            .map(|n| format!("f{n}(x) := y if {{ y := [z | z := f{}(x)][0] }}\n", n + 1))
            .collect();
        for (lines, last) in [
            (
                format!("allow if {{ r0 }}\n{rules}"),
                format!("r{count} := true"),
            ),
            (
                format!("allow if {{ f0(true) }}\n{functions}"),
                format!("f{count}(x) := x"),
            ),
        ] {
            let text = policy(&format!("{lines}{last}"));
            let verdict = thread::Builder::new()
                .stack_size(1024 * 1024)
                .spawn(move || patient().decide(&text, &Request::default().question()))
                .unwrap()
                .join()
                .unwrap();
            assert!(
                verdict.is_allowed() || verdict.is_error(),
                "{count}: {verdict:?}"
            );
        }
    }
}

#[test]
fn an_expression_as_deep_as_allowed_is_evaluated_on_a_small_stack() {
    for (open, close) in [("1+", ""), ("[", "][0]"), ("abs(", ")")] {
        let mut passed = 0;
        for count in 1..100 {
            let text = policy(&format!(
                "allow if {{ {}1{} > 0 }}",
                open.repeat(count),
                close.repeat(count)
            ));
            let verdict = thread::Builder::new()
                .stack_size(1024 * 1024)
                .spawn(move || patient().decide(&text, &Request::default().question()))
                .unwrap()
                .join()
                .unwrap();
            passed += usize::from(verdict.is_allowed());
            assert!(verdict.is_allowed() || verdict.is_error());
        }
        assert!(passed >= 10, "{open}: {passed}");
    }
}

#[test]
fn rules_and_functions_that_need_themselves_are_refused() {
    for lines in [
        "allow if { b }\nb if { allow }",
        "f(x) := f(x)\nallow if { f(1) }",
        "f(x) := g(x)\ng(x) := f(x)\nallow if { f(1) }",
        "allow if { data.io.choria.aaasvc.allow }",
        "allow if { some x; data.io.choria.aaasvc[x] }",
        "allow if { some x; data[x] }",
        "p contains x if { some x in p }\nallow if { p }",
    ] {
        assert_eq!(kind(&policy(lines)), PolicyErrorKind::Recursion, "{lines}");
    }
    for lines in [
        "a.b := 1\na.c if { a.b == 1 }\nallow if { a.c }",
        "user := 1\nf(user) := user\nallow if { f(true) }",
        "allow if { allowed := true; allowed }",
        "x := y\ny := 1\nallow if { x == 1; y == 1 }",
    ] {
        assert!(patient().check(&policy(lines)).is_ok(), "{lines}");
    }
}

#[test]
fn an_unknown_function_denies_the_whole_policy_wherever_it_stands() {
    for lines in [
        "allow if { false; frobnicate(1) }\nallow if { true }",
        "allow if { true }\nunused := frobnicate(1)",
        "allow if { true }\nunused := [x | x := frobnicate(1)]",
        "allow if { true }\nf(x) := frobnicate(x)",
        "allow if { http.send({\"method\": \"GET\", \"url\": \"http://127.0.0.1/\"}) }",
        "allow if { true }\nunused := opa.runtime()",
        "allow if { true }\nunused := x if { every y in [1] { x := 1; frobnicate(y) } }",
        "allow if { true }\nunused if { input.x with input.x as frobnicate(1) }",
        "allow if { overlay_decided_by(0, true) }",
    ] {
        let fault = patient().check(&policy(lines)).unwrap_err();
        assert_eq!(fault.kind, PolicyErrorKind::Function, "{lines}");
        assert!(fault.line.is_some_and(|line| line >= 3), "{fault:?}");
    }
}

#[test]
fn refusals_are_remembered_and_the_memory_is_bounded() {
    let rego = Rego::new(Limits {
        policies: 32,
        ..Limits::default()
    });
    let request = Request::default();
    for number in 0..500 {
        let good = policy(&format!("allow if {{ input.ttl == {number} }}"));
        let bad = policy(&format!("allow if {{ frobnicate({number}) }}"));
        assert!(!rego.decide(&good, &request.question()).is_error());
        assert!(rego.decide(&bad, &request.question()).is_error());
    }
    assert!(rego.kept() <= 32, "{}", rego.kept());
}

#[test]
fn many_threads_decide_at_once() {
    let rego = Arc::new(patient());
    let threads: Vec<_> = (0..8_u64)
        .map(|number| {
            let rego = Arc::clone(&rego);
            thread::spawn(move || {
                let text = policy("allow if { input.ttl % 2 == 0 }\nallow if { input.ttl == 7 }");
                for round in 0..200 {
                    let request = Request {
                        ttl: number * 1_000 + round,
                        ..Request::default()
                    };
                    let verdict = rego.decide(&text, &request.question());
                    assert_eq!(
                        verdict.is_allowed(),
                        request.ttl.is_multiple_of(2) || request.ttl == 7,
                        "{verdict:?}"
                    );
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(rego.kept(), 1);
}
