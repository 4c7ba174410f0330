//! Notices that the user wants the program to end.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{SignalKind, signal};

/// Whether SIGINT or SIGTERM has come since [`StopSignal::watch`].
#[derive(Clone, Debug)]
pub struct StopSignal(Arc<AtomicBool>);

impl StopSignal {
    /// Takes both signals from now on; for programs beside the node, which has its own loop.
    ///
    /// # Errors
    /// If the system gives no thread or no signals.
    pub fn watch() -> io::Result<Self> {
        let stop = Self(Arc::new(AtomicBool::new(false)));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (mut interrupt, mut terminate) = {
            let _inside = runtime.enter();
            (
                signal(SignalKind::interrupt())?,
                signal(SignalKind::terminate())?,
            )
        };
        let flag = stop.0.clone();
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        _ = interrupt.recv() => {}
                        _ = terminate.recv() => {}
                    }
                });
                flag.store(true, Ordering::Relaxed);
            })?;
        Ok(stop)
    }

    /// Whether the program should end.
    pub fn has_come(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
