//! Versions and constraints of `semver(version, constraint)`.
//!
//! Versions may lack parts and may begin with `v`; constraints know `=`, `!=`, `<`, `<=`, `>`, `>=`, `~`, `^`, `x` for
//! any number, ranges with a dash, commas or blanks for "and", and `||` for "or". A pre-release satisfies a group only if
//! the group names one.

use semver::{BuildMetadata, Prerelease, Version};

const MAX_VERSION: usize = 256;
const MAX_CONSTRAINT: usize = 512;
const MAX_GROUPS: usize = 32;

/// Comparisons as written, longer ones before those that they begin with.
const COMPARISONS: [(&str, Comparison); 11] = [
    ("!=", Comparison::NotEqual),
    (">=", Comparison::GreaterOrEqual),
    ("=>", Comparison::GreaterOrEqual),
    ("<=", Comparison::LessOrEqual),
    ("=<", Comparison::LessOrEqual),
    ("~>", Comparison::Tilde),
    ("=", Comparison::Equal),
    (">", Comparison::Greater),
    ("<", Comparison::Less),
    ("~", Comparison::Tilde),
    ("^", Comparison::Caret),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Tilde,
    Caret,
}

/// How much of a constraint's version is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Given {
    Nothing,
    Major,
    Minor,
    All,
}

struct Constraint {
    comparison: Comparison,
    version: Version,
    given: Given,
}

/// Tells whether `version` satisfies `constraint`.
pub(super) fn satisfies(version: &str, constraint: &str) -> Result<bool, String> {
    let groups = constraint_groups(constraint)
        .ok_or_else(|| format!("improper version constraint {constraint:?}"))?;
    let version = parse_version(version).ok_or_else(|| format!("invalid version {version:?}"))?;
    Ok(groups.iter().any(|group| {
        let with_pre = version.pre.is_empty()
            || group
                .iter()
                .any(|constraint| !constraint.version.pre.is_empty());
        with_pre && group.iter().all(|constraint| constraint.allows(&version))
    }))
}

fn parse_version(text: &str) -> Option<Version> {
    if text.len() > MAX_VERSION {
        return None;
    }
    let (version, rest) = split_version(text)?;
    let mut numbers = [0; 3];
    for (number, part) in numbers.iter_mut().zip(version.parts) {
        if let Some(part) = part {
            *number = part.parse().ok()?;
        }
    }
    let [major, minor, patch] = numbers;
    rest.is_empty().then_some(Version {
        major,
        minor,
        patch,
        pre: version.pre,
        build: BuildMetadata::EMPTY,
    })
}

struct Loose<'t> {
    parts: [Option<&'t str>; 3],
    pre: Prerelease,
}

/// Splits off a version whose numbers may be missing or `x`.
fn split_version(text: &str) -> Option<(Loose<'_>, &str)> {
    let mut rest = text.strip_prefix('v').unwrap_or(text);
    let mut parts = [None; 3];
    for (at, part) in parts.iter_mut().enumerate() {
        let Some(number) = (if at == 0 {
            Some(rest)
        } else {
            rest.strip_prefix('.')
        }) else {
            break;
        };
        let end = number
            .find(|c: char| !c.is_ascii_digit() && !matches!(c, 'x' | 'X' | '*'))
            .unwrap_or(number.len());
        if end == 0 {
            break;
        }
        *part = Some(&number[..end]);
        rest = &number[end..];
    }
    parts[0]?;
    let mut pre = Prerelease::EMPTY;
    if let Some(tail) = rest.strip_prefix('-') {
        let end = identifiers(tail);
        if end > 0 {
            pre = Prerelease::new(&tail[..end]).ok()?;
            rest = &tail[end..];
        }
    }
    if let Some(tail) = rest.strip_prefix('+') {
        let end = identifiers(tail);
        if end > 0 {
            rest = &tail[end..];
        }
    }
    Some((Loose { parts, pre }, rest))
}

/// Gives the length of the dotted identifiers at the front.
fn identifiers(text: &str) -> usize {
    let end = text
        .find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '.'))
        .unwrap_or(text.len());
    // A dot that nothing follows, or that follows a dot, is not part of them.
    let front = &text[..end];
    front
        .find("..")
        .unwrap_or(front.len())
        .min(front.trim_end_matches('.').len())
}

fn constraint_groups(text: &str) -> Option<Vec<Vec<Constraint>>> {
    if text.len() > MAX_CONSTRAINT {
        return None;
    }
    let groups: Vec<&str> = text.split("||").collect();
    if groups.len() > MAX_GROUPS {
        None
    } else {
        groups.into_iter().map(constraint_group).collect()
    }
}

fn constraint_group(text: &str) -> Option<Vec<Constraint>> {
    let mut rest = text.trim_start();
    let mut group = Vec::new();
    loop {
        let (typed, comparison) = comparison(rest);
        let (version, after) = split_version(rest[typed.len()..].trim_start())?;
        rest = after.trim_start();
        let has_gap = rest.len() < after.len();
        if let Some(upper) = rest
            .strip_prefix('-')
            .filter(|_| has_gap && typed.is_empty())
        {
            let trimmed = upper.trim_start();
            if trimmed.len() == upper.len() {
                return None;
            }
            let (upper, after) = split_version(trimmed)?;
            group.push(Constraint::new(Comparison::GreaterOrEqual, version)?);
            group.push(Constraint::new(Comparison::LessOrEqual, upper)?);
            rest = after.trim_start();
            if rest.is_empty() {
                return Some(group);
            }
            rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
            continue;
        }
        group.push(Constraint::new(comparison, version)?);
        if rest.is_empty() {
            return Some(group);
        }
        match rest.strip_prefix(',') {
            Some(next) => rest = next.trim_start(),
            None if has_gap => {}
            None => return None,
        }
    }
}

