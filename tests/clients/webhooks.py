"""Validates webhooks with the vendor's Python library. Reads them from standard input, as JSON: the URL, the form in the body,
the signature, and whether it is right."""

import json
import os
import sys

from twilio.request_validator import RequestValidator

validator = RequestValidator(os.environ["REACHABILITY_TOKEN"])
for webhook in json.load(sys.stdin):
    valid = validator.validate(webhook["url"], webhook["form"], webhook["signature"])
    assert valid == webhook["valid"], webhook
    print("ok", webhook["url"])
