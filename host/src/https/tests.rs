//! What is read of requests that are refused: up to its most, and no further.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::{Body, Frame};
use tokio::time::Instant;

use super::reading::{DISCARDED_BYTES_MAX, discard, header_fault};
use super::*;

const LONG: Duration = Duration::from_secs(60);

#[test]
fn a_request_has_the_most_headers_and_not_one_more() {
    let with = |count: usize| {
        let mut request = http::Request::builder();
        for number in 0..count {
            request = request.header(format!("x{number}"), "y");
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        header_fault(&head, &LimitsConfig::default())
    };
    assert_eq!(with(HEADERS_MAX), None);
    let refused = with(HEADERS_MAX + 1).unwrap();
    assert_eq!(refused, "the request has more than 256 headers");
}

/// A body of so many frames.
struct Frames {
    left: u64,
}

const FRAME_BYTES: u64 = 1024 * 1024;

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(left) = self.left.checked_sub(1) else {
            return Poll::Ready(None);
        };
        self.left = left;
        let size = usize::try_from(FRAME_BYTES).unwrap();
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(vec![0; size])))))
    }
}

#[tokio::test]
async fn a_refused_body_is_dropped_up_to_the_most_bytes_and_then_left_alone() {
    let most = DISCARDED_BYTES_MAX / FRAME_BYTES;
    for (frames, left) in [(most, 0), (most + 1, 0), (most + 10, 9)] {
        let mut body = Frames { left: frames };
        discard(&mut body, Instant::now() + LONG).await;
        assert_eq!(body.left, left, "{frames} frames");
    }
}

#[tokio::test]
async fn what_follows_nonsense_is_dropped_up_to_the_most_bytes_and_then_left_alone() {
    const READ: u64 = 16 * 1024;
    let most = LINGER_BYTES_MAX as u64;
    for (bytes, left) in [(most, 0), (most + READ, 0), (most + READ + 1, 1)] {
        let mut stream = tokio::io::repeat(0).take(bytes);
        linger(&mut stream, LONG).await;
        assert_eq!(stream.limit(), left, "{bytes} bytes");
    }
}
