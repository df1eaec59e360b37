//! Following a path through values.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::query::Query;
use super::scan::{self, Element, Member, Rest};
use super::{PathError, glob, modifier};

/// Values looked at or copied for one path.
const MAX_WORK: usize = 1_000_000;

/// Paths inside paths, and values inside values, on the way to one result.
const MAX_DEPTH: usize = 160;

/// One look-up and what it may still cost.
#[derive(Debug)]
pub(super) struct Walk {
    work: usize,
    depth: usize,
}

/// What a path has led to, and the path that is to be applied to it.
type Found<'v, 'p> = (Option<Cow<'v, Value>>, Option<&'p str>);

/// The members of an object in the order of their names.
pub(super) fn members(object: &Map<String, Value>) -> Vec<(&String, &Value)> {
    let mut members: Vec<_> = object.iter().collect();
    // A no-op for the map that serde_json has by default, needed should a dependency choose the other one.
    members.sort_by_key(|(name, _)| *name);
    members
}

impl Walk {
    pub(super) fn new() -> Self {
        Self {
            work: MAX_WORK,
            depth: 0,
        }
    }

    /// Pays for looking at `count` values.
    pub(super) fn pay(&mut self, count: usize) -> Result<(), PathError> {
        self.work = self.work.checked_sub(count).ok_or(PathError::TooMuchWork)?;
        Ok(())
    }

    /// Pays for a copy and makes it.
    pub(super) fn copy(&mut self, value: &Value) -> Result<Value, PathError> {
        self.pay_for(value)?;
        Ok(value.clone())
    }

    fn pay_for(&mut self, value: &Value) -> Result<(), PathError> {
        match value {
            Value::Array(elements) => {
                self.pay(1)?;
                elements
                    .iter()
                    .try_for_each(|element| self.pay_for(element))
            }
            Value::Object(object) => {
                self.pay(1)?;
                object.values().try_for_each(|member| self.pay_for(member))
            }
            Value::String(text) => self.pay(1 + text.len() / 64),
            Value::Null | Value::Bool(_) | Value::Number(_) => self.pay(1),
        }
    }

    fn own(&mut self, value: Cow<'_, Value>) -> Result<Value, PathError> {
        match value {
            Cow::Borrowed(value) => self.copy(value),
            Cow::Owned(value) => Ok(value),
        }
    }

    /// Runs a step that may lead to further ones, within the nesting allowed.
    pub(super) fn nested<T>(
        &mut self,
        step: impl FnOnce(&mut Self) -> Result<T, PathError>,
    ) -> Result<T, PathError> {
        self.pay(1)?;
        if self.depth == MAX_DEPTH {
            return Err(PathError::TooDeep);
        }
        self.depth += 1;
        let result = step(self);
        self.depth -= 1;
        result
    }

