//! What an instance has of it.

use std::sync::Arc;

use hyper::header::{HOST, HeaderName};
use hyper::{Method, Request, Response};
use wasmtime::component::ResourceTable;
use wasmtime_wasi_http::{
    DEFAULT_FORBIDDEN_HEADERS, Error, ForbiddenHeaderFilter, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView,
    WasiHttpHooks,
};

use super::access::HttpAccess;
use super::exchange::Exchanges;
use super::send::send;
use crate::plugin::capability::call_budget::CallBudget;
use crate::plugin::limits::instance::{HTTP_CHUNK, HTTP_HEADERS};

/// What goes on beside a response, until its body was read: nothing, for the pool's own tasks do it.
type Beside = Box<dyn Future<Output = Result<(), Error>> + Send>;

/// The part of a store that `wasi:http` works with. The default reaches nothing and says nothing.
pub(crate) struct HttpState {
    context: WasiHttpCtx,
    hooks: Requests,
}

impl Default for HttpState {
    fn default() -> Self {
        Self::with(Requests::default())
    }
}

#[derive(Default)]
struct Requests {
    access: Option<Arc<HttpAccess>>,
    /// Requests of the calls that run.
    made: CallBudget,
    /// Made with the first request of a call, or of several that run at once.
    exchanges: Option<Arc<Exchanges>>,
}

impl HttpState {
    pub(crate) fn new(access: Arc<HttpAccess>) -> Self {
        Self::with(Requests { access: Some(access), made: CallBudget::default(), exchanges: None })
    }

    fn with(hooks: Requests) -> Self {
        let mut context = WasiHttpCtx::new();
        context.set_field_size_limit(HTTP_HEADERS);
        Self { context, hooks }
    }

    pub(crate) fn view<'a>(&'a mut self, table: &'a mut ResourceTable) -> WasiHttpCtxView<'a> {
        WasiHttpCtxView { hooks: &mut self.hooks, table, ctx: &mut self.context }
    }

    pub(crate) fn begin_call(&mut self) {
        self.hooks.made.begin();
    }

    pub(crate) fn end_call(&mut self) {
        let each = self.hooks.access.as_ref().map_or(0, |access| access.limits.requests);
        self.hooks.made.end(each);
    }

    /// Ends what the guest left open when no call of it runs any more: of what it keeps it can read no more.
    pub(crate) fn close(&mut self) {
        self.hooks.end();
    }
}

/// With an instance that goes within a call all of it ends at once, and not as the store comes to it.
impl Drop for Requests {
    fn drop(&mut self) {
        self.end();
    }
}

impl Requests {
    fn end(&mut self) {
        if let Some(exchanges) = self.exchanges.take() {
            exchanges.end();
        }
    }

    /// Whether a request may be sent, before anything is done for it. It gets its URI as the host writes it.
    fn admit(&mut self, request: &mut Request<WasiBody>) -> Result<(Arc<HttpAccess>, Arc<Exchanges>), Error> {
        let access = self.access.as_ref().ok_or(Error::HttpRequestDenied)?;
        if !self.made.take(1, access.limits.requests) {
            access.tell(request.uri(), "is denied: its call made as many as limits.http-requests allows");
            return Err(Error::HttpRequestDenied);
        }
        // A tunnel to somewhere else.
        if request.method() == Method::CONNECT {
            return Err(Error::HttpRequestMethodInvalid);
        }
        *request.uri_mut() = access.admit(request.uri())?;
        // It is the origin's, and is made of the URI.
        request.headers_mut().remove(HOST);
        Ok((Arc::clone(access), Arc::clone(self.exchanges.get_or_insert_default())))
    }
}

impl WasiHttpHooks for Requests {
    /// What belongs to the connection and not to the request; `Host` is the origin's.
    fn forbidden_header_filter(&mut self) -> ForbiddenHeaderFilter {
        let more = [hyper::header::TE, hyper::header::TRAILER, hyper::header::EXPECT];
        Arc::new(move |name: &HeaderName| DEFAULT_FORBIDDEN_HEADERS.contains(name) || more.contains(name))
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        HTTP_CHUNK
    }

    fn p3_outgoing_body_chunk_size(&mut self) -> usize {
        HTTP_CHUNK
    }

    fn send_request(
        &mut self,
        mut request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<(Response<WasiBody>, Beside), Error>> + Send> {
        let admitted = self.admit(&mut request);
        Box::new(async move {
            let (access, exchanges) = admitted?;
            let sent = send(access, &exchanges, request, options.unwrap_or_default());
            let response = exchanges.during(sent).await?;
            Ok((response, Box::new(std::future::ready(Ok(()))) as Beside))
        })
    }
}
