//! The JSON protocol of `/v1/Socket` on a socket: does what its session says.

mod commands;
mod failure;
mod hub;
mod outcome;
mod tell;
mod telling;
mod watches;

use std::sync::Arc;

use reachability_domain::directory::access_token::Grant;
use reachability_domain::directory::user::UserRef;
use reachability_domain::error_chain::ErrorChain;
use reachability_domain::presence::appearance::Viewer;
use reachability_domain::presence::event::EndReason;
use reachability_domain::presence::public_user::PublicUser;
use reachability_domain::presence::view::UserView;
use reachability_domain::time::Timestamp;
use reachability_functions::app::Ports;
use reachability_gateway::json::settings::MAX_REQUESTS;
use reachability_gateway::json::{
    Action, Command, CommandError, Connected, Input, Opened, Refusal, RequestNumber, Session,
};
use reachability_infra::clock;
use tracing::warn;

use self::commands::Request;
pub(super) use self::hub::{Hub, Tasks};
use self::outcome::Outcome;
pub(super) use self::tell::start;
use self::watches::Watches;
use super::Sockets;
use super::driver::Driver;
use super::frames::{Frame, Violation};
use super::open::{Joined, Opening};
use super::protocol::{Event, Protocol};

/// Where clients open their sockets.
pub(crate) const PATH: &str = "/v1/Socket";

/// What came of something that takes time.
pub(super) enum Done {
    Opened(Result<(Opened, Joined, Box<UserView>), Refusal>),
    Verified(Result<Grant, Refusal>),
    /// With how much was looked at for it.
    Answered(RequestNumber, Result<Outcome, CommandError>, usize),
}

impl Protocol for Session {
    type Open = Arc<Watches>;
    type Done = Done;

    fn new(now: Timestamp) -> Self {
        Self::new(now)
    }

    fn due_at(&self, sockets: &Sockets) -> Timestamp {
        self.due_at(&sockets.settings.json)
    }

    fn expires_at(&self) -> Timestamp {
        self.expires_at()
    }

    fn is_busy(&self) -> bool {
        self.requests() >= MAX_REQUESTS
    }

    fn max_message(&self) -> usize {
        self.max_message()
    }

    fn hear(&mut self, now: Timestamp) {
        self.hear(now);
    }

    fn take(driver: &mut Driver<Self>, event: Event<'_>) {
        // All that is sent is text, whatever the client sends.
        driver.wire.set_text(true);
        driver.step(match event {
            Event::Message { is_text: true, payload } => Input::Text(payload),
            Event::Message { is_text: false, .. } | Event::Violation(Violation::NotUtf8) => Input::Binary,
            Event::NoMessage => Input::NoMessage,
            Event::Violation(Violation::TooLong) => Input::TooLarge,
            Event::Violation(violation) => return driver.violated(violation),
            Event::Tick => Input::Tick,
            Event::End(cause) => Input::End(cause),
        });
    }

    fn done(driver: &mut Driver<Self>, done: Done) {
        match done {
            Done::Opened(Ok((opened, joined, view))) => {
                let (sockets, socket) = (&driver.sockets, &joined.known.socket);
                let (hub, settings, metrics) =
                    (sockets.json_hub.clone(), sockets.settings.json, sockets.metrics.clone());
                let watches = Watches::new(hub, driver.wire.clone(), socket.user.clone(), settings, metrics);
                let connection = socket.connection.clone();
                driver.opened(joined, Arc::new(watches));
                let user = PublicUser::of(&view, Viewer::User);
                driver.step(Input::Opened(Ok(Connected { opened, connection, user })));
            }
            Done::Opened(Err(refusal)) => driver.step(Input::Opened(Err(refusal))),
            Done::Verified(result) => driver.step(Input::Verified(result)),
            Done::Answered(request, result, looked_at) => {
                let result = result.as_ref().map(Outcome::answer).map_err(Clone::clone);
                driver.step(Input::Done { request, result, looked_at });
            }
        }
    }

    fn unwatch_all(_: &Driver<Self>, open: Arc<Watches>) {
        open.end_all();
    }
}

impl Driver<Session> {
    fn step(&mut self, input: Input<'_>) {
        let now = self.sockets.now();
        for action in self.session.step(&self.sockets.settings.json, input, now) {
            if self.is_open() {
                self.act(action);
            }
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Send(message) => self.send(&message),
            Action::Open { token, continuation_token, disclose, device } => {
                let opening = self.opening(Opening { token, continues: continuation_token, disclose, device });
                let ports = self.sockets.ports.clone();
                self.begin(async move {
                    Done::Opened(match opening.await {
                        Ok((opened, joined)) => {
                            let view = own_view(&ports, &opened.grant).await;
                            view.map(|view| (opened, joined, Box::new(view)))
                        }
                        Err(refusal) => Err(refusal),
                    })
                });
            }
            Action::Verify { token } => {
                if let Some(verifying) = self.verifying(token) {
                    self.begin(async move { Done::Verified(verifying.await) });
                }
            }
            // A session is of one user.
            Action::Renewed(_) => {}
            Action::Do { request, command } => self.request(request, command),
            Action::Goodbye => self.leave(EndReason::ClientClosed),
            Action::Close { code, reason } => {
                // 4408: the client does not answer.
                self.leave(if code == 4408 { EndReason::ConnectionLost } else { EndReason::ServerClosed });
                self.close(&Frame::close(code, reason));
            }
        }
    }

    fn request(&mut self, number: RequestNumber, command: Command) {
        let Some(session) = &self.open else { return };
        let watches = session.open.clone();
        if let Command::Unwatch { watch } = command {
            // At once: nothing is told of it after what was told already.
            watches.end(watch);
        }
        let request = Request { ports: self.sockets.ports.clone(), watches, number, command };
        self.begin(async move {
            let (result, looked_at) = request.answer().await;
            Done::Answered(number, result, looked_at)
        });
    }
}

/// The user who has just connected, as it sees itself.
async fn own_view(ports: &Ports, grant: &Grant) -> Result<UserView, Refusal> {
    let user = UserRef::Identity(grant.user.identity.clone());
    match ports.snapshots.user_snapshot(grant.user.service, &user).await {
        Ok(Some(snapshot)) => Ok(UserView::of(&snapshot, clock::now(), Viewer::User)),
        // It was deleted already.
        Ok(None) => Err(Refusal::Unavailable),
        Err(error) => {
            warn!(error = %ErrorChain(&error), "a user who connects cannot be read");
            Err(Refusal::Unavailable)
        }
    }
}
