//! What the server does not let this user do: logged once, and kept for those that wait for an answer in vain.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::broadcast;
use tokio::time::Instant;

use super::connection_users::ConnectionUsers;
use crate::permissions::{Denial, Verb};

/// How many denials are logged and remembered. There is a limit, for guests and requesters can choose subjects.
const MOST: usize = 100;

/// How long a denial is remembered after it was last seen. A server gives a permission back without a word.
const REMEMBERED: Duration = Duration::from_secs(60);

/// What was denied since the connection was made.
#[derive(Debug)]
pub(super) struct PermissionDenials {
    /// The first tokens of this client's inboxes.
    inbox: String,
    /// What would have to be allowed, and when it was last denied.
    known: Mutex<HashMap<(Verb, String), Instant>>,
    news: broadcast::Sender<Denial>,
    aloud: AtomicBool,
    /// Subjects of which denials are not told, for a host can do without.
    hushed: Mutex<BTreeSet<String>>,
    users: ConnectionUsers,
}

impl PermissionDenials {
    pub(super) fn new(inbox: &str, users: ConnectionUsers) -> Self {
        let (news, _) = broadcast::channel(MOST);
        let (aloud, hushed) = (AtomicBool::new(false), Mutex::default());
        Self { inbox: inbox.to_owned(), known: Mutex::default(), news, aloud, hushed, users }
    }

    /// The denials from now on.
    pub(super) fn news(&self) -> broadcast::Receiver<Denial> {
        self.news.subscribe()
    }

    /// Logs denials from now on. Before that the code that asks for something reports its denial.
    pub(super) fn tell(&self) {
        self.aloud.store(true, Ordering::Relaxed);
    }

    /// A denial to publish to this subject is not told as something that is to be allowed: a host can do without.
    pub(super) fn hush(&self, subject: &str) {
        self.hushed.lock().insert(subject.to_owned());
    }

    /// Takes a denial, and logs it if it is the first that asks for this permission.
    pub(super) fn note(&self, denial: &Denial) {
        // An error means that nobody waits for denials.
        self.news.send(denial.clone()).ok();
        let allow = denial.grant(&self.inbox);
        let first = self.is_new(denial.verb, &allow);
        let Denial { verb, subject } = denial;
        let is_hushed = *verb == Verb::Publish && self.hushed.lock().contains(subject);
        if first && !is_hushed && self.aloud.load(Ordering::Relaxed) {
            tracing::error!(
                workloads = self.users.names(),
                subject,
                allow,
                "the NATS server does not let this user {verb} to a subject: allow it; \
                `tidegate permissions` prints all that a host needs"
            );
        } else {
            tracing::debug!(%verb, subject, "denied");
        }
    }

    fn is_new(&self, verb: Verb, allow: &str) -> bool {
        let mut known = self.known.lock();
        known.retain(|_, last| last.elapsed() < REMEMBERED);
        let key = (verb, allow.to_owned());
        let is_known = known.contains_key(&key);
        if is_known || known.len() < MOST {
            known.insert(key, Instant::now());
            return !is_known;
        }
        false
    }

    /// Forgets all denials: a new connection may have other permissions.
    pub(super) fn forget(&self) {
        self.known.lock().clear();
    }

    /// Whether the server has just denied to publish to a subject.
    pub(super) fn publication(&self, subject: &str) -> bool {
        let denial = Denial { verb: Verb::Publish, subject: subject.to_owned() };
        let last = self.known.lock().get(&(Verb::Publish, denial.grant(&self.inbox))).copied();
        last.is_some_and(|last| last.elapsed() < REMEMBERED)
    }

    /// What has to be allowed so that an answer to a request on a subject is heard. `None` where nothing is known to be
    /// denied. Of several the last: what was denied before may have been allowed since.
    pub(super) fn silences(&self, subject: &str) -> Option<(Verb, String)> {
        let ears = (Verb::Subscribe, format!("{}.>", self.inbox));
        let known = self.known.lock();
        let denied = [(Verb::Publish, subject.to_owned()), ears].into_iter().filter_map(|key| {
            let last = known.get(&key).copied().filter(|last| last.elapsed() < REMEMBERED)?;
            Some((last, key))
        });
        denied.max_by_key(|(last, _)| *last).map(|(_, key)| key)
    }

    /// Whether a denial is about this client's inboxes. Then no answer to any request arrives.
    pub(super) fn is_deaf(&self, denial: &Denial) -> bool {
        denial.verb == Verb::Subscribe
            && denial.subject.strip_prefix(&self.inbox).is_some_and(|rest| rest.starts_with('.'))
    }

