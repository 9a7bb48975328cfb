//! Rules of the house that no compiler knows. Each finding says which rule, where, and what to do.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// A file with more lines than this (its tests not counted) holds more than one concept.
const LONGEST_FILE: usize = 500;

/// Names that say nothing about what is inside.
const VAGUE_NAMES: [&str; 5] = ["utils", "util", "helpers", "common", "manager"];

/// Decisions of the core: pure functions over plain data, so that tests can try every case.
const PURE_FILES: &[&str] = &[
    "phase.rs",
    "cleanup/steps.rs",
    "cutover/decide.rs",
    "cutover/position.rs",
    "cutover/step.rs",
    "pg/lsn.rs",
    "follow/health.rs",
    "follow/identity.rs",
    "follow/regroup.rs",
    "follow/pgoutput.rs",
    "follow/conflict/cause.rs",
    "follow/conflict/judge.rs",
    "knowledge.rs",
    "inventory.rs",
    "copy/part.rs",
    "copy/digest.rs",
    "index/memory.rs",
    "index/plan.rs",
    "index/schedule.rs",
    "schema/toc.rs",
    "schema/prepared.rs",
    "plan/mod.rs",
    "plan/apply_start.rs",
    "plan/estimate.rs",
    "plan/facts.rs",
    "plan/methods.rs",
    "plan/summary.rs",
    "plan/size.rs",
    "preflight/access.rs",
    "preflight/capacity.rs",
    "preflight/connection.rs",
    "preflight/facts.rs",
    "preflight/replication/mod.rs",
    "preflight/replication/receiver.rs",
    "preflight/replication/sender.rs",
    "preflight/replication/travels.rs",
    "preflight/replication/ways.rs",
    "preflight/tables.rs",
    "preflight/versions.rs",
    "probe/shape.rs",
    "reembed/estimate.rs",
    "reembed/price.rs",
    "reembed/adopt.rs",
    "reembed/decide.rs",
    "reembed/file/tree.rs",
    "reembed/muster.rs",
    "reembed/pace.rs",
    "reembed/select.rs",
    "reembed/verdict.rs",
    "reembed/store/record.rs",
    "verify/reread.rs",
];

/// The pure files stand in this folder.
const CORE: &str = "crates/vecferry-core/src";

/// A broken rule.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    path: PathBuf,
    line: usize,
    what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path.display(), self.line, self.what)
    }
}

/// Reads every Rust file of the workspace.
pub(crate) fn check(root: &Path) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for folder in ["crates", "xtask"] {
        for path in rust_files(&root.join(folder))? {
            let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            findings.extend(check_file(path.strip_prefix(root).unwrap_or(&path), &text));
        }
    }
    Ok(findings)
}

/// Checks one file, given its path within the workspace.
fn check_file(path: &Path, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut find = |line: usize, what: String| {
        findings.push(Finding { path: path.to_owned(), line, what });
    };
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let folder = path.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
    for vague in VAGUE_NAMES {
        if name == vague || folder == vague {
            find(1, format!("`{vague}` names no concept: say what the module is about"));
        }
    }
    // Attributes may come first; nothing else.
    let head = text.lines().find(|line| !line.trim().is_empty() && !line.starts_with("#!["));
    if !head.is_some_and(|line| line.starts_with("//!")) {
        find(1, "starts with no `//!` that says the file's job".into());
    }
    if in_tests(path) {
        return findings;
    }
    // Tests come last in a file and have freedoms of their own.
    let shipped: Vec<&str> = text.lines().take_while(|line| *line != "#[cfg(test)]").collect();
    if shipped.len() > LONGEST_FILE {
        find(LONGEST_FILE + 1, format!("{} lines: split it by concept", shipped.len()));
    }
    for (index, line) in shipped.iter().enumerate() {
        let before = index.checked_sub(1).map_or("", |before| shipped[before]);
        if let Some(what) = check_line(path, before, line) {
            find(index + 1, what);
        }
    }
    findings
}

