//! What a client asks for when it starts, and what is not there.

use axum::body::Body;
use axum::http::Request;
use serde_json::json;

use super::{Door, answer, client, error, on_both_stores, service};

on_both_stores![
    the_configuration_names_everything_that_a_client_needs,
    the_configuration_tells_whether_reachability_is_on,
    there_are_no_conversations,
    what_is_not_there_has_a_documented_error,
    only_a_client_gets_in,
    a_user_who_was_deleted_finds_nothing,
];

async fn the_configuration_names_everything_that_a_client_needs(door: Door) {
    let alice = door.connect(1, "alice").await;
    for version in ["v1", "v2"] {
        let configuration = door.read(&alice, &format!("/Client/{version}/Configuration")).await;
        assert_eq!(configuration["identity"], "alice");
        assert_eq!(configuration["options"]["reachability_enabled"], true);
        assert_eq!(configuration["options"]["user_infos_to_subscribe"], 998);
        let path = |link: &str| {
            let url = configuration["links"][link].as_str().unwrap_or_else(|| panic!("{link}: {configuration}"));
            url.strip_prefix("https://reachability.invalid").unwrap().to_owned()
        };
        for link in ["conversations", "typing", "media_service", "media_set_service", "messages_receipts"] {
            assert_eq!(error(&door.get(&alice, &path(link)).await), (404, 20404), "{link}");
        }
        // What is named is there.
        door.read(&alice, &path("my_conversations")).await;
        assert_eq!(door.read(&alice, &path("current_user")).await["identity"], "alice");
        assert_eq!(door.read(&alice, &format!("{}/alice", path("users"))).await["identity"], "alice");
        for (object, items) in [("my_conversations", 0), ("my_user_info", 3)] {
            let map = configuration["sync_objects"][object].as_str().unwrap();
            let map = door.read(&alice, &format!("/v3/Maps/{map}?Include=items")).await;
            assert_eq!(map["items"].as_array().unwrap().len(), items, "{object}");
        }
    }
}

async fn the_configuration_tells_whether_reachability_is_on(door: Door) {
    let alice = door.connect(1, "alice").await;
    for enabled in [false, true] {
        door.harness.switch(service(1), enabled).await;
        let configuration = door.read(&alice, "/Client/v2/Configuration").await;
        assert_eq!(configuration["options"]["reachability_enabled"], enabled);
    }
}

async fn there_are_no_conversations(door: Door) {
    let alice = door.connect(1, "alice").await;
    let none = json!({"conversations": [], "meta": {"next_token": null, "previous_token": null}});
    for path in ["/Client/v1/MyConversations", "/Client/v2/MyConversations?PageToken=x"] {
        assert_eq!(door.read(&alice, path).await, none);
    }
}

async fn what_is_not_there_has_a_documented_error(door: Door) {
    let alice = door.connect(1, "alice").await;
    let (is, us) = (service(1), door.user(1, "alice").await.sid);
    for (method, path) in [
        ("GET", "/".to_owned()),
        ("GET", "/Client/v2/Conversations/CH00000000000000000000000000000001".to_owned()),
        ("POST", "/Client/v2/Conversations".to_owned()),
        ("POST", "/Client/v2/TypingIndicator".to_owned()),
        ("GET", "/v1/Content".to_owned()),
        ("GET", "/v3/Documents/ET00000000000000000000000000000001".to_owned()),
        ("POST", "/v3/Lists".to_owned()),
        // The owner's.
        ("GET", "/v1/Services".to_owned()),
        ("GET", format!("/v1/Services/{is}/Users")),
        ("DELETE", format!("/v1/Services/{is}/Users/{us}")),
        ("POST", format!("/v1/Services/{is}/Events")),
        ("GET", "/healthz".to_owned()),
    ] {
        assert_eq!(error(&door.send(&alice, method, &path, "{}").await), (404, 20404), "{method} {path}");
    }
    for (method, path) in [
        ("POST", "/Client/v2/Configuration".to_owned()),
        ("DELETE", format!("/Client/v2/Users/{us}")),
        ("DELETE", format!("/v3/Maps/{us}.info")),
        ("POST", format!("/v3/Maps/{us}.info/Items")),
        ("GET", "/v1/registrations".to_owned()),
    ] {
        assert_eq!(error(&door.send(&alice, method, &path, "{}").await), (405, 20004), "{method} {path}");
    }
    let large = "x".repeat(64 * 1024 + 1);
    assert_eq!(error(&door.send(&alice, "POST", "/v1/registrations", &large).await), (413, 20001));
}

async fn only_a_client_gets_in(door: Door) {
    let alice = door.connect(1, "alice").await;
    let sid = door.user(1, "alice").await.sid;
    for (method, path) in [
        ("GET", "/Client/v2/Configuration".to_owned()),
        ("GET", "/Client/v2/MyConversations".to_owned()),
        ("GET", "/Client/v2/Users/alice".to_owned()),
        ("POST", "/Client/v2/Users/alice".to_owned()),
        ("GET", format!("/v3/Maps/{sid}.info")),
        ("GET", format!("/v3/Maps/{sid}.info/Items")),
        ("POST", "/v1/registrations".to_owned()),
        ("DELETE", "/v1/registrations".to_owned()),
        ("DELETE", "/v1/registrations/BS00000000000000000000000000000001".to_owned()),
        ("GET", "/elsewhere".to_owned()),
        ("PUT", "/Client/v2/Configuration".to_owned()),
    ] {
        // Not even the owner's credentials make a client.
        let request = Request::builder().method(method).uri(&path).header("authorization", &door.authorization);
        let refused = answer(&door.router, request.body(Body::empty()).unwrap()).await;
        assert_eq!(error(&refused), (401, 20003), "{method} {path}");
        // And a client makes no owner.
        let request = Request::builder().method(method).uri(&path).extension(alice.clone());
        let refused = answer(&door.owner, request.body(Body::empty()).unwrap()).await;
        assert_eq!(error(&refused), (401, 20003), "{method} {path}");
    }
}

async fn a_user_who_was_deleted_finds_nothing(door: Door) {
    let alice = door.connect(1, "alice").await;
    let sid = door.user(1, "alice").await.sid;
    let (status, _) = door.send_as_owner("DELETE", &format!("/v1/Services/{}/Users/{sid}", service(1)), "").await;
    assert_eq!(status, 204);
    assert_eq!(error(&door.get(&alice, "/Client/v2/Configuration").await), (404, 20404));
    assert_eq!(error(&door.get(&alice, "/Client/v2/Users/alice").await), (404, 20404));
    assert_eq!(error(&door.get(&alice, &format!("/v3/Maps/{sid}.info")).await), (404, 54200));
    // One who never was is the same.
    assert_eq!(error(&door.get(&client(1, "nobody"), "/Client/v2/Configuration").await), (404, 20404));
}
