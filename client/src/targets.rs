//! Which of the discovered nodes a request goes to, and in which portions.

use std::str::FromStr;

/// How many of the discovered nodes are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// At most so many.
    Count(usize),
    /// So many of a hundred, rounded down.
    Percent(u8),
}

/// Which nodes a limit keeps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LimitMethod {
    /// The first, by name.
    #[default]
    First,
    /// Any; with a seed, the same ones every time.
    Random,
}

/// Why a limit cannot be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// Not a number, nor a percentage.
    #[error("could not parse limit as either number or percent: `{0}`")]
    Parse(String),
    /// Nothing is left.
    #[error("no targets left after applying target limits of '{0}'")]
    NothingLeft(String),
}

impl FromStr for Limit {
    type Err = LimitError;

    fn from_str(text: &str) -> Result<Self, LimitError> {
        let wrong = || LimitError::Parse(text.to_owned());
        match text.strip_suffix('%') {
            Some(percent) => match percent.trim().parse() {
                Ok(percent @ 0..=100) => Ok(Self::Percent(percent)),
                _ => Err(wrong()),
            },
            None => text.parse().map(Self::Count).map_err(|_| wrong()),
        }
    }
}

impl std::fmt::Display for Limit {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Count(count) => write!(formatter, "{count}"),
            Self::Percent(percent) => write!(formatter, "{percent}%"),
        }
    }
}

impl Limit {
    /// Keeps as many of `nodes` as the limit says; a limit above their number keeps all.
    ///
    /// `seed` only matters for [`LimitMethod::Random`].
    ///
    /// # Errors
    ///
    /// Nothing is left.
    pub fn apply<T>(
        self,
        mut nodes: Vec<T>,
        method: LimitMethod,
        seed: u64,
    ) -> Result<Vec<T>, LimitError> {
        let wanted = match self {
            Self::Count(count) => count,
            Self::Percent(percent) => nodes.len() * usize::from(percent) / 100,
        };
        if wanted == 0 {
            return Err(LimitError::NothingLeft(self.to_string()));
        }
        if method == LimitMethod::Random {
            shuffle(&mut nodes, seed);
        }
        nodes.truncate(wanted);
        Ok(nodes)
    }
}

/// Fisher and Yates with SplitMix64: good enough to pick canaries, the same on every machine.
fn shuffle<T>(items: &mut [T], seed: u64) {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    };
    for last in (1..items.len()).rev() {
        let bound = last as u64 + 1;
        let other = usize::try_from(next() % bound).unwrap_or(last);
        items.swap(last, other);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_limit_is_a_number_or_a_percentage() {
        assert_eq!("10".parse(), Ok(Limit::Count(10)));
        assert_eq!("10%".parse(), Ok(Limit::Percent(10)));
        for wrong in ["", "abc", "-1", "101%", "%", "1.5"] {
            assert!(wrong.parse::<Limit>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_percentage_is_rounded_down_and_nothing_is_an_error() {
        let two = vec!["a", "b"];
        assert!(
            Limit::Percent(10)
                .apply(two.clone(), LimitMethod::First, 0)
                .is_err()
        );
        assert_eq!(
            Limit::Percent(50).apply(two, LimitMethod::First, 0),
            Ok(vec!["a"])
        );
    }

    proptest! {
        #[test]
        fn a_limit_never_invents_nodes(count in 1usize..50, size in 0usize..40, seed: u64) {
            let nodes: Vec<usize> = (0..size).collect();
            let kept = Limit::Count(count).apply(nodes, LimitMethod::Random, seed).unwrap();
            prop_assert_eq!(kept.len(), count.min(size));
            let mut unique = kept.clone();
            unique.sort_unstable();
            unique.dedup();
            prop_assert_eq!(unique.len(), kept.len());
        }

        #[test]
        fn the_same_seed_keeps_the_same_nodes(seed: u64) {
            let nodes: Vec<u8> = (0..100).collect();
            let one = Limit::Count(5).apply(nodes.clone(), LimitMethod::Random, seed);
            prop_assert_eq!(one, Limit::Count(5).apply(nodes, LimitMethod::Random, seed));
        }
    }
}
