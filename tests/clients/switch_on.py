"""Makes a service and switches its reachability on, with the vendor's Python library. Prints the service's sid."""

import os

from twilio.rest import Client

client = Client(os.environ["REACHABILITY_ACCOUNT"], os.environ["REACHABILITY_TOKEN"])
client.conversations.base_url = os.environ["REACHABILITY_URL"]
service = client.conversations.v1.services.create(friendly_name="Replayed")
configuration = client.conversations.v1.services(service.sid).configuration()
assert configuration.fetch().reachability_enabled is False
assert configuration.update(reachability_enabled=True).reachability_enabled is True
print(service.sid)
