//! Channels and their members.

use reachability_domain::json_depth::MAX_DEPTH;
use reachability_tests::raw::encode;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::join;

use super::{QUIET, Setup, create, open};

fn general() -> Value {
    json!({"channel_type": "messaging", "channel_id": "general"})
}

fn with(mut fields: Value, name: &str, value: Value) -> Value {
    fields[name] = value;
    fields
}

#[tokio::test]
async fn the_members_of_a_channel_are_watched_as_they_come_and_go() {
    let setup = Setup::new(&["--grace-seconds", "0"]).await;
    create(&setup, &["john"]).await;
    let mut jane = open(&setup, "jane").await;
    let data = json!({"members": ["john", "jack"], "color": "green"});
    let watch = with(with(general(), "data", data), "presence", true.into());
    let answer = jane.ask("watch_channel", watch.clone()).await.ok();
    let channel = &answer.last["channel"];
    assert_eq!(answer.last["created"], true);
    assert_eq!((&channel["cid"], &channel["custom"]), (&json!("messaging:general"), &json!({"color": "green"})));
    assert_eq!((&channel["members"], &channel["member_count"]), (&json!(["jack", "jane", "john"]), &json!(3)));
    assert_eq!((answer.ids(), &channel["created_by"]), (vec!["jack", "jane", "john"], &json!("jane")));
    let nobody = answer.user("jack");
    assert_eq!((&nobody["created_at"], &nobody["revision"]), (&Value::Null, &json!(0)), "there is no such user yet");
    // By more than one watch, and each change is heard once.
    assert_eq!(jane.ask("watch_channel", watch).await.ok().last["created"], false);
    jane.watch(&["john"]).await;

    let mut john = open(&setup, "john").await;
    let event = jane.event("user.presence.changed").await;
    assert_eq!((&event["user"]["id"], &event["user"]["online"]), (&json!("john"), &json!(true)));
    let jack = open(&setup, "jack").await;
    jane.until("jack", Some(true)).await;
    assert_eq!(jane.next_within(QUIET).await, None);

    // Who joins is watched from then on, and who leaves is not.
    let mut joe = open(&setup, "joe").await;
    assert_eq!(joe.ask("watch_channel", with(general(), "presence", true.into())).await.code(), "forbidden");
    let added = jane.ask("add_members", with(general(), "members", json!(["joe", "jack"]))).await.ok();
    assert_eq!((&added.last["channel"]["member_count"], &added.last["channel"]["members"]), (&json!(4), &Value::Null));
    let event = jane.event("member.added").await;
    assert_eq!((&event["cid"], &event["user"]["id"]), (&json!("messaging:general"), &json!("joe")));
    assert_eq!(event["user"]["online"], true);
    joe.ask("set_user", json!({"status": "new"})).await.ok();
    assert_eq!(jane.event("user.presence.changed").await["user"]["status"], "new");
    joe.ask("watch_channel", with(general(), "presence", true.into())).await.ok();
    john.ask("watch_channel", with(general(), "presence", true.into())).await.ok();
    let removed = jane.ask("remove_members", with(general(), "members", json!(["joe", "nobody"]))).await.ok();
    assert_eq!(removed.last["channel"]["member_count"], 3);
    assert_eq!(
        jane.event("member.removed").await,
        json!({"type": "member.removed", "cid": "messaging:general", "id": "joe"})
    );
    assert_eq!(john.event("member.removed").await["id"], "joe");
    assert_eq!(joe.event("channel.deleted").await["cid"], "messaging:general", "it is gone for who was removed");
    joe.ask("set_user", json!({"status": "newer"})).await.ok();
    jack.goodbye().await;
    jane.until("jack", Some(false)).await;
    assert_eq!(joe.next_within(QUIET).await, None);

    // Its watches end with the channel, and the others do not.
    setup.client.delete(&format!("/v1/Services/{}/Channels/messaging/general", setup.service)).await;
    assert_eq!(jane.event("channel.deleted").await["cid"], "messaging:general");
    john.until("jack", Some(false)).await;
    assert_eq!(john.event("channel.deleted").await["cid"], "messaging:general");
    john.ask("set_user", json!({"status": "there"})).await.ok();
    assert_eq!(jane.event("user.presence.changed").await["user"]["status"], "there");
    let missing = jane.ask("add_members", with(general(), "members", json!(["x"]))).await;
    assert_eq!(missing.code(), "not_found");
    let impossible = json!({"channel_type": "a b", "channel_id": "general"});
    assert_eq!(jane.ask("watch_channel", impossible).await.code(), "invalid_channel");
}

#[tokio::test]
async fn the_owner_changes_members_too() {
    let setup = Setup::new(&["--grace-seconds", "0"]).await;
    let path = format!("/v1/Services/{}/Channels", setup.service);
    setup.client.post(&path, "Type=messaging&Id=general&Identity=jane").await;
    let mut jane = open(&setup, "jane").await;
    jane.ask("watch_channel", with(general(), "presence", true.into())).await.ok();
    setup.client.post(&format!("{path}/messaging/general/Members"), "Identity=john").await;
    assert_eq!(jane.event("member.added").await["user"]["id"], "john");
    let _john = open(&setup, "john").await;
    jane.until("john", Some(true)).await;
    setup.client.delete(&format!("{path}/messaging/general/Members/{}", encode("john"))).await;
    assert_eq!(jane.event("member.removed").await["id"], "john");
}

