//! Tasks of the bus thread.
//!
//! The runtime keeps a task's panic to itself: the task would be gone, and the gateway would go on without its reader,
//! its publisher or whatever that was. So every task here is spawned by [`spawn`], and none outlives a bug.

use std::future::Future;
use std::panic::{AssertUnwindSafe, resume_unwind};

use futures_util::FutureExt as _;
use tokio::sync::oneshot;

use crate::status::EndsProcess;

/// Runs a task beside the others of this thread; if it panics, the process ends.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub(crate) fn spawn(task: impl Future<Output = ()> + 'static) {
    tokio::task::spawn_local(async move {
        // The guard stands behind the panic that is the task's own: one of the thread is not its business.
        if let Err(panic) = AssertUnwindSafe(task).catch_unwind().await {
            let _guard = EndsProcess("a task of the bus");
            resume_unwind(panic);
        }
    });
}

/// Answers when that is done, unless nobody waits any more.
pub(super) fn tell_when<T: 'static>(done: oneshot::Sender<T>, outcome: impl Future<Output = T> + 'static) {
    spawn(async move {
        let _ = done.send(outcome.await);
    });
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use tokio::task::{LocalSet, yield_now};

    use super::*;
    use crate::status::EXIT_BUG;

    #[tokio::test(flavor = "current_thread")]
    #[ignore = "ends its process: the test below runs it in one of its own"]
    async fn panics() {
        let panics = async {
            spawn(async {
                yield_now().await;
                panic!("a bug, as this test wants it");
            });
            loop {
                yield_now().await;
            }
        };
        LocalSet::new().run_until(panics).await;
    }

    #[test]
    fn a_task_that_panics_takes_the_process_with_it() {
        let mut process = Command::new(std::env::current_exe().unwrap());
        let ended = process.args(["--ignored", "--exact", "bus::task::tests::panics"]).output().unwrap();
        assert_eq!(ended.status.code(), Some(EXIT_BUG), "{ended:?}");
    }
}
