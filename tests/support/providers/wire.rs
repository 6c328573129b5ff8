//! A server of HTTP/2 over TLS on a free port, with faults on demand.

use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use http::{HeaderMap, Method, Response};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

/// A request as it was received.
#[derive(Debug, Clone)]
pub struct Request {
    /// Its method.
    pub method: Method,
    /// Its URL.
    pub url: String,
    /// The path in the URL.
    pub path: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// The client's certificate in DER; `None` if it sent none.
    pub certificate: Option<Vec<u8>>,
}

impl Request {
    /// The value of a header; empty if there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Its body as JSON; null if it is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// What a stand-in does with a request. It has carried the request out even if its answer does not arrive.
#[derive(Debug, Clone)]
pub struct Answer {
    what: What,
    when: When,
}

#[derive(Debug, Clone)]
enum What {
    Usual,
    Reply(Reply),
    Stall,
    Reset,
    Refuse,
    Close,
}

#[derive(Debug, Clone, Copy)]
enum When {
    Now,
    After(Duration),
    Requests(usize),
    Answers(usize),
}

/// A reply.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: String,
}

impl Answer {
    /// The usual answer, for example to delay it.
    pub fn usual() -> Self {
        Self { what: What::Usual, when: When::Now }
    }

    /// Any answer.
    pub fn reply(status: u16, body: impl Into<String>) -> Self {
        let reply = Reply { status, body: body.into(), ..Reply::default() };
        Self { what: What::Reply(reply), when: When::Now }
    }

    /// A refusal in Apple's format.
    pub fn apns(status: u16, reason: &str) -> Self {
        Self::reply(status, json!({ "reason": reason }).to_string())
    }

    /// A refusal in Apple's format, with the time since which the token is dead, in milliseconds since the epoch.
    pub fn apns_since(status: u16, reason: &str, since: i64) -> Self {
        Self::reply(status, json!({ "reason": reason, "timestamp": since }).to_string())
    }

    /// A refusal in Google's format, with a status of its APIs, and with an error code of FCM if there is one.
    pub fn fcm(status: u16, word: &str, code: Option<&str>) -> Self {
        let detail =
            |code| json!({ "@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": code });
        let details: Vec<Value> = code.map(detail).into_iter().collect();
        let error = json!({ "code": status, "message": "refused", "status": word, "details": details });
        Self::reply(status, json!({ "error": error }).to_string())
    }

    /// A refusal in OAuth's format.
    pub fn oauth(status: u16, error: &str) -> Self {
        Self::reply(status, json!({ "error": error, "error_description": "refused" }).to_string())
    }

    /// No answer while the client waits.
    pub fn stall() -> Self {
        Self { what: What::Stall, when: When::Now }
    }

    /// The stream is reset.
    pub fn reset() -> Self {
        Self { what: What::Reset, when: When::Now }
    }

    /// The stream is refused, and the request is not carried out.
    pub fn refuse() -> Self {
        Self { what: What::Refuse, when: When::Now }
    }

    /// The whole connection is cut.
    pub fn close() -> Self {
        Self { what: What::Close, when: When::Now }
    }

    /// With a header `retry-after`.
    #[must_use]
    pub fn retry_after(mut self, text: &str) -> Self {
        if let What::Reply(reply) = &mut self.what {
            reply.headers.push(("retry-after", text.to_owned()));
        }
        self
    }

    /// The same answer after this delay.
    #[must_use]
    pub fn after(self, time: Duration) -> Self {
        Self { when: When::After(time), ..self }
    }

    /// The same answer, once this many requests have arrived.
    #[must_use]
    pub fn after_requests(self, count: usize) -> Self {
        Self { when: When::Requests(count), ..self }
    }

    /// The same answer, once this many answers were sent.
    #[must_use]
    pub fn after_answers(self, count: usize) -> Self {
        Self { when: When::Answers(count), ..self }
    }
}

impl Answer {
    /// Whether the stand-in carries the request out, even if the answer does not arrive.
    pub(crate) fn is_taken(&self) -> bool {
        match &self.what {
            What::Reply(reply) => reply.status == 200,
            What::Refuse => false,
            What::Usual | What::Stall | What::Reset | What::Close => true,
        }
    }
}

/// The answers to give, by recipient. The empty name stands for all recipients.
#[derive(Debug, Default)]
pub(crate) struct Script(Mutex<HashMap<String, Answers>>);

#[derive(Debug, Default)]
struct Answers {
    once: VecDeque<Answer>,
    always: Option<Answer>,
}