/// Who joins is shown as it is by then: nothing that was told of it before is newer.
#[tokio::test]
async fn all_that_is_told_of_a_user_is_in_one_order() {
    const ROUNDS: usize = 40;
    let setup = Setup::new(&["--grace-seconds", "0"]).await;
    let path = format!("/v1/Services/{}/Channels", setup.service);
    setup.client.post(&path, "Type=messaging&Id=general&Identity=jane").await;
    let mut jane = open(&setup, "jane").await;
    jane.ask("watch_channel", with(general(), "presence", true.into())).await.ok();
    let mut john = open(&setup, "john").await;
    jane.watch(&["john"]).await;
    let members = format!("{path}/messaging/general/Members");
    for round in 0..ROUNDS {
        let joins = setup.client.post(&members, "Identity=john");
        let says = john.ask("set_user", json!({"status": format!("{round}")}));
        join!(joins, says).1.ok();
        setup.client.delete(&format!("{members}/john")).await;
    }
    john.ask("set_user", json!({"status": "done"})).await.ok();
    let (mut latest, mut moves) = (0, vec![]);
    loop {
        let event = jane.next().await.unwrap();
        if let Some(revision) = event["user"]["revision"].as_u64() {
            assert!(latest <= revision, "{event} after {latest}");
            latest = revision;
        }
        if event["cid"].is_string() {
            moves.push(event["type"].clone());
        }
        if event["user"]["status"] == "done" {
            break;
        }
    }
    assert_eq!(moves, ["member.added", "member.removed"].repeat(ROUNDS));
}

#[tokio::test]
async fn channels_are_queried_by_their_members() {
    let setup = Setup::new(&["--grace-seconds", "0"]).await;
    let (mut jane, mut joe) = (open(&setup, "jane").await, open(&setup, "joe").await);
    for (id, color, members) in
        [("a", "red", json!(["john"])), ("b", "green", json!(["john", "jack"])), ("c", "red", json!([]))]
    {
        let data = json!({"members": members, "color": color});
        let fields = json!({"channel_type": "messaging", "channel_id": id, "data": data});
        let answer = jane.ask("watch_channel", fields).await.ok();
        assert_eq!(answer.last["created"], true);
    }
    let answer = jane.ask("query_channels", json!({"filter": {"color": "red"}, "presence": true})).await.ok();
    let cids: Vec<&Value> = answer.last["channels"].as_array().unwrap().iter().map(|channel| &channel["cid"]).collect();
    assert_eq!(cids, ["messaging:a", "messaging:c"]);
    assert_eq!(answer.ids(), ["jane", "john"], "each once");
    let watch = jane.last_id();
    assert_eq!(joe.ask("query_channels", json!({})).await.ok().last["channels"], json!([]), "they are not its own");
    let of_jack = jane.ask("query_channels", json!({"filter": {"members": {"$in": ["jack"]}}})).await.ok();
    assert_eq!(of_jack.last["channels"][0]["members"], json!(["jack", "jane", "john"]));

    let john = open(&setup, "john").await;
    assert_eq!(jane.event("user.presence.changed").await["user"]["id"], "john");
    let jack = open(&setup, "jack").await;
    assert_eq!(jane.next_within(QUIET).await, None, "the other channel is not watched");
    jane.ask("unwatch", json!({"watch": watch})).await.ok();
    john.goodbye().await;
    jack.goodbye().await;
    assert_eq!(jane.next_within(QUIET).await, None);
}

/// What is stored can be told again: parsers of JSON take only so many levels.
#[tokio::test]
async fn the_fields_of_a_channel_have_so_many_levels() {
    let setup = Setup::new(&[]).await;
    let mut jane = open(&setup, "jane").await;
    let nested = |levels: usize| (1..levels).fold(json!(1), |inner, _| json!([inner]));
    let watch = |levels| with(with(general(), "data", json!({"x": nested(levels)})), "presence", true.into());
    assert_eq!(jane.ask("watch_channel", watch(MAX_DEPTH + 1)).await.code(), "invalid_channel");
    let path = format!("/v1/Services/{}/Channels", setup.service);
    let custom = json!({"x": nested(MAX_DEPTH + 1)}).to_string();
    let form = [("Type", "messaging"), ("Id", "general"), ("Custom", &custom)];
    let (status, refused) = setup.client.send(Method::POST, &path, &form).await;
    assert_eq!((status, &refused["code"]), (400, &json!(20001)), "{refused}");
    let none = jane.ask("query_channels", json!({})).await.ok();
    assert_eq!(none.last["channels"], json!([]), "nothing was created");

    jane.ask("watch_channel", watch(MAX_DEPTH)).await.ok();
    let answer = jane.ask("query_channels", json!({})).await.ok();
    assert_eq!(answer.last["channels"][0]["custom"], json!({"x": nested(MAX_DEPTH)}));
    let read = setup.client.get(&format!("{path}/messaging/general")).await;
    assert_eq!(read["custom"], answer.last["channels"][0]["custom"], "{read}");
}
