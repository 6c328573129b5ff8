//! Events as JSON, as clients send them.

use reachability_infra::clock;
use serde_json::{Value, json};

/// A valid event of a connection `c-1` that occurs now.
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
