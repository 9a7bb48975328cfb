//! A double that is an [`axum`] router, served on a free loopback port by a thread and a runtime of its own, so that a
//! test may block its own runtime. It ends when it is dropped, and every open connection with it.

use std::net::SocketAddr;
use std::path::Path;
use std::thread::JoinHandle;

use axum::Router;
use tokio::sync::oneshot;

use crate::error::{Result, file};

/// A router that is being served.
#[derive(Debug)]
pub(crate) struct Loopback {
    address: SocketAddr,
    /// Dropped to end the thread.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Loopback {
    /// Serves it from now on.
    ///
    /// # Errors
    /// No port, or no runtime.
    pub(crate) fn serve(router: Router) -> Result<Loopback> {
        let any = Path::new("127.0.0.1:0");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").map_err(file("bind", any))?;
        let address = listener.local_addr().map_err(file("bind", any))?;
        listener.set_nonblocking(true).map_err(file("bind", any))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(file("start a runtime for", any))?;
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            // Dropping the runtime at the end of this closure ends every open connection.
            runtime.block_on(async {
                let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
                tokio::select! {
                    _ = stopped => {}
                    _ = axum::serve(listener, router) => {}
                }
            });
        });
        Ok(Loopback { address, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Loopback {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
