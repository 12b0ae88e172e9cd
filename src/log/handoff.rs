//! How threads hand jobs to the writer and get answers back.
//!
//! The queue is a crossbeam channel; the waiting is `park` and `unpark`. A channel's own blocking
//! receive first yields the processor a few times, which is right when an answer takes nanoseconds.
//! Here it takes a sync of the disk, and on a busy machine each yield may cost a whole time slice.

use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::Thread;

use crossbeam_channel::{Receiver, TryRecvError};

/// Wakes the writer, if it sleeps.
#[derive(Debug, Default)]
pub(super) struct Doorbell {
    asleep: AtomicBool,
}

impl Doorbell {
    /// Called after something was put into the queue, or the queue was closed.
    pub(super) fn ring(&self, writer: &Thread) {
        // Either this sees that the writer is about to sleep, or the writer sees what was sent.
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::Relaxed) {
            writer.unpark();
        }
    }

    /// The next job; `None` when the queue is empty and every sender is gone.
    pub(super) fn wait<T>(&self, queue: &Receiver<T>) -> Option<T> {
        let mut armed = false;
        loop {
            match queue.try_recv() {
                Ok(job) => {
                    self.asleep.store(false, Ordering::Relaxed);
                    return Some(job);
                }
                Err(TryRecvError::Disconnected) => return None,
                Err(TryRecvError::Empty) if armed => {
                    std::thread::park();
                    armed = false;
                }
                // Look once more after saying that this is about to sleep.
                Err(TryRecvError::Empty) => {
                    self.asleep.store(true, Ordering::Relaxed);
                    fence(Ordering::SeqCst);
                    armed = true;
                }
            }
        }
    }
}

#[derive(Debug)]
enum Answer<T> {
    Awaited,
    Given(T),
    /// Given and taken, or never to come.
    Gone,
}

#[derive(Debug)]
struct Slot<T> {
    answer: Mutex<Answer<T>>,
    waiter: Thread,
}

impl<T> Slot<T> {
    fn lock(&self) -> MutexGuard<'_, Answer<T>> {
        // Nothing that can panic runs while it is held.
        match self.answer.lock() {
            Ok(answer) => answer,
            Err(poisoned) => poisoned.into_inner(),
        }
    }
}

/// Gives one answer.
#[derive(Debug)]
pub(super) struct Reply<T>(Arc<Slot<T>>);

/// Waits for it, on the thread that made the pair.
#[derive(Debug)]
pub(super) struct Awaited<T>(Arc<Slot<T>>);

/// A place for one answer to this thread.
pub(super) fn answer<T>() -> (Reply<T>, Awaited<T>) {
    let slot = Arc::new(Slot {
        answer: Mutex::new(Answer::Awaited),
        waiter: std::thread::current(),
    });
    (Reply(Arc::clone(&slot)), Awaited(slot))
}

impl<T> Reply<T> {
    pub(super) fn give(self, answer: T) {
        *self.0.lock() = Answer::Given(answer);
        // Dropping wakes.
    }
}

impl<T> Drop for Reply<T> {
    fn drop(&mut self) {
        let mut answer = self.0.lock();
        if matches!(*answer, Answer::Awaited) {
            *answer = Answer::Gone;
        }
        drop(answer);
        self.0.waiter.unpark();
    }
}

impl<T> Awaited<T> {
    /// The answer; `None` if whoever should give it is gone.
    pub(super) fn wait(self) -> Option<T> {
        loop {
            let mut answer = self.0.lock();
            match std::mem::replace(&mut *answer, Answer::Gone) {
                Answer::Given(value) => return Some(value),
                Answer::Gone => return None,
                Answer::Awaited => *answer = Answer::Awaited,
            }
            drop(answer);
            std::thread::park();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_arrives_or_its_absence_does() {
        let (reply, awaited) = answer();
        let giver = std::thread::spawn(move || reply.give(7));
        assert_eq!(awaited.wait(), Some(7));
        giver.join().unwrap();
        let (reply, awaited) = answer::<u8>();
        let giver = std::thread::spawn(move || drop(reply));
        assert_eq!(awaited.wait(), None);
        giver.join().unwrap();
    }

    #[test]
    fn no_job_is_slept_through() {
        let (send, queue) = crossbeam_channel::bounded::<u32>(4);
        let bell = Arc::new(Doorbell::default());
        let sleeper = {
            let bell = Arc::clone(&bell);
            std::thread::spawn(move || {
                let mut sum = 0;
                while let Some(job) = bell.wait(&queue) {
                    sum += job;
                }
                sum
            })
        };
        for job in 0..20_000 {
            send.send(job).unwrap();
            bell.ring(sleeper.thread());
        }
        drop(send);
        bell.ring(sleeper.thread());
        assert_eq!(sleeper.join().unwrap(), (0..20_000).sum());
    }
}
