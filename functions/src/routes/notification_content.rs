//! The parameters of a notification that say what is sent.

use reachability_domain::json_depth::{MAX_DEPTH, is_shallow};
use reachability_domain::push::apns_payload;
use reachability_domain::push::channel::Channel;
use reachability_domain::push::fcm_message;
use reachability_domain::push::payload::{Content, Format, MAX_COLLAPSE_ID, Priority};
use serde_json::{Map, Value};

use crate::http::error::ApiError;
use crate::http::error_code::ErrorCode;
use crate::http::params::Params;
use crate::routes::settings::MAX_SOUND;

/// How long a title may be, in characters. The limit is ours, not the vendor's.
const MAX_TITLE: usize = 1_024;

/// How long a text may be, in characters. The limit is ours, not the vendor's.
const MAX_BODY: usize = 4_096;

/// How long the name of an action may be, in characters. The limit is ours, not the vendor's.
const MAX_ACTION: usize = 256;

/// How long a JSON object of a request may be, in bytes: no push has more.
const MAX_JSON: usize = 4_096;

/// The member of the data without which the vendor's client does not read a push.
const MESSAGE_TYPE: &str = "twi_message_type";

/// What is sent.
pub(super) fn content(form: &Params) -> Result<Content, ApiError> {
    let mut content = Content { data: data(form)?, apn: apn(form)?, ..Content::default() };
    (content.fcm, content.gcm) = (fcm(form, "Fcm")?, fcm(form, "Gcm")?);
    form.set_text(&mut content.title, "Title", MAX_TITLE, ErrorCode::InvalidParameter)?;
    form.set_text(&mut content.body, "Body", MAX_BODY, ErrorCode::InvalidParameter)?;
    form.set_text(&mut content.sound, "Sound", MAX_SOUND, ErrorCode::InvalidParameter)?;
    form.set_text(&mut content.action, "Action", MAX_ACTION, ErrorCode::InvalidParameter)?;
    content.collapse_id = collapse_id(form)?;
    content.priority = match form.get("Priority") {
        None | Some("high") => Priority::High,
        Some("low") => Priority::Low,
        Some(_) => return Err(ApiError::invalid("Priority", "high or low")),
    };
    content.format = match form.get("Format") {
        None | Some("standard") => Format::Standard,
        Some("conversations") => Format::Conversations,
        Some(_) => return Err(ApiError::invalid("Format", "standard or conversations")),
    };
    let has_text = content.title.is_some() || content.body.is_some();
    let has_json = [&content.data, &content.apn, &content.fcm, &content.gcm].iter().any(|json| !json.is_empty());
    if !has_text && !has_json {
        return Err(ApiError::missing("Title, Body or Data"));
    }
    let is_text = |name: &str| content.data.get(name).and_then(Value::as_str).is_some_and(|text| !text.is_empty());
    if content.format == Format::Conversations && !is_text(MESSAGE_TYPE) {
        let what = format_args!("an object with a text {MESSAGE_TYPE}, for Format=conversations");
        return Err(ApiError::invalid("Data", what));
    }
    check_size(&content)?;
    Ok(content)
}

/// Refuses what a provider would.
fn check_size(content: &Content) -> Result<(), ApiError> {
    let apns = Value::Object(apns_payload::payload(&content.for_channel(Channel::Apn))).to_string().len();
    let fcm = |channel| fcm_message::size(&fcm_message::message(&content.for_channel(channel)));
    for (name, size, limit) in [
        ("APNs", apns, apns_payload::MAX_BYTES),
        ("FCM", fcm(Channel::Fcm), fcm_message::MAX_BYTES),
        ("FCM", fcm(Channel::Gcm), fcm_message::MAX_BYTES),
    ] {
        if size > limit {
            let message = format!("The notification has {size} bytes as a push of {name}, and the limit is {limit}");
            return Err(ApiError::refused(ErrorCode::InvalidParameter, message));
        }
    }
    Ok(())
}

/// `CollapseId`: it becomes a header of APNs, which has its limit.
fn collapse_id(form: &Params) -> Result<Option<String>, ApiError> {
    match form.get("CollapseId") {
        None | Some("") => Ok(None),
        Some(id) if id.len() <= MAX_COLLAPSE_ID && id.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Ok(Some(id.to_owned()))
        }
        Some(_) => {
            let what = format_args!("at most {MAX_COLLAPSE_ID} visible ASCII characters");
            Err(ApiError::invalid("CollapseId", what))
        }
    }
}

/// A parameter that is a JSON object. Without it, the object is empty.
fn object(form: &Params, name: &str) -> Result<Map<String, Value>, ApiError> {
    match form.get(name) {
        None | Some("") => Ok(Map::new()),
        Some(text) if text.len() > MAX_JSON => Err(ApiError::invalid(name, format_args!("at most {MAX_JSON} bytes"))),
        Some(text) if !is_shallow(text) => {
            Err(ApiError::invalid(name, format_args!("at most {MAX_DEPTH} levels of JSON")))
        }
        Some(text) => match serde_json::from_str(text) {
            Ok(Value::Object(object)) => Ok(object),
            _ => Err(ApiError::invalid(name, "a JSON object")),
        },
    }
}

