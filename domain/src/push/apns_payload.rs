//! The payload of a notification for APNs:
//! <https://developer.apple.com/documentation/usernotifications/generating-a-remote-notification>.

use serde_json::{Map, Value, json};

use crate::push::merge::{merge, object};
use crate::push::payload::{Content, Format};

/// How large a payload may be, in bytes.
pub const MAX_BYTES: usize = 4_096;

/// The members of `aps` that the user sees or hears. A push without them is one for the app, in the background.
pub(super) const SHOWN: [&str; 3] = ["alert", "badge", "sound"];

/// The payload, with the request's own merged into it.
pub fn payload(content: &Content) -> Map<String, Value> {
    // The member `aps` is made below.
    let data = content.data.iter().filter(|(name, _)| *name != "aps");
    let mut payload: Map<String, Value> =
        data.map(|(name, value)| (name.clone(), member(content, name, value))).collect();
    let aps = object(&mut payload, "aps");
    if let Some(alert) = alert(content) {
        aps.insert("alert".to_owned(), alert);
    }
    let texts = [("sound", &content.sound), ("category", &content.action)];
    aps.extend(texts.into_iter().filter_map(|(name, text)| Some((name.to_owned(), text.as_deref()?.into()))));
    merge(&mut payload, &content.apn);
    if !is_shown(content) {
        // Apple discards it otherwise.
        object(&mut payload, "aps").insert("content-available".to_owned(), 1.into());
    }
    payload
}

/// Whether the user sees or hears something of the payload.
pub fn is_shown(content: &Content) -> bool {
    let is_made = |name| match name {
        "alert" => content.title.is_some() || content.body.is_some(),
        "sound" => content.sound.is_some(),
        _ => false,
    };
    SHOWN
        .into_iter()
        .any(|name| own_aps(content).and_then(|aps| aps.get(name)).map_or(is_made(name), |it| !it.is_null()))
}

/// The member `aps` of the request's own payload.
fn own_aps(content: &Content) -> Option<&Map<String, Value>> {
    content.apn.get("aps").and_then(Value::as_object)
}

fn alert(content: &Content) -> Option<Value> {
    let is_merged = own_aps(content).is_some_and(|aps| aps.get("alert").is_some_and(Value::is_object));
    match (&content.title, &content.body) {
        (None, None) => None,
        // An alert that is text would be lost when members are merged into it.
        (None, Some(body)) if !is_merged => Some(body.as_str().into()),
        (None, Some(body)) => Some(json!({ "body": body })),
        (Some(title), None) => Some(json!({ "title": title })),
        (Some(title), Some(body)) => Some(json!({ "title": title, "body": body })),
    }
}

/// A member of the data. The vendor's client wants its `media` as text.
fn member(content: &Content, name: &str, value: &Value) -> Value {
    if content.format == Format::Conversations && name == "media" && !value.is_string() {
        return value.to_string().into();
    }
    value.clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(value: Value) -> Map<String, Value> {
        let Value::Object(map) = value else { panic!("not an object: {value}") };
        map
    }

    fn content(title: Option<&str>, body: Option<&str>, apn: Value) -> Content {
        let text = |text: Option<&str>| text.map(str::to_owned);
        Content { title: text(title), body: text(body), apn: map(apn), ..Content::default() }
    }

    #[test]
    fn the_requests_own_payload_is_merged() {
        for (content, expected) in [
            (content(None, Some("B"), json!({})), json!({ "aps": { "alert": "B" } })),
            (
                content(
                    None,
                    Some("B"),
                    json!({ "aps": { "badge": 3, "thread-id": "t", "mutable-content": 1 }, "x": [1] }),
                ),
                json!({ "aps": { "alert": "B", "badge": 3, "thread-id": "t", "mutable-content": 1 }, "x": [1] }),
            ),
            (
                content(
                    None,
                    Some("B"),
                    json!({ "aps": { "alert": { "title-loc-key": "K", "title-loc-args": ["a"] } } }),
                ),
                json!({ "aps": { "alert": { "body": "B", "title-loc-key": "K", "title-loc-args": ["a"] } } }),
            ),
            (
                content(Some("T"), Some("B"), json!({ "aps": { "alert": { "body": null, "loc-key": "K" } } })),
                json!({ "aps": { "alert": { "title": "T", "loc-key": "K" } } }),
            ),
            (content(Some("T"), Some("B"), json!({ "aps": { "alert": "A" } })), json!({ "aps": { "alert": "A" } })),
        ] {
            assert!(is_shown(&content), "{content:?}");
            assert_eq!(Value::Object(payload(&content)), expected);
        }
    }

    #[test]
    fn what_shows_nothing_is_for_the_background() {
        let sound = Some("ping".to_owned());
        for (content, is_for_background) in [
            (content(None, None, json!({})), true),
            (content(None, None, json!({ "aps": { "thread-id": "t" } })), true),
            (content(None, None, json!({ "aps": { "content-available": 0 } })), true),
            (content(None, None, json!({ "aps": { "badge": 0 } })), false),
            (content(None, None, json!({ "aps": { "sound": { "critical": 1 } } })), false),
            (content(None, None, json!({ "aps": { "alert": "A" } })), false),
            (content(Some("T"), Some("B"), json!({ "aps": { "alert": null } })), true),
            (Content { sound: sound.clone(), ..Content::default() }, false),
            (Content { sound, ..content(None, None, json!({ "aps": { "sound": null } })) }, true),
        ] {
            let aps = payload(&content).remove("aps").unwrap();
            assert_eq!(aps["content-available"] == 1, is_for_background, "{aps}");
            assert_eq!(is_shown(&content), !is_for_background, "{aps}");
        }
        let both = content(None, Some("B"), json!({ "aps": { "content-available": 1 } }));
        assert_eq!(Value::Object(payload(&both)), json!({ "aps": { "alert": "B", "content-available": 1 } }));
        assert!(is_shown(&both));
    }

    #[test]
    fn the_action_is_the_category() {
        let action = |apn: Value| Content { action: Some("REPLY".to_owned()), ..content(None, Some("B"), apn) };
        let aps = |content: &Content| payload(content).remove("aps").unwrap();
        assert_eq!(aps(&action(json!({})))["category"], "REPLY");
        assert_eq!(aps(&action(json!({ "aps": { "category": "OTHER" } })))["category"], "OTHER");
    }
}