impl Script {
    pub(crate) fn always(&self, name: &str, answer: Answer) {
        self.0.lock().unwrap().entry(name.to_owned()).or_default().always = Some(answer);
    }

    pub(crate) fn once(&self, name: &str, answer: Answer) {
        self.0.lock().unwrap().entry(name.to_owned()).or_default().once.push_back(answer);
    }

    /// The next answer. A recipient's own answer precedes the one for all.
    pub(crate) fn next(&self, name: &str) -> Answer {
        let mut script = self.0.lock().unwrap();
        let mut of = |name| {
            let answers = script.get_mut(name)?;
            answers.once.pop_front().or_else(|| answers.always.clone())
        };
        of(name).or_else(|| of("")).unwrap_or_else(Answer::usual)
    }
}

/// How a stand-in handles requests.
pub(crate) trait Provider: Send + Sync + 'static {
    /// The script's answer to a request, and the usual reply.
    fn handle(&self, request: Request) -> (Answer, Reply);
}

/// When to send a GOAWAY on a connection.
#[derive(Debug, Clone, Copy)]
struct GoAway {
    after: usize,
    answered: usize,
}

/// The server. It ends when dropped.
pub(crate) struct Wire {
    address: SocketAddr,
    shared: Arc<Shared>,
    listener: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    provider: Arc<dyn Provider>,
    tls: TlsAcceptor,
    connections: AtomicUsize,
    max_streams: AtomicUsize,
    go_away: Mutex<Option<GoAway>>,
    taps: Mutex<Vec<Arc<Tap>>>,
    requests: watch::Sender<usize>,
    answers: watch::Sender<usize>,
}

impl Wire {
    pub(crate) async fn start(tls: Arc<ServerConfig>, provider: Arc<dyn Provider>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            provider,
            tls: tls.into(),
            connections: AtomicUsize::new(0),
            max_streams: AtomicUsize::new(1_000),
            go_away: Mutex::default(),
            taps: Mutex::default(),
            requests: watch::Sender::new(0),
            answers: watch::Sender::new(0),
        });
        let listener = tokio::spawn(listen(listener, shared.clone()));
        Self { address, shared, listener: Mutex::new(Some(listener)) }
    }

    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn max_streams(&self, count: usize) {
        self.shared.max_streams.store(count, Ordering::SeqCst);
    }

    pub(crate) fn go_away(&self, after: usize, answered: usize) {
        *self.shared.go_away.lock().unwrap() = Some(GoAway { after, answered });
    }

    /// Keeps the open connections, but neither reads nor writes on them any more.
    pub(crate) fn freeze(&self) {
        self.shared.taps.lock().unwrap().drain(..).for_each(|tap| tap.is_frozen.store(true, Ordering::SeqCst));
    }

    pub(crate) async fn down(&self) {
        let listener = self.listener.lock().unwrap().take();
        if let Some(listener) = listener {
            listener.abort();
            // Once the task has ended, its port is free and its connections are closed.
            let _ = listener.await;
        }
    }

    pub(crate) async fn up(&self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        let listener = tokio::spawn(listen(listener, self.shared.clone()));
        *self.listener.lock().unwrap() = Some(listener);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if let Some(listener) = self.listener.lock().unwrap().take() {
            listener.abort();
        }
    }
}

