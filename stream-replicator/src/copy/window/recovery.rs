//! What is done once something went wrong: the target's end is read, and the sending goes on behind it.

use std::time::Instant;

use super::fault::{Fault, pause};
use super::{Chain, Done, Entry, Expect, Sharing, State, Stop, Tail, Want, Window};
use crate::copy::answer::Poison;

impl<T> Window<T> {
    /// The connection to the target is gone: answers to what is under way come no more.
    pub(crate) fn link_lost(&mut self) {
        if self.state != State::Stopped {
            self.fault.get_or_insert(Fault::Silence);
            self.begin_epoch();
            self.state = State::Offline;
        }
    }

    /// The connection is back.
    pub(crate) fn link_back(&mut self) {
        if self.state == State::Offline {
            self.state = State::Tail;
        }
    }

    /// The target's end could not be read.
    pub(crate) fn tail_failed(&mut self, now: Instant) {
        if self.state == State::Tail {
            self.faults = self.faults.saturating_add(1);
            self.state = State::Pause(now + pause(self.faults));
        }
    }

    /// The target's end was read.
    pub(crate) fn tail(&mut self, tail: Tail, now: Instant, mut done: impl FnMut(Done<T>)) {
        if self.state != State::Tail {
            return;
        }
        self.begin_epoch();
        if tail.same && tail.last < self.target {
            self.stop(Stop::Lost(tail.ours.map(|(source, _)| source)));
            return;
        }
        if let Some((source, _)) = tail.ours {
            if source > self.reached {
                self.stop(Stop::Overtaken(source));
                return;
            }
            let before = self.first;
            if let Some(all) = &tail.all {
                for entry in &mut self.entries {
                    entry.stored |= all.binary_search(&entry.sequence).is_ok();
                }
                self.finish(0, &mut done);
            } else {
                let stored = usize::try_from(self.held(source)).unwrap_or(usize::MAX);
                self.finish(stored, &mut done);
            }
            if self.first > before {
                self.faults = 0;
            }
        }
        if tail.foreign {
            self.foreign += 1;
            if self.sharing == Sharing::Alone {
                self.sharing = Sharing::Shared;
            }
            // Whatever others wrote since came in between: the more often, the less is risked.
            self.cap = match self.chain {
                Chain::Sequences => 1,
                Chain::Ids => (self.cap / 2).max(1),
            };
            self.calm = 0;
        }
        self.target = tail.last;
        self.own = tail.own;
        self.expect = Expect::LastSequence(tail.last);
        self.lands = Some(tail.last + 1).filter(|_| !self.is_shared());
        match self.fault.take() {
            Some(Fault::Poison(index, poison)) => {
                if let Some(entry) = self.entry_mut(index) {
                    entry.refusals += 1;
                    let tries = entry.refusals;
                    let is_front = index == self.first;
                    let certain = poison.is_certain() || tries >= self.limits.tries;
                    if is_front && certain {
                        self.fault = Some(Fault::Poison(index, poison));
                    }
                }
            }
            Some(Fault::InProcess(index)) => {
                if let Some(entry) = self.entry_mut(index) {
                    // A leader that was keeps identifiers of what it never stored: the sequence guards the copy.
                    if entry.held {
                        entry.variant = entry.variant.wrapping_add(1);
                    }
                    entry.held = true;
                }
            }
            Some(
                Fault::Order
                | Fault::Silence
                | Fault::Busy(_)
                | Fault::Duplicate(..)
                | Fault::Stop(_),
            )
            | None => {}
        }
        let is_mute = |front: &Entry<T>| front.silence.is_certain(&self.limits);
        if self.fault.is_none() && self.entries.front().is_some_and(is_mute) {
            self.fault = Some(Fault::Poison(self.first, Poison::Unanswered));
        }
        self.careful = if self.faults > 0 {
            self.entries.len()
        } else {
            0
        };
        self.state = State::Flow;
        if self.fault.is_some() {
            self.state = State::Settle(now);
        }
    }

    /// Says whether the message that was looked at is ours: then it was copied before.
    pub(crate) fn looked(&mut self, ours: bool, now: Instant, done: impl FnMut(Done<T>)) {
        let Some(Fault::Duplicate(index, _)) = self.fault else {
            return;
        };
        self.fault = None;
        let is_front = index == self.first;
        if ours {
            // Only at the front nothing before it is open.
            if is_front {
                self.finish(1, done);
            }
        } else if let Some(entry) = self.entry_mut(index) {
            entry.variant = entry.variant.wrapping_add(1);
            self.conflicts += 1;
        }
        self.begin_epoch();
        self.state = State::Pause(now + pause(self.faults));
    }

    /// The poison at the front was dealt with.
    pub(crate) fn buried(&mut self, mut done: impl FnMut(Done<T>)) {
        if let Some(Fault::Poison(index, _)) = self.fault
            && index == self.first
            && let Some(entry) = self.entries.pop_front()
        {
            self.fault = None;
            // Waits that it cost are not the next one's.
            self.faults = 0;
            self.first += 1;
            self.bytes -= entry.bytes;
            self.handled = self.handled.max(entry.covers);
            done(Done {
                item: entry.item,
                copied: false,
            });
            self.state = State::Tail;
        }
    }

    /// The poison at the front is none: it is tried again, after a pause.
    pub(crate) fn spared(&mut self, now: Instant) {
        if matches!(self.fault, Some(Fault::Poison(index, _)) if index == self.first) {
            self.fault = Some(Fault::Busy(
                "nobody takes messages at the target".to_owned(),
            ));
            self.faults = self.faults.saturating_add(1);
            self.state = State::Pause(now + pause(self.faults));
            if let Some(front) = self.entries.front_mut() {
                front.silence.spare();
            }
        }
    }

    /// What is to be done now.
    pub(crate) fn want(&mut self, now: Instant) -> Want {
        match self.state {
            State::Flow => {
                let Some(heard) = self.heard.filter(|_| !self.asked.is_empty()) else {
                    return Want::Nothing;
                };
                let due = heard + self.limits.silence;
                if now < due {
                    return Want::Wait(due);
                }
                self.fail(Fault::Silence, now);
                self.state = State::Settle(now);
                self.want(now)
            }
            State::Settle(until) => {
                if !self.asked.is_empty() && now < until {
                    return Want::Answers(until);
                }
                match &self.fault {
                    Some(Fault::Duplicate(_, sequence)) => Want::Look(*sequence),
                    Some(Fault::Stop(stop)) => {
                        let stop = stop.clone();
                        self.stop(stop.clone());
                        Want::Stop(stop)
                    }
                    Some(Fault::Poison(index, poison))
                        if *index == self.first && self.sent == 0 =>
                    {
                        Want::Dead(poison.clone())
                    }
                    Some(
                        Fault::Order
                        | Fault::Silence
                        | Fault::Busy(_)
                        | Fault::InProcess(_)
                        | Fault::Poison(..),
                    )
                    | None => {
                        self.note_silence(now);
                        self.state = State::Pause(now + pause(self.faults));
                        self.want(now)
                    }
                }
            }
            State::Pause(until) => {
                if now < until {
                    return Want::Wait(until);
                }
                self.state = State::Tail;
                Want::Tail(self.target)
            }
            State::Tail => Want::Tail(self.target),
            State::Offline => Want::Link,
            State::Stopped => match &self.fault {
                Some(Fault::Stop(stop)) => Want::Stop(stop.clone()),
                Some(_) | None => Want::Nothing,
            },
        }
    }
}
