//! Programs of the system that a step needs and a fresh machine may lack.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::run::{check, say};

/// A program, and the Debian package that brings it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Needed {
    /// A command that succeeds where the program is.
    probe: &'static [&'static str],
    package: &'static str,
}

/// Python's installer.
pub(crate) const PIP: Needed = Needed {
    probe: &["python3", "-m", "pip", "--version"],
    package: "python3-pip",
};
/// The judge of systemd units.
pub(crate) const SYSTEMD_ANALYZE: Needed = Needed {
    probe: &["systemd-analyze", "--version"],
    package: "systemd",
};

/// Runs the OpenID provider of the login tests.
pub(crate) const NODE: Needed = Needed {
    probe: &["node", "--version"],
    package: "nodejs",
};
/// Fetches it.
pub(crate) const NPM: Needed = Needed {
    probe: &["npm", "--version"],
    package: "npm",
};
/// The directory server of the login tests; it is in no user's `PATH`.
pub(crate) const SLAPD: Needed = Needed {
    probe: &[
        "sh",
        "-c",
        "test -n \"$OVERLAY_SLAPD\" || command -v slapd || test -x /usr/sbin/slapd || test -x /usr/libexec/slapd",
    ],
    package: "slapd",
};

/// Debian's word on which services a package may start when it is installed.
const POLICY: &str = "/usr/sbin/policy-rc.d";

impl Needed {
    /// Makes sure that the program is there: as root on Debian the package is installed when it is missing.
    ///
    /// # Errors
    ///
    /// When it is missing and cannot be installed.
    pub(crate) fn ensure(self) -> Result<()> {
        if self.is_there() {
            return Ok(());
        }
        let missing = format!("`{}` does not work here", self.probe.join(" "));
        if !Path::new("/etc/debian_version").exists() {
            bail!("{missing}, and this is not Debian");
        }
        if !is_root() {
            bail!("{missing}, and only root may install it");
        }
        say(&format!("{missing}: installing {}", self.package));
        // Lists of packages may be absent (containers) or stale; without them the install says what is wrong.
        if let Err(error) = apt_get(&["update"]) {
            say(&format!("{error:#}"));
        }
        let installed = without_starting(|| {
            apt_get(&["install", "--yes", "--no-install-recommends", self.package])
        });
        installed.with_context(|| format!("{missing}, install {}", self.package))?;
        if !self.is_there() {
            bail!("{missing}, even with {} installed", self.package);
        }
        Ok(())
    }

    /// The line that a person types to install it.
    pub(crate) fn install(self) -> String {
        format!("apt-get install {}", self.package)
    }

    fn is_there(self) -> bool {
        let Some((program, args)) = self.probe.split_first() else {
            return false;
        };
        Command::new(program)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    }
}

fn apt_get(args: &[&str]) -> Result<()> {
    check(
        Command::new("apt-get")
            .arg("-qq")
            .args(args)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(Stdio::null())
            .stdout(Stdio::null()),
    )
}

/// Tests start what they need themselves: a package that is installed for them must not start a service of its own.
fn without_starting(install: impl FnOnce() -> Result<()>) -> Result<()> {
    let policy = Path::new(POLICY);
    if policy.exists() {
        return install();
    }
    fs::write(policy, "#!/bin/sh\nexit 101\n").with_context(|| format!("write {POLICY}"))?;
    let installed = fs::set_permissions(policy, fs::Permissions::from_mode(0o755))
        .context("make it a program")
        .and_then(|()| install());
    fs::remove_file(policy).with_context(|| format!("remove {POLICY}"))?;
    installed
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

#[cfg(test)]
mod tests {
    use super::Needed;

    #[test]
    fn what_is_there_is_not_installed() {
        let shell = Needed {
            probe: &["sh", "-c", "true"],
            package: "no-such-package",
        };
        assert!(shell.ensure().is_ok());
        assert_eq!(shell.install(), "apt-get install no-such-package");
    }
}
