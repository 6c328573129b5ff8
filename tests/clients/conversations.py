"""The REST API as the vendor's Python library sees it. Nothing but the library's base URL is changed.

Prints one line per check; the first one that fails ends it with a traceback. conversations.mjs checks the same.
"""

import asyncio
import faulthandler
import json
import os
import re
import sys
import time
import urllib.request
import uuid
import warnings
from base64 import b64encode
from datetime import datetime, timedelta, timezone

from twilio.base.exceptions import TwilioException, TwilioRestException
from twilio.http.async_http_client import AsyncTwilioHttpClient
from twilio.rest import Client

URL = os.environ["REACHABILITY_URL"]
ACCOUNT = os.environ["REACHABILITY_ACCOUNT"]
TOKEN = os.environ["REACHABILITY_TOKEN"]

# What push providers give out, made for this run.
CERTIFICATE = os.environ["REACHABILITY_CERTIFICATE"]
CERTIFICATE_KEY = os.environ["REACHABILITY_CERTIFICATE_KEY"]
SERVICE_ACCOUNT = os.environ["REACHABILITY_SERVICE_ACCOUNT"]

# What is put into a path, and the identity it stands for: the library encodes nothing, the HTTP library below it only
# what cannot be in a path, and the server decodes once.
IDENTITIES = {
    "a b": "a b",
    "ü": "ü",
    "p+q": "p+q",
    "bob@x.com": "bob@x.com",
    "x%2Fy": "x/y",
    "x%252Fy": "x%2Fy",
}

# The un-versioned shortcuts are checked although they are deprecated.
warnings.simplefilter("ignore", DeprecationWarning)

CHECKS = []


def check(function):
    CHECKS.append(function)
    return function


def client_of(username, password, http_client=None):
    client = Client(username, password, ACCOUNT, http_client=http_client)
    client.api.base_url = URL
    client.chat.base_url = URL
    client.conversations.base_url = URL
    client.notify.base_url = URL
    return client


client = client_of(ACCOUNT, TOKEN)


def new_service():
    """A service of its own for every check."""
    return client.conversations.v1.services.create(friendly_name="Test")


def equal(actual, expected):
    assert actual == expected, f"{actual!r} is not {expected!r}"


def matches(actual, pattern):
    assert re.fullmatch(pattern, actual), f"{actual!r} does not match {pattern!r}"


def refused(status, code, call):
    """Expects this error of the call. Returns its message."""
    try:
        call()
    except TwilioRestException as error:
        equal((error.status, error.code), (status, code))
        return error.msg
    raise AssertionError(f"it was not refused with {status}/{code}")


def list_refused(status, code, call):
    """The same for a list: there the library has another error, with the answer in it."""
    try:
        call()
    except TwilioException as error:
        answer = error.args[1]
        equal((answer.status_code, json.loads(answer.text)["code"]), (status, code))
        return json.loads(answer.text)["message"]
    raise AssertionError(f"it was not refused with {status}/{code}")


def sids(items):
    return [item.sid for item in items]