    /// The subject that has to be allowed so that this is not denied.
    pub(super) fn grant(&self, denial: &Denial) -> String {
        denial.grant(&self.inbox)
    }

    /// Awaits an answer, or the denial because of which the answer will not come. The server does not answer a request
    /// that it denies, so a denial is all that ends such a wait.
    pub(super) async fn unless<T>(
        &self,
        concerns: impl Fn(&Denial) -> bool,
        answer: impl Future<Output = T>,
    ) -> Result<T, Denial> {
        let mut news = self.news();
        let denied = async {
            loop {
                match news.recv().await {
                    Ok(denial) if self.is_deaf(&denial) || concerns(&denial) => return denial,
                    Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
                }
            }
        };
        tokio::select! {
            biased;
            denial = denied => Err(denial),
            answer = answer => Ok(answer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denial(verb: Verb, subject: &str) -> Denial {
        Denial { verb, subject: subject.to_owned() }
    }

    #[tokio::test]
    async fn who_waits_for_an_answer_is_told_that_it_was_denied() {
        let denied = PermissionDenials::new("_INBOX", ConnectionUsers::default());
        let (asked, other) = (denial(Verb::Publish, "a"), denial(Verb::Publish, "b"));
        let asking = async {
            denied.note(&other);
            denied.note(&asked);
            std::future::pending::<()>().await;
        };
        assert_eq!(denied.unless(|denial| denial.subject == "a", asking).await, Err(asked));
        assert_eq!(denied.unless(|_| true, std::future::ready(7)).await, Ok(7));
    }

    #[tokio::test]
    async fn without_an_inbox_no_answer_can_come() {
        let denied = PermissionDenials::new("_INBOX_mine", ConnectionUsers::default());
        let asking = async {
            denied.note(&denial(Verb::Subscribe, "_INBOX_mine2.a.*"));
            denied.note(&denial(Verb::Subscribe, "_INBOX_mine.a.*"));
            std::future::pending::<()>().await;
        };
        let denial = denied.unless(|_| false, asking).await;
        assert_eq!(denial.map_err(|denial| denied.grant(&denial)), Err("_INBOX_mine.>".to_owned()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_denial_that_goes_on_is_told_once_and_one_that_comes_back_again() {
        let denied = PermissionDenials::new("_INBOX", ConnectionUsers::default());
        for new in [true, false, false] {
            assert_eq!(denied.is_new(Verb::Publish, "out.>"), new);
            tokio::time::advance(REMEMBERED / 2).await;
        }
        assert!(denied.publication("out.>"));
        tokio::time::advance(REMEMBERED).await;
        assert!(!denied.publication("out.>"));
        assert!(denied.is_new(Verb::Publish, "out.>"));
    }

    #[test]
    fn a_denied_publication_is_known_until_the_connection_is_made_anew() {
        let denied = PermissionDenials::new("_INBOX", ConnectionUsers::default());
        denied.note(&denial(Verb::Publish, "out.a"));
        denied.note(&denial(Verb::Subscribe, "out.b"));
        assert!(denied.publication("out.a") && !denied.publication("out.b"));
        denied.forget();
        assert!(!denied.publication("out.a"));
    }

    #[tokio::test(start_paused = true)]
    async fn of_two_denials_the_last_is_named_for_the_first_may_be_mended() {
        let denied = PermissionDenials::new("_INBOX", ConnectionUsers::default());
        let step = || tokio::time::advance(Duration::from_secs(8));
        assert_eq!(denied.silences("next"), None);
        denied.note(&denial(Verb::Publish, "next"));
        step().await;
        denied.note(&denial(Verb::Subscribe, "_INBOX.a.*"));
        assert_eq!(denied.silences("next"), Some((Verb::Subscribe, "_INBOX.>".to_owned())));
        step().await;
        denied.note(&denial(Verb::Publish, "next"));
        assert_eq!(denied.silences("next"), Some((Verb::Publish, "next".to_owned())));
        tokio::time::advance(REMEMBERED).await;
        assert_eq!(denied.silences("next"), None);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let denied = PermissionDenials::new("_INBOX", ConnectionUsers::default());
        for number in 0..1000 {
            denied.note(&denial(Verb::Publish, &format!("out.{number}")));
        }
        assert_eq!(denied.known.lock().len(), MOST);
    }
}
