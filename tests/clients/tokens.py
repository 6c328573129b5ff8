"""Makes access tokens with the vendor's Python library, and reads ours. From standard input, as JSON: the tokens to make, and
those to read. Prints what it made, one token a line."""

import json
import sys

from twilio.jwt import Jwt
from twilio.jwt.access_token import AccessToken, grants


class IpMessagingGrant(grants.ChatGrant):
    """As versions up to 6 have it."""

    key = "ip_messaging"


KINDS = {
    "chat": grants.ChatGrant,
    "ip_messaging": IpMessagingGrant,
    "voice": grants.VoiceGrant,
    "video": grants.VideoGrant,
}

task = json.load(sys.stdin)
account, key, secret = task["account"], task["key"], task["secret"]
for wanted in task["make"]:
    token = AccessToken(
        account,
        key,
        secret,
        identity=wanted.get("identity"),
        ttl=wanted.get("ttl", 3600),
        nbf=wanted.get("nbf", Jwt.GENERATE),
        region=wanted.get("region"),
        grants=[KINDS[kind](**fields) for kind, fields in wanted["grants"].items()],
    )
    print(token.to_jwt())
for ours in task["read"]:
    read = AccessToken.from_jwt(ours["token"], secret)
    assert read.payload["grants"]["identity"] == ours["identity"], read.payload
    assert (read.issuer, read.subject) == (key, account), read.payload
