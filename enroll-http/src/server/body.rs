//! Reading the body of a request within a size and a time.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::Request;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Frame, SizeHint};
use tokio::time::{Sleep, sleep};
use tower::{Layer, Service};

/// The most that the body of a request may hold, in bytes, unless said otherwise.
pub const MAX_BODY: usize = 64 * 1024;

/// The time within which the body of a request must have come, unless said otherwise.
pub const BODY_DEADLINE: Duration = Duration::from_secs(15);

/// Why a body was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BodyError {
    /// It is larger than so many bytes.
    #[error("the body is larger than {0} bytes")]
    TooLarge(usize),
    /// It did not come within that time.
    #[error("the body did not come within {0:?}")]
    TooSlow(Duration),
    /// The connection failed, or what came is no body.
    #[error("the body broke off")]
    Broken,
}

impl BodyError {
    /// What a body within another said, so that the inner of two bounds is told as it was passed.
    fn of(error: axum::Error) -> Self {
        let mut source: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        while let Some(error) = source {
            if let Some(known) = error.downcast_ref() {
                return *known;
            }
            source = error.source();
        }
        Self::Broken
    }
}

/// The whole body, of at most `max` bytes, if it comes within `deadline` from now.
///
/// A body whose declared length is over `max` is refused before a byte of it is read.
///
/// # Errors
/// [`BodyError`] says which bound was passed, or that the connection failed.
pub async fn read_body(body: Body, max: usize, deadline: Duration) -> Result<Bytes, BodyError> {
    let read = BoundedBody::new(body, max, deadline).collect().await?;
    Ok(read.to_bytes())
}

/// A layer under which no handler can read more of a body, or for longer, than is said here.
///
/// Where the order of checks matters, a handler takes the plain [`Body`] and calls [`read_body`]
/// when it is ready to; this layer is for routers that use extractors. Routes of streams stay
/// outside it.
///
/// # Defaults
/// [`MAX_BODY`] and [`BODY_DEADLINE`], counted from the arrival of the request's head.
#[derive(Debug, Clone, Copy)]
pub struct BodyDeadline {
    max: usize,
    deadline: Duration,
}

impl BodyDeadline {
    /// The defaults.
    #[must_use]
    pub const fn new() -> Self {
        Self { max: MAX_BODY, deadline: BODY_DEADLINE }
    }

    /// At most `max` bytes.
    #[must_use]
    pub const fn with_max(mut self, max: usize) -> Self {
        self.max = max;
        self
    }

    /// Within `deadline`.
    #[must_use]
    pub const fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }
}

impl Default for BodyDeadline {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for BodyDeadline {
    type Service = BodyDeadlineService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        BodyDeadlineService { inner, bounds: *self }
    }
}

/// What [`BodyDeadline`] makes of a service.
#[derive(Debug, Clone)]
pub struct BodyDeadlineService<S> {
    inner: S,
    bounds: BodyDeadline,
}

impl<S: Service<Request>> Service<Request> for BodyDeadlineService<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> S::Future {
        let BodyDeadline { max, deadline } = self.bounds;
        self.inner.call(request.map(|body| Body::new(BoundedBody::new(body, max, deadline))))
    }
}

/// A body that ends in an error where it passes a bound.
struct BoundedBody {
    body: Body,
    max: usize,
    left: usize,
    deadline: Duration,
    timer: Pin<Box<Sleep>>,
}

impl BoundedBody {
    fn new(body: Body, max: usize, deadline: Duration) -> Self {
        Self { body, max, left: max, deadline, timer: Box::pin(sleep(deadline)) }
    }

    fn is_declared_too_large(&self) -> bool {
        self.body.size_hint().lower() > self.left as u64
    }

    fn take(&mut self, frame: Frame<Bytes>) -> Result<Frame<Bytes>, BodyError> {
        let len = frame.data_ref().map_or(0, Bytes::len);
        self.left = self.left.checked_sub(len).ok_or(BodyError::TooLarge(self.max))?;
        Ok(frame)
    }
}

impl HttpBody for BoundedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if this.is_declared_too_large() {
            return Poll::Ready(Some(Err(BodyError::TooLarge(this.max))));
        }
        if this.timer.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Some(Err(BodyError::TooSlow(this.deadline))));
        }
        Pin::new(&mut this.body)
            .poll_frame(cx)
            .map(|next| next.map(|frame| frame.map_err(BodyError::of).and_then(|f| this.take(f))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of a machine behind a bad line.
#[cfg(test)]
pub(super) struct Stalled;

#[cfg(test)]
impl HttpBody for Stalled {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Pending
    }
}
