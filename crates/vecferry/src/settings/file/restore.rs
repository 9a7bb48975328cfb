//! `[restore]`: what a snapshot is restored as. Read into the groups of flags that ask the same.

use toml::de::DeValue;

use super::{Wrong, decimal, text, texts};
use crate::cli::{TargetAt, TemporaryCluster};
use crate::units::parse_duration;

/// Keys of `[restore]`.
pub(crate) const RESTORE_KEYS: [&str; 12] = [
    "source_cluster",
    "source_database",
    "security_groups",
    "encrypt",
    "min_capacity",
    "max_capacity",
    "raise_target_capacity",
    "instance_class",
    "engine_version",
    "target_cluster",
    "wait",
    "look_every",
];

/// What the file says of restoring.
#[derive(Debug, Default)]
pub(crate) struct RestoreFile {
    pub(crate) temporary: TemporaryCluster,
    pub(crate) at: TargetAt,
}

impl RestoreFile {
    /// Takes one key over.
    pub(super) fn set(&mut self, key: &str, value: &DeValue<'_>) -> Result<(), Wrong> {
        let (temporary, at) = (&mut self.temporary, &mut self.at);
        match key {
            "source_cluster" => temporary.source_cluster = Some(text(value)?.to_owned()),
            "source_database" => temporary.source_database = Some(text(value)?.to_owned()),
            "security_groups" => temporary.security_groups = texts(value)?,
            "encrypt" => temporary.encrypt = Some(text(value)?.to_owned()),
            "min_capacity" => temporary.min_capacity = Some(decimal(value)?),
            "max_capacity" => temporary.max_capacity = Some(decimal(value)?),
            "raise_target_capacity" => temporary.raise_target_capacity = Some(decimal(value)?),
            "instance_class" => temporary.instance_class = Some(text(value)?.to_owned()),
            "engine_version" => temporary.engine_version = Some(text(value)?.to_owned()),
            "target_cluster" => at.target_cluster = Some(text(value)?.to_owned()),
            "wait" => at.wait = Some(parse_duration(text(value)?)?),
            "look_every" => at.look_every = Some(parse_duration(text(value)?)?),
            unknown => return Err(Wrong::unknown(unknown, &RESTORE_KEYS)),
        }
        Ok(())
    }
}