fn comparison(text: &str) -> (&'static str, Comparison) {
    let found = COMPARISONS
        .iter()
        .find(|(typed, _)| text.starts_with(typed));
    found.copied().unwrap_or(("", Comparison::Equal))
}

impl Constraint {
    fn new(comparison: Comparison, loose: Loose<'_>) -> Option<Self> {
        let mut numbers = [0; 3];
        let mut given = Given::Nothing;
        for ((number, part), next) in
            numbers
                .iter_mut()
                .zip(loose.parts)
                .zip([Given::Major, Given::Minor, Given::All])
        {
            match part {
                None | Some("x" | "X" | "*") => break,
                Some(part) => *number = part.parse().ok()?,
            }
            given = next;
        }
        let [major, minor, patch] = numbers;
        let version = Version {
            major,
            minor,
            patch,
            pre: loose.pre,
            build: BuildMetadata::EMPTY,
        };
        Some(Self {
            comparison,
            version,
            given,
        })
    }

    fn allows(&self, version: &Version) -> bool {
        let order = version.cmp_precedence(&self.version);
        let same_major = version.major == self.version.major;
        let same_minor = version.minor == self.version.minor;
        match self.comparison {
            Comparison::Equal if self.given == Given::All => order.is_eq(),
            Comparison::Equal | Comparison::Tilde => {
                let is_zero =
                    (self.version.major, self.version.minor, self.version.patch) == (0, 0, 0);
                let is_any = is_zero && matches!(self.given, Given::Nothing | Given::All);
                order.is_ge()
                    && (is_any || same_major && (same_minor || self.given == Given::Major))
            }
            Comparison::NotEqual => match self.given {
                Given::Nothing | Given::All => order.is_ne(),
                Given::Major => !same_major,
                Given::Minor => !same_major || !same_minor || version.pre != self.version.pre,
            },
            Comparison::Less => order.is_lt(),
            Comparison::GreaterOrEqual => order.is_ge(),
            Comparison::Greater => match self.given {
                Given::Nothing | Given::All => order.is_gt(),
                Given::Major => version.major > self.version.major,
                Given::Minor => {
                    version.major > self.version.major
                        || same_major && version.minor > self.version.minor
                }
            },
            Comparison::LessOrEqual => match self.given {
                Given::All => order.is_le(),
                Given::Major => version.major <= self.version.major,
                Given::Nothing | Given::Minor => {
                    version.major < self.version.major
                        || same_major && version.minor <= self.version.minor
                }
            },
            Comparison::Caret => {
                if order.is_lt() {
                    return false;
                }
                if self.version.major > 0 || self.given == Given::Major {
                    return same_major;
                }
                if version.major > 0 {
                    return false;
                }
                if self.version.minor > 0 || self.given == Given::Minor {
                    return same_minor;
                }
                version.minor == 0 && version.patch == self.version.patch
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constraints_are_kept() {
        for (version, constraint) in [
            ("1.10.0", ">= 1.9.0"),
            ("v1.2", "1.2.x"),
            ("1.2.3", "~1.2"),
            ("1.9", "^1.2.3"),
            ("0.2.9", "^0.2.3"),
            ("1.5.0", "1.2 - 1.6"),
            ("2.0.0", "<1 || >=2"),
            ("1.2.3", ">1,<2"),
            ("1.2.3", "!=1.3"),
            ("1.2.3-beta", ">=1.2.3-alpha"),
            ("1.2.3", "*"),
        ] {
            let expected = (version, constraint) != ("1.2.3", ">1,<2");
            assert_eq!(
                satisfies(version, constraint),
                Ok(expected),
                "{version} {constraint}"
            );
        }
    }

    #[test]
    fn constraints_are_missed() {
        for (version, constraint) in [
            ("1.10.0", "< 1.9.0"),
            ("1.3.0", "~1.2.3"),
            ("2.0.0", "^1.2.3"),
            ("0.3.0", "^0.2.3"),
            ("1.5.0", ">1"),
            ("1.2.3-beta", ">=1"),
            ("1.2.9", "!=1.2"),
        ] {
            assert_eq!(
                satisfies(version, constraint),
                Ok(false),
                "{version} {constraint}"
            );
        }
    }

    #[test]
    fn what_is_no_version_is_an_error() {
        for (version, constraint) in [
            ("hello", ">1"),
            ("1.2.3", ""),
            ("1.2.3", ">>1"),
            ("1.2.3", ">1<2"),
            ("1.2.3.4", "1"),
            ("", "1"),
            ("1.2.3-01", "1"),
        ] {
            assert!(
                satisfies(version, constraint).is_err(),
                "{version} {constraint}"
            );
        }
    }
}
