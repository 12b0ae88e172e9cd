//! The requests of a connection that wait for their answers, and how much room those of all connections take. Pure.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use super::expected::Expected;
use super::recording::WaitingBytes;

/// Bytes that wait, of all connections: a recording holds half as much. The server answers when it is asked to, so
/// who never asks would fill our memory.
const BYTES_MAX: usize = 64 << 20;

/// Requests in their order.
pub(super) struct AwaitedAnswers {
    queue: VecDeque<Expected>,
    of_all: WaitingBytes,
}

impl AwaitedAnswers {
    pub(super) fn new(of_all: WaitingBytes) -> Self {
        Self {
            queue: VecDeque::new(),
            of_all,
        }
    }

    /// Whether all connections together wait for too much.
    pub(super) fn is_too_much(&self) -> bool {
        self.of_all.load(Ordering::Relaxed) > BYTES_MAX
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn front(&self) -> Option<&Expected> {
        self.queue.front()
    }

    /// What it takes is not to be changed by that.
    pub(super) fn front_mut(&mut self) -> Option<&mut Expected> {
        self.queue.front_mut()
    }

    pub(super) fn push_back(&mut self, expected: Expected) {
        self.of_all.fetch_add(expected.bytes(), Ordering::Relaxed);
        self.queue.push_back(expected);
    }

    pub(super) fn pop_front(&mut self) -> Option<Expected> {
        let front = self.queue.pop_front()?;
        self.of_all.fetch_sub(front.bytes(), Ordering::Relaxed);
        Some(front)
    }

    /// Forgets everything but the first one, up to the end of rows that is already on its way, or all of it; whether
    /// there is such an end.
    pub(super) fn forget_to_copy_end(&mut self) -> bool {
        let kept = self.pop_front();
        let is_end = |one: &Expected| matches!(one, Expected::CopyEnd);
        let has_end = self.queue.iter().any(is_end);
        while self.front().is_some_and(|one| !is_end(one)) {
            self.pop_front();
        }
        if let Some(kept) = kept {
            self.of_all.fetch_add(kept.bytes(), Ordering::Relaxed);
            self.queue.push_front(kept);
        }
        has_end
    }

    pub(super) fn clear(&mut self) {
        while self.pop_front().is_some() {}
    }
}

impl Drop for AwaitedAnswers {
    fn drop(&mut self) {
        self.clear();
    }
}
