//! Plays the examples of `docs/socket.md`: what the client sends there leads to the commands that are listed here, and what
//! the server sends there is what the code sends, to the letter.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use reachability_domain::directory::access_token::TokenError;
use reachability_domain::identity::ConnectionId;
use reachability_domain::presence::disclosure::Disclose;
use reachability_domain::presence::public_user::PublicUser;
use reachability_domain::presence::status::Status;
use reachability_domain::query::Query;
use reachability_domain::query::fields::Kind;
use reachability_domain::query::filter::Filter;
use reachability_domain::query::sort::Sort;
use reachability_domain::secret::Secret;
use reachability_gateway::json::events::*;
use reachability_gateway::json::{
    Action, Answer, ChannelData, Closing, Command, Connected, Input, Refusal, RequestNumber, RestoredWatch, Session,
    Watched, parts,
};
use serde_json::{Value, json};

use crate::people::{at, cid, general, id, ids, jack, jane, joe, john, john_eating, john_gone, kept, lunch, object};
use crate::support::{MINUTE, Socket, close};

pub(crate) const DOCUMENT: &str = include_str!("../../../docs/socket.md");

/// A message in the document.
pub(crate) struct Example {
    /// The heading under which it stands.
    pub(crate) section: &'static str,
    pub(crate) is_client: bool,
    pub(crate) message: Value,
}

/// All messages in the document, in their order.
pub(crate) fn examples() -> Vec<Example> {
    let (mut section, mut examples) = ("", vec![]);
    let mut lines = DOCUMENT.lines();
    while let Some(line) = lines.next() {
        if line.starts_with('#') {
            section = line.trim_start_matches('#').trim().trim_matches('`');
        } else if line.starts_with("```") {
            assert_eq!(line, "```jsonc", "all code of the document is played");
            read_block(section, lines.by_ref().take_while(|line| *line != "```"), &mut examples);
        }
    }
    assert!(examples.len() > 50);
    examples
}

fn read_block(section: &'static str, lines: impl Iterator<Item = &'static str>, examples: &mut Vec<Example>) {
    let mut parts: Vec<(bool, String)> = vec![];
    for line in lines {
        match line {
            "// client" => parts.push((true, String::new())),
            "// server" => parts.push((false, String::new())),
            line => *parts.last_mut().map(|(_, text)| text).unwrap() += line,
        }
    }
    for (is_client, text) in parts {
        for message in serde_json::Deserializer::from_str(&text).into_iter() {
            examples.push(Example { section, is_client, message: message.unwrap() });
        }
    }
}

