//! How threads hand jobs to the writer and get answers back.
//!
//! The queue is a crossbeam channel; the waiting is `park` and `unpark`. A channel's own blocking
//! receive first yields the processor a few times, which is right when an answer takes nanoseconds.
//! Here it takes a sync of the disk, and on a busy machine each yield may cost a whole time slice.
//!
//! To wake a thread on a core that sleeps costs about as much as a sync of a fast disk, and a lone
//! appender pays it twice. So whoever has nobody to share the cost with spins first, for a bounded
//! time: the writer for the next job of a lone appender, and a lone appender for its answer.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::Thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, TryRecvError};

/// Longest time that a lone appender spins for its answer: a sync of a fast disk, generously.
const ANSWER_SPIN_MAX: Duration = Duration::from_micros(400);

/// Waiters that the writer wakes itself.
const WOKEN_BY_WRITER: usize = 2;

/// Longest time that the writer spins for the next job of a lone appender, which has to make it.
const JOB_SPIN_MAX: Duration = Duration::from_micros(50);

/// Spins until `ready`, or the time is up; true if it is ready.
fn spin(longest: Duration, mut ready: impl FnMut() -> bool) -> bool {
    let begun = Instant::now();
    loop {
        for _ in 0..32 {
            if ready() {
                return true;
            }
            std::hint::spin_loop();
        }
        if begun.elapsed() >= longest {
            return false;
        }
    }
}

/// What the writer is to do next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next<T> {
    Job(T),
    /// There was nothing for as long as it wanted to wait.
    Idle,
    /// The queue is empty and every sender is gone.
    Closed,
}

/// Wakes the writer, if it sleeps.
#[derive(Debug, Default)]
pub(super) struct Doorbell {
    asleep: AtomicBool,
    /// Threads that wait for an answer.
    waiting: AtomicUsize,
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

