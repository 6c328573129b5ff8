BEGIN TRANSACTION;
CREATE TABLE account (
    id       INTEGER PRIMARY KEY CHECK (id = 1),
    version  INTEGER NOT NULL,
    document TEXT NOT NULL
);
INSERT INTO "account" VALUES(1,2,'{"default_chat_service_sid":"IS01a1fee6d92475ac94eb1daa22f0c027","default_messaging_service_sid":null,"default_inactive_timer":null,"default_closed_timer":"PT1H","webhooks":{"pre_webhook_url":null,"post_webhook_url":null,"filters":null,"method":null},"webhook_target":null,"version":1}');
CREATE TABLE bindings (
    service  BLOB NOT NULL,
    sid      BLOB NOT NULL,
    channel  TEXT NOT NULL,
    identity TEXT NOT NULL,
    version  INTEGER NOT NULL,
    document TEXT NOT NULL,
    PRIMARY KEY (service, sid)
) WITHOUT ROWID;
INSERT INTO "bindings" VALUES(X'01A1FEE6D92475AC94EB1DAA22F0C027',X'627A0D6AFD8A92DD7018CFB76040E804','apn','alice',0,'{"sid":"BS627a0d6afd8a92dd7018cfb76040e804","service_sid":"IS01a1fee6d92475ac94eb1daa22f0c027","identity":"alice","channel":"apn","address":"00ff","credential_sid":"CR01a1fee6d96f767bab02a2b8f0118fb6","endpoint":"her phone","date_created":1795277905261,"date_updated":1795277905261,"registered_at":1795277905261,"confirmed_at":null,"death":null,"version":0}');
CREATE TABLE credentials (
    sid      BLOB PRIMARY KEY,
    version  INTEGER NOT NULL,
    document TEXT NOT NULL
) WITHOUT ROWID;
INSERT INTO "credentials" VALUES(X'01A1FEE6D96F767BAB02A2B8F0118FB6',0,'{"sid":"CR01a1fee6d96f767bab02a2b8f0118fb6","channel":"apn","friendly_name":"apple","sandbox":false,"check":"silent","method":{"kind":"apns_key","key_id":"ABC123DEFG","team_id":"DEF123GHIJ","topic":"com.example.app"},"sealed":"v1:TW+NXWlNxTkTDU+ZSb0R/CmFVDSwf0GBPuGGTOpuW8kYFEmTArV3w67t7vQ7RbuO4czfb465uR6sBQSjzMhdJnTtegi8qoeH0R3fWLe7kpQyoGoEab1sbpKv8okTJw03FzWqbFhiY+NL9/NFbm5UpBnLTMBIjGn23eDqleFP0xYlcX/EiTbIOYvkJK2Y+YZwu74HWTA4bB9WXhXboAca9+WTB2sw27JXK1Duz4ZgGp6KLHee694R8PqW2scAaYls6zQ9gUTv081nKj32UR8o0fW2eOX84grORNUxUg330sw5HkDWf9y8XpQWFopdwSCxNunlfT/jmYqiZ9W1Zhvitq2ou6bU0XUre0gPybI=","health":{"state":"unproven"},"date_created":1795277904239,"date_updated":1795277904239,"version":0}');
CREATE TABLE dead_letters (
    id       INTEGER PRIMARY KEY,
    died_at  INTEGER NOT NULL,
    reason   TEXT NOT NULL,
    body     TEXT NOT NULL
);
INSERT INTO "dead_letters" VALUES(14,1795277905316,'there is no service ISffffffffffffffffffffffffffffffff','{"type": "connect", "service_sid": "ISffffffffffffffffffffffffffffffff", "identity": "x", "connection_id": "y", "occurred_at": "2026-11-21T16:18:24.000Z"}');
CREATE TABLE deliveries (
    notification BLOB NOT NULL,
    sid          BLOB NOT NULL,
    document     TEXT NOT NULL,
    PRIMARY KEY (notification, sid)
) WITHOUT ROWID;
INSERT INTO "deliveries" VALUES(X'01A1FEE6DD8B73E5A66146D98DDA268A',X'627A0D6AFD8A92DD7018CFB76040E804','{"notification_sid":"NT01a1fee6dd8b73e5a66146d98dda268a","binding_sid":"BS627a0d6afd8a92dd7018cfb76040e804","identity":"alice","channel":"apn","status":{"status":"queued"},"date_updated":1795277905306}');
CREATE TABLE keys (
    sid      BLOB PRIMARY KEY,
    document TEXT NOT NULL
) WITHOUT ROWID;
INSERT INTO "keys" VALUES(X'01A1FEE6D95D75FE94588F9AAFCCC242','{"sid":"SK01a1fee6d95d75fe94588f9aafccc242","friendly_name":"a key","secret":"5ca36e9dbbcf834763dd60ed2ab67ee1","date_created":1795277904221}');
CREATE TABLE messages (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    due_at   INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    body     TEXT NOT NULL
, lane INTEGER NOT NULL DEFAULT 0);
INSERT INTO "messages" VALUES(9,1795278024000,0,'{"type":"check","service_sid":"IS01a1fee6d92475ac94eb1daa22f0c027","identity":"carol","connection_id":"c-4","due_at":1795278024000}',0);
INSERT INTO "messages" VALUES(11,1795278696583,0,'{"type":"check","service_sid":"IS01a1fee6d92475ac94eb1daa22f0c027","identity":"alice","connection_id":"c-1","due_at":1795278696583}',0);
INSERT INTO "messages" VALUES(15,1795277965307,0,'{"type":"purge","service_sid":"IS01a1fee6d94c71609d368be25f57414c","due_at":1795277965307}',0);
INSERT INTO "messages" VALUES(18,1795277918589,0,'{"type":"probe","service_sid":"IS01a1fee6d92475ac94eb1daa22f0c027","binding_sid":"BS627a0d6afd8a92dd7018cfb76040e804","asked_at":1795277905261,"attempts":1,"due_at":1795277918589}',1);
INSERT INTO "messages" VALUES(19,1795277938686,0,'{"type":"deliver","service_sid":"IS01a1fee6d92475ac94eb1daa22f0c027","notification_sid":"NT01a1fee6dd8b73e5a66146d98dda268a","binding_sid":"BS627a0d6afd8a92dd7018cfb76040e804","attempts":2,"due_at":1795277938686}',1);
CREATE TABLE notifications (
    sid      BLOB PRIMARY KEY,
    service  BLOB NOT NULL,
    made_at  INTEGER NOT NULL,
    document TEXT NOT NULL
) WITHOUT ROWID;
INSERT INTO "notifications" VALUES(X'01A1FEE6DD8B73E5A66146D98DDA268A',X'01A1FEE6D92475AC94EB1DAA22F0C027',1795277905291,'{"sid":"NT01a1fee6dd8b73e5a66146d98dda268a","service_sid":"IS01a1fee6d92475ac94eb1daa22f0c027","identities":["alice"],"content":{"title":"t","body":"Hello","data":"{\"room\":7}","priority":"high","sound":"ping"},"ttl_seconds":1,"date_created":1795277905291}');
CREATE TABLE services (
    sid      BLOB PRIMARY KEY,
    version  INTEGER NOT NULL,
    document TEXT NOT NULL
) WITHOUT ROWID;
INSERT INTO "services" VALUES(X'01A1FEE6D92475AC94EB1DAA22F0C027',3,'{"sid":"IS01a1fee6d92475ac94eb1daa22f0c027","friendly_name":"Default Conversations Service","configuration":{"reachability_enabled":true,"generation":1,"disabled_at":null},"default_roles":{"conversation_creator":"RL01a1fee6d92475ac94eb1da78cde71b8","conversation":"RL01a1fee6d92475ac94eb1da883ca931c","service_user":"RL01a1fee6d92475ac94eb1da9fb226ec7"},"notifications":{"log_enabled":true,"new_message":{"enabled":true,"template":"x","sound":"ping"},"badge_count_enabled":false,"new_message_with_media":{"enabled":false,"template":null,"sound":null},"added":{"enabled":false,"template":null,"sound":null},"removed":{"enabled":false,"template":null,"sound":null},"invited":{"enabled":false,"template":null,"sound":null}},"webhooks":{"pre_webhook_url":null,"post_webhook_url":"https://example.com/hook","filters":["onUserAdded","onUserUpdated"],"method":"POST"},"chat":{"read_status_enabled":true,"typing_indicator_timeout":5,"consumption_report_interval":10,"channel_members":100,"user_channels":250,"media_compatibility_message":"Media messages are not supported by your client","pre_webhook_retry_count":0,"post_webhook_retry_count":0},"date_created":1795277904164,"date_updated":1795277904202,"version":2}');
CREATE TABLE states (
    service  BLOB NOT NULL,
    identity TEXT NOT NULL,
    revision INTEGER NOT NULL,
    as_of    INTEGER NOT NULL,
    presence TEXT NOT NULL, registrations TEXT,
    PRIMARY KEY (service, identity)
) WITHOUT ROWID;
INSERT INTO "states" VALUES(X'01A1FEE6D92475AC94EB1DAA22F0C027','alice',1795277904253,1795277905261,'{"c":{"c-1":{"o":{"a":1795277904000,"l":6090245199000}},"c-2":{"o":{"a":1795277904000,"l":1795278024000},"e":{"a":1795277904000,"r":1795277904252}}},"g":1,"t":1795277904000}','{"g":1,"d":{"BS627a0d6afd8a92dd7018cfb76040e804":{"a":1795277905261}}}');
INSERT INTO "states" VALUES(X'01A1FEE6D92475AC94EB1DAA22F0C027','bob',1795277904253,1795277914002,'{"c":{"c-3":{"o":{"a":1795277904000,"l":6090245199000},"e":{"a":1795277914000,"r":1795277904252}}},"g":1,"t":1795277904000}',NULL);
INSERT INTO "states" VALUES(X'01A1FEE6D92475AC94EB1DAA22F0C027','carol',1795277904253,1795277905258,'{"c":{"c-4":{"o":{"a":9223372036854775807,"l":9223372036854775807},"e":{"a":1795277905258,"r":1795277905258}}},"g":0,"t":null}',NULL);
CREATE TABLE users (
    service  BLOB NOT NULL,
    sid      BLOB NOT NULL,
    identity TEXT NOT NULL,
    version  INTEGER NOT NULL,
    document TEXT NOT NULL,
    PRIMARY KEY (service, sid)
) WITHOUT ROWID;
INSERT INTO "users" VALUES(X'01A1FEE6D92475AC94EB1DAA22F0C027',X'01A1FEE6D97D70C8ADFAC99D2DE508D8','bob',0,'{"sid":"US01a1fee6d97d70c8adfac99d2de508d8","service_sid":"IS01a1fee6d92475ac94eb1daa22f0c027","identity":"bob","friendly_name":null,"attributes":"{}","role_sid":"RL01a1fee6d92475ac94eb1da9fb226ec7","date_created":1795277904252,"date_updated":1795277904252,"version":0}');
INSERT INTO "users" VALUES(X'01A1FEE6D92475AC94EB1DAA22F0C027',X'01A1FEE6D97D70C8ADFAC99E8905F591','alice',1,'{"sid":"US01a1fee6d97d70c8adfac99e8905f591","service_sid":"IS01a1fee6d92475ac94eb1daa22f0c027","identity":"alice","friendly_name":"Alice","attributes":"{\"a\":1}","role_sid":"RL01a1fee6d92475ac94eb1da9fb226ec7","date_created":1795277904252,"date_updated":1795277905254,"version":0}');
CREATE UNIQUE INDEX users_by_identity ON users (service, identity);
CREATE INDEX bindings_by_identity ON bindings (service, identity);
CREATE INDEX notifications_by_time ON notifications (made_at);
CREATE INDEX messages_by_due ON messages (lane, due_at);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('messages',19);
COMMIT;
PRAGMA user_version = 2;
