//! Events as JSON, as those who send them write them.

use reachability_infra::clock;
use serde_json::{Value, json};

/// An event of a connection `c-1` that happens now. It is one that is taken.
pub fn event(service: &str, identity: &str, kind: &str) -> Value {
    let mut event = json!({
        "type": kind,
        "service_sid": service,
        "identity": identity,
        "connection_id": "c-1",
        "occurred_at": clock::now().to_string(),
    });
    if kind == "disconnect" {
        event["reason"] = json!("client_closed");
    }
    event
}
