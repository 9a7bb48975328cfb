//! Peak memory of a command and all it starts. The kernel keeps each process's high-water mark, so
//! looking now and then misses no peak, only what a process does after the last look at it.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result};

/// Often enough for programs that run for seconds, too seldom to take a core away from them.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Runs the command to its end; the sum of the peaks of its processes in KiB beside its status.
pub(super) fn peak_of(command: &mut Command) -> Result<(ExitStatus, u64)> {
    // A group of its own marks everything the command starts.
    let mut child = command.process_group(0).spawn().context("start a contestant")?;
    let group = child.id();
    let mut peaks = BTreeMap::new();
    loop {
        for (process, peak) in group_members(group) {
            let known = peaks.entry(process).or_insert(0);
            *known = peak.max(*known);
        }
        if let Some(status) = child.try_wait()? {
            return Ok((status, peaks.values().sum()));
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Processes of a group, each with its high-water mark in KiB.
fn group_members(group: u32) -> Vec<(u32, u64)> {
    let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
    let member = |entry: std::fs::DirEntry| {
        let process: u32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        // The name in parentheses may hold spaces; the group is the third field after it.
        let own: u32 = stat.rsplit_once(')')?.1.split_whitespace().nth(2)?.parse().ok()?;
        let status = std::fs::read_to_string(entry.path().join("status")).ok()?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        (own == group).then_some((process, peak.trim().trim_end_matches(" kB").parse().ok()?))
    };
    processes.filter_map(|entry| member(entry.ok()?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_a_grandchild_counts() {
        let script = r#"python3 -c "x = bytearray(60 << 20); import time; time.sleep(0.2)"; true"#;
        let (status, peak) = peak_of(Command::new("sh").args(["-c", script])).unwrap();
        assert!(status.success());
        assert!((60 << 10..200 << 10).contains(&peak), "{peak} KiB");
    }
}
