//! Values of a mapping by the rules of Go's JSON: names in any case, nothing leaves the default, types exactly.

use std::collections::BTreeMap;

use overlay_runtime::Fault;

use super::yaml::Node;

/// A mapping that is read key by key; what is wrong is collected.
pub(super) struct Table<'a> {
    /// Where it stands, with a dot behind unless it is the file.
    at: String,
    members: &'a [(String, Node)],
    faults: &'a mut Vec<Fault>,
    unknown: &'a mut Vec<String>,
    known: Vec<&'static str>,
}

impl<'a> Table<'a> {
    pub(super) fn over(
        at: &str,
        node: &'a Node,
        faults: &'a mut Vec<Fault>,
        unknown: &'a mut Vec<String>,
    ) -> TableOrFault<'a> {
        match node {
            Node::Map(members) => TableOrFault(Some(Table {
                at: if at.is_empty() {
                    String::new()
                } else {
                    format!("{at}.")
                },
                members,
                faults,
                unknown,
                known: Vec::new(),
            })),
            Node::Null
            | Node::Bool(_)
            | Node::Int(_)
            | Node::Float(_)
            | Node::Text(_)
            | Node::List(_) => {
                faults.push(wrong(at, node, "a mapping"));
                TableOrFault(None)
            }
        }
    }

    /// All values under a name, in the order in which they count; the last that is something wins.
    fn values(&mut self, key: &'static str) -> Vec<&'a Node> {
        self.known.push(key);
        self.members
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case(key))
            .map(|(_, node)| node)
            .filter(|node| **node != Node::Null)
            .collect()
    }

    fn read<T>(
        &mut self,
        key: &'static str,
        default: T,
        expected: &str,
        read: impl Fn(&Node) -> Option<T>,
    ) -> T {
        let mut value = default;
        for node in self.values(key) {
            match read(node) {
                Some(read) => value = read,
                None => self
                    .faults
                    .push(wrong(&format!("{}{key}", self.at), node, expected)),
            }
        }
        value
    }

    pub(super) fn text(&mut self, key: &'static str) -> String {
        let read = |node: &Node| node.text().map(str::to_owned);
        self.read(key, String::new(), "a text, in quotes", read)
    }

    pub(super) fn switch(&mut self, key: &'static str, default: bool) -> bool {
        self.read(key, default, "true or false, without quotes", Node::bool)
    }

    pub(super) fn number<T: TryFrom<i128> + Default>(&mut self, key: &'static str) -> T {
        let read = |node: &Node| T::try_from(node.int()?).ok();
        self.read(key, T::default(), "a whole number that fits", read)
    }

    pub(super) fn float(&mut self, key: &'static str) -> f64 {
        self.read(key, 0.0, "a number", Node::float)
    }

    pub(super) fn texts(&mut self, key: &'static str) -> BTreeMap<String, String> {
        self.read(key, BTreeMap::new(), "a mapping of texts", |node| {
            let Node::Map(members) = node else {
                return None;
            };
            let texts = members.iter().map(|(name, node)| {
                if *node == Node::Null {
                    return Some((name.clone(), String::new()));
                }
                Some((name.clone(), node.text()?.to_owned()))
            });
            texts.collect()
        })
    }

    /// A mapping inside; an empty one is one.
    pub(super) fn table<T>(
        &mut self,
        key: &'static str,
        read: impl Fn(&mut Table<'_>) -> T,
    ) -> Option<T> {
        let at = format!("{}{key}", self.at);
        let mut value = None;
        for node in self.values(key) {
            let table = Table::over(&at, node, self.faults, self.unknown);
            if let Some(read) = table.map(&read) {
                value = Some(read);
            }
        }
        value
    }

    /// A list of mappings.
    pub(super) fn list<T>(
        &mut self,
        key: &'static str,
        read: impl Fn(&mut Table<'_>) -> T,
    ) -> Vec<T> {
        let at = format!("{}{key}", self.at);
        let mut values = Vec::new();
        for node in self.values(key) {
            let Node::List(nodes) = node else {
                self.faults.push(wrong(&at, node, "a list"));
                continue;
            };
            values = nodes
                .iter()
                .enumerate()
                .filter_map(|(number, node)| {
                    let at = format!("{at}[{number}]");
                    Table::over(&at, node, self.faults, self.unknown).map(&read)
                })
                .collect();
        }
        values
    }

    fn finish(self) {
        let unknown = self.members.iter().map(|(name, _)| name).filter(|name| {
            !self
                .known
                .iter()
                .any(|known| name.eq_ignore_ascii_case(known))
        });
        let at = &self.at;
        self.unknown
            .extend(unknown.map(|name| format!("{at}{name}")));
    }
}

/// A table, or nothing where something else stood, which was told.
pub(super) struct TableOrFault<'a>(Option<Table<'a>>);

impl TableOrFault<'_> {
    /// Reads the table, and notes which of its keys nobody asked for.
    pub(super) fn map<T>(self, read: impl Fn(&mut Table<'_>) -> T) -> Option<T> {
        let mut table = self.0?;
        let value = read(&mut table);
        table.finish();
        Some(value)
    }
}

fn wrong(at: &str, node: &Node, expected: &str) -> Fault {
    Fault::new(at, format!("is {}, and not {expected}", node.kind()))
}
