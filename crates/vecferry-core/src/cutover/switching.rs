//! The step at which the application changes sides: the one that cannot be undone, only answered. A yes goes on, a no is
//! undone like every failure before it, and what nobody knows leaves both clusters as they are.

use tokio_util::sync::CancellationToken;

use super::decide::Reason;
use super::fence::{self, Patience, Raised};
use super::run::{Crossing, Halt};
use super::step::{Direction, Stage, Step};
use super::switch::Answer;
use crate::error::Result;

impl Crossing<'_> {
    /// `again` when an earlier run may have switched already.
    pub(super) async fn switch(&mut self, again: bool) -> Result<(), Halt> {
        let begun = self.started(Stage::Switch)?;
        self.enter(Step::Switching, None).await?;
        let fenced = self.open_receiver().await?;
        let options = self.ground.options;
        if let Some(switch) = &options.switch {
            match switch.switch(self.ground.order(&self.id), self.reporter).await? {
                Answer::Switched => {}
                Answer::NotSwitched(why) if !again => {
                    return Err(self.not_switched(why, fenced).await?);
                }
                Answer::NotSwitched(why) => {
                    let what = format!("{why}, and an earlier run may have switched");
                    return Err(Halt::Unknown(self.unknown(what)));
                }
                Answer::Unknown(what) => return Err(Halt::Unknown(self.unknown(what))),
            }
        }
        self.finished(Stage::Switch, begun);
        self.enter(Step::Switched, None).await?;
        Ok(())
    }

    /// Lets the receiver take writes, which the crossing the other way may have ended; whether it refused them.
    async fn open_receiver(&self) -> Result<bool> {
        let (_, receiver) = self.ground.ends();
        let may_be = self.direction() == Direction::Rollback || !self.replicates();
        let fenced = may_be && fence::is_up(receiver, &self.tables).await?;
        if may_be {
            fence::open(receiver, &self.id).await?;
        }
        Ok(fenced)
    }

    /// The switch's word is that the application stayed: so does the fence of the cluster it did not go to.
    async fn not_switched(&mut self, why: String, fenced: bool) -> Result<Halt> {
        let what = format!("{why}: not switched");
        if fenced {
            let options = self.ground.options;
            let patience = Patience { timeout: options.fence_timeout, tries: options.fence_tries };
            let never = CancellationToken::new();
            let (_, receiver) = self.ground.ends();
            if fence::raise(receiver, (&self.id, &self.tables), patience, &never).await?
                == Raised::Blocked
            {
                let side = receiver.side();
                let what = format!("{what}, and the {side} could not be fenced again");
                return Ok(Halt::Unknown(self.unknown(what)));
            }
        }
        Ok(Halt::No(Reason::no(what, "mend what it says, and run the same command again")))
    }

    fn unknown(&self, what: String) -> Reason {
        let (sender, command) = (self.direction().sender(), self.direction());
        let other = match self.direction() {
            Direction::Cutover if self.way_back || !self.replicates() => {
                ", or `vecferry rollback` to go back to the source"
            }
            _ => "",
        };
        let fence = match self.gathered.facts.fenced {
            true => format!(", and the {sender} stays fenced"),
            false => String::new(),
        };
        let again = match &self.ground.options.switch {
            Some(switch) => format!(", which uses {} again", switch.name()),
            None => String::new(),
        };
        Reason::no(
            format!("{what}; whether the application was switched is not known{fence}"),
            format!("run `vecferry {command}` again{again}{other}"),
        )
    }
}
