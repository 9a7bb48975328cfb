//! Where output goes: stdout is data and nothing else, stderr is for the person who watches. Whatever is written to
//! stderr while bars are drawn goes through here, so that it does not tear them.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, TableComponent};
use indicatif::{MultiProgress, ProgressDrawTarget};
use serde::Serialize;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::cli::Output;
use crate::error::{Error, Exit, Line};

/// Width of tables in a log: what fits beside a timestamp on a laptop.
const LOG_WIDTH: u16 = 100;

/// Narrower terminals wrap lines by themselves more legibly than cells could be cut; some claim to have no width.
const LEAST_WIDTH: u16 = 60;

/// The operator's terminal, or the log in its place. Clones are the same terminal.
#[derive(Debug, Clone)]
pub(crate) struct Ui {
    /// Whether stdout carries JSON.
    pub(crate) json: bool,
    /// Whether only results and errors are wanted.
    pub(crate) quiet: bool,
    /// How often `-v` was given.
    pub(crate) verbose: u8,
    /// The bars below which nothing else may be written.
    pub(crate) bars: MultiProgress,
    closed: Arc<AtomicBool>,
    colour_err: bool,
    colour_out: bool,
}

/// A colour with a meaning.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Colour {
    /// Failure.
    Red,
    /// Attention.
    Yellow,
    /// Success.
    Green,
    /// What to do.
    Cyan,
}

impl Ui {
    /// Looks at the terminal once.
    pub(crate) fn new(output: &Output) -> Ui {
        // https://no-color.org: any value but the empty one.
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Ui {
            json: output.json,
            quiet: output.quiet,
            verbose: output.verbose,
            closed: Arc::default(),
            bars: MultiProgress::with_draw_target(ProgressDrawTarget::hidden()),
            colour_err: !plain && io::stderr().is_terminal(),
            colour_out: !plain && io::stdout().is_terminal(),
        }
    }

    /// Shows what core says of itself, as far as `-v` or `VECFERRY_LOG` ask for it.
    pub(crate) fn listen_to_tracing(&self) {
        let mut filter = EnvFilter::try_from_env("VECFERRY_LOG").unwrap_or_else(|_| {
            EnvFilter::new(match (self.quiet, self.verbose) {
                (true, _) => "error",
                (false, 0) => "warn",
                (false, 1) => "warn,vecferry=info,vecferry_core=info",
                (false, 2) => "warn,vecferry=debug,vecferry_core=debug",
                (false, _) => "info,vecferry=trace,vecferry_core=trace",
            })
        });
        // At debug the driver says each statement with its parameters, and passwords are among them
        // (`CREATE SUBSCRIPTION`).
        if let Ok(quiet) = "tokio_postgres=info".parse() {
            filter = filter.add_directive(quiet);
        }
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_ansi(self.colour_err)
            .with_writer(AboveBars(self.bars.clone()))
            .finish();
        // Fails only when there is one already, and then that one does.
        let _ = tracing::subscriber::set_global_default(subscriber);
    }

    /// Writes a result.
    pub(crate) fn data(&self, text: &str) -> Result<(), Error> {
        let write = || {
            let mut out = io::stdout().lock();
            out.write_all(text.as_bytes())?;
            if !text.ends_with('\n') {
                out.write_all(b"\n")?;
            }
            out.flush()
        };
        match self.bars.suspend(write) {
            // Whoever closed the pipe has seen enough; the answer is in the exit code as well.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.closed.store(true, Ordering::Relaxed);
                Ok(())
            }
            written => written.map_err(Error::Output),
        }
    }

    /// Whether nobody reads stdout any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Writes a result as one line of JSON.
    pub(crate) fn data_json<T: Serialize>(&self, value: &T) -> Result<(), Error> {
        let text = serde_json::to_string(value).map_err(|error| Error::Output(error.into()))?;
        self.data(&text)
    }

    /// Says something to the person watching, unless they asked for quiet.
    pub(crate) fn say(&self, text: &str) {
        if !self.quiet {
            self.write_err(text);
        }
    }

    /// Says something that `--quiet` does not silence.
    pub(crate) fn insist(&self, text: &str) {
        self.write_err(text);
    }

    /// Renders a failure and gives its exit code.
    pub(crate) fn failure(&self, error: &Error) -> Exit {
        for line in error.lines() {
            let (colour, label, text) = match &line {
                Line::Error(text) => (Colour::Red, "error:", text),
                Line::Cause(text) => (Colour::Red, "caused by:", text),
                Line::Hint(text) => (Colour::Cyan, "hint:", text),
            };
            self.write_err(&format!("{} {text}", paint(self.colour_err, colour, label)));
        }
        error.exit()
    }

    /// A word of a result in colour, where stdout shows colours.
    pub(crate) fn coloured(&self, colour: Colour, text: &str) -> String {
        paint(self.colour_out, colour, text)
    }

    /// Whether somebody watches stderr.
    pub(crate) fn watched(&self) -> bool {
        io::stderr().is_terminal() && !self.quiet
    }

    fn write_err(&self, text: &str) {
        // A closed stderr leaves nobody to tell.
        self.bars.suspend(|| writeln!(io::stderr().lock(), "{text}")).ok();
    }
}

fn paint(on: bool, colour: Colour, text: &str) -> String {
    let code = match colour {
        Colour::Red => 31,
        Colour::Yellow => 33,
        Colour::Green => 32,
        Colour::Cyan => 36,
    };
    if on { format!("\x1b[1;{code}m{text}\x1b[0m") } else { text.to_owned() }
}

/// A table without frames: columns apart by spaces, one rule below the header. `right` names the columns of numbers.
pub(crate) fn table(header: &[&str], right: &[usize], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.set_content_arrangement(ContentArrangement::Dynamic);
    let terminal = table.width().filter(|width| *width >= LEAST_WIDTH);
    table.set_width(terminal.unwrap_or(LOG_WIDTH));
    filled(table, header, right, rows)
}

/// The same with every row on one line, whatever the terminal's width.
pub(crate) fn list(header: &[&str], right: &[usize], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.set_content_arrangement(ContentArrangement::Disabled);
    filled(table, header, right, rows)
}

fn filled(mut table: Table, header: &[&str], right: &[usize], rows: Vec<Vec<String>>) -> String {
    table.load_preset(comfy_table::presets::NOTHING);
    table.set_style(TableComponent::HeaderLines, '─');
    table.set_style(TableComponent::MiddleHeaderIntersections, '─');
    table.set_header(header.iter().map(Cell::new));
    table.add_rows(rows);
    if let Some(first) = table.column_mut(0) {
        first.set_padding((0, 1));
    }
    for column in right {
        if let Some(column) = table.column_mut(*column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt()
}

/// Writes log lines above the bars.
#[derive(Clone)]
struct AboveBars(MultiProgress);

impl Write for AboveBars {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.0.suspend(|| io::stderr().lock().write(buffer))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

impl MakeWriter<'_> for AboveBars {
    type Writer = AboveBars;

    fn make_writer(&self) -> AboveBars {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_no_frame_and_fits_a_log() {
        let rows =
            vec![vec!["public.items".into(), "200,000".into()], vec!["x".repeat(150), "1".into()]];
        let text = table(&["table", "rows"], &[1], rows);
        assert!(text.lines().all(|line| line.chars().count() <= usize::from(LOG_WIDTH)), "{text}");
        assert!(text.lines().nth(2).is_some_and(|line| line.contains("200,000")), "{text}");
        assert!(!text.contains('|'), "{text}");
    }
}
