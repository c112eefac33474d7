use std::sync::Arc;

use tokio::sync::Semaphore;

use super::rows::Rows;
use super::token::Admin;
use crate::status::http::view::View;
use crate::status::recorder::Recorder;

/// The most live streams at once: a browser with several tabs has one each.
const STREAMS: usize = 16;
/// The most readings of dead letters at once: each asks the server for a lot.
const READINGS: usize = 2;

/// What the page's answers are made of.
pub(crate) struct PageState {
    pub(super) view: Arc<View>,
    pub(super) recorder: Arc<Recorder>,
    pub(super) rows: Rows,
    pub(super) admin: Admin,
    pub(super) streams: Arc<Semaphore>,
    pub(super) readings: Semaphore,
}

impl PageState {
    pub(crate) fn new(view: Arc<View>, recorder: Arc<Recorder>, admin: Admin) -> Arc<Self> {
        let (streams, readings) = (Arc::new(Semaphore::new(STREAMS)), Semaphore::new(READINGS));
        Arc::new(Self { view, recorder, rows: Rows::default(), admin, streams, readings })
    }

    /// Tells in the log what keeps the page from doing all that it should.
    pub(crate) async fn look(&self) {
        self.admin.look().await;
    }
}
