//! A task that ends with whoever started it.

use tokio::task::JoinHandle;

/// See the module's text.
pub(crate) struct Task(Box<dyn Fn() + Send + Sync>);

impl Task {
    pub(crate) fn new<T: Send + 'static>(running: JoinHandle<T>) -> Self {
        Self(Box::new(move || running.abort()))
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        (self.0)();
    }
}
