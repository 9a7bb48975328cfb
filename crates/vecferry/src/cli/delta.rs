//! What only `migrate --method delta` asks.

use clap::{Args, ValueEnum};
use jiff::Timestamp;

/// What only a delta asks.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Delta")]
pub(crate) struct Delta {
    /// When the source was as it is, like 2026-03-01T12:00:00Z [default: that of the snapshot it was restored from]
    ///
    /// Documents written at that time or later are embedded anew. An earlier time is on the safe side: it costs a few
    /// bots more, and finds documents that were embedded only after the snapshot though they are older.
    #[arg(long, value_name = "TIME", env = "VECFERRY_SOURCE_TIME", hide_env_values = true,
          value_parser = parse_time)]
    pub(crate) source_time: Option<Timestamp>,
    /// What becomes of bots with documents on the web, where nobody can tell what changed [default: keep]
    #[arg(long, value_name = "HOW", env = "VECFERRY_WEB", hide_env_values = true)]
    pub(crate) web: Option<Web>,
}

/// What becomes of bots with documents on the web.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Web {
    /// Their copied rows stay, unless something else about them changed
    Keep,
    /// They are embedded anew
    Reembed,
}

impl From<Web> for vecferry_core::delta::WebPolicy {
    fn from(web: Web) -> Self {
        match web {
            Web::Keep => Self::Keep,
            Web::Reembed => Self::Reembed,
        }
    }
}

/// Reads a time with its zone: one without would mean another instant on every machine.
pub(crate) fn parse_time(text: &str) -> Result<Timestamp, String> {
    let mistake =
        || "write the time with its zone, like 2026-03-01T12:00:00Z or 2026-03-01T13:00:00+01:00";
    text.trim().parse().map_err(|_| mistake().to_owned())
}

#[cfg(test)]
mod tests {
    use super::parse_time;

    #[test]
    fn a_time_needs_its_zone() {
        let noon = parse_time("2026-03-01T12:00:00Z").unwrap();
        assert_eq!(parse_time(" 2026-03-01T13:00:00+01:00 ").unwrap(), noon);
        for wrong in ["2026-03-01T12:00:00", "2026-03-01", "noon", ""] {
            assert!(parse_time(wrong).unwrap_err().contains("with its zone"), "{wrong}");
        }
    }
}
