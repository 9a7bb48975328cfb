//! `extract-text FILE`: the text of a document, as a worker would embed it, on standard output; what it is and who
//! read it on standard error. Reads it in a child process with a worker's limits.

use std::error::Error as _;
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::ExitCode;

use vecferry_embed::text::{Error, Extractor, Hints, Limits, Text, extract_in_child};

/// Tells this program that it is the child.
const CHILD: &str = "--in-child";

fn main() -> ExitCode {
    match std::env::args_os().nth(1) {
        None => {
            eprintln!("usage: extract-text FILE >TEXT");
            ExitCode::from(2)
        }
        Some(argument) if argument == CHILD => extract_in_child(),
        Some(file) => match run(Path::new(&file)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
                eprintln!("error: {error}{cause}");
                ExitCode::FAILURE
            }
        },
    }
}

fn run(file: &Path) -> Result<(), Error> {
    let machine = |action| move |source| Error::Machine { action, source };
    let program = std::env::current_exe().map_err(machine("find this program"))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(machine("start a runtime"))?;
    let hints = Hints {
        name: file.file_name().map(|name| name.to_string_lossy().into_owned()),
        ..Hints::default()
    };
    let extractor =
        Extractor::new(program, vec![CHILD.into()], Limits::default(), NonZeroUsize::MIN);
    let folder = std::env::temp_dir();
    let text: Text = runtime.block_on(extractor.extract(file, &hints, &folder))?;
    eprintln!("{}, {} bytes of text, by {}", text.format, text.bytes, text.reader);
    let mut from = text.file.reopen().map_err(machine("open the text"))?;
    std::io::copy(&mut from, &mut std::io::stdout().lock()).map_err(machine("print the text"))?;
    Ok(())
}
