//! All handlers of a worker as one tower service.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use tower_layer::Layer;
use tower_service::Service;

use crate::worker::call::{Call, Handled};
use crate::worker::error::HandlerError;
use crate::worker::routes::{Routes, Running};

/// All handlers of a worker as one [`tower::Service`](tower_service::Service): what the layers of
/// [`Worker::layer`](crate::Worker::layer) wrap.
///
/// Time-outs are applied inside of it, the capture of panics and the retry policy outside of all
/// layers.
#[derive(Clone)]
pub struct Handlers(Kind);

#[derive(Clone)]
enum Kind {
    Plain(Arc<Routes>),
    Layered(Box<dyn Layered>),
}

impl Handlers {
    pub(crate) fn new(routes: Arc<Routes>) -> Self {
        Self(Kind::Plain(routes))
    }

    pub(crate) fn layered<L>(self, layer: &L) -> Self
    where
        L: Layer<Self>,
        L::Service: Service<Call, Response = Handled, Error: Into<HandlerError>, Future: Send>
            + Clone
            + Send
            + 'static,
    {
        Self(Kind::Layered(Box::new(layer.layer(self))))
    }
}

impl Service<Call> for Handlers {
    type Response = Handled;
    type Error = HandlerError;
    type Future = Running;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), HandlerError>> {
        match &mut self.0 {
            Kind::Plain(_) => Poll::Ready(Ok(())),
            Kind::Layered(service) => service.poll_ready(cx),
        }
    }

    fn call(&mut self, call: Call) -> Running {
        match &mut self.0 {
            Kind::Plain(routes) => match routes.get(call.route) {
                Some(route) => (route.run)(call),
                None => Box::pin(async { Err("a call names no handler".into()) }),
            },
            Kind::Layered(service) => service.call(call),
        }
    }
}

impl fmt::Debug for Handlers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handlers").finish_non_exhaustive()
    }
}

/// A service that layers made of [`Handlers`], without its type.
trait Layered: Send {
    fn clone_box(&self) -> Box<dyn Layered>;
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), HandlerError>>;
    fn call(&mut self, call: Call) -> Running;
}

impl<T> Layered for T
where
    T: Service<Call, Response = Handled, Error: Into<HandlerError>, Future: Send>
        + Clone
        + Send
        + 'static,
{
    fn clone_box(&self) -> Box<dyn Layered> {
        Box::new(self.clone())
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), HandlerError>> {
        Service::poll_ready(self, cx).map_err(Into::into)
    }

    fn call(&mut self, call: Call) -> Running {
        let call = Service::call(self, call);
        Box::pin(async move { call.await.map_err(Into::into) })
    }
}

impl Clone for Box<dyn Layered> {
    fn clone(&self) -> Self {
        (**self).clone_box()
    }
}