async fn listen(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((tcp, _)) = listener.accept() => {
                // After an error the client sees a closed connection.
                connections.spawn(serve(tcp, shared.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Serves one connection until one end closes it.
async fn serve(tcp: TcpStream, shared: Arc<Shared>) -> Option<()> {
    tcp.set_nodelay(true).ok()?;
    let tls = shared.tls.accept(tcp).await.ok()?;
    let certificate = tls.get_ref().1.peer_certificates().map(|chain| chain[0].to_vec());
    let tap = Arc::new(Tap::default());
    let tapped = Tapped { inner: tls, out: Vec::new(), tap: tap.clone() };
    let mut connection = h2::server::Builder::new()
        .max_concurrent_streams(u32::try_from(shared.max_streams.load(Ordering::SeqCst)).unwrap())
        .initial_connection_window_size(1 << 24)
        .handshake::<_, Bytes>(tapped)
        .await
        .ok()?;
    shared.connections.fetch_add(1, Ordering::SeqCst);
    shared.taps.lock().unwrap().push(tap.clone());
    let close = Arc::new(Notify::new());
    let mut go_away = shared.go_away.lock().unwrap().take();
    let (mut seen, mut last_answered, mut unanswered) = (0, 0, Vec::new());
    let mut tasks = JoinSet::new();
    loop {
        let (request, respond) = tokio::select! {
            request = connection.accept() => request?.ok()?,
            () = close.notified() => return None,
            Some(_) = tasks.join_next() => continue,
        };
        seen += 1;
        if let Some(GoAway { after, answered }) = go_away {
            if seen > answered {
                // The GOAWAY will say that this request was not seen.
                unanswered.push((request, respond));
                if seen == after {
                    tap.write(&goodbye(last_answered));
                    go_away = Some(GoAway { after: usize::MAX, answered });
                }
                continue;
            }
            last_answered = respond.stream_id().as_u32();
        }
        tasks.spawn(answer(request, respond, certificate.clone(), shared.clone(), close.clone()));
    }
}

async fn answer(
    request: http::Request<h2::RecvStream>,
    mut respond: SendResponse<Bytes>,
    certificate: Option<Vec<u8>>,
    shared: Arc<Shared>,
    close: Arc<Notify>,
) -> Option<()> {
    let (head, mut stream) = request.into_parts();
    let mut body = Vec::new();
    while let Some(chunk) = stream.data().await {
        let chunk = chunk.ok()?;
        stream.flow_control().release_capacity(chunk.len()).ok()?;
        body.extend_from_slice(&chunk);
    }
    let request = Request {
        method: head.method,
        url: head.uri.to_string(),
        path: head.uri.path().to_owned(),
        headers: head.headers,
        body: body.into(),
        certificate,
    };
    let (answer, usual) = shared.provider.handle(request);
    shared.requests.send_modify(|count| *count += 1);
    match answer.when {
        When::Now => {}
        When::After(time) => tokio::time::sleep(time).await,
        When::Requests(count) => drop(shared.requests.subscribe().wait_for(|seen| *seen >= count).await.ok()?),
        When::Answers(count) => drop(shared.answers.subscribe().wait_for(|given| *given >= count).await.ok()?),
    }
    let reply = match answer.what {
        What::Usual => usual,
        What::Reply(reply) => reply,
        What::Stall => return poll_fn(|cx| respond.poll_reset(cx)).await.ok().map(drop),
        What::Reset => {
            respond.send_reset(h2::Reason::INTERNAL_ERROR);
            return Some(());
        }
        What::Refuse => {
            respond.send_reset(h2::Reason::REFUSED_STREAM);
            return Some(());
        }
        What::Close => {
            close.notify_one();
            return Some(());
        }
    };
    let mut response = Response::builder().status(reply.status);
    for (name, value) in &reply.headers {
        response = response.header(*name, value);
    }
    let mut stream = respond.send_response(response.body(()).unwrap(), reply.body.is_empty()).ok()?;
    if !reply.body.is_empty() {
        stream.send_data(reply.body.into(), true).ok()?;
    }
    shared.answers.send_modify(|count| *count += 1);
    Some(())
}

/// A GOAWAY frame without an error: the streams after this one were not handled.
fn goodbye(last_stream: u32) -> [u8; 17] {
    let mut frame = [0; 17];
    (frame[2], frame[3]) = (8, 7);
    frame[9..13].copy_from_slice(&last_stream.to_be_bytes());
    frame
}

/// A stream that can insert bytes between the frames of a connection, or drop the connection silently.
#[derive(Debug, Default)]
struct Tap {
    between: Mutex<Vec<u8>>,
    is_frozen: AtomicBool,
}

impl Tap {
    fn write(&self, frame: &[u8]) {
        self.between.lock().unwrap().extend_from_slice(frame);
    }
}

struct Tapped<S> {
    inner: S,
    out: Vec<u8>,
    tap: Arc<Tap>,
}

impl<S: AsyncWrite + Unpin> Tapped<S> {
    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        while !self.out.is_empty() {
            let written = ready!(Pin::new(&mut self.inner).poll_write(cx, &self.out))?;
            self.out.drain(..written);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Tapped<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let read = Pin::new(&mut self.inner).poll_read(cx, buf);
        if !self.tap.is_frozen.load(Ordering::SeqCst) {
            return read;
        }
        buf.clear();
        Poll::Pending
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tapped<S> {
    /// Buffers everything, so that whole frames are written at a flush.
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.out.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        if self.tap.is_frozen.load(Ordering::SeqCst) {
            self.out.clear();
            return Poll::Ready(Ok(()));
        }
        let between = std::mem::take(&mut *self.tap.between.lock().unwrap());
        self.out.extend_from_slice(&between);
        ready!(self.poll_out(cx))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        ready!(self.poll_out(cx))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
