//! All values, in the form of Choria's stream replicator: `{"Items":{"h1":{…},…}}`.

use std::fmt;

use overlay_protocol::envelope::Limits;
use overlay_protocol::json;
use overlay_protocol::replication::TrackedItem;
use overlay_runtime::err_chain;
use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;

/// What stands before the first value, and behind the last one.
pub(super) const BEGIN: &[u8] = b"{\"Items\":{";
pub(super) const END: &[u8] = b"}}";

/// Faults that are told of by their name; more are counted.
const MAX_FAULTS: usize = 10;

/// Values that could be read, and what is wrong with the others.
type Read = (Vec<TrackedItem>, Vec<String>);

/// Reads a file. The name of the list may be written in any case, further members are skipped, as Go does.
///
/// # Errors
///
/// When it is no JSON of that form as a whole.
pub(crate) fn read(text: &[u8]) -> Result<Read, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let read = deserializer.deserialize_map(File)?;
    deserializer.end()?;
    Ok(read)
}

/// Encodes values as members of the list, `first` if none came before.
pub(crate) fn encode_items(items: &[TrackedItem], first: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(items.len() * 160);
    for (index, item) in items.iter().enumerate() {
        if index > 0 || !first {
            out.push(b',');
        }
        out.extend_from_slice(&json::encode(&item.value));
        out.push(b':');
        out.extend_from_slice(&item.encode());
    }
    out
}

/// Encodes a whole file.
pub(crate) fn encode_file(items: &[TrackedItem]) -> Vec<u8> {
    [BEGIN, &encode_items(items, true), END].concat()
}

struct File;

impl<'de> Visitor<'de> for File {
    type Value = Read;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with Items")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Read, A::Error> {
        let mut read = Read::default();
        while let Some(name) = map.next_key::<String>()? {
            if name.eq_ignore_ascii_case("items") {
                if let Some(items) = map.next_value::<Option<Items>>()? {
                    read = items.0;
                }
            } else {
                map.next_value::<serde::de::IgnoredAny>()?;
            }
        }
        Ok(read)
    }
}

struct Items(Read);

impl<'de> serde::Deserialize<'de> for Items {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(List).map(Self)
    }
}

struct List;

impl<'de> Visitor<'de> for List {
    type Value = Read;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of values")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Read, A::Error> {
        let (mut items, mut faults, mut more) = (Vec::new(), Vec::new(), 0_usize);
        while let Some(value) = map.next_key::<String>()? {
            let raw = map.next_value::<&RawValue>()?;
            match TrackedItem::decode(raw.get().as_bytes(), &Limits::default()) {
                Ok(mut item) => {
                    item.value = value;
                    items.push(item);
                }
                Err(error) if faults.len() < MAX_FAULTS => {
                    faults.push(format!("{value}: {}", err_chain(&error)));
                }
                Err(_) => more += 1,
            }
        }
        if more > 0 {
            faults.push(format!("and {more} more"));
        }
        Ok((items, faults))
    }
}
