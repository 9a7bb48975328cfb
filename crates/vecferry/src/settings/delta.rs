//! What a delta needs besides, resolved.

use jiff::Timestamp;
use vecferry_core::delta::WebPolicy;

use super::Settings;
use crate::cli::Delta;
use crate::error::Error;

impl Settings {
    /// When the source was as it is: as somebody has said, else the time of the snapshot that it was restored from. What
    /// is said wins over what a snapshot tells, because an earlier time is on the safe side.
    pub(crate) async fn source_time(&self, flags: &Delta) -> Result<Option<Timestamp>, Error> {
        match self.said_source_time(flags.source_time) {
            None if self.snapshot().is_some() => {
                Ok(self.temporary().await?.and_then(|temporary| temporary.snapshot_time))
            }
            said => Ok(said),
        }
    }

    /// When the source was as it is, as far as somebody has said.
    pub(crate) fn said_source_time(&self, flag: Option<Timestamp>) -> Option<Timestamp> {
        flag.or(self.file.source_time)
    }

    /// What becomes of bots with documents on the web, where somebody has said so.
    pub(crate) fn web(&self, flags: &Delta) -> Option<WebPolicy> {
        flags.web.map(Into::into).or(self.file.web)
    }
}
