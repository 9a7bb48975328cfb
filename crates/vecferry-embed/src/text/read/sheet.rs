//! Workbooks by calamine: each sheet's name, then its rows as lines, cells apart by tabs. A formula is as good as
//! the value that the program that saved it left beside it; without one its cell is empty.
//!
//! Sheets of xlsx and xlsb are read cell by cell. calamine's own way makes a full rectangle of each, which a single
//! stray cell at the far corner turns into hundreds of gigabytes.

use std::io::BufReader;

use calamine::{
    DataType, ExcelDateTime, Ods, OdsError, Reader, Xls, XlsError, Xlsb, Xlsx, XlsxError,
};

use super::{Out, Source};
use crate::document::Reason;
use crate::text::archive::Archive;
use crate::text::error::{Error, machine};
use crate::text::format::Format;

pub(super) fn read(format: Format, source: Source<'_>, out: &mut Out) -> Result<(), Error> {
    let file = source.file.try_clone().map_err(machine("open a document's file"))?;
    if format != Format::Xls {
        // calamine unpacks without caps; pictures and the like it leaves alone.
        let data = |name: &str| [".xml", ".bin", ".rels"].iter().any(|end| name.ends_with(end));
        Archive::open(source.file, source.limits)?.rehearse(data)?;
    }
    let file = BufReader::new(file);
    match format {
        Format::Xls => whole(Xls::new(file).map_err(of_xls)?, of_xls, out),
        Format::Ods => whole(Ods::new(file).map_err(of_ods)?, of_ods, out),
        Format::Xlsb => xlsb(Xlsb::new(file).map_err(damaged)?, out),
        _ => xlsx(Xlsx::new(file).map_err(of_xlsx)?, out),
    }
}

fn xlsx(mut book: Xlsx<BufReader<std::fs::File>>, out: &mut Out) -> Result<(), Error> {
    for name in book.sheet_names() {
        let mut cells = match book.worksheet_cells_reader(&name) {
            // A sheet that is only a chart has no cells.
            Err(XlsxError::NotAWorksheet(_)) => continue,
            found => found.map_err(of_xlsx)?,
        };
        let mut sheet = Sheet::new(&name);
        while let Some(cell) = cells.next_cell().map_err(of_xlsx)? {
            sheet.cell(cell.get_position(), &shown(cell.get_value()), out)?;
        }
        out.paragraph();
    }
    Ok(())
}

fn xlsb(mut book: Xlsb<BufReader<std::fs::File>>, out: &mut Out) -> Result<(), Error> {
    for name in book.sheet_names() {
        let mut cells = book.worksheet_cells_reader(&name).map_err(damaged)?;
        let mut sheet = Sheet::new(&name);
        while let Some(cell) = cells.next_cell().map_err(damaged)? {
            sheet.cell(cell.get_position(), &shown(cell.get_value()), out)?;
        }
        out.paragraph();
    }
    Ok(())
}

/// Formats that calamine reads as a whole: at most 65 536 rows of 256 cells (xls), or capped by itself (ods).
fn whole<B: Reader<BufReader<std::fs::File>>>(
    mut book: B,
    lost: impl Fn(B::Error) -> Error,
    out: &mut Out,
) -> Result<(), Error> {
    for name in book.sheet_names() {
        let range = book.worksheet_range(&name).map_err(&lost)?;
        let mut sheet = Sheet::new(&name);
        for (row, column, value) in range.used_cells() {
            sheet.cell((row as u32, column as u32), &shown(value), out)?;
        }
        out.paragraph();
    }
    Ok(())
}

/// Where a sheet's text stands.
struct Sheet<'a> {
    /// To be written before the first cell: an empty sheet's name means nothing.
    name: Option<&'a str>,
    row: u32,
    column: u32,
}

impl<'a> Sheet<'a> {
    fn new(name: &'a str) -> Sheet<'a> {
        Sheet { name: Some(name), row: 0, column: 0 }
    }

    fn cell(&mut self, at: (u32, u32), text: &str, out: &mut Out) -> Result<(), Error> {
        if text.is_empty() {
            return Ok(());
        }
        if let Some(name) = self.name.take() {
            out.text(name)?;
            out.line();
            (self.row, self.column) = (at.0, 0);
        }
        if at.0 != self.row {
            out.line();
            (self.row, self.column) = (at.0, 0);
        }
        (self.column..at.1).for_each(|_| out.tab());
        self.column = at.1;
        out.text(text)
    }
}

/// A cell as a reader sees it, on one line.
fn shown(value: &impl DataType) -> String {
    if let Some(date) = value.get_datetime() {
        return shown_date(&date);
    }
    let text = match (value.get_bool(), value.get_float()) {
        (Some(truth), _) => truth.to_string(),
        (_, Some(number)) => number.to_string(),
        // An error (`#N/A`) is no string.
        _ => value.as_string().unwrap_or_default(),
    };
    text.split(['\n', '\r', '\t']).map(str::trim).collect::<Vec<_>>().join(" ")
}

fn shown_date(date: &ExcelDateTime) -> String {
    let (year, month, day, hour, minute, second, _) = date.to_ymd_hms_milli();
    if date.is_duration() {
        let seconds = (date.as_f64() * 86_400.0).round() as i64;
        return format!("{}:{:02}:{:02}", seconds / 3600, seconds % 3600 / 60, seconds % 60);
    }
    let day = format!("{year:04}-{month:02}-{day:02}");
    match (hour, minute, second) {
        (0, 0, 0) => day,
        // Excel's day 0: a time without a date.
        _ if date.as_f64() < 1.0 => format!("{hour:02}:{minute:02}:{second:02}"),
        _ => format!("{day} {hour:02}:{minute:02}:{second:02}"),
    }
}

fn of_xlsx(error: XlsxError) -> Error {
    match error {
        XlsxError::Password => Error::lost(Reason::Encrypted, "protected by a password"),
        other => damaged(other),
    }
}

fn of_xls(error: XlsError) -> Error {
    match error {
        XlsError::Password => Error::lost(Reason::Encrypted, "protected by a password"),
        other => damaged(other),
    }
}

fn of_ods(error: OdsError) -> Error {
    match error {
        OdsError::Password => Error::lost(Reason::Encrypted, "protected by a password"),
        OdsError::InvalidMime(_) => {
            Error::lost(Reason::Unsupported, "an OpenDocument that is no sheet")
        }
        OdsError::CellLimitExceeded { max, .. } => {
            Error::lost(Reason::TooLarge, format!("a sheet of over {max} cells"))
        }
        other => damaged(other),
    }
}

/// calamine's message may quote the document, so it goes no further.
fn damaged<E>(_: E) -> Error {
    Error::broken("a damaged workbook")
}
