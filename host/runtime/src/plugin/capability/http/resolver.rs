//! Looks names up, a few at a time.
//!
//! A lookup of the system takes a thread of this process, and nothing ends it: no time-out of a request, and not the
//! end of its call. So it keeps its place until it has ended by itself, whoever has given up on it. Who waits for a
//! place waits for a connection, within `limits.http-connect`.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};

use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower_service::Service;

/// Lookups of one workload at once.
const OF_ONE: usize = 8;
/// Lookups of all workloads at once. Tokio has 512 threads for what blocks, and whatever else blocks needs the others.
const OF_ALL: usize = 128;

static ALL: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(OF_ALL)));

/// Looks names up for one workload.
#[derive(Debug, Clone)]
pub(super) struct Resolver<R = GaiResolver> {
    inner: R,
    /// Places of this workload.
    own: Arc<Semaphore>,
    /// Places of all workloads.
    all: Arc<Semaphore>,
}

impl Resolver {
    /// Asks the system.
    pub(super) fn system() -> Self {
        Self::new(GaiResolver::new(), Arc::clone(&ALL))
    }
}

impl<R> Resolver<R> {
    fn new(inner: R, all: Arc<Semaphore>) -> Self {
        Self { inner, own: Arc::new(Semaphore::new(OF_ONE)), all }
    }
}

impl<R> Service<Name> for Resolver<R>
where
    R: Service<Name, Error = io::Error> + Clone + Send + 'static,
    R::Response: Send + 'static,
    R::Future: Send,
{
    type Response = R::Response;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<R::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let Self { inner, own, all } = self.clone();
        Box::pin(async move {
            let places = [place(own).await?, place(all).await?];
            let lookup = tokio::spawn(look_up(inner, name, places));
            lookup.await.unwrap_or_else(|_| Err(io::Error::other("the lookup was not finished")))
        })
    }
}

async fn place(places: Arc<Semaphore>) -> io::Result<OwnedSemaphorePermit> {
    places.acquire_owned().await.map_err(io::Error::other)
}

/// Gives the places back when it has ended.
async fn look_up<R>(mut inner: R, name: Name, places: [OwnedSemaphorePermit; 2]) -> io::Result<R::Response>
where
    R: Service<Name, Error = io::Error>,
{
    poll_fn(|context| inner.poll_ready(context)).await?;
    let found = inner.call(name).await;
    drop(places);
    found
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::iter::{Empty, empty};
    use std::net::SocketAddr;

    use tokio::sync::watch;
    use tokio::task::{JoinHandle, yield_now};

    use super::*;

    /// Lookups that hang until they are let go.
    #[derive(Debug, Clone)]
    struct Hanging {
        begun: watch::Sender<usize>,
        let_go: Arc<Semaphore>,
    }

    impl Hanging {
        fn new() -> Self {
            Self { begun: watch::Sender::new(0), let_go: Arc::new(Semaphore::new(0)) }
        }

        /// Waits until so many have begun and all that can go on has gone on: no more have.
        async fn just(&self, count: usize) {
            self.begun.subscribe().wait_for(|begun| *begun >= count).await.unwrap();
            for _ in 0..100 {
                yield_now().await;
            }
            assert_eq!(*self.begun.borrow(), count);
        }
    }

    impl Service<Name> for Hanging {
        type Response = Empty<SocketAddr>;
        type Error = io::Error;
        type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Name) -> Self::Future {
            let Self { begun, let_go } = self.clone();
            Box::pin(async move {
                begun.send_modify(|count| *count += 1);
                let_go.acquire().await.map_err(io::Error::other)?.forget();
                Ok(empty())
            })
        }
    }

    type Caller = JoinHandle<io::Result<Empty<SocketAddr>>>;

    fn callers(resolver: &mut Resolver<Hanging>, count: usize) -> Vec<Caller> {
        (0..count).map(|_| tokio::spawn(resolver.call("api.example.com".parse().unwrap()))).collect()
    }

    async fn give_up(callers: impl IntoIterator<Item = Caller>) {
        for caller in callers {
            caller.abort();
            assert!(caller.await.unwrap_err().is_cancelled());
        }
    }

    #[tokio::test]
    async fn one_lookup_more_waits_until_another_has_ended_and_not_until_its_caller_has_given_up() {
        let names = Hanging::new();
        let mut resolver = Resolver::new(names.clone(), Arc::new(Semaphore::new(OF_ALL)));
        let mut callers = callers(&mut resolver, OF_ONE + 1);
        names.just(OF_ONE).await;
        let last = callers.pop().unwrap();
        give_up(callers).await;
        names.just(OF_ONE).await;
        names.let_go.add_permits(1);
        names.just(OF_ONE + 1).await;
        names.let_go.add_permits(OF_ONE);
        assert!(last.await.unwrap().is_ok());
    }

    #[tokio::test]
    async fn one_that_has_given_up_on_its_place_takes_none() {
        let names = Hanging::new();
        let mut resolver = Resolver::new(names.clone(), Arc::new(Semaphore::new(OF_ALL)));
        let hung = callers(&mut resolver, OF_ONE);
        let waiting = callers(&mut resolver, OF_ONE);
        names.just(OF_ONE).await;
        give_up(waiting).await;
        names.let_go.add_permits(OF_ONE);
        for caller in hung {
            assert!(caller.await.unwrap().is_ok());
        }
        assert_eq!((*names.begun.borrow(), resolver.own.available_permits()), (OF_ONE, OF_ONE));
    }

    #[tokio::test]
    async fn all_workloads_together_have_a_bound_too_and_each_its_own() {
        let (names, all) = (Hanging::new(), Arc::new(Semaphore::new(OF_ONE + 2)));
        let mut one = Resolver::new(names.clone(), Arc::clone(&all));
        let mut other = Resolver::new(names.clone(), all);
        let _of_one = callers(&mut one, OF_ONE + 5);
        names.just(OF_ONE).await;
        let _of_other = callers(&mut other, OF_ONE);
        names.just(OF_ONE + 2).await;
    }
}