def request(url, body=None):
    """A plain request, without the library. Returns the JSON of the answer."""
    credentials = b64encode(f"{ACCOUNT}:{TOKEN}".encode()).decode()
    headers = {"Authorization": f"Basic {credentials}", "Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=30) as answer:
        return json.load(answer)


def event(service, kind, identity, connection, **more):
    now = datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {
        "type": kind,
        "service_sid": service.sid,
        "identity": identity,
        "connection_id": connection,
        "occurred_at": now,
        **more,
    }


def send(service, events, as_lines=False):
    """What an owner's own gateway does."""
    body = "\n".join(map(json.dumps, events)) if as_lines else json.dumps(events)
    answer = request(f"{URL}/v1/Services/{service.sid}/Events", body.encode())
    equal(answer["accepted"], len(events))


def wait_until_online_is(expected, user):
    """Events are handled soon, but not at once. An unknown user is made by its first one."""
    deadline = time.monotonic() + 10
    while True:
        try:
            shown = user.fetch().is_online
        except TwilioRestException as error:
            equal(error.code, 20404)
            shown = error
        if shown is expected:
            return
        assert time.monotonic() < deadline, f"is_online stays {shown!r}, it does not become {expected!r}"
        time.sleep(0.05)


@check
def services():
    services = client.conversations.v1.services
    service = services.create(friendly_name="Shop ü")
    matches(service.sid, "IS[0-9a-f]{32}")
    equal(service.account_sid, ACCOUNT)
    equal(service.friendly_name, "Shop ü")
    equal(services(service.sid).fetch().friendly_name, "Shop ü")
    assert service.sid in sids(services.list())
    assert service.sid in sids(client.conversations.services.list())
    equal(service.delete(), True)
    assert service.sid not in sids(services.list())
    refused(404, 20404, services(service.sid).fetch)
    refused(404, 20404, services(service.sid).delete)


@check
def services_in_pages():
    services = client.conversations.v1.services
    made = [new_service().sid for _ in range(5)]
    assert services.page(page_size=2).next_page_url
    listed = sids(services.list(page_size=2))
    equal(len(set(listed)), len(listed))
    equal([sid for sid in listed if sid in made], made)


@check
def chat_services():
    services = client.chat.v2.services
    service = services.create(friendly_name="Chat")
    equal(service.friendly_name, "Chat")
    equal(service.reachability_enabled, False)
    equal(service.limits, {"user_channels": 250, "channel_members": 100})
    equal(services(service.sid).fetch().sid, service.sid)
    assert service.sid in sids(services.list(page_size=2))
    assert service.sid in sids(client.chat.services.list())

    # They are the same services.
    conversations = client.conversations.v1.services(service.sid)
    service = service.update(friendly_name="Renamed", reachability_enabled=True)
    equal((service.friendly_name, service.reachability_enabled), ("Renamed", True))
    equal(conversations.fetch().friendly_name, "Renamed")
    equal(conversations.configuration().fetch().reachability_enabled, True)
    conversations.configuration().update(reachability_enabled=False)
    service = services(service.sid).fetch()
    equal((service.friendly_name, service.reachability_enabled), ("Renamed", False))

    equal(service.delete(), True)
    refused(404, 20404, services(service.sid).fetch)
    refused(404, 20404, conversations.fetch)


@check
def chat_v1_switches_reachability():
    service = new_service()
    configuration = client.conversations.v1.services(service.sid).configuration()
    for enabled in (True, False):
        updated = client.chat.v1.services(service.sid).update(reachability_enabled=enabled)
        equal((updated.sid, updated.reachability_enabled), (service.sid, enabled))
        equal(configuration.fetch().reachability_enabled, enabled)
        equal(client.chat.v2.services(service.sid).fetch().reachability_enabled, enabled)
    equal(client.chat.v1.services(service.sid).update(friendly_name="Renamed").friendly_name, "Renamed")
    equal(service.fetch().friendly_name, "Renamed")
    refused(404, 20404, lambda: client.chat.v1.services("IS" + "0" * 32).update(reachability_enabled=True))


@check
def roles():
    service = new_service()
    context = client.conversations.v1.services(service.sid)
    chat = client.chat.v2.services(service.sid)
    shown = chat.fetch()
    defaults = {
        shown.default_service_role_sid: ("service user", "service", "deployment", ["editOwnUserInfo"]),
        shown.default_channel_role_sid: ("channel user", "conversation", "channel", []),
        shown.default_channel_creator_role_sid: ("channel admin", "conversation", "channel", []),
    }
    role = context.users.create(identity="alice").role_sid
    equal(context.roles(role).fetch().friendly_name, "service user")
    equal(chat.roles(role).fetch().friendly_name, "service user")
    for roles, key, place in ((context.roles, "chat_service_sid", 1), (chat.roles, "service_sid", 2)):
        equal(sids(roles.list()), sorted(defaults))
        equal(sids(roles.list(page_size=1)), sorted(defaults))
        for role in roles.list():
            expected = defaults[role.sid]
            fetched = roles(role.sid).fetch()
            for item in (role, fetched):
                equal((item.friendly_name, item.type, item.permissions), (expected[0], expected[place], expected[3]))
                equal((item.account_sid, getattr(item, key)), (ACCOUNT, service.sid))
                equal((item.date_created, item.date_updated), (service.date_created, service.date_created))
            equal(request(fetched.url)["url"], fetched.url)
            refused(405, 20004, roles(role.sid).delete)
            refused(405, 20004, lambda: roles(role.sid).update(permission=["editAnyUserInfo"]))
        refused(405, 20004, lambda: roles.create(friendly_name="x", type="service", permission=["editOwnUserInfo"]))
        refused(404, 20404, roles("RL" + "0" * 32).fetch)
        equal(sids(roles.list()), sorted(defaults))

    # Users have their role also when another one becomes the default.
    other = "RL" + "f" * 32
    context.configuration().update(default_chat_service_role_sid=other)
    equal(sids(context.roles.list()), sorted([*defaults, other]))
    equal(context.roles(context.users("alice").fetch().role_sid).fetch().friendly_name, "service user")
    equal(context.roles(context.users.create(identity="bob").role_sid).fetch().sid, other)

    of_account = client.conversations.v1.roles
    listed = of_account.list()
    user = client.conversations.v1.users.create(identity="with a role")
    assert user.role_sid in sids(listed), (user.role_sid, sids(listed))
    equal(of_account(user.role_sid).fetch().url, f"{URL}/v1/Roles/{user.role_sid}")
    refused(404, 20404, of_account(role.sid).fetch)
    user.delete()


@check
def empty_lists():
    service = new_service()
    v1, v2 = client.conversations.v1, client.chat.v2
    context, chat = v1.services(service.sid), v2.services(service.sid)
    user = context.users.create(identity="a b")
    for listed in (
        v1.conversations.list(),
        v1.conversations.list(page_size=1_000, state="active"),
        v1.participant_conversations.list(identity="alice"),
        context.conversations.list(),
        context.conversations.list(limit=10**30),
        context.participant_conversations.list(identity="a b"),
        context.participant_conversations.list(address="+15550000000"),
        context.users(user.sid).user_conversations.list(),
        context.users("a b").user_conversations.list(),
        chat.channels.list(),
        chat.channels.list(type=["public"], page_size=7),
        chat.users("a b").user_channels.list(page_size=1_000),
    ):
        equal(listed, [])
    for url, key, page_size in (
        (f"{URL}/v1/Conversations", "conversations", 100),
        (f"{URL}/v1/ParticipantConversations", "conversations", 50),
        (f"{context.fetch().links['conversations']}", "conversations", 100),
        (f"{context.fetch().links['participant_conversations']}", "conversations", 50),
        (f"{context.users(user.sid).fetch().links['user_conversations']}", "conversations", 50),
        (f"{chat.fetch().links['channels']}", "channels", 100),
        (f"{chat.users(user.sid).fetch().links['user_channels']}", "channels", 50),
    ):
        meta = {
            "page": 0,
            "page_size": page_size,
            "first_page_url": f"{url}?PageSize={page_size}&Page=0",
            "previous_page_url": None,
            "url": f"{url}?PageSize={page_size}&Page=0",
            "next_page_url": None,
            "key": key,
        }
        equal(request(f"{url}?PageSize=99999999999999999999"), {"meta": meta, key: []})
    refused(405, 20004, lambda: context.conversations.create(friendly_name="x"))
    refused(404, 20404, context.conversations("CH" + "0" * 32).fetch)
    list_refused(404, 20404, v1.services("IS" + "0" * 32).conversations.list)
    list_refused(404, 20404, v2.services("IS" + "0" * 32).channels.list)


@check
def configuration():
    service = new_service()
    configuration = client.conversations.v1.services(service.sid).configuration()
    fresh = configuration.fetch()
    equal(fresh.chat_service_sid, service.sid)
    equal(fresh.reachability_enabled, False)
    for role in (
        fresh.default_conversation_creator_role_sid,
        fresh.default_conversation_role_sid,
        fresh.default_chat_service_role_sid,
    ):
        matches(role, "RL[0-9a-f]{32}")
    equal(configuration.update(reachability_enabled=True).reachability_enabled, True)
    equal(configuration.update().reachability_enabled, True)
    equal(configuration.fetch().reachability_enabled, True)
    equal(configuration.update(reachability_enabled=False).reachability_enabled, False)
    equal(configuration.fetch().reachability_enabled, False)

    roles = {
        "default_conversation_creator_role_sid": "RL" + "1" * 32,
        "default_conversation_role_sid": "RL" + "2" * 32,
        "default_chat_service_role_sid": "RL" + "3" * 32,
    }
    configuration.update(**roles)
    fetched = configuration.fetch()
    equal({name: getattr(fetched, name) for name in roles}, roles)


@check
def notifications():
    service = new_service()
    notifications = client.conversations.v1.services(service.sid).configuration.notifications()
    fresh = notifications.fetch()
    equal((fresh.account_sid, fresh.chat_service_sid), (ACCOUNT, service.sid))
    equal((fresh.log_enabled, fresh.new_message["enabled"]), (False, False))
    updated = notifications.update(
        log_enabled=True,
        new_message_enabled=True,
        new_message_template="${USER}: ${MESSAGE}",
        new_message_sound="ring",
        new_message_badge_count_enabled=True,
        new_message_with_media_enabled=True,
        new_message_with_media_template="a picture",
        added_to_conversation_enabled=True,
        added_to_conversation_template="welcome",
        added_to_conversation_sound="bell",
        removed_from_conversation_enabled=True,
        removed_from_conversation_template="good bye",
        removed_from_conversation_sound="door",
    )
    for shown in (updated, notifications.fetch()):
        equal(shown.log_enabled, True)
        equal(
            shown.new_message,
            {
                "enabled": True,
                "template": "${USER}: ${MESSAGE}",
                "sound": "ring",
                "badge_count_enabled": True,
                "with_media": {"enabled": True, "template": "a picture"},
            },
        )
        equal(shown.added_to_conversation, {"enabled": True, "template": "welcome", "sound": "bell"})
        equal(shown.removed_from_conversation, {"enabled": True, "template": "good bye", "sound": "door"})

    notifications.update(log_enabled=False, new_message_sound="")
    fetched = notifications.fetch()
    equal((fetched.log_enabled, fetched.new_message["sound"], fetched.new_message["enabled"]), (False, None, True))


@check
def webhooks():
    webhooks = client.conversations.v1.services(new_service().sid).configuration.webhooks()

    def fetch():
        shown = webhooks.fetch()
        return [shown.pre_webhook_url, shown.post_webhook_url, shown.filters, shown.method]

    equal(fetch(), [None, None, None, None])
    webhooks.update(
        pre_webhook_url="https://example.com/pre?a=b",
        post_webhook_url="https://example.com/post",
        filters=["onUserAdded", "onUserUpdated"],
        method="POST",
    )
    filters = ["onUserAdded", "onUserUpdated"]
    equal(fetch(), ["https://example.com/pre?a=b", "https://example.com/post", filters, "POST"])
    webhooks.update(pre_webhook_url="", method="GET")
    equal(fetch(), [None, "https://example.com/post", filters, "GET"])
    webhooks.update(post_webhook_url="", filters=[""], method="")
    equal(fetch(), [None, None, None, None])


@check
def account_configuration():
    configuration = client.conversations.v1.configuration()
    first = configuration.fetch()
    equal(first.account_sid, ACCOUNT)
    matches(first.default_chat_service_sid, "IS[0-9a-f]{32}")
    equal(client.conversations.v1.services(first.default_chat_service_sid).fetch().sid, first.default_chat_service_sid)

    service = new_service()
    messaging = "MG" + "1" * 32
    configuration.update(
        default_chat_service_sid=service.sid,
        default_messaging_service_sid=messaging,
        default_inactive_timer="PT5M",
        default_closed_timer="PT20M",
    )
    fetched = configuration.fetch()
    equal((fetched.default_chat_service_sid, fetched.default_messaging_service_sid), (service.sid, messaging))
    equal((fetched.default_inactive_timer, fetched.default_closed_timer), ("PT5M", "PT20M"))
    equal(fetched.links["service"], f"{URL}/v1/Services/{service.sid}/Configuration")
    configuration.update(default_inactive_timer="P1M", default_closed_timer="P1Y")
    fetched = configuration.fetch()
    equal((fetched.default_inactive_timer, fetched.default_closed_timer), ("P1M", "P1Y"))
    refused(400, 20001, lambda: configuration.update(default_inactive_timer="PT59S"))
    refused(400, 20001, lambda: configuration.update(default_closed_timer="-P1Y"))
    configuration.update(
        default_chat_service_sid=first.default_chat_service_sid, default_inactive_timer="", default_closed_timer=""
    )
    fetched = configuration.fetch()
    equal(fetched.default_chat_service_sid, first.default_chat_service_sid)
    equal((fetched.default_inactive_timer, fetched.default_closed_timer), (None, None))


@check
def account_webhooks():
    webhooks = client.conversations.v1.configuration.webhooks()
    equal(webhooks.fetch().account_sid, ACCOUNT)
    webhooks.update(
        post_webhook_url="https://example.com/post", filters=["onUserUpdated"], method="POST", target="webhook"
    )
    shown = webhooks.fetch()
    equal(
        [shown.pre_webhook_url, shown.post_webhook_url, shown.filters, shown.method, shown.target],
        [None, "https://example.com/post", ["onUserUpdated"], "POST", "webhook"],
    )
    # Otherwise the later checks would call it.
    webhooks.update(post_webhook_url="", filters=[""])
    equal((webhooks.fetch().post_webhook_url, webhooks.fetch().filters), (None, None))


@check
def account_users():
    users = client.conversations.v1.users
    service = client.conversations.v1.configuration().fetch().default_chat_service_sid
    user = users.create(identity="of the account")
    equal(user.chat_service_sid, service)
    equal(user.url, f"{URL}/v1/Users/{user.sid}")
    equal(users("of the account").fetch().sid, user.sid)
    equal(users(user.sid).update(friendly_name="A").friendly_name, "A")
    equal(client.conversations.v1.services(service).users(user.sid).fetch().friendly_name, "A")
    assert user.sid in sids(users.list())
    assert user.sid in sids(client.conversations.users.list())
    equal(user.delete(), True)
    refused(404, 20404, users(user.sid).fetch)


@check
def users():
    service = new_service()
    users = client.conversations.v1.services(service.sid).users
    role = "RL" + "1" * 32
    user = users.create(
        identity="alice",
        friendly_name="Alice & Bob",
        attributes='{"age": 30}',
        role_sid=role,
        x_twilio_webhook_enabled="true",
    )
    matches(user.sid, "US[0-9a-f]{32}")
    equal((user.account_sid, user.chat_service_sid), (ACCOUNT, service.sid))
    equal((user.identity, user.friendly_name, user.role_sid), ("alice", "Alice & Bob", role))
    equal(user.attributes, '{"age": 30}')
    equal((user.is_online, user.is_notifiable), (None, None))
    equal(users(user.sid).fetch().identity, "alice")
    equal(users("alice").fetch().sid, user.sid)
    refused(404, 20404, users("Alice").fetch)

    other = "RL" + "2" * 32
    equal(users("alice").update(friendly_name="B", x_twilio_webhook_enabled="true").friendly_name, "B")
    fetched = users("alice").fetch()
    updated = fetched.update(attributes='{"age": 31}', role_sid=other)
    equal((updated.friendly_name, updated.attributes, updated.role_sid), ("B", '{"age": 31}', other))
    updated = users(user.sid).update(friendly_name="")
    equal((updated.friendly_name, updated.attributes), (None, '{"age": 31}'))
    equal(users("alice").update().sid, user.sid)

    plain = users.create(identity="plain")
    equal((plain.friendly_name, plain.attributes), (None, "{}"))
    matches(plain.role_sid, "RL[0-9a-f]{32}")
    equal(sids(users.list()), [user.sid, plain.sid])
    equal(plain.user_conversations.list(), [])

    equal(user.delete(), True)
    equal(users("plain").delete(x_twilio_webhook_enabled="true"), True)
    equal(users.list(), [])
    refused(404, 20404, users("alice").fetch)
    refused(404, 20404, users("alice").delete)


@check
def identities():
    users = client.conversations.v1.services(new_service().sid).users
    for path, identity in IDENTITIES.items():
        user = users.create(identity=identity)
        equal(user.identity, identity)
        fetched = users(path).fetch()
        equal((fetched.sid, fetched.identity), (user.sid, identity))
        equal(users(path).update(friendly_name=identity).friendly_name, identity)
    equal([user.identity for user in users.list()], list(IDENTITIES.values()))
    for path in IDENTITIES:
        equal(users(path).delete(), True)
    equal(users.list(), [])


@check
def chat_users():
    service = new_service()
    users = client.chat.v2.services(service.sid).users
    for path, identity in IDENTITIES.items():
        user = users.create(identity=identity, friendly_name=identity, attributes="[1]")
        equal((user.service_sid, user.joined_channels_count), (service.sid, 0))
        fetched = users(path).fetch()
        equal((fetched.sid, fetched.identity, fetched.friendly_name), (user.sid, identity, identity))
        equal(fetched.user_channels.list(), [])
        # They are the same users.
        equal(client.conversations.v1.services(service.sid).users(path).fetch().sid, user.sid)
        equal(users(user.sid).update(friendly_name="new").friendly_name, "new")
        equal(users(path).fetch().attributes, "[1]")
    equal([user.identity for user in users.list(page_size=4)], list(IDENTITIES.values()))
    for path in IDENTITIES:
        equal(users(path).delete(), True)
        refused(404, 20404, users(path).fetch)


@check
def paging():
    users = client.conversations.v1.services(new_service().sid).users
    made = [users.create(identity=f"user {number}").sid for number in range(120)]
    equal(len(set(made)), 120)
    equal(sids(users.list()), made)
    equal(sids(users.list(page_size=7)), made)
    equal(sids(users.list(limit=33)), made[:33])
    # Asks for pages that are larger than they may be.
    equal(sids(users.list(limit=120)), made)
    equal(sids(users.list(page_size=2**63)), made)
    equal(sids(users.list(limit=10**30)), made)
    equal(sids(users.list(limit=20, page_size=7)), made[:20])
    equal(sids(users.stream()), made)

    first = users.page()
    equal((sids(first), first.previous_page()), (made[:50], None))
    second = first.next_page()
    equal(sids(second), made[50:100])
    third = second.next_page()
    equal((sids(third), third.next_page()), (made[100:], None))
    again = third.previous_page()
    equal(sids(again), made[50:100])
    equal(sids(again.next_page()), made[100:])
    again = again.previous_page()
    equal((sids(again), again.previous_page()), (made[:50], None))
    equal(sids(users.get_page(first.next_page_url)), made[50:100])
    matches(first.next_page_url, re.escape(f"{URL}/v1/Services/") + "IS[0-9a-f]{32}/Users[?].+")

    chat = client.chat.v2.services(users.list(limit=1)[0].chat_service_sid).users
    equal(sids(chat.list(page_size=100)), made)


@check
def statuses():
    service = client.conversations.v1.services.create_with_http_info(friendly_name="Test")
    equal(service.status_code, 201)
    headers = service.headers
    if "REACHABILITY_GATEWAY" in os.environ:
        # A gateway spells names of headers as it likes.
        headers = {name.title(): value for name, value in headers.items()}
    matches(headers["Content-Type"], "application/json(;.*)?")
    matches(headers["Twilio-Request-Id"], "RQ[0-9a-f]{32}")
    service = client.conversations.v1.services(service.data.sid)
    equal(service.fetch_with_http_info().status_code, 200)
    equal(service.configuration().update_with_http_info(reachability_enabled=True).status_code, 200)
    for users in (service.users, client.chat.v2.services(service.fetch().sid).users):
        equal(users.create_with_http_info(identity="alice").status_code, 201)
        equal(users("alice").fetch_with_http_info().status_code, 200)
        equal(users("alice").update_with_http_info(friendly_name="A").status_code, 200)
        equal(users.list_with_http_info().status_code, 200)
        equal(users.page_with_http_info().status_code, 200)
        deleted = users("alice").delete_with_http_info()
        equal((deleted.status_code, deleted.data), (204, True))
    deleted = service.delete_with_http_info()
    equal((deleted.status_code, deleted.data), (204, True))


@check
def reachability():
    service = new_service()
    context = client.conversations.v1.services(service.sid)
    users = context.users
    users.create(identity="alice")
    users.create(identity="never seen")
    context.configuration().update(reachability_enabled=True)
    equal(users("alice").fetch().is_online, None)

    alice, bob = f"c-{uuid.uuid4()}", f"c-{uuid.uuid4()}"
    connects = [
        event(service, "connect", "alice", alice, device="ios"),
        event(service, "connect", "bob", bob),
    ]
    send(service, connects)
    wait_until_online_is(True, users("alice"))
    wait_until_online_is(True, users("bob"))
    equal(users("alice").fetch().is_notifiable, None)
    equal(client.chat.v2.services(service.sid).users("alice").fetch().is_online, True)
    never_seen = users("never seen").fetch()
    equal((never_seen.is_online, never_seen.is_notifiable), (None, None))

    # Only a connection can set this.
    request_body = b"IsOnline=true&IsNotifiable=true"
    request(never_seen.url, request_body)
    equal(users("never seen").fetch().is_online, None)

    disconnects = [
        event(service, "disconnect", "alice", alice, reason="client_closed"),
        event(service, "disconnect", "bob", bob, reason="client_closed"),
    ]
    send(service, disconnects, as_lines=True)
    wait_until_online_is(False, users("alice"))
    wait_until_online_is(False, users("bob"))
    # A connection is used once: what comes late changes nothing.
    send(service, connects[:1] + [event(service, "connect", "bob", f"c-{uuid.uuid4()}")], as_lines=True)
    wait_until_online_is(True, users("bob"))
    equal(users("alice").fetch().is_online, False)

    context.configuration().update(reachability_enabled=False)
    for identity in ("alice", "bob", "never seen"):
        user = users(identity).fetch()
        equal((user.is_online, user.is_notifiable), (None, None))


@check
def credentials():
    for credentials in (client.conversations.v1.credentials, client.chat.v2.credentials):
        apn = credentials.create(
            type="apn", friendly_name="Shop", certificate=CERTIFICATE, private_key=CERTIFICATE_KEY, sandbox=True
        )
        matches(apn.sid, "CR[0-9a-f]{32}")
        equal((apn.account_sid, apn.friendly_name, apn.type, apn.sandbox), (ACCOUNT, "Shop", "apn", "True"))
        assert isinstance(apn.date_created, datetime) and isinstance(apn.date_updated, datetime)
        fcm = credentials.create(type="fcm", secret=SERVICE_ACCOUNT)
        gcm = credentials.create(type="gcm", api_key=SERVICE_ACCOUNT)
        equal((fcm.type, fcm.friendly_name, fcm.sandbox, gcm.type), ("fcm", None, "False", "gcm"))
        made = [apn.sid, fcm.sid, gcm.sid]
        for listed in (client.conversations.v1.credentials, client.chat.v2.credentials):
            equal([sid for sid in sids(listed.list(page_size=2)) if sid in made], made)
            equal(listed(apn.sid).fetch().type, "apn")
        equal(request(apn.url)["url"], apn.url)

        # What is not secret is shown, and nothing else.
        shown = request(apn.url)
        equal((shown["method"], shown["topic"]), ("apns_certificate", "com.example.app"))
        equal((shown["status"], shown["status_reason"], shown["status_date"]), ("unproven", None, None))
        matches(shown["certificate_expires"], "20[0-9]{2}-.+Z")
        shown = request(fcm.url)
        equal((shown["method"], shown["project_id"]), ("service_account", "example-1"))
        equal(shown["registration_check"], "dry-run")
        for item in made:
            text = json.dumps(request(f"{URL}/v1/Credentials/{item}"))
            assert "PRIVATE" not in text and "BEGIN" not in text, text

        context = credentials(apn.sid)
        updated = context.update(friendly_name="Renamed", sandbox=False)
        equal((updated.friendly_name, updated.sandbox, updated.type), ("Renamed", "False", "apn"))
        equal(context.update().friendly_name, "Renamed")
        updated = context.update(certificate=CERTIFICATE, private_key=CERTIFICATE_KEY, friendly_name="")
        equal(updated.friendly_name, None)
        equal(credentials(gcm.sid).update(secret=SERVICE_ACCOUNT).type, "gcm")

        refused(400, 20001, lambda: credentials.create(type="x"))
        refused(400, 20001, lambda: credentials.create(type="apn"))
        refused(400, 20001, lambda: credentials.create(type="apn", certificate=CERTIFICATE, private_key="x"))
        message = refused(400, 20001, lambda: credentials.create(type="gcm", api_key="AAAA0123:APA91b"))
        assert "2024" in message and "service account" in message, message
        for sid in made:
            equal(credentials(sid).delete(), True)
            refused(404, 20404, credentials(sid).fetch)
            refused(404, 20404, credentials(sid).delete)


def registered(service, identity, binding_type, address, **more):
    """Registers a device, which is Notify's to do."""
    bindings = client.notify.v1.services(service.sid).bindings
    return bindings.create(identity=identity, binding_type=binding_type, address=address, **more)


@check
def bindings():
    service = new_service()
    context = client.conversations.v1.services(service.sid)
    chat = client.chat.v2.services(service.sid)
    context.configuration().update(reachability_enabled=True)
    context.users.create(identity="a b")
    context.users.create(identity="never registered")
    credential = client.conversations.v1.credentials.create(type="fcm", secret=SERVICE_ACCOUNT)

    phone = registered(service, "a b", "apn", "00FF" * 16)
    matches(phone.sid, "BS[0-9a-f]{32}")
    equal((phone.account_sid, phone.identity, phone.binding_type), (ACCOUNT, "a b", "apn"))
    equal((phone.credential_sid, phone.endpoint, phone.address), (None, phone.sid, "00FF" * 16))
    equal((phone.service_sid, phone.tags, phone.notification_protocol_version), (service.sid, [], "3"))
    tablet = registered(service, "a b", "fcm", "t:1", endpoint="tablet", credential_sid=credential.sid, tag=["x"])
    equal((tablet.credential_sid, tablet.endpoint), (credential.sid, "tablet"))
    # The only one there is will do, by either name of the channel. A user is made by its first device.
    other = registered(service, "bob & co", "gcm", "t:2")
    equal((other.credential_sid, other.binding_type), (credential.sid, "gcm"))
    equal(context.users("bob & co").fetch().is_notifiable, True)

    for bindings, key in ((context.bindings, "chat_service_sid"), (chat.bindings, "service_sid")):
        everything = sorted([phone.sid, tablet.sid, other.sid])
        equal(sids(bindings.list()), everything)
        equal(sids(bindings.list(page_size=1)), everything)
        equal(sids(bindings.list(binding_type=["apn"])), [phone.sid])
        equal(sids(bindings.list(binding_type=["fcm"])), sorted([tablet.sid, other.sid]))
        equal(sids(bindings.list(binding_type=["apn", "gcm"], page_size=1)), everything)
        equal(sids(bindings.list(identity=["bob & co"])), [other.sid])
        equal(sids(bindings.list(identity=["a b", "bob & co", "nobody"], page_size=1)), everything)
        equal(sids(bindings.list(identity=["a b"], binding_type=["fcm", "gcm"], page_size=1)), [tablet.sid])
        equal(bindings.list(identity=["nobody"]), [])
        fetched = bindings(tablet.sid).fetch()
        equal((fetched.identity, fetched.binding_type, fetched.endpoint), ("a b", "fcm", "tablet"))
        equal((fetched.credential_sid, getattr(fetched, key)), (credential.sid, service.sid))
        assert isinstance(fetched.date_created, datetime) and isinstance(fetched.date_updated, datetime)
        equal(fetched.message_types[0], "new_message")
        equal(request(fetched.url)["url"], fetched.url)
        refused(404, 20404, bindings("BS" + "0" * 32).fetch)
    equal(context.bindings.list(binding_type=["twilsock"]), [])
    equal(sids(context.bindings.list(binding_type=["twilsock", "apn"])), [phone.sid])
    equal(request(chat.bindings(phone.sid).fetch().links["user"])["identity"], "a b")

    mine = chat.users("a b").user_bindings
    equal(sids(mine.list()), sorted([phone.sid, tablet.sid]))
    equal(sids(mine.list(binding_type=["fcm"])), [tablet.sid])
    fetched = mine(phone.sid).fetch()
    equal((fetched.identity, fetched.user_sid), ("a b", context.users("a b").fetch().sid))
    equal(request(fetched.url)["url"], fetched.url)
    refused(404, 20404, mine(other.sid).fetch)
    refused(404, 20404, mine(other.sid).delete)

    equal(context.users("a b").fetch().is_notifiable, True)
    equal(context.users("never registered").fetch().is_notifiable, None)
    equal(context.bindings(phone.sid).delete(), True)
    refused(404, 20404, context.bindings(phone.sid).fetch)
    refused(404, 20404, context.bindings(phone.sid).delete)
    equal(context.users("a b").fetch().is_notifiable, True)
    equal(mine(tablet.sid).delete(), True)
    equal((mine.list(), sids(chat.bindings.list())), ([], [other.sid]))
    user = context.users("a b").fetch()
    equal((user.is_notifiable, user.is_online), (False, None))
    equal(chat.users("a b").fetch().is_notifiable, False)
    equal(chat.bindings(other.sid).delete(), True)
    equal(context.users("bob & co").fetch().is_notifiable, False)
    equal(context.users("never registered").fetch().is_notifiable, None)
    credential.delete()


@check
def tags():
    service = new_service()
    context = client.conversations.v1.services(service.sid)
    notify = client.notify.v1.services(service.sid)
    phone = registered(service, "alice & co", "apn", "0a" * 32, tag=["vip", "Straße & Co", "vip"])
    equal(phone.tags, ["vip", "Straße & Co"])
    tablet = registered(service, "alice & co", "fcm", "t:1", tag=["vip"], notification_protocol_version="3")
    other = registered(service, "bob", "gcm", "t:2")
    for fetched in (notify.bindings(phone.sid).fetch(), notify.bindings.list(identity=["alice & co"], tag=["apn"])[0]):
        equal((fetched.sid, fetched.service_sid, fetched.account_sid), (phone.sid, service.sid, ACCOUNT))
        equal((fetched.identity, fetched.binding_type, fetched.endpoint), ("alice & co", "apn", phone.sid))
        equal((fetched.tags, fetched.address), (["vip", "Straße & Co"], None))
        equal(fetched.notification_protocol_version, "3")
        equal(list(fetched.links), ["user"])
        equal(request(fetched.links["user"])["identity"], "alice & co")
        equal(request(fetched.url)["url"], fetched.url)
        assert isinstance(fetched.date_created, datetime) and isinstance(fetched.date_updated, datetime)

    everything = sorted([phone.sid, tablet.sid, other.sid])
    for wanted, expected in (
        (["all"], everything),
        (["vip"], [phone.sid, tablet.sid]),
        (["Straße & Co", "vip"], [phone.sid]),
        (["apn"], [phone.sid]),
        (["fcm"], [tablet.sid, other.sid]),
        (["gcm", "all"], [tablet.sid, other.sid]),
        (["vip", "fcm"], [tablet.sid]),
        (["apn", "fcm"], []),
        (["VIP"], []),
    ):
        equal(sids(notify.bindings.list(tag=wanted)), sorted(expected))
        # Each page asks for the same tags.
        equal(sids(notify.bindings.list(tag=wanted, page_size=1)), sorted(expected))
    equal(sids(notify.bindings.list(tag=["vip"], identity=["bob"])), [])
    equal(sids(notify.bindings.list(tag=["all"], identity=["bob"])), [other.sid])

    # The tags are those of the last registration.
    equal(registered(service, "alice & co", "apn", "0a" * 32, tag=["new"]).tags, ["new"])
    equal(sids(notify.bindings.list(tag=["vip"])), [tablet.sid])
    equal(registered(service, "alice & co", "apn", "0a" * 32).tags, [])
    equal(sids(notify.bindings.list(tag=["new"])), [])
    # The other APIs show the same bindings.
    equal(sids(context.bindings.list()), everything)
    equal(notify.bindings(other.sid).delete(), True)
    refused(404, 20404, context.bindings(other.sid).fetch)

    for bad in (["all"], ["apn"], [""], ["x" * 129], ["a\nb"], [str(number) for number in range(21)]):
        message = refused(400, 20001, lambda: registered(service, "alice", "apn", "0a", tag=bad))
        assert "Tag" in message, message
    for bad in ([""], ["x" * 129], [str(number) for number in range(6)]):
        message = list_refused(400, 20001, lambda: notify.bindings.list(tag=bad))
        assert "Tag" in message, message
    refused(400, 20001, lambda: registered(service, "alice", "apn", "0a", notification_protocol_version="2"))
    message = list_refused(400, 20001, lambda: notify.bindings.list(start_date=datetime(2026, 11, 20)))
    assert "StartDate" in message, message


@check
def tagged_notifications():
    service = new_service()
    notifications = client.notify.v1.services(service.sid).notifications
    phone = registered(service, "alice", "apn", "0a" * 32, tag=["vip", "berlin"])
    tablet = registered(service, "alice", "apn", "0b" * 32, tag=["vip"])
    registered(service, "bob", "apn", "0c" * 32, tag=["vip", "berlin"])
    for wanted, expected in (
        (["vip"], [phone.sid, tablet.sid]),
        (["vip", "berlin"], [phone.sid]),
        (["apn", "berlin"], [phone.sid]),
        ([], [phone.sid, tablet.sid]),
    ):
        sent = notifications.create(identity=["alice"], body="x", tag=wanted)
        equal((sent.tags, sent.ttl), (wanted, 2419200))
        # All deliveries are there as soon as there is one.
        deadline = time.monotonic() + 10
        deliveries = []
        while not deliveries:
            assert time.monotonic() < deadline, f"nothing is delivered to {wanted}"
            time.sleep(0.05)
            deliveries = request(f"{URL}/v1/Services/{service.sid}/Notifications/{sent.sid}/Deliveries")["deliveries"]
        equal([delivery["binding_sid"] for delivery in deliveries], sorted(expected))
    equal(notifications.create(identity=["bob"], body="x", ttl=0).ttl, 0)

    for name, value in (
        ("ToBinding", {"to_binding": ['{"binding_type":"apn","address":"0a"}']}),
        ("Segment", {"segment": ["x"]}),
        ("Sms", {"sms": {"body": "x"}}),
        ("DeliveryCallbackUrl", {"delivery_callback_url": "https://example.com/"}),
        ("Apn", {"apn": {"aps": 1}}),
        ("Fcm", {"fcm": {"collapse_key": "x"}}),
        ("Gcm", {"gcm": {"collapse_key": "x"}}),
        ("Action", {"action": "x" * 257}),
        ("Alexa", {"alexa": {}}),
        ("FacebookMessenger", {"facebook_messenger": {}}),
        ("Tag", {"tag": [str(number) for number in range(6)]}),
    ):
        message = refused(400, 20001, lambda: notifications.create(identity=["alice"], body="x", **value))
        assert re.search(rf"\b{name}\b", message), (name, message)
    # Tags select among the devices of users, who must be named.
    message = refused(400, 20001, lambda: notifications.create(tag=["vip"], body="x"))
    assert "Identity" in message, message


@check
def devices_change_hands():
    service = new_service()
    context = client.conversations.v1.services(service.sid)
    context.configuration().update(reachability_enabled=True)
    first = registered(service, "alice", "apn", "0a" * 32)
    # Again, also in other letters, it is the same; on another device it is not.
    equal(registered(service, "alice", "apn", "0A" * 32).sid, first.sid)
    assert registered(service, "alice", "apn", "0b" * 32).sid != first.sid
    equal(len(context.bindings.list(identity=["alice"])), 2)

    second = registered(service, "bob", "apn", "0a" * 32)
    assert second.sid != first.sid
    equal(sids(context.bindings.list(identity=["bob"])), [second.sid])
    equal(len(context.bindings.list(identity=["alice"])), 1)
    # A late deletion does not take it away from its new user.
    refused(404, 20404, context.bindings(first.sid).delete)
    equal(context.users("bob").fetch().is_notifiable, True)
    for binding in context.bindings.list():
        equal(binding.delete(), True)
    for identity in ("alice", "bob"):
        equal(context.users(identity).fetch().is_notifiable, False)

    refused(400, 50209, lambda: registered(service, "alice", "sms", "0a" * 32))
    refused(400, 20001, lambda: registered(service, "alice", "apn", "not hexadecimal"))
    refused(400, 20001, lambda: registered(service, "alice", "apn", "0a", credential_sid="CR" + "0" * 32))
    refused(404, 20404, lambda: client.notify.v1.services("IS" + "0" * 32).bindings.create("alice", "apn", "0a"))


@check
def sent_notifications():
    service = new_service()
    notifications = client.notify.v1.services(service.sid).notifications
    registered(service, "alice", "apn", "0a" * 32)
    sent = notifications.create(
        identity=["alice", "bob"], title="T", body="ü", data={"a": 1}, priority="low", ttl=60, sound="bell"
    )
    matches(sent.sid, "NT[0-9a-f]{32}")
    equal((sent.account_sid, sent.service_sid, sent.identities), (ACCOUNT, service.sid, ["alice", "bob"]))
    equal((sent.title, sent.body, sent.data, sent.sound), ("T", "ü", {"a": 1}, "bell"))
    equal((sent.priority, sent.ttl, sent.tags, sent.segments), ("low", 60, [], []))
    assert isinstance(sent.date_created, datetime), sent.date_created
    equal(notifications.create(identity=["alice"], body="x").priority, "high")

    shown = request(f"{URL}/v1/Services/{service.sid}/Notifications/{sent.sid}")
    equal((shown["sid"], shown["data"], shown["identities"]), (sent.sid, {"a": 1}, ["alice", "bob"]))
    equal(request(shown["url"]), shown)
    deliveries = request(shown["links"]["deliveries"])
    equal((deliveries["meta"]["key"], type(deliveries["deliveries"])), ("deliveries", list))

    refused(400, 20001, lambda: notifications.create(body="x"))
    refused(400, 20001, lambda: notifications.create(identity=["alice"]))
    refused(400, 20001, lambda: notifications.create(identity=["alice"], data={"aps": {}}))
    refused(400, 20001, lambda: notifications.create(identity=["alice"], body="ü" * 2_048))


@check
def lists_show_no_reachability():
    service = new_service()
    context = client.conversations.v1.services(service.sid)
    chat = client.chat.v2.services(service.sid)
    context.configuration().update(reachability_enabled=True)
    send(service, [event(service, "connect", "alice", f"c-{uuid.uuid4()}")])
    wait_until_online_is(True, context.users("alice"))
    for user in (*context.users.list(), *chat.users.list()):
        equal((user.identity, user.is_online, user.is_notifiable), ("alice", None, None))
    # What is listed can be fetched.
    for user in (*context.users.list(), *chat.users.list()):
        equal(user.fetch().is_online, True)


@check
def errors():
    service = new_service()
    users = client.conversations.v1.services(service.sid).users
    message = refused(404, 20404, users("nobody").fetch)
    assert f"The requested resource /Services/{service.sid}/Users/nobody was not found" in message, message
    refused(404, 20404, users("nobody").update)
    refused(404, 20404, users("US" + "0" * 32).fetch)
    refused(404, 20404, client.conversations.v1.services("IS" + "0" * 32).users("nobody").fetch)
    refused(404, 20404, lambda: client.conversations.v1.services("IS" + "0" * 32).users.create(identity="alice"))

    users.create(identity="alice")
    message = refused(409, 50201, lambda: users.create(identity="alice"))
    assert "User already exists" in message, message
    refused(409, 50201, lambda: client.chat.v2.services(service.sid).users.create(identity="alice"))

    for stranger in (client_of(ACCOUNT, "wrong"), client_of("AC" + "0" * 32, TOKEN), client_of("SK" + "0" * 32, TOKEN)):
        refused(401, 20003, stranger.conversations.v1.services(service.sid).fetch)
        refused(401, 20003, lambda: stranger.chat.v2.services.create(friendly_name="Test"))

    message = refused(400, 20001, lambda: users.create(identity=""))
    assert "Missing required parameter Identity in the post body" in message, message
    refused(400, 20001, lambda: client.conversations.v1.services.create(friendly_name=""))
    refused(400, 50206, lambda: users.create(identity="US" + "0" * 32))
    refused(400, 50207, lambda: users.create(identity="ü" * 257))
    equal(users.create(identity="ü" * 256).identity, "ü" * 256)
    refused(400, 50304, lambda: users.create(identity="bob", attributes="{not JSON"))
    refused(400, 50304, lambda: users("alice").update(attributes="{not JSON"))
    equal(users("alice").fetch().attributes, "{}")


@check
def api_keys():
    account = client.api.v2010.account
    key = account.new_keys.create(friendly_name="for the test")
    matches(key.sid, "SK[0-9a-f]{32}")
    equal(key.friendly_name, "for the test")
    assert len(key.secret) >= 32
    equal(account.keys(key.sid).fetch().friendly_name, "for the test")
    assert isinstance(account.keys(key.sid).fetch().date_created, datetime)
    others = sids(account.new_keys.create() for _ in range(3))
    equal(sids(account.keys.list()), [key.sid, *others])
    equal(sids(account.keys.list(page_size=2)), [key.sid, *others])
    equal(sids(account.keys.list(limit=2)), [key.sid, others[0]])
    renamed = account.keys(key.sid).update(friendly_name="renamed ü")
    equal((renamed.sid, renamed.friendly_name, renamed.date_created), (key.sid, "renamed ü", key.date_created))
    assert renamed.date_updated >= key.date_updated, renamed.date_updated
    equal(account.keys(key.sid).fetch().friendly_name, "renamed ü")
    equal(renamed.update().friendly_name, "renamed ü")
    refused(400, 20001, lambda: account.keys(key.sid).update(friendly_name="x" * 65))
    refused(404, 20404, lambda: account.keys("SK" + "0" * 32).update(friendly_name="x"))

    holder = client_of(key.sid, key.secret)
    service = holder.conversations.v1.services.create(friendly_name="made with a key")
    equal(service.account_sid, ACCOUNT)
    holder.conversations.v1.services(service.sid).configuration().update(reachability_enabled=True)
    equal(holder.chat.v2.services(service.sid).fetch().reachability_enabled, True)
    refused(403, 20403, lambda: holder.api.v2010.account.new_keys.create(friendly_name="another"))
    refused(403, 20403, holder.api.v2010.account.keys(others[0]).delete)
    refused(403, 20403, lambda: holder.api.v2010.account.keys(key.sid).update(friendly_name="x"))
    refused(401, 20003, client_of(key.sid, "wrong").conversations.v1.services(service.sid).fetch)

    for sid in (key.sid, *others):
        equal(account.keys(sid).delete(), True)
    refused(404, 20404, account.keys(key.sid).fetch)
    refused(401, 20003, holder.conversations.v1.services(service.sid).fetch)


@check
def dates():
    service = new_service()
    context = client.conversations.v1.services(service.sid)
    user = context.users.create(identity="alice")
    chat = client.chat.v2.services(service.sid)
    for item in (service, context.fetch(), user, context.users.list()[0], chat.fetch(), chat.users("alice").fetch()):
        for date in (item.date_created, item.date_updated):
            assert isinstance(date, datetime), repr(date)
            assert abs(datetime.now(timezone.utc) - date) < timedelta(minutes=1), repr(date)
    # Dates have a resolution of seconds.
    time.sleep(1.1)
    updated = user.update(friendly_name="A")
    equal(updated.date_created, user.date_created)
    assert updated.date_updated > user.date_updated


@check
def urls():
    service = new_service()
    context = client.conversations.v1.services(service.sid)
    chat = client.chat.v2.services(service.sid)
    user = context.users.create(identity="a b")
    # URLs contain no identity, however the user was fetched.
    for item, url in (
        (service, f"{URL}/v1/Services/{service.sid}"),
        (context.users("a b").fetch(), f"{URL}/v1/Services/{service.sid}/Users/{user.sid}"),
        (context.users.list()[0], f"{URL}/v1/Services/{service.sid}/Users/{user.sid}"),
        (context.configuration().fetch(), f"{URL}/v1/Services/{service.sid}/Configuration"),
        (chat.fetch(), f"{URL}/v2/Services/{service.sid}"),
        (chat.users("a b").fetch(), f"{URL}/v2/Services/{service.sid}/Users/{user.sid}"),
    ):
        equal(item.url, url)
        equal(request(url)["url"], url)
        for link in item.links.values():
            matches(link, re.escape(url) + "/[A-Za-z]+")
    for shown in (context.configuration.webhooks().fetch(), context.configuration.notifications().fetch()):
        equal(request(shown.url)["url"], shown.url)


@check
def asynchronous():
    async def run():
        async with AsyncTwilioHttpClient() as http_client:
            client = client_of(ACCOUNT, TOKEN, http_client)
            service = await client.conversations.v1.services.create_async(friendly_name="Test")
            users = client.conversations.v1.services(service.sid).users
            made = [(await users.create_async(identity=identity)).sid for identity in IDENTITIES.values()]
            # Another HTTP library, and another way to encode a path.
            for path, identity in IDENTITIES.items():
                equal((await users(path).fetch_async()).identity, identity)
            equal(sids(await users.list_async(page_size=2)), made)
            equal(await users(made[0]).delete_async(), True)

    asyncio.run(run())


# A check that hangs ends too, and shows where.
faulthandler.dump_traceback_later(300, exit=True)
for function in CHECKS:
    # All, or those that the command line names.
    if len(sys.argv) > 1 and function.__name__ not in sys.argv[1:]:
        continue
    function()
    print("ok", function.__name__, flush=True)
