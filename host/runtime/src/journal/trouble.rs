//! Why lines are not kept.

use parking_lot::Mutex;

/// What keeps lines from a file or a stream: logged when it begins and when it ends, and to be seen as long as it
/// lasts.
#[derive(Debug, Default)]
pub(crate) struct Trouble(Mutex<Option<String>>);

impl Trouble {
    /// Lines are not kept, for this reason. Logged when it is another than before.
    pub(crate) fn begin(&self, problem: &str) {
        let problem = format!("{problem}; decisions go on without it, and the lines that are missing are counted");
        let before = self.0.lock().replace(problem.clone());
        if before.as_ref() != Some(&problem) {
            tracing::error!("{problem}");
        }
    }

    /// They are kept. Logged if they were not before.
    pub(crate) fn end(&self, what: &str) {
        if self.0.lock().take().is_some() {
            tracing::info!("{what} is written again");
        }
    }

    /// What is wrong now.
    pub(crate) fn now(&self) -> Option<String> {
        self.0.lock().clone()
    }
}
