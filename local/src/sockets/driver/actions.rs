//! What is done for every session, whatever protocol it speaks: its answers, its work, its beginning and its end.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use reachability_domain::directory::access_token::Grant;
use reachability_domain::metrics::Counter;
use reachability_domain::presence::event::EndReason;
use reachability_domain::secret::Secret;
use reachability_gateway::session::{Opened, Refusal};

use super::{Driver, OpenSession, Stage};
use crate::sockets::frames::Frame;
use crate::sockets::open::{Joined, Opening, open, renew};
use crate::sockets::protocol::Protocol;

/// Something that takes time.
pub(super) type Work<P> = Pin<Box<dyn Future<Output = <P as Protocol>::Done> + Send>>;

impl<P: Protocol> Driver<P> {
    /// Whether the socket is still open. Otherwise nothing is done for its session any more.
    pub(in crate::sockets) fn is_open(&self) -> bool {
        self.stage == Stage::Open
    }

    /// Sends a message.
    pub(in crate::sockets) fn send(&self, payload: &[u8]) {
        self.sockets.metrics.add(Counter::FramesSent);
        self.wire.send(&Frame::message(self.wire.is_text(), payload));
    }

    /// Begins something that takes time.
    pub(in crate::sockets) fn begin(&mut self, work: impl Future<Output = P::Done> + Send + 'static) {
        self.work.push(Box::pin(work));
    }

    /// Opens the session.
    pub(in crate::sockets) fn opening(
        &self,
        opening: Opening,
    ) -> impl Future<Output = Result<(Opened, Joined), Refusal>> + Send + use<P> {
        open(self.sockets.clone(), self.wire.clone(), self.place.network(), opening)
    }

    /// Verifies another token of the open session; `None` if it is not open.
    pub(in crate::sockets) fn verifying(
        &self,
        token: Secret,
    ) -> Option<impl Future<Output = Result<Grant, Refusal>> + Send + use<P>> {
        let (sockets, known) = (self.sockets.clone(), self.open.as_ref()?.joined.known.clone());
        let from = self.place.network();
        Some(async move { renew(&sockets, &known, from, &token).await })
    }

    /// The session is open.
    pub(in crate::sockets) fn opened(&mut self, joined: Joined, open: P::Open) {
        self.place.know();
        self.wire.belongs_to(&joined.known.socket.user.identity);
        self.open = Some(Box::new(OpenSession { joined, open }));
    }

    /// Goes on with what takes time. Returns whether anything was done.
    pub(super) fn work(&mut self, context: &mut Context<'_>) -> bool {
        let mut done = vec![];
        self.work.retain_mut(|work| match work.as_mut().poll(context) {
            Poll::Pending => true,
            Poll::Ready(result) => {
                done.push(result);
                false
            }
        });
        if self.work.is_empty() {
            self.work = vec![];
        }
        let is_any = !done.is_empty();
        for done in done {
            if self.is_open() {
                P::done(self, done);
            }
        }
        is_any
    }

    /// Ends the session's connection and its watches, for this reason unless there is another one already.
    pub(in crate::sockets) fn leave(&mut self, reason: EndReason) {
        self.work.clear();
        let Some(session) = self.open.take() else { return };
        let OpenSession { mut joined, open } = *session;
        P::unwatch_all(self, open);
        if joined.reason == Some(EndReason::ConnectionLost) {
            joined.reason = Some(reason);
        }
    }
}
