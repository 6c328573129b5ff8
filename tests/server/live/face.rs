//! The rest of the client's face: what works, and what answers that it is not there.

use std::time::{Duration, Instant};

use reachability_tests::live::{Library, Live, Place, Program};
use reachability_tests::server::Server;
use serde_json::{Value, json};

use super::with_each_library;

const CONVERSATION: &str = "CH00000000000000000000000000000001";

/// A library asks a few times before it believes that there is nothing.
const SOON: Duration = Duration::from_secs(10);

#[tokio::test]
async fn what_is_not_here_is_refused_and_the_client_lives_on() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]);
    with_each_library(async |library| {
        let place = Place::new(&server).await;
        let program = Program::shared(library).await;
        let alice = Live::start(program, &place, "alice").await;
        let newest = [Library::Conversations, Library::Browser, Library::Conversations27].contains(&library);
        let calls: &[(&str, Value)] = match library {
            Library::Chat => &[
                ("createChannel", json!([{ "friendlyName": "x" }])),
                ("getChannelBySid", json!([CONVERSATION])),
                ("getChannelByUniqueName", json!(["x"])),
                ("getPublicChannelDescriptors", json!([])),
            ],
            _ => &[
                ("createConversation", json!([{ "friendlyName": "x" }])),
                ("getConversationBySid", json!([CONVERSATION])),
                ("getConversationByUniqueName", json!(["x"])),
                ("getTemporaryContentUrlsForMediaSids", json!([["ME00000000000000000000000000000001"]])),
                ("peekConversationBySid", json!([CONVERSATION])),
                ("getContentTemplates", json!([])),
            ],
        };
        let calls = if newest || library == Library::Chat { calls } else { &calls[..4] };
        for (method, arguments) in calls {
            let started = Instant::now();
            let error = alice.call(method, arguments.clone()).await.unwrap_err();
            assert!(started.elapsed() < SOON, "{library:?}: {method} took {:?}", started.elapsed());
            // These two hide the answer, or ask elsewhere.
            if !["getContentTemplates", "getTemporaryContentUrlsForMediaSids"].contains(method) {
                let shown = (&error["status"], &error["body"]["code"]);
                assert_eq!(shown, (&json!(404), &json!(20404)), "{library:?}: {method}: {error}");
            }
        }
        let page = alice.call(library.own_conversations(), json!([])).await.unwrap();
        assert_eq!(page, json!({ "items": 0, "hasNextPage": false }), "{library:?}");
        if library == Library::Chat {
            assert_eq!(alice.call("getUserChannelDescriptors", json!([])).await.unwrap(), page);
            assert_eq!(alice.call("getLocalChannels", json!([])).await.unwrap(), json!([]));
        }
        alice.is_told("alice", &[]).await;
        assert_eq!(alice.heard("connectionStateChanged"), ["connecting", "connected"], "{library:?}");
    })
    .await;
}

#[tokio::test]
async fn what_needs_no_server() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]);
    with_each_library(async |library| {
        let place = Place::new(&server).await;
        let program = Program::shared(library).await;
        let token = place.token(program, "alice").await;
        let alice = Live::create(program, &place, &token).await;
        assert_eq!(alice.get("connectionState").await.unwrap(), "connected", "{library:?}");
        let version = match library {
            Library::Conversations | Library::Browser => "3.0.1",
            Library::Conversations27 => "2.7.0",
            Library::Conversations22 => "2.2.0",
            Library::Chat => "6.0.0",
        };
        assert_eq!(alice.get("version").await.unwrap(), version);
        assert_eq!(alice.get("token").await.unwrap(), token, "{library:?}");
        let types = program.init_registrations().await;
        let asked = if library == Library::Chat { "twilio.ipmsg.typing_indicator" } else { "com.twilio.rtd.cds.map" };
        assert!(types.as_array().unwrap().contains(&asked.into()), "{library:?}: {types}");

        let push = json!({ "aps": { "alert": "Hello" }, "twi_message_type": "twilio.conversations.new_message" });
        alice.call("handlePushNotification", json!([push])).await.unwrap();
        let heard = alice.hears_times("pushNotification", 1).await;
        assert_eq!((heard.len(), &heard[0]["body"]), (1, &json!("Hello")), "{library:?}: {heard:?}");
        let not_ours = alice.call("handlePushNotification", json!([{ "aps": { "alert": "Hello" } }])).await;
        assert!(not_ours.is_err(), "{library:?}: {not_ours:?}");
        alice.call("shutdown", json!([])).await.unwrap();
        alice.hears("connectionStateChanged", "disconnected").await;
    })
    .await;
}
