use super::*;

fn list(elements: &[&str]) -> Vec<String> {
    elements.iter().map(ToString::to_string).collect()
}

#[test]
fn the_element_that_decides_is_named() {
    let verdict = action_list(&list(&["puppet.*", "rpcutil.ping"]), "rpcutil", "ping");
    assert!(verdict.is_allowed());
    assert_eq!(verdict.why().rule, "agents[1] rpcutil.ping");
    assert!(!verdict.is_error());
}

#[test]
fn an_element_of_another_form_ends_the_reading() {
    let verdict = action_list(&list(&["rpcutil", "rpcutil.ping"]), "rpcutil", "ping");
    assert!(!verdict.is_allowed());
    assert!(verdict.is_error());
    assert_eq!(verdict.why().rule, "agents[0] rpcutil");
}

#[test]
fn a_long_element_is_shown_in_part() {
    let long = "ü".repeat(1_000);
    let verdict = action_list(std::slice::from_ref(&long), "a", "b");
    assert!(verdict.why().rule.len() < 100, "{}", verdict.why().rule);
}