fn check_line(path: &Path, before: &str, line: &str) -> Option<String> {
    let code = line.split("//").next().unwrap_or_default().trim();
    if let Ok(file) = path.strip_prefix(CORE) {
        if PURE_FILES.iter().any(|pure| file == Path::new(pure))
            && ["tokio::", "tokio_postgres", "tokio_util"].iter().any(|word| code.contains(word))
        {
            return Some("a decision does no I/O: no tokio, no driver in this file".into());
        }
        let words = ["println!", "eprintln!", "print!(", "eprint!(", "std::env", "use clap"];
        if let Some(word) = words.iter().find(|word| code.contains(*word)) {
            return Some(format!("the core knows no `{word}`: that is the program's"));
        }
    }
    let declaration = code.trim_start_matches("pub(crate) ").trim_start_matches("pub ");
    if declaration.starts_with("static mut ") {
        return Some("`static mut`: hand the value to whom it concerns".into());
    }
    let dev_only = path.starts_with("crates/vecferry-testkit");
    if declaration.starts_with("static ") && !dev_only && !before.contains("process-wide") {
        let what = "a global: hand the value over, or argue in a comment line above it, \
                    with the word `process-wide`";
        return Some(what.into());
    }
    None
}

fn in_tests(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "tests")
}

fn rust_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            found.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        let findings = check_file(Path::new(path), text);
        findings.iter().map(|finding| finding.to_string()).collect()
    }

    #[test]
    fn a_clean_file_has_no_findings() {
        assert!(found("crates/a/src/b.rs", "//! Job.\n\nfn f() {}\n").is_empty());
        assert!(found("crates/a/tests/it/main.rs", "#![allow(x)]\n//! Job.\n").is_empty());
    }

    #[test]
    fn a_missing_head_a_vague_name_and_a_long_file_are_found() {
        assert_eq!(found("crates/a/src/b.rs", "fn f() {}").len(), 1);
        assert_eq!(found("crates/a/src/utils.rs", "//! Job.").len(), 1);
        assert_eq!(found("crates/a/src/common/b.rs", "//! Job.").len(), 1);
        let long = "//! Job.\n".to_owned() + &"fn f() {}\n".repeat(500);
        assert_eq!(
            found("crates/a/src/b.rs", &long),
            ["crates/a/src/b.rs:501: 501 lines: split it by concept"]
        );
        let tested = "//! Job.\n#[cfg(test)]\n".to_owned() + &"fn f() {}\n".repeat(900);
        assert!(found("crates/a/src/b.rs", &tested).is_empty());
    }

    #[test]
    fn the_core_neither_prints_nor_reads_the_environment_and_decides_without_io() {
        let core = |file: &str, line: &str| {
            found(&format!("crates/vecferry-core/src/{file}"), &format!("//! Job.\n{line}\n")).len()
        };
        assert_eq!(core("verify.rs", "println!(\"x\");"), 1);
        assert_eq!(core("verify.rs", "let x = std::env::var(\"X\");"), 1);
        assert_eq!(core("verify.rs", "// println! is not for us"), 0);
        assert_eq!(core("verify.rs", "use tokio::sync::mpsc;"), 0);
        assert_eq!(core("copy/part.rs", "use tokio::sync::mpsc;"), 1);
        assert_eq!(core("plan/mod.rs", "use tokio_postgres::Client;"), 1);
    }

    #[test]
    fn a_global_needs_an_argument() {
        let plain = "//! Job.\nstatic A: u8 = 1;\n";
        let argued = "//! Job.\n// process-wide because signals are.\nstatic A: u8 = 1;\n";
        assert_eq!(found("crates/a/src/b.rs", plain).len(), 1);
        assert!(found("crates/a/src/b.rs", argued).is_empty());
        assert_eq!(found("crates/a/src/b.rs", "//! Job.\nstatic mut A: u8 = 1;").len(), 1);
    }
}
