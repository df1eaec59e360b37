//! One thing that is wrong with a configuration.

use std::fmt;

use super::mask;

/// A fault of the configuration: where it is, what is wrong, what helps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    source: Option<String>,
    key: String,
    value: Option<String>,
    problem: String,
    remedy: Option<String>,
}

impl Fault {
    /// Names the key (`section.key`; empty for a whole file) and what is wrong with it.
    pub fn new(key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            source: None,
            key: key.into(),
            value: None,
            problem: problem.into(),
            remedy: None,
        }
    }

    /// Shows the value at fault; without it, the value of the file is shown.
    #[must_use]
    pub fn value(mut self, value: impl fmt::Display) -> Self {
        self.value = Some(mask::text(&self.key, &value.to_string()));
        self
    }

    /// Says what to do.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// Names the file or variable; without it, the one that gave the key is named.
    #[must_use]
    pub fn source(mut self, source: impl Into<String>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The key at fault.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// What is wrong.
    pub fn problem(&self) -> &str {
        &self.problem
    }

    pub(super) fn source_or(&mut self, source: impl FnOnce() -> Option<String>) {
        if self.source.is_none() {
            self.source = source();
        }
    }

    pub(super) fn value_or(&mut self, value: impl FnOnce() -> Option<String>) {
        if self.value.is_none() {
            self.value = value();
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(source) = &self.source {
            write!(f, "{source}: ")?;
        }
        match (&self.key, &self.value) {
            (key, _) if key.is_empty() => {}
            (key, Some(value)) => write!(f, "{key} = {value}: ")?,
            (key, None) => write!(f, "{key}: ")?,
        }
        f.write_str(&self.problem)?;
        if let Some(remedy) = &self.remedy {
            write!(f, "; {remedy}")?;
        }
        Ok(())
    }
}

/// What to do about an unknown key.
pub(super) fn did_you_mean(name: &str, known: &[&str]) -> String {
    let nearest = known
        .iter()
        .map(|candidate| (distance(name, candidate), candidate))
        .min()
        .filter(|(distance, _)| *distance <= 2);
    match nearest {
        Some((_, candidate)) => format!("did you mean {candidate}?"),
        None if known.is_empty() => "remove it".to_owned(),
        None => format!("known here: {}", known.join(", ")),
    }
}

/// The number of letters to change, add or remove (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, to) in row.iter_mut().skip(1).zip(&b) {
            let above = *cell;
            let change = diagonal + usize::from(from != *to);
            left = change.min(above + 1).min(left + 1);
            diagonal = above;
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_as_source_key_value_problem_remedy() {
        let fault = Fault::new("broker.servers", "is not a URL")
            .value("\"a b\"")
            .remedy("write nats://HOST:PORT")
            .source("/etc/x.toml");
        assert_eq!(
            fault.to_string(),
            "/etc/x.toml: broker.servers = \"a b\": is not a URL; write nats://HOST:PORT"
        );
        assert_eq!(Fault::new("", "no such file").to_string(), "no such file");
    }

    #[test]
    fn a_secret_value_is_masked() {
        let fault = Fault::new("broker.password", "is not a known key").value("hunter2");
        assert!(!fault.to_string().contains("hunter2"));
    }

    #[test]
    fn counts_changed_letters() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("servers", "servers"), 0);
        assert_eq!(distance("server", "servers"), 1);
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    #[test]
    fn proposes_the_nearest_key_or_lists_all() {
        assert_eq!(
            did_you_mean("sevrers", &["name", "servers"]),
            "did you mean servers?"
        );
        assert_eq!(
            did_you_mean("zzz", &["name", "servers"]),
            "known here: name, servers"
        );
        assert_eq!(did_you_mean("zzz", &[]), "remove it");
    }
}
