//! What reading one document may cost, and how a child process is held to it.

use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

use super::error::{Error, machine};

const MIB: u64 = 1 << 20;

/// What reading one document may cost. A document that needs more is lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Address space of a child process, in bytes. Held by the kernel (`RLIMIT_AS`), which also counts the program
    /// itself (some 100 MiB).
    pub memory: u64,
    /// Processor time per document, in whole seconds; held by the kernel (`RLIMIT_CPU`).
    pub processor: Duration,
    /// Time per document; held by the parent. Longer than the processor time, for a busy machine.
    pub time: Duration,
    /// Longest text of a document, in bytes of UTF-8.
    pub text: u64,
    /// Largest HTML document, in bytes. HTML is read as a tree, which takes some twenty times its size.
    pub html: u64,
    /// Most bytes that one entry of a zipped format (docx, pptx, xlsx, xlsb, ods) may unpack to.
    pub entry: u64,
    /// Most bytes that all read entries of such a document may unpack to.
    pub unpacked: u64,
}

impl Default for Limits {
    /// Room for any document that a person would call a document, on a task with 2 GiB of memory.
    fn default() -> Self {
        Limits {
            memory: 1536 * MIB,
            processor: Duration::from_secs(60),
            time: Duration::from_secs(300),
            text: 512 * MIB,
            html: 32 * MIB,
            entry: 256 * MIB,
            unpacked: 512 * MIB,
        }
    }
}

impl Limits {
    /// Holds this process to its address space and to files no longer than a text may be; and lets it leave no
    /// core file, which would be a document's text on a disk.
    pub(super) fn hold(&self) -> Result<(), Error> {
        // One page more than the longest text, so that it is our own check that says so, not a signal.
        let file = self.text + 4096;
        [(Resource::Core, 0), (Resource::As, self.memory), (Resource::Fsize, file)]
            .into_iter()
            .try_for_each(|(resource, most)| lower(resource, most))
    }

    /// Gives this process that much processor time from now on, once for each document.
    pub(super) fn wind_up(&self) -> Result<(), Error> {
        let stat = std::fs::read_to_string("/proc/self/stat")
            .map_err(machine("read the processor time used"))?;
        let spent = processor_seconds(&stat).unwrap_or(0);
        lower(Resource::Cpu, spent + self.processor.as_secs().max(1))
    }
}

/// Sets the soft limit only, so that it can be raised again for the next document; nothing in a child wants to.
fn lower(resource: Resource, most: u64) -> Result<(), Error> {
    let maximum = getrlimit(resource).maximum;
    let current = Some(maximum.map_or(most, |maximum| most.min(maximum)));
    setrlimit(resource, Rlimit { current, maximum })
        .map_err(|error| machine("set the limits of a reader")(error.into()))
}

/// Seconds of processor time, rounded up, from `/proc/<pid>/stat` (proc(5): fields 14 and 15, in 1/100 s, which is
/// what Linux shows to programs on every machine). The second field may hold spaces and brackets, so count from
/// its last bracket.
fn processor_seconds(stat: &str) -> Option<u64> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(ticks.div_ceil(100))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_past_any_program_name() {
        let stat = "7 (a b) c) R 1 7 7 0 -1 4194304 100 0 0 0 250 51 0 0 20 0 1 0 5 6 7";
        assert_eq!(processor_seconds(stat), Some(4));
        assert_eq!(processor_seconds("7 (short) R 1"), None);
    }
}
