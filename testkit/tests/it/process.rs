use overlay_testkit::Process;

use crate::LIMIT;

fn shell(script: &str) -> Process {
    Process::builder("/bin/sh").arg("-c").arg(script).start()
}

#[test]
fn lines_of_both_outputs_can_be_waited_for() {
    let mut process = shell("echo one; echo two >&2; sleep 60");
    assert_eq!(process.wait_for_line("one", LIMIT), "one");
    assert_eq!(process.wait_for_line("wo", LIMIT), "two");
    assert_eq!(process.stderr(), "two\n");
    assert!(process.has_ended().is_none());
    assert!(process.resident_bytes().unwrap() > 0);
}

#[test]
#[should_panic(expected = "it ended before: exit status: 3")]
fn a_process_that_ends_is_not_waited_for() {
    shell("exit 3").wait_for_line("never", LIMIT);
}

#[test]
fn a_signal_ends_it_in_order() {
    let mut process = shell("trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done");
    process.wait_for_line("ready", LIMIT);
    assert_eq!(process.stop(LIMIT).code(), Some(7));
}

#[test]
fn environment_and_arguments_reach_it() {
    let mut process = Process::builder("/bin/sh")
        .args(["-c", "echo $GREETING from $0", "me"])
        .env("GREETING", "hello")
        .start();
    assert_eq!(process.wait_for_line("hello", LIMIT), "hello from me");
    assert!(process.wait(LIMIT).success());
}

#[test]
fn a_program_that_was_not_built_comes_with_the_remedy() {
    let error = Process::locate("overlay-nothing").unwrap_err();
    assert!(error.contains("cargo build"), "{error}");
}
