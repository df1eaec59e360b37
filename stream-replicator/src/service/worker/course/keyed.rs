//! What the order of keys asks of the position: the bookmark says it, with a mark that there may be gaps behind it.

use std::time::Duration;

use overlay_runtime::Period;

use super::{Evidence, Site};
use crate::config::Order;
use crate::copy::key;
use crate::copy::lanes::Guard;
use crate::copy::position::Bookmark;
use crate::service::api::StreamInfo;
use crate::service::copier::End;
use crate::service::position::Judged;
use crate::service::target;

/// Identifiers that are all that guards copies must be remembered so long.
const LEAST_MEMORY: Duration = Duration::from_secs(30);

impl Evidence {
    /// Whether messages before the last copy may be missing in the target.
    pub(super) fn has_gaps(&self, source: &StreamInfo) -> bool {
        self.gaps(source).is_some()
    }

    fn gaps(&self, source: &StreamInfo) -> Option<&Bookmark> {
        let created = source.created_ms();
        self.bookmark
            .as_ref()
            .filter(|mark| mark.has_gaps && mark.source_created == created)
    }

    /// A sequence of the target behind which is whatever it has beyond the position.
    pub(super) fn base(&self, source: &StreamInfo, target: &StreamInfo, name: &str) -> u64 {
        let last = target.state.last_seq;
        let Some(mark) = self.gaps(source) else {
            return last;
        };
        let is_same = mark.target_stream == name && mark.target_created == target.created_ms();
        if is_same && mark.target_sequence <= last {
            mark.target_sequence
        } else {
            0
        }
    }

    /// Source sequence of the last copy, if it is of this source.
    pub(super) fn seen(&self) -> u64 {
        let own = self.own.filter(|(_, judged)| *judged == Judged::Same);
        own.map_or(0, |(own, _)| own.source())
    }
}

/// The order of keys needs something that is not there.
pub(super) fn missing(what: &str) -> End {
    End::Again(format!("order = \"key\" needs {what} at the source"))
}

/// Writes down before the first copy that the last one will not speak for all before it.
pub(super) async fn begin(evidence: &mut Evidence, mark: &Bookmark) -> Result<(), End> {
    match &mut evidence.store {
        Some(store) => store
            .save(mark)
            .await
            .map_err(|error| End::Again(format!("bookmark: {error}"))),
        None => Ok(()),
    }
}

impl Site {
    /// What guards copies that keep the order of keys alone, where that is configured.
    pub(super) fn guard(&self, target: &StreamInfo) -> Option<Guard> {
        let Order::Key(key) = &self.config.order else {
            return None;
        };
        if target::transforms(target) {
            return Some(Guard::Ids);
        }
        Some(key::guard(key, self.config.mapping.remove.is_none()))
    }

    /// Whether there is all that an order needs.
    pub(super) fn may_begin(
        &self,
        guard: Option<Guard>,
        evidence: &Evidence,
        (source, target): (&StreamInfo, &StreamInfo),
    ) -> Result<(), End> {
        let Some(guard) = guard else {
            if evidence.has_gaps(source) && !self.goes_on {
                return Err(End::Stopped(
                    "it was copied in the order of keys, and messages were left open: run it with order = \"key\" and stop it when \
                     it has caught up; or resume it, and what went ahead is copied once more"
                        .to_owned(),
                ));
            }
            return Ok(());
        };
        if evidence.store.is_none() {
            return Err(missing("the bucket OVERLAY_REPLICATION"));
        }
        let window = target.nanoseconds("duplicate_window");
        if guard == Guard::Ids && window < LEAST_MEMORY {
            return Err(End::Again(format!(
                "target stream {:?} remembers identifiers for {}: order = \"key\" by a header or field needs a \
                 duplicate_window of {} at least",
                self.config.target.stream,
                Period(window),
                Period(LEAST_MEMORY),
            )));
        }
        Ok(())
    }
}
