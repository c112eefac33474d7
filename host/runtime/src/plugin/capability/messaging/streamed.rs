//! The asynchronous form, `wasmcloud:messaging@0.3.0`: several calls of an instance run at once, and bodies are
//! streams.
//!
//! What a guest publishes or asks is of the call whose task it runs in.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::time::{Instant, timeout_at};
use wasmtime::component::{Accessor, ComponentType, GuestTaskId, Lift, Linker, Lower, StreamReader, TypedFunc};
use wasmtime::{AsContextMut as _, Result};

use super::access::MessagingAccess;
use super::body::{Collector, Whole, Written};
use super::call::Call;
use super::held_bytes::HeldBytes;
use super::refused::Refused;
use super::state::{MessagingState, no_call};
use crate::contract::{Answer, Delivery, Failure};
use crate::ports::GuestRequest;

/// The interface that such a component exports, in the version that this host has. Its function is as in 0.2.0.
pub(crate) const STREAMED_HANDLER: &str = "wasmcloud:messaging/handler@0.3.0";
const CONSUMER: &str = "wasmcloud:messaging/consumer@0.3.0";
const TYPES: &str = "wasmcloud:messaging/types@0.3.0";
/// How long an answer is waited for where the guest does not say.
const WITHIN: Duration = Duration::from_secs(10);

/// The function of such a component.
pub(crate) type HandleStreamed = TypedFunc<(BrokerMessage,), (std::result::Result<(), HandleMessageError>,)>;

#[derive(ComponentType, Lift, Lower)]
#[component(record)]
#[allow(unreachable_pub, reason = "the type of an instance's exports has it")]
pub struct BrokerMessage {
    subject: String,
    body: StreamReader<u8>,
    #[component(name = "reply-to")]
    reply_to: Option<String>,
}

#[derive(ComponentType, Lift, Lower)]
#[component(variant)]
#[allow(unreachable_pub, reason = "the type of an instance's exports has it")]
pub enum HandleMessageError {
    #[component(name = "reject")]
    Reject,
    #[component(name = "retry")]
    Retry,
    #[component(name = "other")]
    Other(String),
}

#[derive(ComponentType, Lift, Lower)]
#[component(variant)]
enum Error {
    #[component(name = "subject-invalid")]
    SubjectInvalid,
    #[component(name = "access-denied")]
    AccessDenied,
    #[component(name = "timeout")]
    Timeout,
    #[component(name = "broker-unavailable")]
    BrokerUnavailable,
    #[component(name = "message-too-large")]
    MessageTooLarge,
    #[component(name = "quota-exceeded")]
    QuotaExceeded,
    #[component(name = "other")]
    Other(String),
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Subject(_) => Self::SubjectInvalid,
            Refused::NotGranted(_) => Self::AccessDenied,
            Refused::TooLarge(_) => Self::MessageTooLarge,
            Refused::TooMany(_) => Self::QuotaExceeded,
            Refused::Late(_) => Self::Timeout,
            Refused::Unavailable(_) => Self::BrokerUnavailable,
            Refused::Other(why) => Self::Other(why),
        }
    }
}

impl From<HandleMessageError> for Failure {
    fn from(error: HandleMessageError) -> Self {
        match error {
            HandleMessageError::Retry => Self::Retry(None),
            HandleMessageError::Reject => Self::Reject("the handler answered `reject`, which has no reason".to_owned()),
            HandleMessageError::Other(reason) => Self::Reject(reason),
        }
    }
}

type State<T> = fn(&mut T) -> &mut MessagingState;

/// Handles a delivery.
///
/// # Errors
/// The guest trapped: its instance is gone, with all its calls.
pub(crate) async fn handle<T: Send>(
    accessor: &Accessor<T>,
    state: State<T>,
    handle: HandleStreamed,
    delivery: &Delivery,
) -> Result<Answer> {
    let call = accessor.with(|mut access| -> Result<_> {
        let mut call = Call::new(delivery, &state(access.data_mut()).access);
        let body = call.bodies.open(delivery.payload.clone(), None);
        let body = StreamReader::new(access.as_context_mut(), body)?;
        let (subject, reply_to) = (delivery.subject.clone(), delivery.reply_to.clone());
        let begun =
            handle.start_call_concurrent(access.as_context_mut(), (BrokerMessage { subject, body, reply_to },))?;
        state(access.data_mut()).calls.insert(begun.task(), call);
        Ok(begun)
    })?;
    let task = call.task();
    let (handled,) = handle.finish_call_concurrent(accessor, call).await?;
    let ended = accessor.with(|mut access| state(access.data_mut()).calls.remove(&task));
    let response = ended.map(|call| call.response).unwrap_or_default();
    Ok(handled.map(|()| response).map_err(Failure::from))
}

/// Lets handlers of this form import it.
pub(crate) fn link_streamed<T: Send>(linker: &mut Linker<T>, state: State<T>) -> Result<()> {
    linker.instance(TYPES)?;
    let mut consumer = linker.instance(CONSUMER)?;
    consumer.func_wrap_concurrent("publish", move |accessor, (message,): (BrokerMessage,)| {
        async move { Ok((publish(accessor, state, message).await?.map_err(Error::from),)) }.boxed()
    })?;
    consumer.func_wrap_concurrent(
        "request",
        move |accessor, (subject, body, timeout_ms): (String, StreamReader<u8>, Option<u32>)| {
            async move { Ok((request(accessor, state, subject, body, timeout_ms).await?.map_err(Error::from),)) }
                .boxed()
        },
    )
}

