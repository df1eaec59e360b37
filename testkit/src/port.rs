//! Ports for programs that are told theirs.

use std::net::TcpListener;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

/// Linux gives connections, and listeners that name no port, one from 32,768 on: below that nobody gets one by chance.
const FIRST: u32 = 15_000;
const COUNT: u32 = 17_000;
/// Processes with consecutive ids begin so far from each other.
const APART: u32 = 251;

/// A port of 127.0.0.1 at which nobody listens for now, never the same twice in one process.
///
/// # Panics
///
/// When all are taken.
pub fn free_port() -> u16 {
    free_ports(1)
}

/// The first of as many ports in a row, each as [`free_port`] gives it.
///
/// # Panics
///
/// When all are taken.
pub fn free_ports(count: u16) -> u16 {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let begin = process::id().wrapping_mul(APART) % COUNT;
    let step = u32::from(count);
    (0..COUNT)
        .map(|_| FIRST + (begin + GIVEN.fetch_add(step, Ordering::Relaxed) % COUNT) % COUNT)
        .filter_map(|first| u16::try_from(first).ok())
        .find(|first| (0..count).all(|more| TcpListener::bind(("127.0.0.1", first + more)).is_ok()))
        .expect("ports are free")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::eventually_blocking;

    #[test]
    fn each_port_can_be_listened_at_and_is_given_once() {
        let ports = [free_port(), free_port(), free_port()];
        // A child that another test starts has a copy of the listener that tried until it runs its program.
        let listeners = ports.map(|port| {
            eventually_blocking(Duration::from_secs(10), Duration::from_millis(10), || {
                TcpListener::bind(("127.0.0.1", port))
            })
        });
        assert!(!listeners.iter().any(|listener| {
            let taken = listener.local_addr().unwrap().port();
            free_port() == taken
        }));
    }
}
