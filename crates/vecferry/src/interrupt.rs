//! Ctrl-C, SIGTERM, SIGQUIT and a terminal that goes away (SIGHUP): the first asks the run to stop where it can be continued, the second ends the program.

use std::io::{self, Write};

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
        let signals = [
            open(SignalKind::interrupt())?,
            open(SignalKind::terminate())?,
            open(SignalKind::quit())?,
            open(SignalKind::hangup())?,
        ];
        let token = CancellationToken::new();
        let mut listener = JoinSet::new();
        listener.spawn(obey(signals, token.clone(), ui.bars.clone()));
        Ok(Interrupt { token, _listener: listener })
    }
}

fn no_signals(source: io::Error) -> Error {
    vecferry_core::Error::Local { doing: "listen for signals".into(), source }.into()
}

async fn obey(signals: [Signal; 4], token: CancellationToken, bars: MultiProgress) {
    let [mut interrupt, mut terminate, mut quit, mut hangup] = signals;
    loop {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = quit.recv() => {}
            // A terminal that is gone cannot ask twice.
            _ = hangup.recv() => if token.is_cancelled() { continue },
        }
        if token.is_cancelled() {
            // What is recorded on the target is complete at every instant; nothing needs to be put away.
            tell(&bars, "stopped at once; `vecferry status` shows what was left in which state");
            std::process::exit(Exit::Interrupted as i32);
        }
        token.cancel();
        tell(&bars, "stopping; once more to stop at once");
    }
}

/// Best effort: after a hang-up there is nobody to tell, and `eprintln!` would panic.
fn tell(bars: &MultiProgress, text: &str) {
    bars.suspend(|| drop(writeln!(io::stderr(), "{text}")));
}
