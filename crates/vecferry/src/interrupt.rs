//! Ctrl-C and SIGTERM: the first asks the run to stop where it can be continued, the second ends the program.

use std::io;

use indicatif::MultiProgress;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Exit};
use crate::ui::Ui;

/// Listens for as long as it lives.
#[derive(Debug)]
pub(crate) struct Interrupt {
    /// Cancelled by the first signal.
    pub(crate) token: CancellationToken,
    /// A task of its own, not a branch of a select: signals must be heard while the work computes.
    _listener: JoinSet<()>,
}

impl Interrupt {
    /// Begins to listen. Questions to the operator come before this: at a prompt, Ctrl-C just ends the program.
    pub(crate) fn listen(ui: &Ui) -> Result<Interrupt, Error> {
        let open = |kind| signal(kind).map_err(no_signals);
        let (interrupt, terminate) =
            (open(SignalKind::interrupt())?, open(SignalKind::terminate())?);
        let token = CancellationToken::new();
        let mut listener = JoinSet::new();
        listener.spawn(obey(interrupt, terminate, token.clone(), ui.bars.clone()));
        Ok(Interrupt { token, _listener: listener })
    }
}

fn no_signals(source: io::Error) -> Error {
    vecferry_core::Error::Local { doing: "listen for signals".into(), source }.into()
}

async fn obey(
    mut interrupt: Signal,
    mut terminate: Signal,
    token: CancellationToken,
    bars: MultiProgress,
) {
    loop {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        if token.is_cancelled() {
            // What is recorded on the target is complete at every instant; nothing needs to be put away.
            std::process::exit(Exit::Interrupted as i32);
        }
        token.cancel();
        bars.suspend(|| eprintln!("stopping; once more to stop at once"));
    }
}
