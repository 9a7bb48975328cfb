//! Peak memory of a command and all it starts. The kernel keeps each process's high-water mark, so
//! looking now and then misses no peak, only what a process does after the last look at it.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result};

/// Often enough for programs that run for seconds, too seldom to take a core away from them.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What was seen of a command's processes, in KiB.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Peaks {
    /// The most that the command itself had.
    pub(super) own: u64,
    /// The most that each process had, added up.
    pub(super) sum: u64,
    /// The most that all processes had at the moment of one look.
    pub(super) at_once: u64,
}

/// A process, as one look sees it, in KiB.
struct Seen {
    process: u32,
    peak: u64,
    now: u64,
}

/// Runs the command to its end; the sum of the peaks of its processes in KiB beside its status.
pub(super) fn peak_of(command: &mut Command) -> Result<(ExitStatus, u64)> {
    let (status, peaks) = peaks_of(command, LOOK_EVERY)?;
    Ok((status, peaks.sum))
}

/// Runs the command to its end and looks at its processes every so often.
pub(super) fn peaks_of(command: &mut Command, every: Duration) -> Result<(ExitStatus, Peaks)> {
    // A group of its own marks everything the command starts.
    let mut child = command.process_group(0).spawn().context("start a contestant")?;
    let group = child.id();
    let (mut peaks, mut at_once) = (BTreeMap::new(), 0);
    loop {
        let seen = group_members(group);
        at_once = at_once.max(seen.iter().map(|seen| seen.now).sum());
        for Seen { process, peak, .. } in seen {
            let known = peaks.entry(process).or_insert(0);
            *known = peak.max(*known);
        }
        if let Some(status) = child.try_wait()? {
            let own = peaks.get(&group).copied().unwrap_or(0);
            return Ok((status, Peaks { own, sum: peaks.values().sum(), at_once }));
        }
        std::thread::sleep(every);
    }
}

/// Processes of the command's group, and those that it started and that made groups of their own.
fn group_members(group: u32) -> Vec<Seen> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let placed = |entry: std::fs::DirEntry| {
        let process: u32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        // The name in parentheses may hold spaces; parent and group are the second and third field after it.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(1);
        let mut next = || fields.next()?.parse::<u32>().ok();
        Some((process, (next()?, next()?)))
    };
    let all: BTreeMap<u32, (u32, u32)> = entries.filter_map(|entry| placed(entry.ok()?)).collect();
    let ours = |process: &u32| {
        let up = std::iter::successors(Some(*process), |at| all.get(at).map(|(parent, _)| *parent));
        // Chains of parents are short; the bound is for one that changes while it is read.
        up.take(64).any(|at| at == group || all.get(&at).is_some_and(|(_, own)| *own == group))
    };
    all.keys().copied().filter(|process| ours(process)).filter_map(seen).collect()
}

fn seen(process: u32) -> Option<Seen> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = |name| status.lines().find_map(|line| line.strip_prefix(name));
    let kib = |name| line(name)?.trim().trim_end_matches(" kB").parse::<u64>().ok();
    Some(Seen { process, peak: kib("VmHWM:")?, now: kib("VmRSS:")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_children_have_one_after_the_other_is_not_had_at_once() {
        let child = r#"python3 -c "x = bytearray(60 << 20); import time; time.sleep(0.2)""#;
        let script = format!("{child}; {child}; true");
        let (status, peaks) =
            peaks_of(Command::new("sh").args(["-c", &script]), LOOK_EVERY).unwrap();
        assert!(status.success());
        assert!(peaks.own < 20 << 10 && peaks.sum > 120 << 10, "{peaks:?}");
        assert!((60 << 10..120 << 10).contains(&peaks.at_once), "{peaks:?}");
    }

    #[test]
    fn a_child_with_a_group_of_its_own_counts() {
        let child = r#"setsid --wait python3 -c "x = bytearray(60 << 20); import time; time.sleep(0.2)"; true"#;
        let (status, peaks) = peaks_of(Command::new("sh").args(["-c", child]), LOOK_EVERY).unwrap();
        assert!(status.success() && peaks.at_once > 60 << 10, "{peaks:?}");
    }

    #[test]
    fn the_memory_of_a_grandchild_counts() {
        let script = r#"python3 -c "x = bytearray(60 << 20); import time; time.sleep(0.2)"; true"#;
        let (status, peak) = peak_of(Command::new("sh").args(["-c", script])).unwrap();
        assert!(status.success());
        assert!((60 << 10..200 << 10).contains(&peak), "{peak} KiB");
    }
}
