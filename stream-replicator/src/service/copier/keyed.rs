//! Finds out what the target has, where only messages of one key keep their order.

use futures_util::future::join_all;

use super::{Copier, End, now};
use crate::copy::lanes::Guard;
use crate::service::position;

impl Copier<'_> {
    pub(super) async fn read_beyond(&mut self, since: u64, guard: Guard) -> Option<End> {
        let site = &mut *self.site;
        let read = position::keyed::beyond(
            &site.target,
            &site.config,
            &self.stamp,
            self.target_created,
            guard,
            (since, self.writer.window.handled()),
        );
        match read.await {
            Ok((tail, created)) => {
                site.metrics.rewound();
                let finished = &mut self.finished;
                self.writer
                    .window
                    .tail(tail, now(), |done| finished.push(done));
                self.target_created = created;
                None
            }
            Err(error) => self.tail_unread(error).await,
        }
    }

    /// Asks the target about messages of which it is not known whether it has them.
    pub(super) async fn ask(&mut self) {
        let asks = self.writer.window.asks();
        let asks: Vec<_> = asks
            .iter()
            .map(|ask| (ask.index, (ask.since, ask.twin), ask.item.subject.clone()))
            .collect();
        let site = &*self.site;
        let (name, stamp) = (site.config.target.stream.as_str(), &self.stamp);
        let answers = asks.into_iter().map(|(index, about, subject)| async move {
            let found = position::keyed::find(&site.target, name, stamp, &subject, about).await;
            (index, found)
        });
        let mut fault = None;
        for (index, found) in join_all(answers).await {
            match found {
                Ok(found) => {
                    let finished = &mut self.finished;
                    self.writer
                        .window
                        .found(index, found, now(), |done| finished.push(done));
                }
                Err(error) => fault = Some(error),
            }
        }
        if let Some(error) = fault {
            self.writer.window.asks_failed(now());
            self.unanswered(&error).await;
        }
    }
}
