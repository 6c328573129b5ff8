//! A device, which comes and goes as planned.

use std::time::{Duration, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use reachability_tests::map_client::{MapClient, NoSession};
use reachability_tests::twilsock::{Ended, Packet};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::super::plan::{Deed, Leave, Token, Visit};
use super::super::truth::{End, Number};
use super::world::{World, identity, user_of};
use super::{SERVICES, USERS};

/// How many users each client watches from the beginning, its own among them.
const WATCHED: usize = 4;

/// How long a token lasts that does not expire meanwhile.
const LASTING: Duration = Duration::from_secs(3_600);

/// What a client keeps when it is cut off.
pub(super) struct Device<'a> {
    world: &'a World,
    number: usize,
    user: usize,
    /// What its last connection was, and what the server called the session.
    last: Option<(Number, Option<String>)>,
    /// When its session ends, since its token expires.
    expires_at: Option<Instant>,
}

impl<'a> Device<'a> {
    pub(super) fn new(world: &'a World, number: usize) -> Self {
        Self { world, number, user: user_of(number), last: None, expires_at: None }
    }

    pub(super) async fn live(mut self, visits: &[Visit]) {
        for visit in visits.iter().cycle() {
            self.world.pause(visit.after).await;
            if self.world.is_over.get() {
                break;
            }
            let Some(mut client) = self.open(visit.continues, visit.token).await else { continue };
            let end = self.visit(&mut client, visit).await;
            self.leave(client, visit.leaves, end).await;
        }
        // In the end most are there.
        while self.number % 4 != 3 && !self.world.is_done.get() {
            let Some(mut client) = self.open(true, Token::Lasting).await else { continue };
            self.world.open.borrow_mut()[self.number] = true;
            let mut end = Some(());
            while !self.world.is_done.get() && end.is_some() {
                end = self.listen(&mut client, Duration::from_millis(50)).await;
            }
            self.world.open.borrow_mut()[self.number] = false;
            self.leave(client, Leave::Cut, end).await;
        }
    }

    /// Opens a session, and watches on. Tries until there is one, unless it is over; then once.
    async fn open(&mut self, continues: bool, with: Token) -> Option<MapClient> {
        let world = self.world;
        let mut wait = 50;
        loop {
            let began = Instant::now();
            let number = world.truth.borrow_mut().begin(self.user);
            let token = self.token(match with {
                Token::Lasting => LASTING,
                Token::Expiring { after } | Token::Renewed { after } => Duration::from_secs(after),
            });
            let continued = self.last.as_ref().filter(|(_, token)| continues && token.is_some());
            let address = world.address.borrow().clone();
            let opened = MapClient::open(&address, &token, continued.and_then(|(_, token)| token.as_deref())).await;
            if opened.is_ok() {
                world.truth.borrow_mut().joined(number);
            }
            if let Some((earlier, _)) = continued {
                world.truth.borrow_mut().replaced(*earlier, number);
            }
            match opened {
                Ok(mut client) => {
                    self.last = Some((number, client.continuation.clone()));
                    self.expires_at = matches!(with, Token::Expiring { .. }).then(|| expiry(&token));
                    let views = world.views[self.number].borrow().clone();
                    if self.renew(&mut client, with).await.is_some() && client.resume(&views).await.is_some() {
                        return Some(client);
                    }
                    self.ended(End::Lost);
                }
                Err(why) => {
                    world.truth.borrow_mut().ended(number, End::Lost);
                    if let NoSession::Refused(status) = why {
                        world.complain(format!("client {} is refused with {status}", self.number));
                    } else if world.truth.borrow().ran(began, Instant::now()) {
                        world.complain(format!("client {} finds no server", self.number));
                    }
                }
            }
            sleep(Duration::from_millis(wait)).await;
            wait = (wait * 2).min(400);
        }
    }

    /// A token of its user, for so long.
    fn token(&self, life: Duration) -> String {
        self.world.signer.token_for(&self.world.services[self.user % SERVICES], &identity(self.user), life)
    }

    /// Takes another token, if that is planned. `None` if the socket ended.
    async fn renew(&self, client: &mut MapClient, with: Token) -> Option<()> {
        if let Token::Renewed { .. } = with {
            let reply = client.socket.ask(json!({"method": "update", "token": self.token(LASTING)}), "").await?;
            if reply.status() != 200 {
                self.world.complain(format!("client {} cannot renew its token: {}", self.number, reply.header));
            }
        }
        Some(())
    }

    fn ended(&self, end: End) {
        if let Some((number, _)) = self.last {
            // The server may have ended it before.
            let at = self.expires_at.map_or_else(Instant::now, |expires_at| expires_at.min(Instant::now()));
            self.world.truth.borrow_mut().ended_at(number, end, at);
        }
        self.world.views[self.number].borrow_mut().cut();
    }

