//! What the death of a child process says about the document that it was reading.
//!
//! The kernel says by a signal which limit was exceeded, except for memory: there an allocation fails, and Rust's
//! runtime writes one line and aborts. That line (and the one about a stack) is all that is looked for in a child's
//! standard error, which is never shown: a library may have written anything there.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use rustix::process::Signal;

use super::limits::Limits;
use crate::document::{Lost, Reason};

/// How much of the end of a child's standard error is looked at, in bytes.
pub(super) const TAIL: u64 = 4096;

/// Why a child died, as the reason for which its document is lost.
pub(super) fn verdict(status: ExitStatus, stderr: &str, limits: &Limits) -> Lost {
    let signal = status.signal();
    let is = |expected: Signal| signal == Some(expected.as_raw());
    if is(Signal::XCPU) {
        let seconds = limits.processor.as_secs().max(1);
        return Lost::new(Reason::TooSlow, format!("over {seconds} s of processor time"));
    }
    if is(Signal::XFSZ) {
        return Lost::new(Reason::TooLarge, format!("over {} bytes of text", limits.text));
    }
    if stderr.contains("memory allocation of ") {
        let mib = limits.memory >> 20;
        return Lost::new(Reason::TooLarge, format!("reading it takes over {mib} MiB of memory"));
    }
    if stderr.contains("has overflowed its stack") {
        return Lost::new(Reason::Broken, "nested too deeply for its reader's stack");
    }
    if is(Signal::KILL) {
        return Lost::new(
            Reason::TooLarge,
            "its reader was killed, most likely for want of memory",
        );
    }
    match (signal, status.code()) {
        (Some(signal), _) => {
            Lost::new(Reason::Broken, format!("its reader died of signal {signal}"))
        }
        (_, code) => {
            let code = code.unwrap_or_default();
            Lost::new(Reason::Broken, format!("its reader ended with status {code}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(raw: i32, stderr: &str) -> Reason {
        verdict(ExitStatus::from_raw(raw), stderr, &Limits::default()).reason
    }

    #[test]
    fn every_death_has_its_reason() {
        let abort = Signal::ABORT.as_raw();
        assert_eq!(of(Signal::XCPU.as_raw(), ""), Reason::TooSlow);
        assert_eq!(of(Signal::XFSZ.as_raw(), ""), Reason::TooLarge);
        assert_eq!(of(abort, "memory allocation of 17 bytes failed"), Reason::TooLarge);
        assert_eq!(of(abort, "\nthread 'reader' has overflowed its stack\n"), Reason::Broken);
        assert_eq!(of(Signal::KILL.as_raw(), ""), Reason::TooLarge);
        assert_eq!(of(Signal::SEGV.as_raw(), ""), Reason::Broken);
        assert_eq!(of(101 << 8, ""), Reason::Broken);
    }

    #[test]
    fn nothing_that_a_child_wrote_is_repeated() {
        let lost = verdict(ExitStatus::from_raw(1 << 8), "planted text", &Limits::default());
        assert_eq!(lost.detail, "its reader ended with status 1");
    }
}