type Outcome<R> = Result<std::result::Result<R, Refused>>;

/// Notes what is to be sent.
async fn publish<T: Send>(accessor: &Accessor<T>, state: State<T>, message: BrokerMessage) -> Outcome<()> {
    let BrokerMessage { subject, body, reply_to } = message;
    let body = body.guard(accessor);
    let task = task(accessor)?;
    let admitted = in_call(accessor, state, task, "published", |call, access| {
        call.admit(access, &subject, reply_to.is_some())?;
        let part = call.bytes.part(subject.len())?;
        Ok((call.bodies.collect(part), call.bytes.clone()))
    });
    let (collector, bytes) = match admitted {
        Ok(admitted) => admitted,
        Err(refused) => return Ok(Err(refused)),
    };
    let (payload, part) = match collect(accessor, body.into_stream(), collector).await? {
        Ok(collected) => collected,
        Err(refused) => return Ok(Err(refused)),
    };
    // Others may have been noted while its body came.
    Ok(in_call(accessor, state, task, "published", |call, access| {
        check_same(call, &bytes, "published")?;
        call.admit(access, &subject, false)?;
        part.keep();
        call.note(subject, payload);
        Ok(())
    }))
}

/// Sends a request, and waits for the answer.
async fn request<T: Send>(
    accessor: &Accessor<T>,
    state: State<T>,
    subject: String,
    body: StreamReader<u8>,
    timeout_ms: Option<u32>,
) -> Outcome<BrokerMessage> {
    let body = body.guard(accessor);
    let task = task(accessor)?;
    let admitted = in_call(accessor, state, task, "asked", |call, access| {
        call.admit_request(access, &subject)?;
        let collector = call.bodies.collect(call.bytes.nothing());
        Ok((access.requester()?, call.hops.clone(), call.bytes.clone(), collector, call.ended.subscribe()))
    });
    let (requester, hops, bytes, collector, mut ended) = match admitted {
        Ok(admitted) => admitted,
        Err(refused) => return Ok(Err(refused)),
    };
    let (payload, part) = match collect(accessor, body.into_stream(), collector).await? {
        Ok(collected) => collected,
        Err(refused) => return Ok(Err(refused)),
    };
    let within = timeout_ms.map_or(WITHIN, |ms| Duration::from_millis(ms.into()));
    let deadline = Instant::now() + within;
    let asking = async {
        let Ok(Ok(_turn)) = timeout_at(deadline, bytes.turns.acquire()).await else {
            return Err(Refused::Late(format!("the requests before it were not answered within {within:?}")));
        };
        let within = deadline.saturating_duration_since(Instant::now());
        let request = GuestRequest { subject, payload: payload.into(), hops, within };
        requester.request(request).await.map_err(Refused::from)
    };
    let asked = tokio::select! {
        biased;
        asked = asking => asked,
        // Never a value: it is closed with the call.
        _ = ended.changed() => Err(no_call("asked")),
    };
    drop(part);
    let answer = match asked {
        Ok(answer) => answer,
        Err(refused) => return Ok(Err(refused)),
    };
    let body = in_call(accessor, state, task, "asked", |call, _| {
        check_same(call, &bytes, "asked")?;
        let part = call.bytes.part(answer.payload.len())?;
        Ok(call.bodies.open(answer.payload, Some(part)))
    });
    match body {
        Ok(body) => {
            let body = accessor.with(|access| StreamReader::new(access, body))?;
            Ok(Ok(BrokerMessage { subject: answer.subject, body, reply_to: answer.reply_to }))
        }
        Err(refused) => Ok(Err(refused)),
    }
}

/// The task of the call that the guest runs in. To be asked before anything is awaited.
fn task<T: Send>(accessor: &Accessor<T>) -> Result<Option<GuestTaskId>> {
    accessor.with(|mut access| -> Result<_> { Ok(access.as_context_mut().async_call_stack()?.last()) })
}

/// Does something with the call of a task, if it has not ended.
fn in_call<T: Send, R>(
    accessor: &Accessor<T>,
    state: State<T>,
    task: Option<GuestTaskId>,
    what: &str,
    does: impl FnOnce(&mut Call, &MessagingAccess) -> std::result::Result<R, Refused>,
) -> std::result::Result<R, Refused> {
    accessor.with(|mut access| {
        let MessagingState { access, calls, .. } = state(access.data_mut());
        let call = task.and_then(|task| calls.get_mut(&task)).ok_or_else(|| no_call(what))?;
        does(call, access)
    })
}

/// Whether this is the call that began with it. A task of a later call can have the same name.
fn check_same(call: &Call, bytes: &Arc<HeldBytes>, what: &str) -> std::result::Result<(), Refused> {
    if Arc::ptr_eq(&call.bytes, bytes) { Ok(()) } else { Err(no_call(what)) }
}

/// Waits until a guest has written all of a body.
async fn collect<T: Send>(
    accessor: &Accessor<T>,
    body: StreamReader<u8>,
    (collector, written): (Collector, Written),
) -> Outcome<Whole> {
    accessor.with(|access| body.pipe(access, collector))?;
    // The collector answers when it is dropped at the latest; an error means that the call has ended.
    Ok(written.await.unwrap_or_else(|_| Err(no_call("written"))))
}
