"""The simulators as the clients written for Python see them."""

import json
from urllib.parse import urlsplit

import requests

SIM = json.load(open("sim.json"))
CA = "out/ca.pem"
TITLE = "Ada Lovelace"
TEXT = "See you at the engine? 🙂 好的"


def endpoint(vendor):
    """Where a vendor's simulator listens."""
    return SIM["endpoints"][vendor]["endpoint"]


def token_endpoint(vendor):
    """Where access tokens come from."""
    return SIM["endpoints"][vendor]["token_endpoint"]


def address(vendor):
    """The same as `endpoint`, as host and port."""
    parts = urlsplit(endpoint(vendor))
    return parts.hostname, parts.port


def credential(vendor):
    """The credential that `offpush sim --out` wrote for a vendor."""
    return json.load(open(f"out/certs/{vendor}.json"))["credential"]


def uninstall(vendor, token):
    """Takes the app off a phone."""
    phone = {"vendor": vendor, "token": token, "life": "dead"}
    requests.post(f"{SIM['control']}/phones", json=phone).raise_for_status()


def shown(vendor, token):
    """What a phone showed, which must be one notification with the usual words."""
    phone = {"vendor": vendor, "token": token}
    found = requests.get(f"{SIM['control']}/phones", params=phone).json()
    assert len(found) == 1, f"{vendor}: {len(found)} notifications on the phone"
    assert (found[0]["title"], found[0]["body"]) == (TITLE, TEXT), found[0]
    return found[0]
