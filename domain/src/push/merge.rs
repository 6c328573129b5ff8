//! Merging JSON objects, as a JSON Merge Patch does (RFC 7396).

use serde_json::{Map, Value};

/// Merges a patch into a target: objects member by member, and of all else the patch's value wins. A null removes the member.
/// The depth of the patch must be limited ([`crate::json_depth`]).
pub fn merge(target: &mut Map<String, Value>, patch: &Map<String, Value>) {
    for (name, value) in patch {
        match value {
            // The order of the others stays.
            Value::Null => drop(target.shift_remove(name)),
            Value::Object(patch) => merge(object(target, name), patch),
            value => drop(target.insert(name.clone(), value.clone())),
        }
    }
}

/// A member as an object. If it is none, it becomes an empty one.
pub(super) fn object<'a>(target: &'a mut Map<String, Value>, name: &str) -> &'a mut Map<String, Value> {
    let member = target.entry(name).or_insert(Value::Null);
    if !member.is_object() {
        *member = Value::Object(Map::new());
    }
    match member {
        Value::Object(members) => members,
        _ => unreachable!("it was made an object"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The examples of the RFC's appendix whose patch and target are objects.
    #[test]
    fn a_patch_is_merged_as_the_rfc_says() {
        for (target, patch, merged) in [
            (json!({ "a": "b" }), json!({ "a": "c" }), json!({ "a": "c" })),
            (json!({ "a": "b" }), json!({ "b": "c" }), json!({ "a": "b", "b": "c" })),
            (json!({ "a": "b" }), json!({ "a": null }), json!({})),
            (json!({ "a": "b", "b": "c" }), json!({ "a": null }), json!({ "b": "c" })),
            (json!({ "a": ["b"] }), json!({ "a": "c" }), json!({ "a": "c" })),
            (json!({ "a": "c" }), json!({ "a": ["b"] }), json!({ "a": ["b"] })),
            (json!({ "a": { "b": "c" } }), json!({ "a": { "b": "d", "c": null } }), json!({ "a": { "b": "d" } })),
            (json!({ "a": [{ "b": "c" }] }), json!({ "a": [1] }), json!({ "a": [1] })),
            (json!({ "e": null }), json!({ "a": 1 }), json!({ "e": null, "a": 1 })),
            (json!({ "a": "foo" }), json!({ "a": { "b": 1 } }), json!({ "a": { "b": 1 } })),
            (json!({}), json!({ "a": { "bb": { "ccc": null } } }), json!({ "a": { "bb": {} } })),
        ] {
            let (Value::Object(mut target), Value::Object(patch)) = (target, patch) else { unreachable!() };
            merge(&mut target, &patch);
            assert_eq!(Value::Object(target), merged, "{patch:?}");
        }
    }
}
