//! Events that cannot be written now, kept in memory up to a bound until they can.
//!
//! Beyond the bound what repeats goes first: an event with a later one of its kind about the same
//! service, layer or check. So the newest of each stays, and what the log adds up to afterwards is what is.

use std::collections::{HashMap, VecDeque};

use super::codec::{FRAME_VERSION, encode_frame};
use super::record::{Body, NewEvent, Recorded};
use crate::domain::event::Event;
use crate::domain::ids::{At, Digest, EventId, Seq};

/// Most events that are kept.
const EVENTS_MAX: usize = 10_000;
/// Most bytes of them, as they would lie in the log.
const BYTES_MAX: usize = 16 << 20;
/// What an event takes beside its frame.
const EVENT_BYTES: usize = 256;

type Key = (&'static str, String);

#[derive(Debug)]
struct KeptEvent {
    new: NewEvent,
    bytes: usize,
}

/// Events that wait to be written, in order.
#[derive(Debug)]
pub(crate) struct Kept {
    events: VecDeque<KeptEvent>,
    bytes: usize,
    events_max: usize,
    /// How many of the events are of one kind about one thing.
    alike: HashMap<Key, usize>,
    /// Events that did not fit, and are lost.
    lost: u64,
    /// When the first of them, or of those that are kept, could not be written.
    since: At,
    /// Why.
    reason: String,
    /// That the log was not written stands in it already.
    told: bool,
}

/// What is taken out at once to be written.
#[derive(Debug)]
pub(crate) struct KeptBatch {
    events: VecDeque<KeptEvent>,
    lost: u64,
    gap: Option<NewEvent>,
}

impl Kept {
    pub(crate) fn new(since: At, reason: String) -> Self {
        Self {
            events: VecDeque::new(),
            bytes: 0,
            events_max: EVENTS_MAX,
            alike: HashMap::new(),
            lost: 0,
            since,
            reason,
            told: false,
        }
    }

    pub(crate) fn since(&self) -> At {
        self.since
    }

    pub(crate) fn reason(&self) -> &str {
        &self.reason
    }

    pub(crate) fn lost(&self) -> u64 {
        self.lost
    }

    pub(crate) fn len(&self) -> usize {
        self.events.len()
    }

    /// Nothing is left to be written or told.
    pub(crate) fn is_done(&self) -> bool {
        self.events.is_empty() && self.lost == 0 && self.told
    }

    /// Keeps an event, and loses others if there is no room.
    pub(crate) fn push(&mut self, new: NewEvent) {
        // What cannot be encoded cannot be written later either.
        let Ok(frame) = encode_frame(&new.event) else {
            self.lost += 1;
            return;
        };
        let bytes = frame.len() + EVENT_BYTES;
        self.add(KeptEvent { new, bytes });
        self.make_room();
    }

    fn add(&mut self, kept: KeptEvent) {
        self.bytes += kept.bytes;
        *self.alike.entry(key_of(&kept.new.event)).or_default() += 1;
        self.events.push_back(kept);
    }

    fn make_room(&mut self) {
        while self.events.len() > self.events_max
            || (self.bytes > BYTES_MAX && self.events.len() > 1)
        {
            let is_repeated = |kept: &KeptEvent| self.alike[&key_of(&kept.new.event)] > 1;
            let at = self.events.iter().position(is_repeated).unwrap_or(0);
            let Some(gone) = self.events.remove(at) else {
                return;
            };
            self.bytes -= gone.bytes;
            self.forget(&gone);
            self.lost += 1;
        }
    }

    fn forget(&mut self, gone: &KeptEvent) {
        let key = key_of(&gone.new.event);
        match self.alike.get_mut(&key) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(self.alike.remove(&key)),
        }
    }

    /// Takes out everything, with the event that says what is missing. `gap` is that event's place: its
    /// boot, and the moment at which it is written.
    pub(crate) fn take(&mut self, mut gap: NewEvent) -> KeptBatch {
        let events = std::mem::take(&mut self.events);
        self.alike.clear();
        self.bytes = 0;
        let to = gap.at;
        // It stands before what was kept, so its moment does too.
        gap.at = self.since;
        gap.event = Event::LogGap {
            kept: events.len() as u64,
            lost: self.lost,
            from: self.since,
            to,
            reason: self.reason.clone(),
        };
        KeptBatch {
            events,
            lost: std::mem::take(&mut self.lost),
            gap: (!self.told).then_some(gap),
        }
    }

    /// The batch is in the log; from `at` on what is kept belongs to another gap.
    pub(crate) fn written(&mut self, at: At) {
        self.told = self.lost == 0;
        self.since = at;
    }

    /// The batch could not be written: back to the front with it.
    pub(crate) fn put_back(&mut self, batch: KeptBatch, reason: String) {
        let newer = std::mem::replace(
            &mut self.events,
            VecDeque::with_capacity(batch.events.len()),
        );
        self.alike.clear();
        self.bytes = 0;
        self.lost += batch.lost;
        self.reason = reason;
        for kept in batch.events.into_iter().chain(newer) {
            self.add(kept);
        }
        self.make_room();
    }
}

