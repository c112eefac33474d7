//! What the instances of one workload share: what they may publish and ask, and who asks for them.

use std::sync::Arc;

use parking_lot::RwLock;

use super::refused::Refused;
use crate::config::{Grants, Limits, Workload};
use crate::denial_log::DenialLog;
use crate::ports::Requester;
use crate::subject::{check_subject, shown};

/// What the instances of one workload share. The default grants nothing.
#[derive(Default)]
pub(crate) struct MessagingAccess {
    pub(super) workload: Arc<str>,
    grants: Grants,
    pub(super) limits: Limits,
    /// Nothing before the workload is set up, or where no request is granted.
    requester: RwLock<Option<Arc<dyn Requester>>>,
    denials: DenialLog,
}

impl MessagingAccess {
    /// Of a workload that is not set up yet.
    pub(crate) fn new(workload: &Workload) -> Arc<Self> {
        Arc::new(Self {
            workload: workload.name.as_str().into(),
            grants: workload.grants.clone(),
            limits: workload.limits.clone(),
            ..Self::default()
        })
    }

    /// From now on requests are sent by this.
    pub(crate) fn ask_by(&self, requester: Arc<dyn Requester>) {
        *self.requester.write() = Some(requester);
    }

    pub(super) fn requester(&self) -> Result<Arc<dyn Requester>, Refused> {
        self.requester.read().clone().ok_or_else(|| Refused::Unavailable("the workload is not set up yet".to_owned()))
    }

    /// Checks that the handler may publish on a subject.
    pub(super) fn check_publication(&self, subject: &str) -> Result<(), Refused> {
        self.check(subject, self.grants.may_publish(subject), "publish on", "grants.publish")
    }

    /// Checks that the handler may send a request on a subject.
    pub(super) fn check_request(&self, subject: &str) -> Result<(), Refused> {
        self.check(subject, self.grants.may_request(subject), "ask on", "grants.request")
    }

    fn check(&self, subject: &str, is_granted: bool, what: &str, key: &str) -> Result<(), Refused> {
        check_subject(subject).map_err(Refused::Subject)?;
        if is_granted {
            return Ok(());
        }
        let subject = shown(subject);
        if let Some(more) = self.denials.admit() {
            let workload = &self.workload;
            tracing::warn!(%workload, more, "the handler may not {what} `{subject}`; add it to {key} if it may");
        }
        let not_granted = format!("`{subject}` is not granted: {key} of its workload has no subject that matches");
        Err(Refused::NotGranted(not_granted))
    }
}
