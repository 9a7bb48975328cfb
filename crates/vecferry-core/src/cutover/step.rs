//! Directions of a crossing, the steps that its record names, and the stages that are timed and told. Pure.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::Side;

/// Which way the application goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From the source to the target.
    Cutover,
    /// Back from the target to the source.
    Rollback,
}

impl Direction {
    /// The cluster the application leaves: it is fenced and sends.
    pub fn sender(self) -> Side {
        match self {
            Direction::Cutover => Side::Source,
            Direction::Rollback => Side::Target,
        }
    }

    /// The cluster the application goes to.
    pub fn receiver(self) -> Side {
        self.sender().other()
    }

    /// The name in the record and of the command.
    pub fn as_str(self) -> &'static str {
        match self {
            Direction::Cutover => "cutover",
            Direction::Rollback => "rollback",
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How far a crossing is, as recorded. What is durable with each:
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// It ended before its switch: no fence of it is up, and nothing of its way back is left.
    Undone,
    /// Publication and slot of the way back may be there.
    Preparing,
    /// The fence may be up.
    Fencing,
    /// The fence is up. Draining, proof and sequences may each have happened and are safe to repeat.
    Fenced,
    /// The switch may have happened: the application may be on either side.
    Switching,
    /// The application is on the receiver, or is the operator's to point there.
    Switched,
    /// The way back is set up, or torn down, and nothing is left to do.
    Finished,
}

impl Step {
    /// The name in the record.
    pub fn as_str(self) -> &'static str {
        match self {
            Step::Undone => "undone",
            Step::Preparing => "preparing",
            Step::Fencing => "fencing",
            Step::Fenced => "fenced",
            Step::Switching => "switching",
            Step::Switched => "switched",
            Step::Finished => "finished",
        }
    }

    /// The step of that name.
    pub fn parse(name: &str) -> Option<Step> {
        use Step::*;
        [Undone, Preparing, Fencing, Fenced, Switching, Switched, Finished]
            .into_iter()
            .find(|step| step.as_str() == name)
    }

    /// Whether the application cannot have been switched.
    pub fn is_before_the_switch(self) -> bool {
        self < Step::Switching
    }
}

/// What a crossing does, one after the other; what is timed and told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The way back's publication and slot are made. The application goes on.
    Prepare,
    /// Writes on the sender are refused from the end of this on.
    Fence,
    /// The receiver applies what was written before.
    Drain,
    /// Large objects are copied again.
    LargeObjects,
    /// The receiver's sequences are set beyond the sender's.
    Sequences,
    /// Both sides are compared.
    Verify,
    /// The slot of the way back is moved to where the application will begin to write.
    WayBack,
    /// The switch command runs.
    Switch,
    /// Links that have served are dropped, the way back is set up.
    Finish,
}

impl Stage {
    /// The name in JSON and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Stage::Prepare => "prepare",
            Stage::Fence => "fence",
            Stage::Drain => "drain",
            Stage::LargeObjects => "large_objects",
            Stage::Sequences => "sequences",
            Stage::Verify => "verify",
            Stage::WayBack => "way_back",
            Stage::Switch => "switch",
            Stage::Finish => "finish",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stage::LargeObjects => "large objects",
            Stage::WayBack => "way back",
            stage => stage.as_str(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_have_names_and_an_order() {
        use Step::*;
        let all = [Undone, Preparing, Fencing, Fenced, Switching, Switched, Finished];
        assert!(all.is_sorted());
        for step in all {
            assert_eq!(Step::parse(step.as_str()), Some(step));
            assert_eq!(step.is_before_the_switch(), step < Switching, "{step:?}");
        }
        assert_eq!(Step::parse("?"), None);
    }
}
