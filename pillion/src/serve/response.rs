//! A response on its way to the client, and what it holds until its last byte is out.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use http_body::{Body as _, Frame, SizeHint};

use super::addresses::{Address, AddressPlace, Resource};
use super::admission::Permit;
use super::idle::Busy;

/// How much of a body HTTP/2 is given at once. It takes a whole frame as soon as the client has
/// room for one byte, and a frame that it has taken is not counted any more.
const SLICE_BYTES_MAX: usize = 16 << 10;

/// What a request holds while it is answered.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// A place among the requests of its address.
    pub(super) place: Option<AddressPlace>,
    /// A place among those that are worked on.
    pub(super) permit: Option<Arc<Permit>>,
    /// The bytes of its response that are in memory.
    pub(super) unread: Option<AddressPlace>,
}

impl Held {
    /// Releases what belongs to work and not to the client, when the response is whole in memory:
    /// from now on it costs its bytes, which count for the address until they are read.
    pub(super) fn release_if_whole(&mut self, body: &Body, address: &Arc<Address>) {
        let Some(bytes) = body.size_hint().exact() else { return };
        self.permit = None;
        if bytes > 0 {
            let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
            self.unread = Some(address.charge(Resource::UnreadBytes, bytes));
        }
    }
}

/// A response's body that holds its request's places until it is out.
#[derive(Debug)]
pub(super) struct Tracked {
    body: Body,
    /// The rest of a frame that was larger than a slice.
    rest: Bytes,
    slice_bytes_max: usize,
    _held: (Busy, Held),
}

impl Tracked {
    pub(super) fn new(body: Body, busy: Busy, held: Held, is_http2: bool) -> Self {
        let slice_bytes_max = if is_http2 { SLICE_BYTES_MAX } else { usize::MAX };
        Self { body, rest: Bytes::new(), slice_bytes_max, _held: (busy, held) }
    }

    fn slice(&mut self, mut bytes: Bytes) -> Frame<Bytes> {
        if bytes.len() > self.slice_bytes_max {
            self.rest = bytes.split_off(self.slice_bytes_max);
        }
        Frame::data(bytes)
    }
}

impl http_body::Body for Tracked {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if !self.rest.is_empty() {
            let rest = std::mem::take(&mut self.rest);
            return Poll::Ready(Some(Ok(self.slice(rest))));
        }
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(context));
        Poll::Ready(frame.map(|frame| {
            frame.map(|frame| match frame.into_data() {
                Ok(bytes) => self.slice(bytes),
                Err(frame) => frame,
            })
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = self.body.size_hint();
        let rest = self.rest.len() as u64;
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + rest);
        }
        hint.set_lower(hint.lower() + rest);
        hint
    }
}

#[cfg(test)]
mod tests {
    use http::Version;
    use http_body_util::BodyExt as _;

    use super::super::addresses::Addresses;
    use super::super::idle::Activity;
    use super::*;
    use crate::config::Server;

    #[tokio::test]
    async fn s01_a_whole_response_counts_until_its_last_slice_is_out() {
        let addresses = Arc::new(Addresses::new(&Server::default()));
        let address = Addresses::of(&addresses, "192.0.2.1".parse().unwrap());
        let bytes: Vec<u8> = (0..=250).cycle().take(SLICE_BYTES_MAX * 2 + 5).collect();
        let body = Body::from(bytes.clone());
        let mut held = Held::default();
        held.release_if_whole(&body, &address);
        assert_eq!(address.taken(Resource::UnreadBytes), bytes.len());
        let activity = Arc::new(Activity::default());
        let busy = Activity::begin(&activity, Version::HTTP_2);
        let mut tracked = Tracked::new(body, busy, held, true);
        let mut read = Vec::new();
        for length in [SLICE_BYTES_MAX, SLICE_BYTES_MAX, 5] {
            assert_eq!(tracked.size_hint().exact(), Some((bytes.len() - read.len()) as u64));
            let frame = tracked.frame().await.unwrap().unwrap().into_data().unwrap();
            assert_eq!(frame.len(), length);
            read.extend_from_slice(&frame);
            assert_eq!(address.taken(Resource::UnreadBytes), bytes.len());
        }
        assert_eq!(read, bytes);
        assert!(tracked.is_end_stream());
        drop(tracked);
        assert_eq!(address.taken(Resource::UnreadBytes), 0);
    }
}
