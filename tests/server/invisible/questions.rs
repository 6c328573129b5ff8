//! What is asked to see a user: of every route, and over every socket.

/// How a route of the owner is looked at. The names in its path are those of the list of all routes: `alice` is whoever is
/// looked at.
#[derive(Debug, Clone, Copy)]
pub(super) enum Look {
    /// With these queries.
    At(&'static [&'static str]),
    /// It shows all services, so it cannot be compared with another; but it must not change because of what one user does.
    OfAll,
    /// It has nothing of users.
    Nothing,
}

use Look::{At, Nothing, OfAll};

/// Every route of the owner.
pub(super) const LOOKS: &[(&str, Look)] = &[
    ("/v1/Configuration", OfAll),
    ("/v1/Configuration/Webhooks", OfAll),
    ("/v1/Conversations", OfAll),
    ("/v1/Credentials", OfAll),
    ("/v1/Credentials/{CR}", Nothing),
    ("/v1/ParticipantConversations", OfAll),
    ("/v1/Roles", OfAll),
    ("/v1/Roles/{defaultRL}", Nothing),
    ("/v1/Services", OfAll),
    ("/v1/Services/{IS}", At(&[""])),
    ("/v1/Services/{IS}/Bindings", At(&["", "?Identity=john", "?BindingType=twilsock", "?PageSize=1"])),
    ("/v1/Services/{IS}/Bindings/{BS}", At(&[""])),
    ("/v1/Services/{IS}/Changes", At(&["", "?Identity=john", "?PageSize=2"])),
    (
        "/v1/Services/{IS}/Channels",
        At(&[
            "",
            "?Filter={\"members\":\"john\"}",
            "?Filter={\"member_count\":{\"$gt\":1}}&Sort={\"updated_at\":-1}&PageSize=1",
            "?Filter={\"updated_at\":{\"$gt\":\"{start}\"}}",
        ]),
    ),
    ("/v1/Services/{IS}/Channels/messaging/general", At(&[""])),
    ("/v1/Services/{IS}/Channels/messaging/general/Members", At(&["", "?PageSize=2"])),
    ("/v1/Services/{IS}/Channels/messaging/general/Members/john", Nothing),
    ("/v1/Services/{IS}/Configuration", At(&[""])),
    ("/v1/Services/{IS}/Configuration/Notifications", At(&[""])),
    ("/v1/Services/{IS}/Configuration/Webhooks", At(&[""])),
    ("/v1/Services/{IS}/Conversations", At(&[""])),
    ("/v1/Services/{IS}/Events", Nothing),
    // A push goes to every registration, whoever is online.
    ("/v1/Services/{IS}/Notifications", Nothing),
    ("/v1/Services/{IS}/Notifications/{NT}", Nothing),
    ("/v1/Services/{IS}/Notifications/{NT}/Deliveries", Nothing),
    ("/v1/Services/{IS}/ParticipantConversations", At(&["", "?Identity=john"])),
    (
        "/v1/Services/{IS}/Presence",
        At(&[
            "",
            "?PageSize=2",
            "?Online=true",
            "?Online=false",
            "?Online=true&PageSize=1",
            "?Online=false&Sort={\"last_active\":-1}&PageSize=1",
            "?Identity=john&Identity=jack",
            "?Sort=[{\"online\":-1},{\"last_active\":-1}]",
            "?Sort={\"last_active\":1}&PageSize=1",
            "?Filter={\"last_active\":{\"$gte\":\"{start}\"}}",
            "?Filter={\"last_active\":{\"$lt\":\"{then}\"}}&Sort={\"last_active\":-1}",
            "?Filter={\"$nor\":[{\"online\":true},{\"last_active\":{\"$exists\":false}}]}",
            "?Filter={\"$nowhere\":1}",
        ]),
    ),
    ("/v1/Services/{IS}/Presence/alice", At(&[""])),
    ("/v1/Services/{IS}/Roles", At(&[""])),
    ("/v1/Services/{IS}/Roles/{RL}", Nothing),
    ("/v1/Services/{IS}/Users", At(&["", "?Reachability=true", "?Reachability=true&PageSize=2"])),
    ("/v1/Services/{IS}/Users/alice", At(&[""])),
    ("/v1/Services/{IS}/Users/alice/Conversations", At(&[""])),
    ("/v1/Users", OfAll),
    // Those of the default service: the same code as for the others.
    ("/v1/Users/alice", Nothing),
    ("/v1/Users/alice/Conversations", Nothing),
    ("/v2/Credentials", OfAll),
    ("/v2/Credentials/{CR}", Nothing),
    ("/v2/Services", OfAll),
    ("/v2/Services/{IS}", At(&[""])),
    ("/v2/Services/{IS}/Bindings", At(&["", "?Identity=john"])),
    ("/v2/Services/{IS}/Bindings/{BS}", At(&[""])),
    ("/v2/Services/{IS}/Channels", At(&[""])),
    ("/v2/Services/{IS}/Roles", At(&[""])),
    ("/v2/Services/{IS}/Roles/{RL}", Nothing),
    ("/v2/Services/{IS}/Users", At(&["", "?Reachability=true"])),
    ("/v2/Services/{IS}/Users/alice", At(&[""])),
    ("/v2/Services/{IS}/Users/alice/Bindings", At(&[""])),
    ("/v2/Services/{IS}/Users/alice/Bindings/{BS}", At(&[""])),
    ("/v2/Services/{IS}/Users/alice/Channels", At(&[""])),
    ("/2010-04-01/Accounts/{AC}/Keys.json", Nothing),
    ("/2010-04-01/Accounts/{AC}/Keys/{SK}.json", Nothing),
];

