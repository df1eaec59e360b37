//! The host's name, whole where that can be known without asking the network.

use std::path::Path;

/// Where the system keeps names of hosts.
const HOSTS: &str = "/etc/hosts";

/// The longest such file that is read.
const MAX_BYTES: usize = 1024 * 1024;

/// The host's name; where it has fewer than two dots, the longer one that `/etc/hosts` has for it.
pub(crate) fn of_this_host() -> String {
    let name = rustix::system::uname();
    let name = name.nodename().to_string_lossy().into_owned();
    let hosts = std::fs::read(Path::new(HOSTS)).unwrap_or_default();
    let hosts =
        String::from_utf8_lossy(hosts.get(..MAX_BYTES.min(hosts.len())).unwrap_or_default());
    whole(&name, &hosts)
}

fn whole(name: &str, hosts: &str) -> String {
    if name.matches('.').count() > 1 {
        return name.to_owned();
    }
    let begins = format!("{name}.");
    hosts
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default())
        .map(|line| line.split_whitespace().skip(1).collect::<Vec<_>>())
        .filter(|names| names.contains(&name))
        .find_map(|names| {
            names
                .into_iter()
                .find(|longer| longer.starts_with(&begins) && longer.len() > begins.len())
        })
        .unwrap_or(name)
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTS: &str = "127.0.0.1 localhost\n127.0.1.1 n1.example.net n1 # n1.other\n10.0.0.9 n10.example.net n10\n";

    #[test]
    fn a_short_name_is_made_whole_by_the_hosts_file() {
        assert_eq!(whole("n1", HOSTS), "n1.example.net");
        assert_eq!(whole("n10", HOSTS), "n10.example.net");
        assert_eq!(whole("n2", HOSTS), "n2");
        assert_eq!(whole("n1.a.b", HOSTS), "n1.a.b");
        assert_eq!(whole("n1", ""), "n1");
    }
}