    /// The next job. After a job that came alone the next one is likely to come at once, and is spun
    /// for. Waits no longer than `idle`, if that is given.
    pub(super) fn wait<T>(
        &self,
        queue: &Receiver<T>,
        came_alone: bool,
        idle: Option<Duration>,
    ) -> Next<T> {
        let until = idle.map(|idle| Instant::now() + idle);
        if came_alone {
            spin(JOB_SPIN_MAX, || !queue.is_empty());
        }
        let mut armed = false;
        loop {
            match queue.try_recv() {
                Ok(job) => {
                    self.asleep.store(false, Ordering::Relaxed);
                    return Next::Job(job);
                }
                Err(TryRecvError::Disconnected) => return Next::Closed,
                Err(TryRecvError::Empty) if armed => {
                    match until.map(|until| until.saturating_duration_since(Instant::now())) {
                        None => std::thread::park(),
                        Some(Duration::ZERO) => {
                            self.asleep.store(false, Ordering::Relaxed);
                            return Next::Idle;
                        }
                        Some(left) => std::thread::park_timeout(left),
                    }
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
    Given(T, Option<Relay>),
    /// Given and taken, or never to come.
    Gone,
}

/// The waiters of one commit, and whom of them this one has to wake.
#[derive(Debug)]
struct Relay {
    waiters: Arc<[Thread]>,
    place: usize,
}

impl Relay {
    fn pass_on(&self) {
        let first = WOKEN_BY_WRITER + 2 * self.place;
        for next in [first, first + 1] {
            if let Some(waiter) = self.waiters.get(next) {
                waiter.unpark();
            }
        }
    }
}

#[derive(Debug)]
struct Slot<T> {
    answer: Mutex<Answer<T>>,
    /// There is an answer, or there never will be: looked at without the lock.
    settled: AtomicBool,
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

    fn settle(&self, answer: Answer<T>) {
        *self.lock() = answer;
        self.settled.store(true, Ordering::Release);
    }
}

/// Gives one answer.
#[derive(Debug)]
pub(super) struct Reply<T>(Option<Arc<Slot<T>>>);

/// Waits for it, on the thread that made the pair.
#[derive(Debug)]
pub(super) struct Awaited<T>(Arc<Slot<T>>);

/// A place for one answer to this thread.
pub(super) fn answer<T>() -> (Reply<T>, Awaited<T>) {
    let slot = Arc::new(Slot {
        answer: Mutex::new(Answer::Awaited),
        settled: AtomicBool::new(false),
        waiter: std::thread::current(),
    });
    (Reply(Some(Arc::clone(&slot))), Awaited(slot))
}

impl<T> Reply<T> {
    pub(super) fn give(mut self, answer: T) {
        if let Some(slot) = self.0.take() {
            slot.settle(Answer::Given(answer, None));
            slot.waiter.unpark();
        }
    }
}

impl<T> Drop for Reply<T> {
    fn drop(&mut self) {
        if let Some(slot) = self.0.take() {
            slot.settle(Answer::Gone);
            slot.waiter.unpark();
        }
    }
}

/// Gives many answers and wakes the first few waiters; each one that wakes wakes two more. Waking a
/// thread is a system call, and dozens of them would keep the writer from its next commit.
pub(super) fn give_all<T>(answers: Vec<(Reply<T>, T)>) {
    let slots = answers.iter().filter_map(|(reply, _)| reply.0.as_ref());
    let waiters: Arc<[Thread]> = slots.map(|slot| slot.waiter.clone()).collect();
    for (place, (mut reply, answer)) in answers.into_iter().enumerate() {
        let waiters = Arc::clone(&waiters);
        if let Some(slot) = reply.0.take() {
            slot.settle(Answer::Given(answer, Some(Relay { waiters, place })));
        }
    }
    for waiter in waiters.iter().take(WOKEN_BY_WRITER) {
        waiter.unpark();
    }
}

impl<T> Awaited<T> {
    /// The answer to a job that was handed over through `bell`; `None` if whoever should give it is
    /// gone.
    pub(super) fn wait(self, bell: &Doorbell) -> Option<T> {
        let alone = bell.waiting.fetch_add(1, Ordering::Relaxed) == 0;
        if alone {
            let settled = || self.0.settled.load(Ordering::Acquire);
            let others = || bell.waiting.load(Ordering::Relaxed) > 1;
            spin(ANSWER_SPIN_MAX, || settled() || others());
        }
        let answer = self.park();
        bell.waiting.fetch_sub(1, Ordering::Relaxed);
        answer
    }

    fn park(self) -> Option<T> {
        loop {
            let mut answer = self.0.lock();
            match std::mem::replace(&mut *answer, Answer::Gone) {
                Answer::Given(value, relay) => {
                    drop(answer);
                    if let Some(relay) = relay {
                        relay.pass_on();
                    }
                    return Some(value);
                }
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
        assert_eq!(awaited.wait(&Doorbell::default()), Some(7));
        giver.join().unwrap();
        let (reply, awaited) = answer::<u8>();
        let giver = std::thread::spawn(move || drop(reply));
        assert_eq!(awaited.wait(&Doorbell::default()), None);
        giver.join().unwrap();
    }

    #[test]
    fn every_waiter_of_a_commit_is_woken() {
        let (send, replies) = crossbeam_channel::unbounded();
        let waiters: Vec<_> = (0..33)
            .map(|_| {
                let send = send.clone();
                std::thread::spawn(move || {
                    let (reply, awaited) = answer();
                    send.send(reply).unwrap();
                    awaited.wait(&Doorbell::default())
                })
            })
            .collect();
        let replies = replies.iter().take(33);
        give_all(replies.enumerate().map(|(n, reply)| (reply, n)).collect());
        let mut given: Vec<_> = waiters.into_iter().map(|w| w.join().unwrap()).collect();
        given.sort_unstable();
        assert_eq!(given, (0..33).map(Some).collect::<Vec<_>>());
    }

    #[test]
    fn no_job_is_slept_through() {
        let (send, queue) = crossbeam_channel::bounded::<u32>(4);
        let bell = Arc::new(Doorbell::default());
        let sleeper = {
            let bell = Arc::clone(&bell);
            std::thread::spawn(move || {
                let mut sum = 0;
                while let Next::Job(job) = bell.wait(&queue, false, None) {
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
        assert_eq!(sleeper.join().unwrap(), (0..20_000).sum::<u32>());
    }

    #[test]
    fn a_bounded_wait_ends_with_its_time_a_job_or_the_queue() {
        let (send, queue) = crossbeam_channel::bounded::<u32>(4);
        let bell = Doorbell::default();
        let idle = Duration::from_millis(20);
        let started = Instant::now();
        // What is left of an earlier ring does not end it.
        std::thread::current().unpark();
        assert_eq!(bell.wait(&queue, true, Some(idle)), Next::Idle);
        assert!(started.elapsed() >= idle);
        send.send(7).unwrap();
        bell.ring(&std::thread::current());
        assert_eq!(bell.wait(&queue, false, Some(idle)), Next::Job(7));
        drop(send);
        assert_eq!(bell.wait(&queue, false, Some(idle)), Next::Closed);
    }
}
