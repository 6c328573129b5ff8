//! What a notification says in a message of FCM's HTTP v1 API:
//! <https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages>. To whom and how it is sent is no part of it.

use serde_json::{Map, Value};

use crate::push::apns_payload::SHOWN;
use crate::push::merge::{merge, object};
use crate::push::payload::{Content, Format};

/// How large the message for a device may be, in bytes.
pub const MAX_BYTES: usize = 4_096;

/// The members of a message that only devices of one kind get.
const PLATFORMS: [&str; 3] = ["android", "apns", "webpush"];

/// The message, with the request's own merged into it.
pub fn message(content: &Content) -> Map<String, Value> {
    let is_standard = content.format == Format::Standard;
    let mut message = Map::new();
    let shown = texts([("title", &content.title), ("body", &content.body)]);
    if is_standard && !shown.is_empty() {
        message.insert("notification".to_owned(), shown.clone().into());
    }
    // FCM accepts only text values.
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let data = object(&mut message, "data");
    data.extend(content.data.iter().map(|(name, value)| (name.clone(), text(value).into())));
    data.extend(texts([("twi_action", &content.action)]));
    if !is_standard {
        let named = [("twi_title", &content.title), ("twi_body", &content.body), ("twi_sound", &content.sound)];
        data.extend(texts(named));
    }
    let on_android = texts([("sound", &content.sound), ("click_action", &content.action)]);
    object(&mut message, "android").insert("notification".to_owned(), on_android.into());
    let mut aps = texts([("sound", &content.sound), ("category", &content.action)]);
    if !is_standard && !shown.is_empty() {
        // For an app on iOS that FCM reaches. It shows no notification by itself.
        aps.insert("alert".to_owned(), shown.into());
    }
    object(object(&mut message, "apns"), "payload").insert("aps".to_owned(), aps.into());
    merge(&mut message, &content.fcm);
    complete(&mut message, &content.fcm);
    message
}

/// Whether Android shows something of a message. Otherwise it hands the message to the app.
pub fn is_shown_on_android(message: &Map<String, Value>) -> bool {
    message.contains_key("notification") || member(message, &["android", "notification"]).is_some()
}

/// Whether iOS shows something of a message, or plays a sound.
pub fn is_shown_on_ios(message: &Map<String, Value>) -> bool {
    let aps = member(message, &["apns", "payload", "aps"]);
    message.contains_key("notification") || aps.is_some_and(|aps| SHOWN.iter().any(|name| !aps[*name].is_null()))
}

/// The size of the message for the kind of device for which it is largest, in bytes.
pub fn size(message: &Map<String, Value>) -> usize {
    let size_for = |platform: &str| {
        let is_for = |name: &str| name == platform || !PLATFORMS.contains(&name);
        let members = message.iter().filter(|(name, _)| is_for(name));
        let message: Map<String, Value> = members.map(|(name, value)| (name.clone(), value.clone())).collect();
        Value::Object(message).to_string().len()
    };
    PLATFORMS.into_iter().map(size_for).max().unwrap_or_default()
}

/// Removes what is empty, and adds what depends on whether something is shown.
fn complete(message: &mut Map<String, Value>, own: &Map<String, Value>) {
    let is_empty = |value: &Value| value.as_object().is_some_and(Map::is_empty);
    for name in ["notification", "data"] {
        if message.get(name).is_some_and(is_empty) {
            message.shift_remove(name);
        }
    }
    // Without anything to show, it is a data message.
    let is_ours = member(own, &["android", "notification"]).is_none_or(Value::is_null);
    let is_shown = message.contains_key("notification");
    let android = object(message, "android");
    if is_ours && (!is_shown || android.get("notification").is_some_and(is_empty)) {
        android.shift_remove("notification");
    }
    if !is_shown_on_ios(message) {
        // Apple takes it only as a background push.
        let payload = object(object(message, "apns"), "payload");
        object(payload, "aps").insert("content-available".to_owned(), 1.into());
    }
    let apns = object(message, "apns");
    let payload = object(apns, "payload");
    if payload.get("aps").is_some_and(is_empty) {
        payload.shift_remove("aps");
    }
    if payload.is_empty() {
        apns.shift_remove("payload");
    }
    for platform in ["android", "apns"] {
        if message.get(platform).is_some_and(is_empty) {
            message.shift_remove(platform);
        }
    }
}

fn member<'a>(message: &'a Map<String, Value>, path: &[&str]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    rest.iter().try_fold(message.get(*first)?, |value, name| value.get(*name))
}