/// What is written to the owner's routes that changes nothing.
pub(super) const POSTS: &[(&str, &str)] = &[
    ("/v1/Services/{IS}/Presence/john", ""),
    ("/v1/Services/{IS}/Users", "Identity=john"),
    ("/v1/Services/{IS}/Channels", "Type=messaging&Id=general"),
    ("/v1/Services/{IS}/Channels/messaging/general/Members", "Identity=joan"),
    ("/v1/Services/{IS}/Events", "[{\"type\":\"connect\"}]"),
    ("/v1/Services/{IS}/Notifications", "Identity=john&Body="),
];

/// Every route of the vendor's clients, as it is written in its router, and the requests of another user's client.
pub(super) const CLIENT_LOOKS: &[(&str, &[(&str, &str)])] = &[
    ("{prefix}/Configuration", &[("GET", "/Client/v1/Configuration"), ("GET", "/Client/v2/Configuration")]),
    ("{prefix}/MyConversations", &[("GET", "/Client/v2/MyConversations")]),
    (
        "{prefix}/Users/{user}",
        &[
            ("GET", "/Client/v1/Users/john"),
            ("GET", "/Client/v2/Users/john"),
            ("GET", "/Client/v2/Users/{US}"),
            ("POST", "/Client/v2/Users/john"),
        ],
    ),
    (
        "/v3/Maps/{map}",
        &[
            ("GET", "/v3/Maps/{MP}"),
            ("GET", "/v3/Maps/{MP}?Include=items"),
            ("GET", "/v3/Maps/{US}.info?Include=items"),
            ("GET", "/v3/Maps/{US}.channels"),
        ],
    ),
    ("/v3/Maps/{map}/Items", &[("GET", "/v3/Maps/{MP}/Items"), ("GET", "/v3/Maps/{MP}/Items?Key=reachability")]),
    ("/v1/registrations", &[("DELETE", "/v1/registrations")]),
    ("/v1/registrations/{registration}", &[("DELETE", "/v1/registrations/BS00000000000000000000000000000000")]),
];

/// What another user asks for over our socket.
pub(super) const QUERIES: &[&str] = &[
    "{}",
    r#"{"limit":2}"#,
    r#"{"filter":{"id":{"$in":["john","jack","nobody"]}}}"#,
    r#"{"filter":{"online":true}}"#,
    r#"{"filter":{"online":{"$eq":false}}}"#,
    r#"{"filter":{"online":null}}"#,
    r#"{"filter":{"online":{"$ne":true}},"sort":{"id":-1}}"#,
    r#"{"filter":{"online":{"$in":[true,false]}},"sort":{"last_active":-1},"limit":2}"#,
    r#"{"filter":{"online":{"$exists":false}}}"#,
    r#"{"filter":{"online":{"$gte":false}}}"#,
    r#"{"filter":{"last_active":{"$exists":true}},"sort":{"last_active":1}}"#,
    r#"{"filter":{"last_active":{"$gt":"{start}"}}}"#,
    r#"{"filter":{"last_active":{"$lte":"{start}"}}}"#,
    r#"{"filter":{"last_active":{"$gte":"{then}"}}}"#,
    r#"{"filter":{"last_active":{"$lt":"{then}"}}}"#,
    r#"{"filter":{"$or":[{"online":true},{"last_active":{"$gt":"{then}"}}]},"sort":[{"online":1},{"last_active":-1}]}"#,
    r#"{"filter":{"$nor":[{"online":true}]},"sort":{"created_at":-1}}"#,
    r#"{"filter":{"$and":[{"online":false},{"color":"green"}]}}"#,
    r#"{"filter":{"created_at":{"$gt":"{start}"}}}"#,
    r#"{"filter":{"name":{"$autocomplete":"j"}},"sort":{"name":1}}"#,
    r#"{"filter":{"status":{"$exists":true}}}"#,
    r#"{"filter":{"invisible":{"$exists":true}}}"#,
    r#"{"filter":{"revision":{"$gt":0}},"sort":{"revision":-1}}"#,
    r#"{"filter":{"notifiable":true}}"#,
];
