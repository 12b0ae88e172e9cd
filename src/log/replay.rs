//! stub
use super::{EventFilter, LogError, Reader, Recorded};
use crate::domain::boot::BootState;
use crate::domain::ids::BootId;
/// A past boot, event by event, with the state after each.
pub struct Replay<'a> {
    _e: Box<dyn Iterator<Item = Result<Recorded, LogError>> + 'a>,
    state: BootState,
}
impl<'a> Replay<'a> {
    /// Replays `boot` as far as `filter` says.
    ///
    /// # Errors
    /// The log cannot be read.
    pub fn new(reader: &'a Reader, boot: BootId, filter: EventFilter) -> Result<Self, LogError> {
        let filter = EventFilter {
            boot: Some(boot),
            ..filter
        };
        Ok(Self {
            _e: reader.events(filter)?,
            state: BootState::default(),
        })
    }
    /// The state after the events so far.
    #[must_use]
    pub fn state(&self) -> &BootState {
        &self.state
    }
}
impl Iterator for Replay<'_> {
    type Item = Result<(Recorded, BootState), LogError>;
    fn next(&mut self) -> Option<Self::Item> {
        todo!()
    }
}