    /// Follows `path` from `value`, which may be missing: modifiers and constants make something of nothing.
    pub(super) fn get<'v>(
        &mut self,
        mut value: Option<Cow<'v, Value>>,
        mut path: &str,
    ) -> Result<Option<Cow<'v, Value>>, PathError> {
        loop {
            self.pay(1)?;
            if path.len() > 1 {
                let special = match path.as_bytes().first() {
                    Some(b'@') => modifier::apply(self, value.as_deref(), path)?,
                    Some(b'!') => {
                        modifier::constant(path).map(|(made, rest)| (Some(Cow::Owned(made)), rest))
                    }
                    Some(b'[' | b'{') => self.collect(value.as_deref(), path)?,
                    Some(_) | None => None,
                };
                if let Some((made, rest)) = special {
                    value = made.map(|made| Cow::Owned(made.into_owned()));
                    match rest.strip_prefix(['.', '|']) {
                        Some(rest) => path = rest,
                        None => return Ok(value),
                    }
                    if path.is_empty() {
                        return Ok(None);
                    }
                    continue;
                }
            }
            let (found, pipe) = match value {
                None => (None, None),
                Some(Cow::Borrowed(value)) => self.top(value, path)?,
                Some(Cow::Owned(value)) => {
                    let (found, pipe) = self.top(&value, path)?;
                    let found = found.map(|found| self.own(found)).transpose()?;
                    (found.map(Cow::Owned), pipe)
                }
            };
            match pipe {
                None => return Ok(found),
                Some(pipe) => {
                    value = found;
                    path = pipe;
                }
            }
        }
    }

    fn top<'v, 'p>(&mut self, value: &'v Value, path: &'p str) -> Result<Found<'v, 'p>, PathError> {
        // Two dots take the document for the only line of a list of lines.
        if let Some(rest) = path.strip_prefix("..") {
            return self.array(std::slice::from_ref(value), rest);
        }
        self.step(value, path)
    }

    fn step<'v, 'p>(
        &mut self,
        value: &'v Value,
        path: &'p str,
    ) -> Result<Found<'v, 'p>, PathError> {
        self.nested(|walk| match value {
            Value::Object(object) => walk.object(object, path),
            Value::Array(elements) => walk.array(elements, path),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok((None, None)),
        })
    }

    fn object<'v, 'p>(
        &mut self,
        object: &'v Map<String, Value>,
        path: &'p str,
    ) -> Result<Found<'v, 'p>, PathError> {
        let Member { name, wild, rest } = scan::member(path);
        let mut pipe = pipe_of(rest);
        if !wild {
            return match object.get(name.as_ref()) {
                Some(value) => self.rest(value, rest),
                None => Ok((None, pipe)),
            };
        }
        for (key, value) in members(object) {
            self.pay(1 + key.len() / 16)?;
            if !glob::fits(key, &name) {
                continue;
            }
            let (found, deeper) = self.rest(value, rest)?;
            pipe = deeper.or(pipe);
            if found.is_some() {
                return Ok((found, pipe));
            }
        }
        Ok((None, pipe))
    }

    /// Follows what comes behind a part whose value is known.
    fn rest<'v, 'p>(
        &mut self,
        value: &'v Value,
        rest: Rest<'p>,
    ) -> Result<Found<'v, 'p>, PathError> {
        match rest {
            Rest::End => Ok((Some(Cow::Borrowed(value)), None)),
            Rest::Pipe(pipe) => Ok((Some(Cow::Borrowed(value)), Some(pipe))),
            Rest::More(path) => self.step(value, path),
        }
    }

    fn array<'v, 'p>(
        &mut self,
        elements: &'v [Value],
        path: &'p str,
    ) -> Result<Found<'v, 'p>, PathError> {
        match scan::element(path) {
            Element::Index(index, rest) => match elements.get(index) {
                Some(value) => self.rest(value, rest),
                None => Ok((None, pipe_of(rest))),
            },
            Element::Count(rest) => {
                Ok((Some(Cow::Owned(Value::from(elements.len()))), pipe_of(rest)))
            }
            Element::Nothing(rest) => Ok((None, pipe_of(rest))),
            Element::Each(path) => {
                let (path, pipe) = match scan::split_pipe(path) {
                    Some((path, pipe)) => (path, Some(pipe)),
                    None => (path, None),
                };
                let mut found = Vec::new();
                for element in elements {
                    let value = self.nested(|walk| walk.get(Some(Cow::Borrowed(element)), path))?;
                    if let Some(value) = value {
                        found.push(self.own(value)?);
                    }
                }
                Ok((Some(Cow::Owned(Value::Array(found))), pipe))
            }
            Element::Fitting(query, rest) => {
                let (path, pipe) = match rest {
                    Rest::End => (None, None),
                    Rest::Pipe(pipe) => (None, Some(pipe)),
                    Rest::More(path) => match scan::split_pipe(path) {
                        Some((path, pipe)) => (Some(path), Some(pipe)),
                        None => (Some(path), None),
                    },
                };
                let (found, any_fits) = self.fitting(elements, &query, path)?;
                // As in the original a pipe behind a path is seen only once an element fits.
                let pipe = pipe.filter(|_| any_fits || path.is_none());
                Ok((found, pipe))
            }
        }
    }

    /// Finds the elements that fit a query; tells also whether any does.
    fn fitting<'v>(
        &mut self,
        elements: &'v [Value],
        query: &Query<'_>,
        path: Option<&str>,
    ) -> Result<(Option<Cow<'v, Value>>, bool), PathError> {
        let mut all = Vec::new();
        let mut any_fits = false;
        for element in elements {
            let is_container = element.is_array() || element.is_object();
            let looked_at = if is_container {
                self.nested(|walk| walk.get(Some(Cow::Borrowed(element)), query.path))?
            } else if query.path.is_empty() {
                self.pay(1)?;
                Some(Cow::Borrowed(element))
            } else {
                continue;
            };
            if !query.fits(looked_at.as_deref()) {
                continue;
            }
            any_fits = true;
            let found = match path {
                Some(path) => self.nested(|walk| walk.get(Some(Cow::Borrowed(element)), path))?,
                None => Some(Cow::Borrowed(element)),
            };
            if !query.all {
                return Ok((found, any_fits));
            }
            if let Some(found) = found {
                all.push(self.own(found)?);
            }
        }
        Ok((query.all.then_some(Cow::Owned(Value::Array(all))), any_fits))
    }

    /// Collects several paths: `{"name":path,other}` or `[path,path]`.
    fn collect<'p>(
        &mut self,
        value: Option<&Value>,
        path: &'p str,
    ) -> Result<modifier::Made<'p>, PathError> {
        let Some((parts, rest)) = modifier::selectors(path) else {
            return Ok(None);
        };
        if !rest.is_empty() && !rest.starts_with(['.', '|']) {
            return Ok(None);
        }
        let mut list = Vec::new();
        let mut object = Map::new();
        for part in parts {
            let found = self.nested(|walk| walk.get(value.map(Cow::Borrowed), part.path))?;
            let Some(found) = found else { continue };
            let found = self.own(found)?;
            if path.starts_with('{') {
                object.entry(part.name()).or_insert(found);
            } else {
                list.push(found);
            }
        }
        let made = if path.starts_with('{') {
            Value::Object(object)
        } else {
            Value::Array(list)
        };
        Ok(Some((Some(Cow::Owned(made)), rest)))
    }
}

fn pipe_of(rest: Rest<'_>) -> Option<&str> {
    match rest {
        Rest::Pipe(pipe) => Some(pipe),
        Rest::End | Rest::More(_) => None,
    }
}
