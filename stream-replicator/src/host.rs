//! This host's name.

/// The name as the system has it: what the original signs heartbeats with.
pub(crate) fn name() -> String {
    let system = rustix::system::uname();
    system.nodename().to_string_lossy().into_owned()
}