/// What a shell is told to do, and what comes of it.
struct Script {
    opens: VecDeque<(Action, Result<Connected<'static>, Refusal>)>,
    /// With the parts that the shell sends, and the answer.
    commands: VecDeque<(u64, Command, Vec<Bytes>, Answer<'static>)>,
}

const TOKEN: &str = "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9.e30.abc";
const NEW_TOKEN: &str = "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9.e30.xyz";

fn script() -> Script {
    let open = |token: &str, continues: Option<&str>, disclose, device: Option<&str>| Action::Open {
        token: Secret::new(token),
        continuation_token: continues.map(str::to_owned),
        disclose,
        device: device.map(str::to_owned),
    };
    let connected = |number, continuation_token: &str, user, minutes| {
        let mut connected = Socket::new().connected(minutes * MINUTE);
        connected.opened.continuation_token = continuation_token.to_owned();
        Ok(Connected { connection: ConnectionId::numbered(0xa1, number), user, ..connected })
    };
    let as_is = Disclose::default;
    let meeting = Disclose { status: Some(Status::set_to("In a meeting").unwrap()), invisible: None };
    let visible = Disclose { status: None, invisible: Some(false) };
    let opens = [
        (open(TOKEN, None, as_is(), None), connected(7, "CT-5e1d", jane("", false, "10:00:00", 1_127_627_627_776), 60)),
        (open("expired", None, as_is(), None), Err(Refusal::Token(TokenError::Expired))),
        (
            open(TOKEN, Some("CT-5e1d"), meeting, Some("laptop")),
            connected(8, "CT-77aa", jane("In a meeting", false, "10:00:00", 1_127_627_629_901), 60),
        ),
        (
            open(TOKEN, Some("CT-77aa"), visible, None),
            connected(9, "CT-91f0", jane("", false, "10:04:00", 1_127_627_867_776), 60),
        ),
        (
            open(NEW_TOKEN, None, as_is(), None),
            connected(10, "CT-0c0c", jane("", false, "10:57:00", 1_127_631_047_776), 117),
        ),
    ];

    let query = |kind, filter, sort, limit| Query {
        filter: Filter::parse(&filter, kind).unwrap(),
        sort: Sort::parse(&sort, kind).unwrap(),
        limit,
        after: None,
    };
    let users = |number, users: &[PublicUser<'_>]| parts::users(RequestNumber(number), users);
    let found = |count, cursor: Option<&str>, index| Answer::Users {
        count,
        cursor: cursor.map(str::to_owned),
        index: Some(index),
    };
    let invisible_jane = || jane("", true, "10:00:00", 1_127_627_633_417);
    let lunch_name = || cid("messaging:lunch");
    let unwatch = |watch| Command::Unwatch { watch: RequestNumber(watch) };
    let data = ChannelData { members: ids(&["jane", "jack"]), custom: object(json!({"color": "red"})) };
    let restored = [
        (2, Watched::Users(ids(&["john", "jack"]))),
        (7, Watched::Channels(vec![cid("messaging:general"), cid("messaging:old")])),
    ];
    let known = [("john", john_eating()), ("jack", jack()), ("jane", jane("", false, "10:04:00", 1_127_627_867_776))];
    let known = known.into_iter().map(|(name, user)| (id(name), user.revision)).chain([(id("joe"), 0)]);
    let commands = [
        (
            2,
            Command::QueryUsers {
                query: query(Kind::Users, json!({"id": {"$in": ["john", "jack"]}}), Value::Null, 30),
                presence: true,
            },
            users(2, &[jack(), john()]),
            found(2, None, "id"),
        ),
        (3, unwatch(2), vec![], Answer::Unwatched),
        (
            5,
            Command::SetUser(Disclose { status: Some(None), invisible: Some(true) }),
            vec![],
            Answer::User(invisible_jane()),
        ),
        (
            6,
            Command::QueryUsers {
                query: query(Kind::Users, json!({"online": true, "color": "green"}), json!([{"last_active": -1}]), 1),
                presence: false,
            },
            users(6, &[john_eating()]),
            found(1, Some("WyJqb2huIl0"), "online"),
        ),
        (
            7,
            Command::QueryChannels {
                query: query(Kind::Channels, json!({"color": "green"}), Value::Null, 10),
                presence: true,
            },
            users(7, &[invisible_jane(), joe()]),
            Answer::Channels { channels: vec![general()], cursor: None, index: Some("members") },
        ),
        (
            8,
            Command::WatchChannel { channel: lunch_name(), data: Some(data), presence: false },
            users(8, &[jack(), invisible_jane()]),
            Answer::Channel { channel: lunch(&["jack", "jane"], "10:02:00"), created: true },
        ),
        (
            9,
            Command::AddMembers { channel: lunch_name(), members: ids(&["john"]) },
            vec![],
            Answer::Members(lunch(&["jack", "jane", "john"], "10:02:30")),
        ),
        (
            10,
            Command::RemoveMembers { channel: lunch_name(), members: ids(&["jack"]) },
            vec![],
            Answer::Members(lunch(&["jane", "john"], "10:03:00")),
        ),
        (11, unwatch(7), vec![], Answer::Unwatched),
        (
            13,
            Command::Restore {
                watches: restored.map(|(watch, of)| RestoredWatch { watch: RequestNumber(watch), of }).into(),
                known: known.collect::<HashMap<_, _>>(),
            },
            [
                parts::members(RequestNumber(13), &cid(&general().cid), general().members.unwrap()),
                users(13, &[john_gone()]),
            ]
            .concat(),
            Answer::Restored { gone: vec![kept(cid("messaging:old"))] },
        ),
    ];
    Script { opens: opens.into(), commands: commands.into() }
}

/// What the hub sends, by its type.
fn event(kind: &str) -> Vec<u8> {
    let jack_the_lad = PublicUser { name: Some("Jack the Lad"), revision: 1_127_627_700_776, ..jack() };
    let bytes = match kind {
        "user.presence.changed" => presence_changed(&john_eating(), at("10:01:02.311")),
        "user.updated" => user_updated(&jack_the_lad, at("10:01:13")),
        "user.deleted" => user_deleted(&id("jack"), 1_127_627_927_776, at("10:05:00")),
        "member.added" => member_added(&cid("messaging:general"), &john_gone()),
        "member.removed" => member_removed(&cid("messaging:general"), &id("john")),
        "channel.deleted" => channel_deleted(&cid("messaging:general")),
        kind => panic!("{kind} is no event"),
    };
    bytes.into()
}

struct Player {
    socket: Socket,
    script: Script,
    /// What was sent and is to be in the document next.
    sent: VecDeque<String>,
    last: Vec<Action>,
}

impl Player {
    fn client(&mut self, message: &Value) {
        assert!(self.sent.is_empty(), "the document lacks {:?}", self.sent);
        if message["type"] == "connect" {
            self.socket.session = Session::new(self.socket.now);
        }
        let actions = self.socket.send(message);
        self.act(actions);
    }

    fn act(&mut self, actions: Vec<Action>) {
        self.last.clone_from(&actions);
        for action in actions {
            let more = match action {
                Action::Send(bytes) => {
                    self.sent.push_back(String::from_utf8(bytes.into()).unwrap());
                    vec![]
                }
                Action::Open { .. } => {
                    let (expected, result) = self.script.opens.pop_front().unwrap();
                    assert_eq!(action, expected);
                    self.socket.step(Input::Opened(result))
                }
                Action::Do { request, command } => {
                    let (number, expected, parts, answer) = self.script.commands.pop_front().unwrap();
                    assert_eq!((request.0, command), (number, expected));
                    self.sent.extend(parts.iter().map(|part| String::from_utf8(part.to_vec()).unwrap()));
                    self.socket.done(number, Ok(answer))
                }
                Action::Verify { token } => {
                    assert_eq!(token, Secret::new(NEW_TOKEN));
                    let grant = self.socket.grant("jane", 60 * MINUTE);
                    self.socket.step(Input::Verified(Ok(grant)))
                }
                Action::Renewed(_) | Action::Goodbye | Action::Close { .. } => vec![],
            };
            if !more.is_empty() {
                self.act(more);
            }
        }
    }

    /// The next message of the server, which is of this type.
    fn server(&mut self, kind: &str) -> String {
        if self.sent.is_empty() {
            match kind {
                "ping" => {
                    let actions = self.socket.run(self.socket.settings.timing.ping);
                    self.act(actions);
                }
                "token.expiring" => {
                    self.socket.now = at("10:57:00");
                    self.socket.session.hear(self.socket.now);
                    let actions = self.socket.step(Input::Tick);
                    self.act(actions);
                }
                kind => self.sent.push_back(String::from_utf8(event(kind)).unwrap()),
            }
        }
        self.sent.pop_front().unwrap()
    }
}

#[test]
fn the_examples_are_what_the_code_does() {
    let mut player = Player { socket: Socket::new(), script: script(), sent: VecDeque::new(), last: vec![] };
    for Example { section, is_client, message } in examples() {
        println!("{section}: {message}");
        if is_client {
            player.client(&message);
            if message["type"] == "close" {
                assert_eq!(player.last, [Action::Goodbye, close(Closing::Goodbye)]);
            }
        } else {
            assert_eq!(player.server(message["type"].as_str().unwrap()), message.to_string());
        }
    }
    assert!(player.sent.is_empty(), "the document lacks {:?}", player.sent);
    assert!(player.script.opens.is_empty() && player.script.commands.is_empty());
}