impl KeptBatch {
    /// What is to be appended.
    pub(crate) fn to_events(&self) -> Vec<NewEvent> {
        let gap = self.gap.iter().cloned();
        gap.chain(self.events.iter().map(|kept| kept.new.clone()))
            .collect()
    }

    /// Whether the first event is the one that tells of the gap, which nobody has seen yet.
    pub(crate) fn tells_gap(&self) -> bool {
        self.gap.is_some()
    }
}

/// An event that is not in the log yet, for whoever looks on: it has no place and no chain value.
pub(crate) fn unwritten(new: &NewEvent) -> Recorded {
    Recorded {
        seq: Seq::default(),
        id: EventId(uuid::Uuid::nil()),
        boot: new.boot,
        mission: new.mission,
        kind: new.event.kind().to_owned(),
        version: FRAME_VERSION,
        at: new.at,
        body: Body::Known(Box::new(new.event.clone())),
        chain: Digest::default(),
    }
}

/// The kind, and the thing it is about.
fn key_of(event: &Event) -> Key {
    use Event as E;
    let about = match event {
        E::ServiceStarted { service, .. }
        | E::ServiceReady { service }
        | E::ServiceUnready { service, .. }
        | E::ServiceStable { service }
        | E::ServiceRecovered { service, .. }
        | E::ServiceExited { service, .. }
        | E::ServiceRestarting { service, .. }
        | E::ServiceFailed { service, .. } => service.clone(),
        E::LayerStarted { layer }
        | E::LayerUp { layer }
        | E::LayerFailed { layer, .. }
        | E::LayerSkipped { layer, .. } => layer.clone(),
        E::CheckStarted { check, .. } => check.as_str().to_owned(),
        E::CheckFinished { report, .. } => report.name.as_str().to_owned(),
        E::HealFinished { mission, .. } => mission.to_string(),
        _ => String::new(),
    };
    (event.kind(), about)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::ProcessRef;

    fn new(at: i64, event: Event) -> NewEvent {
        NewEvent {
            at: At(at),
            boot: None,
            mission: None,
            event,
        }
    }

    fn started(at: i64, service: &str) -> NewEvent {
        new(
            at,
            Event::ServiceStarted {
                service: service.into(),
                process: ProcessRef::default(),
            },
        )
    }

    #[test]
    fn what_repeats_is_lost_first_and_counted() {
        let mut kept = Kept::new(At(1), "the disk is full".into());
        kept.events_max = 3;
        kept.push(new(
            1,
            Event::StopRequested {
                by: "SIGTERM".into(),
            },
        ));
        for at in 2..=6 {
            kept.push(started(at, "api"));
        }
        kept.push(started(7, "db"));
        assert_eq!((kept.len(), kept.lost()), (3, 4));
        let batch = kept.take(started(9, ""));
        let gap = Event::LogGap {
            kept: 3,
            lost: 4,
            from: At(1),
            to: At(9),
            reason: "the disk is full".into(),
        };
        let stop = Event::StopRequested {
            by: "SIGTERM".into(),
        };
        let expected = [
            new(1, gap),
            new(1, stop),
            started(6, "api"),
            started(7, "db"),
        ];
        assert_eq!(batch.to_events(), expected);
        // Not written: all is as before, and what came meanwhile is behind it.
        kept.push(started(10, "web"));
        kept.put_back(batch, "still full".into());
        assert_eq!((kept.len(), kept.lost(), kept.is_done()), (3, 5, false));
        let batch = kept.take(started(11, ""));
        assert_eq!(batch.to_events()[3], started(10, "web"));
        kept.written(At(11));
        assert!(kept.is_done());
    }

    #[test]
    fn what_is_kept_is_bounded_in_bytes() {
        let mut kept = Kept::new(At(1), "full".into());
        for _ in 0..40 {
            let text = "x".repeat(1 << 20);
            kept.push(new(1, Event::Note { text }));
        }
        assert!(
            kept.bytes <= BYTES_MAX && kept.len() >= 10,
            "{}",
            kept.len()
        );
        assert_eq!(kept.len() as u64 + kept.lost(), 40);
    }
}