/// `Data`. APNs uses its member `aps`, and FCM refuses a push with a member that [`is_reserved`], so the request must have none
/// of them.
fn data(form: &Params) -> Result<Map<String, Value>, ApiError> {
    let data = object(form, "Data")?;
    if data.contains_key("aps") {
        return Err(ApiError::invalid("Data", "a JSON object without a member aps"));
    }
    check_names("Data", &data)?;
    Ok(data)
}

fn check_names(parameter: &str, data: &Map<String, Value>) -> Result<(), ApiError> {
    if data.keys().any(|key| is_reserved(key)) {
        let what = "an object without members from and message_type, and without names that start with google or gcm";
        return Err(ApiError::invalid(parameter, what));
    }
    Ok(())
}

/// Whether FCM reserves the name of a member: <https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages>.
fn is_reserved(key: &str) -> bool {
    matches!(key, "from" | "message_type") || key.starts_with("google") || key.starts_with("gcm")
}

/// `Apn`: a payload of APNs, or a part of one.
fn apn(form: &Params) -> Result<Map<String, Value>, ApiError> {
    let payload = object(form, "Apn")?;
    if payload.get("aps").is_some_and(|aps| !aps.is_object()) {
        return Err(ApiError::invalid("Apn", "an object aps in it"));
    }
    Ok(payload)
}

/// `Fcm`, or `Gcm`: a message of FCM's HTTP v1 API, or a part of one.
///
/// To whom it goes, for how long it is kept and what it replaces is not the request's to say there: deliveries, retries and
/// expiry depend on that. A message of the API's predecessor has other members.
fn fcm(form: &Params, parameter: &str) -> Result<Map<String, Value>, ApiError> {
    let message = object(form, parameter)?;
    let unknown = message.keys().find(|name| !FCM_MEMBERS.contains(&name.as_str()));
    if let Some(name) = unknown {
        let why = format_args!("{name} is none of {}", FCM_MEMBERS.join(", "));
        return Err(ApiError::unfit(parameter, why));
    }
    for path in FCM_OBJECTS {
        let Some(found) = member(&message, path).filter(|found| !found.is_null()) else { continue };
        let Some(members) = found.as_object() else {
            return Err(ApiError::invalid(parameter, format_args!("an object {} in it", path.join("."))));
        };
        // The notification of a browser has the names of its own API.
        let is_free = matches!(
            path,
            ["data" | "fcm_options"] | [_, "data" | "payload"] | ["webpush", "notification"] | [.., "aps"]
        );
        // FCM reads both spellings, but not both at once.
        if let Some(name) =
            members.keys().find(|name| !is_free && name.contains(|char: char| char.is_ascii_uppercase()))
        {
            return Err(ApiError::unfit(parameter, format_args!("{name} is not spelt with underscores")));
        }
        let ours = OURS.iter().find(|(of, name)| *of == path && members.contains_key(*name));
        if let Some((_, name)) = ours {
            return Err(ApiError::unfit(parameter, format_args!("{}.{name} is not allowed", path.join("."))));
        }
        if path.last() == Some(&"data") {
            check_names(parameter, members)?;
            if !members.values().all(|value| value.is_string() || value.is_null()) {
                return Err(ApiError::invalid(parameter, format_args!("texts in {}", path.join("."))));
            }
        }
    }
    Ok(message)
}

/// The members of a message of FCM that say what is sent.
const FCM_MEMBERS: [&str; 6] = ["data", "notification", "android", "webpush", "apns", "fcm_options"];

/// The members of a message of FCM that are objects.
const FCM_OBJECTS: [&[&str]; 12] = [
    &["data"],
    &["notification"],
    &["android"],
    &["android", "data"],
    &["android", "notification"],
    &["webpush"],
    &["webpush", "data"],
    &["webpush", "notification"],
    &["apns"],
    &["apns", "payload"],
    &["apns", "payload", "aps"],
    &["fcm_options"],
];

/// Members of them that only the other parameters set (`Ttl`, `CollapseId` and `Priority`), and one that names a recipient.
const OURS: [(&[&str], &str); 6] = [
    (&["android"], "ttl"),
    (&["android"], "collapse_key"),
    (&["android", "notification"], "tag"),
    (&["webpush"], "headers"),
    (&["apns"], "headers"),
    (&["apns"], "live_activity_token"),
];