fn texts<const N: usize>(named: [(&str, &Option<String>); N]) -> Map<String, Value> {
    named.into_iter().filter_map(|(name, text)| Some((name.to_owned(), text.as_deref()?.into()))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn map(value: Value) -> Map<String, Value> {
        let Value::Object(map) = value else { panic!("not an object: {value}") };
        map
    }

    /// The message of a content with a title, a body and a sound.
    fn shown(fcm: Value) -> Map<String, Value> {
        let [title, body, sound] = ["T", "B", "ping"].map(|text| Some(text.to_owned()));
        message(&Content { title, body, sound, fcm: map(fcm), ..Content::default() })
    }

    fn data(fcm: Value) -> Map<String, Value> {
        message(&Content { data: map(json!({ "a": 1, "b": "x" })), fcm: map(fcm), ..Content::default() })
    }

    #[test]
    fn the_requests_own_message_is_merged() {
        let plain = json!({
            "notification": { "title": "T", "body": "B" },
            "android": { "notification": { "sound": "ping" } },
            "apns": { "payload": { "aps": { "sound": "ping" } } },
        });
        assert_eq!(Value::Object(shown(json!({}))), plain);
        let own = json!({
            "notification": { "image": "https://chat.test/a.png", "body": "other" },
            "data": { "room": "7" },
            "android": {
                "notification": { "channel_id": "chat", "title_loc_key": "K", "notification_count": 2, "sound": null },
            },
            "apns": { "payload": { "aps": { "badge": 3 } } },
            "webpush": { "notification": { "renotify": true } },
            "fcm_options": { "analytics_label": "l" },
        });
        assert_eq!(
            Value::Object(shown(own)),
            json!({
                "notification": { "title": "T", "body": "other", "image": "https://chat.test/a.png" },
                "data": { "room": "7" },
                "android": { "notification": { "channel_id": "chat", "title_loc_key": "K", "notification_count": 2 } },
                "apns": { "payload": { "aps": { "sound": "ping", "badge": 3 } } },
                "webpush": { "notification": { "renotify": true } },
                "fcm_options": { "analytics_label": "l" },
            })
        );
        assert_eq!(
            Value::Object(data(json!({ "data": { "a": null, "c": "d" } }))),
            json!({ "data": { "b": "x", "c": "d" }, "apns": { "payload": { "aps": { "content-available": 1 } } } })
        );
    }

    #[test]
    fn whether_it_is_shown_follows_from_what_is_merged() {
        for (message, on_android, on_ios) in [
            (shown(json!({})), true, true),
            (data(json!({})), false, false),
            (data(json!({ "notification": { "title": "T" } })), true, true),
            (data(json!({ "notification": {} })), false, false),
            (data(json!({ "android": { "notification": { "title": "T" } } })), true, false),
            (data(json!({ "apns": { "payload": { "aps": { "badge": 1 } } } })), false, true),
            (shown(json!({ "notification": null })), false, true),
            (shown(json!({ "notification": null, "apns": null })), false, false),
            (shown(json!({ "notification": null, "apns": { "payload": { "aps": { "sound": null } } } })), false, false),
            (shown(json!({ "android": null, "apns": null })), true, true),
        ] {
            assert_eq!((is_shown_on_android(&message), is_shown_on_ios(&message)), (on_android, on_ios), "{message:?}");
            let background = member(&message, &["apns", "payload", "aps", "content-available"]);
            assert_eq!(background == Some(&json!(1)), !on_ios, "{message:?}");
        }
    }

    #[test]
    fn for_the_vendors_client_all_is_data() {
        let [title, body, sound, action] = ["T", "B", "ping", "REPLY"].map(|text| Some(text.to_owned()));
        let data = map(json!({ "twi_message_type": "x", "message_index": 7, "media": [{ "size": 1 }] }));
        let format = Format::Conversations;
        let content = Content { title, body, sound, action, data, format, ..Content::default() };
        assert_eq!(
            Value::Object(message(&content)),
            json!({
                "data": {
                    "twi_message_type": "x", "message_index": "7", "media": r#"[{"size":1}]"#, "twi_action": "REPLY",
                    "twi_title": "T", "twi_body": "B", "twi_sound": "ping",
                },
                "apns": {
                    "payload": { "aps": { "sound": "ping", "category": "REPLY", "alert": { "title": "T", "body": "B" } } },
                },
            })
        );
    }

    #[test]
    fn the_size_is_that_for_one_kind_of_device() {
        let message =
            map(json!({ "data": { "a": "b" }, "android": { "x": 1 }, "apns": { "x": "long" }, "webpush": {} }));
        assert_eq!(size(&message), r#"{"data":{"a":"b"},"apns":{"x":"long"}}"#.len());
    }
}