    /// Does what there is to do on a visit. `None` if the socket ended.
    async fn visit(&mut self, client: &mut MapClient, visit: &Visit) -> Option<()> {
        if self.world.views[self.number].borrow().0.is_empty() {
            for user in 0..WATCHED {
                self.watch(client, self.user / SERVICES + user).await?;
            }
        }
        let registration = json!({"binding_type": "fcm", "address": format!("token-{}", self.user)});
        match visit.does {
            Deed::Nothing => {}
            Deed::Watch(user) => self.watch(client, user).await?,
            Deed::Rename => {
                let path = format!("/Client/v2/Users/{}", identity(self.user));
                client.request("POST", &path, Some(json!({"friendly_name": format!("after {}", visit.stays)}))).await?;
            }
            Deed::Register => {
                let body = json!({"endpoint_platform": "web", "channel_type": "fcm", "version": "3",
                    "message_types": ["twilio.conversations.new_message"],
                    "data": {"registration_id": format!("token-{}", self.user)}});
                client.request("POST", "/v1/registrations?productId=ip_messaging", Some(body)).await?;
            }
            Deed::Unregister => {
                client.request("DELETE", "/v1/registrations?productId=ip_messaging", Some(registration)).await?;
            }
        }
        self.listen(client, Duration::from_millis(visit.stays)).await
    }

    /// Watches one of its service.
    async fn watch(&self, client: &mut MapClient, user: usize) -> Option<()> {
        let user = user % USERS * SERVICES + self.user % SERVICES;
        // What came before is applied first: reading a user's map starts it again.
        self.apply(client.heard().await);
        let mut views = self.world.views[self.number].borrow().clone();
        let known = views.0.len();
        let news = client.watch(&mut views, user, &identity(user)).await?;
        if views.0.len() > known {
            self.world.views[self.number].replace(views);
        }
        self.world.note(self.number, news);
        Some(())
    }

    /// Listens for so long, or until it is over. `None` if the socket ended.
    async fn listen(&self, client: &mut MapClient, time: Duration) -> Option<()> {
        let end = Instant::now() + time;
        while Instant::now() < end && !(self.world.is_over.get() && time > Duration::from_millis(50)) {
            let until = end.min(Instant::now() + Duration::from_millis(50));
            if let Some(packet) = client.hear(until).await.ok()? {
                self.apply([packet]);
            }
        }
        if self.expires_at.is_some_and(|at| at + self.world.slack() < Instant::now()) {
            self.world.complain(format!("client {} lives on without a token", self.number));
        }
        Some(())
    }

    fn apply(&self, packets: impl IntoIterator<Item = Packet>) {
        for packet in packets.into_iter().filter(|packet| packet.method() == "notification") {
            let news = self.world.views[self.number].borrow_mut().apply(&packet.payload);
            self.world.note(self.number, news);
        }
    }

    async fn leave(&mut self, mut client: MapClient, leave: Leave, was_open: Option<()>) {
        let world = self.world;
        if was_open.is_none() {
            // The server closed it.
            let now = Instant::now();
            if self.expires_at.is_some_and(|expires_at| expires_at <= now)
                && client.socket.ended == Some(Ended::Closed(1000, "token-expired".into()))
            {
                world.expired.set(world.expired.get() + 1);
                return self.ended(End::Lost);
            }
            let late = Duration::from_millis(500) + world.late.get();
            if world.late.get() < Duration::from_millis(300)
                && now.checked_sub(late).is_some_and(|before| world.truth.borrow().ran(before, now))
            {
                world.complain(format!("client {} was cut off: {:?}", self.number, client.socket.ended));
            }
            return self.ended(End::Lost);
        }
        match leave {
            Leave::Goodbye => {
                self.ended(End::Goodbye);
                client.socket.goodbye().await;
                // The session is over on purpose.
                self.last = None;
            }
            Leave::Close => {
                self.ended(End::Lost);
                client.socket.close().await;
            }
            Leave::Cut => self.ended(End::Lost),
            Leave::Freeze { lasts, thaws } => {
                self.ended(End::Frozen);
                sleep(Duration::from_millis(lasts)).await;
                if thaws && self.thaw(&mut client).await.is_some() {
                    let end = self.listen(&mut client, Duration::from_secs(1)).await;
                    Box::pin(self.leave(client, Leave::Cut, end)).await;
                }
            }
            Leave::Stay => {
                let end = self.listen(&mut client, Duration::from_secs(1)).await;
                Box::pin(self.leave(client, Leave::Cut, end)).await;
            }
        }
    }

    /// Goes on where it was. `None` if the server has cut it meanwhile.
    async fn thaw(&mut self, client: &mut MapClient) -> Option<()> {
        let number = self.world.truth.borrow_mut().begin(self.user);
        let path = format!("/Client/v2/Users/{}", identity(self.user));
        if client.request("GET", &path, None).await.is_none() {
            self.world.truth.borrow_mut().ended(number, End::Lost);
            return None;
        }
        self.world.truth.borrow_mut().joined(number);
        self.last = Some((number, client.continuation.clone()));
        self.apply(client.heard().await);
        for view in self.world.views[self.number].borrow_mut().0.values_mut() {
            view.current_since = Some(Instant::now());
        }
        Some(())
    }
}

/// When a token expires.
fn expiry(token: &str) -> Instant {
    let claims = BASE64_URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    let left = Duration::from_secs(claims["exp"].as_u64().unwrap()).saturating_sub(UNIX_EPOCH.elapsed().unwrap());
    Instant::now() + left
}