fn member<'a>(message: &'a Map<String, Value>, path: &[&str]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    rest.iter().try_fold(message.get(*first)?, |value, name| value.get(*name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::http::params::Params;

    fn encode(value: &Value) -> String {
        value.to_string().bytes().map(|byte| format!("%{byte:02x}")).collect()
    }

    fn is_taken(form: &str) -> bool {
        content(&Params::parse(form).unwrap()).is_ok()
    }

    #[test]
    fn accepts_content_that_fits_into_a_push() {
        // The rest is `{"notification":{"body":""}}`.
        for (length, fits) in [(4_068, true), (4_069, false), (4_096, false)] {
            assert_eq!(is_taken(&format!("Body={}", "x".repeat(length))), fits, "{length}");
        }
        for key in ["from", "message_type", "google", "google.id", "gcm.n", "aps"] {
            assert!(!is_taken(&format!("Body=x&Data={}", encode(&json!({ key: 1 })))), "{key}");
        }
        for key in ["From", "from_whom", "goo", "a.google"] {
            assert!(is_taken(&format!("Body=x&Data={}", encode(&json!({ key: 1 })))), "{key}");
        }
        assert!(!is_taken("Sound=s&Data=%7B%7D"), "a sound alone is not enough");
        assert!(!is_taken("Sound=s&Apn=%7B%7D"));
        for name in ["Apn", "Fcm", "Gcm"] {
            let form = format!("{name}={}", encode(&json!({ "apns": {} })));
            assert!(is_taken(&form), "{name} is enough");
        }
    }

    /// Of each provider by itself, with what is merged.
    #[test]
    fn the_limit_is_that_of_the_merged_payload() {
        let long = "x".repeat(3_950);
        let apn = |value: &str| format!("Body={long}&Apn={}", encode(&json!({ "aps": { "category": value } })));
        let fcm =
            |name: &str, value: &str| format!("Body={long}&{name}={}", encode(&json!({ "data": { "k": value } })));
        let (small, large) = ("x".repeat(60), "x".repeat(130));
        for (form, fits) in [
            (apn(&small), true),
            (apn(&large), false),
            (fcm("Fcm", &small), true),
            (fcm("Fcm", &large), false),
            (fcm("Gcm", &large), false),
        ] {
            assert_eq!(is_taken(&form), fits, "{:.60}", form.trim_start_matches(|char| char != '&'));
        }
        // What the request replaces does not count.
        let short = json!({ "aps": { "alert": "short" } });
        let also_short = json!({ "notification": { "body": "short" } });
        let too_long = "x".repeat(4_090);
        assert!(!is_taken(&format!("Body={too_long}&Apn={}", encode(&short))));
        assert!(is_taken(&format!("Body={too_long}&Apn={}&Fcm={}", encode(&short), encode(&also_short))));
    }

    #[test]
    fn what_deliveries_depend_on_is_not_the_requests_to_say() {
        for own in [
            json!({ "token": "t" }),
            json!({ "topic": "t" }),
            json!({ "condition": "'a' in topics" }),
            json!({ "name": "n" }),
            json!({ "to": "t" }),
            json!({ "priority": "high" }),
            json!({ "fcmOptions": {} }),
            json!({ "android": { "ttl": "1s" } }),
            json!({ "android": { "collapse_key": "k" } }),
            json!({ "android": { "collapseKey": "k" } }),
            json!({ "android": { "notification": { "tag": "t" } } }),
            json!({ "android": { "notification": { "clickAction": "a" } } }),
            json!({ "apns": { "headers": { "apns-expiration": "1" } } }),
            json!({ "apns": { "liveActivityToken": "t" } }),
            json!({ "apns": { "live_activity_token": "t" } }),
            json!({ "webpush": { "headers": { "TTL": "1" } } }),
            json!({ "data": { "k": 1 } }),
            json!({ "data": { "from": "x" } }),
            json!({ "data": [] }),
            json!({ "android": { "data": { "k": {} } } }),
            json!({ "android": "x" }),
            json!({ "android": { "notification": "x" } }),
            json!({ "apns": { "payload": { "aps": "x" } } }),
            json!({ "webpush": { "data": { "k": 1 } } }),
            json!({ "notification": "x" }),
        ] {
            for name in ["Fcm", "Gcm"] {
                assert!(!is_taken(&format!("Body=x&{name}={}", encode(&own))), "{own}");
            }
        }
        for own in [
            json!({ "data": { "camelCase": "x", "gone": null } }),
            json!({ "notification": null }),
            json!({ "notification": { "image": "https://chat.test/a.png" } }),
            json!({ "android": { "priority": "NORMAL", "notification": { "channel_id": "c", "notification_count": 1 } } }),
            json!({ "webpush": { "notification": { "requireInteraction": true } } }),
            json!({ "apns": { "payload": { "aps": { "badge": 1 }, "myKey": 1 }, "fcm_options": { "image": "i" } } }),
            json!({ "webpush": { "fcm_options": { "link": "https://chat.test/" } } }),
            json!({ "fcm_options": { "analytics_label": "l" } }),
        ] {
            assert!(is_taken(&format!("Body=x&Fcm={}", encode(&own))), "{own}");
        }
    }
}
