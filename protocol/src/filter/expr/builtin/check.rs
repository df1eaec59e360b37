//! Types of the language's own functions.

use super::Builtin;
use crate::filter::expr::check::Type;

impl Builtin {
    /// Gives the type of the result for arguments of the given types.
    pub(in crate::filter::expr) fn check(self, types: &[Type]) -> Result<Type, String> {
        let is_text = |found: &Type| matches!(found, Type::Text | Type::Unknown);
        let is_list = |found: &Type| found.is_list() || found.is_unknown();
        let is_number = |found: &Type| found.is_number() || found.is_unknown();
        let (counts, fits, gives): (_, bool, Type) = match self {
            Self::Len => (
                1..=1,
                types
                    .iter()
                    .all(|found| is_list(found) || matches!(found, Type::Text | Type::Map)),
                Type::Int,
            ),
            Self::Type | Self::String => (1..=1, true, Type::Text),
            Self::Abs => (
                1..=1,
                types.iter().all(is_number),
                types.first().cloned().unwrap_or(Type::Unknown),
            ),
            Self::Ceil | Self::Floor | Self::Round => {
                (1..=1, types.iter().all(is_number), Type::Float)
            }
            Self::Int => (
                1..=1,
                types.iter().all(|found| is_number(found) || is_text(found)),
                Type::Int,
            ),
            Self::Float => (
                1..=1,
                types.iter().all(|found| is_number(found) || is_text(found)),
                Type::Float,
            ),
            Self::Trim | Self::TrimPrefix | Self::TrimSuffix => {
                (1..=2, types.iter().all(is_text), Type::Text)
            }
            Self::Upper | Self::Lower => (1..=1, types.iter().all(is_text), Type::Text),
            Self::Split => (
                2..=3,
                leading(types, 2, is_text) && trailing(types, 2, Type::may_be_int),
                Type::Names,
            ),
            Self::Replace => (
                3..=4,
                leading(types, 3, is_text) && trailing(types, 3, Type::may_be_int),
                Type::Text,
            ),
            Self::Repeat => (
                2..=2,
                leading(types, 1, is_text) && trailing(types, 1, Type::may_be_int),
                Type::Text,
            ),
            Self::Join => (
                1..=2,
                leading(types, 1, is_list) && trailing(types, 1, is_text),
                Type::Text,
            ),
            Self::IndexOf | Self::LastIndexOf => (2..=2, types.iter().all(is_text), Type::Int),
            Self::HasPrefix | Self::HasSuffix => (2..=2, types.iter().all(is_text), Type::Bool),
            Self::Max | Self::Min | Self::Mean | Self::Median => {
                let is_direct = types.iter().all(Type::is_number);
                // As in the original, what stands behind the first list is not looked at.
                let fits = types
                    .iter()
                    .take_while(|found| !is_list(found))
                    .all(Type::is_number);
                let gives = if is_direct {
                    types.first().cloned()
                } else {
                    None
                };
                (1..=usize::MAX, fits, gives.unwrap_or(Type::Unknown))
            }
            Self::FromJson => (1..=1, types.iter().all(is_text), Type::Unknown),
            Self::First | Self::Last => (
                1..=1,
                types.iter().all(is_list),
                types.first().map_or(Type::Unknown, Type::element),
            ),
            Self::Get => {
                let fits = match types {
                    [Type::Unknown, _] => true,
                    [Type::Map, key] => is_text(key),
                    [list, key] if list.is_list() => key.may_be_int(),
                    _ => false,
                };
                (
                    2..=2,
                    fits,
                    types.first().map_or(Type::Unknown, Type::element),
                )
            }
            Self::Take => (
                2..=2,
                leading(types, 1, is_list) && trailing(types, 1, Type::may_be_int),
                types.first().cloned().unwrap_or(Type::Unknown),
            ),
            Self::Keys | Self::Values => (
                1..=1,
                types
                    .iter()
                    .all(|found| matches!(found, Type::Map | Type::Unknown)),
                Type::any_list(),
            ),
            Self::Reverse | Self::Uniq | Self::Flatten => {
                (1..=1, types.iter().all(is_list), Type::any_list())
            }
            Self::Concat => (1..=usize::MAX, types.iter().all(is_list), Type::any_list()),
            Self::Sort => (
                1..=2,
                leading(types, 1, is_list) && trailing(types, 1, is_text),
                Type::any_list(),
            ),
        };
        if !counts.contains(&types.len()) {
            return Err(format!("{self:?} does not take {} arguments", types.len()));
        }
        if fits {
            Ok(gives)
        } else {
            Err(format!("{self:?} does not take {}", names(types)))
        }
    }
}

/// Tells whether the first `count` types are wanted.
fn leading(types: &[Type], count: usize, wanted: impl Fn(&Type) -> bool) -> bool {
    types.iter().take(count).all(wanted)
}

/// Tells whether the types behind the first `count` are wanted.
fn trailing(types: &[Type], count: usize, wanted: impl Fn(&Type) -> bool) -> bool {
    types.iter().skip(count).all(wanted)
}

fn names(types: &[Type]) -> String {
    types.iter().map(Type::name).collect::<Vec<_>>().join(", ")
}
