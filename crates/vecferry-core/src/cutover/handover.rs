//! A crossing without replication: the rows of a finished `copy` or `delta` are on both sides, and all that is left is to
//! prove that and to point the application.
//!
//! Nothing is drained, no sequence is moved on, no link is made, and the source may be gone tomorrow (a restored
//! snapshot). It is fenced only when that is asked for; without, what is written to it after the comparison is not moved,
//! and the decision says so. A rollback points the application back and carries nothing. What is durable when is what the
//! head of [`super`] says, the fence's steps left out where there is none; a crossing that ends makes the record of the
//! other way `undone`, so that both can be made again.

use super::run::{Crossing, Halt};
use super::step::{Direction, Step};
use crate::error::Result;
use crate::store::{self, Entry};

impl Crossing<'_> {
    /// Everything before the switch: the fence, when there is to be one, and the proof of a cutover. A rollback's
    /// receiver is the source as it was, which nothing could prove.
    pub(super) async fn prepare_handover(&mut self) -> Result<(), Halt> {
        if self.ground.options.fence {
            self.fence().await?;
        }
        match self.direction() {
            Direction::Cutover => self.compare().await,
            Direction::Rollback => Ok(()),
        }
    }

    /// Removes what an earlier crossing's fence has left on the receiver, which takes writes now.
    pub(super) async fn finish_handover(&self) -> Result<()> {
        let (_, receiver) = self.ground.ends();
        self.remove_fence(receiver).await
    }

    /// The application is here: the crossing the other way is taken back, and can be made again.
    pub(super) async fn forget_the_other_way(&self) -> Result<()> {
        let other = match self.direction() {
            Direction::Cutover => Direction::Rollback,
            Direction::Rollback => Direction::Cutover,
        };
        if self.gathered.crossing(other).is_none() {
            return Ok(());
        }
        let why = format!("taken back by a {}", self.direction());
        let entry = Entry { why: Some(&why), ..Entry::default() };
        store::enter_crossing(self.ground.target, &self.id, (other, Step::Undone), entry).await
    }
}
