//! What of the tracker is to be told, and written.

use overlay_protocol::replication::TrackedItem;

use super::entry::Entry;
use super::{Change, Fact, Gone, Tracker};

impl Tracker {
    /// What happened since it was last asked for.
    pub(crate) fn take_facts(&mut self) -> Vec<Fact> {
        std::mem::take(&mut self.facts)
    }

    /// How much happened since it was last asked for.
    pub(crate) fn untold(&self) -> usize {
        self.facts.len()
    }

    /// What changed since it was last written, `limit` values at most; what is gone comes first.
    pub(crate) fn take_changes(&mut self, limit: usize) -> Vec<Change> {
        let mut changes = drain(&mut self.gone, limit);
        while changes.len() < limit
            && let Some(slot) = self.dirty.pop_front()
        {
            if let Some(entry) = self.entry_mut(slot)
                && entry.is_dirty
            {
                entry.is_dirty = false;
                changes.push(Change::Item(entry.item()));
            }
        }
        changes
    }

    /// What changed since it was last told to other replicas, `limit` values at most.
    pub(crate) fn take_news(&mut self, limit: usize) -> Vec<TrackedItem> {
        let mut news: Vec<_> = drain(&mut self.unheard, limit)
            .into_iter()
            .map(|change| match change {
                Change::Item(item) => item,
                Change::Gone(gone) => gone.item(),
            })
            .collect();
        while news.len() < limit
            && let Some(slot) = self.loud.pop_front()
        {
            if let Some(entry) = self.entry_mut(slot)
                && entry.is_loud
            {
                entry.is_loud = false;
                news.push(entry.news());
            }
        }
        news
    }

    /// Forgets what there would be to tell other replicas, where there are none.
    pub(crate) fn hush(&mut self) {
        self.unheard.clear();
        while let Some(slot) = self.loud.pop_front() {
            if let Some(entry) = self.entry_mut(slot) {
                entry.is_loud = false;
            }
        }
    }

    /// Values from the slot `from` on, `limit` slots of them, and where to go on; for a file that is written in pieces.
    pub(crate) fn page(&self, from: usize, limit: usize) -> (Vec<TrackedItem>, Option<usize>) {
        self.page_as(from, limit, Entry::item)
    }

    /// As [`Self::page`], for another replica.
    pub(crate) fn page_of_news(
        &self,
        from: usize,
        limit: usize,
    ) -> (Vec<TrackedItem>, Option<usize>) {
        self.page_as(from, limit, Entry::news)
    }

    fn page_as(
        &self,
        from: usize,
        limit: usize,
        form: fn(&Entry) -> TrackedItem,
    ) -> (Vec<TrackedItem>, Option<usize>) {
        let end = from.saturating_add(limit).min(self.entries.len());
        let page = self.entries.get(from..end).unwrap_or_default();
        let items = page.iter().flatten().map(form).collect();
        (items, (end < self.entries.len()).then_some(end))
    }

    /// What is known of one value.
    #[cfg(test)]
    pub(crate) fn item(&self, value: &str) -> Option<TrackedItem> {
        let slot = self.slots.get(value)?;
        self.entries
            .get(usize::try_from(*slot).ok()?)?
            .as_ref()
            .map(Entry::item)
    }
}

impl Gone {
    /// The form in which other replicas and files hear of it.
    pub(crate) fn item(&self) -> TrackedItem {
        TrackedItem {
            seen: Some(self.seen.date()),
            value: self.value.to_string(),
            gone: true,
            ..TrackedItem::default()
        }
    }
}

fn drain(list: &mut Vec<Gone>, limit: usize) -> Vec<Change> {
    let some = list.len().min(limit);
    list.drain(..some).map(Change::Gone).collect()
}
