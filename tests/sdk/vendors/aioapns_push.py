"""aioapns has no option for the host: the class that names Apple's is derived from."""

import asyncio
import ssl
from uuid import uuid4

from aioapns import APNs, NotificationRequest, PushType
from aioapns.connection import APNsProductionClientProtocol

from world import CA, TEXT, TITLE, address, credential, shown, uninstall

PHONE = "1a" * 32
GONE = "1b" * 32


class Simulator(APNsProductionClientProtocol):
    """The simulator in place of Apple's production host."""

    APNS_SERVER, APNS_PORT = address("apns")


def alert(token, push_id):
    message = {"aps": {"alert": {"title": TITLE, "body": TEXT}, "sound": "default"}, "ext": "x"}
    return NotificationRequest(
        token, message, push_id, time_to_live=3600, priority=10, push_type=PushType.ALERT
    )


async def quiet(_request, _result):
    """Without this aioapns logs every refusal, and one is wanted here."""


async def main():
    key = credential("apns")
    client = APNs(
        key=key["key"],
        key_id=key["key_id"],
        team_id=key["team_id"],
        topic=key["bundle_id"],
        ssl_context=ssl.create_default_context(cafile=CA),
        err_func=quiet,
    )
    client.pool.protocol_class = Simulator
    push_id = str(uuid4())
    result = await client.send_notification(alert(PHONE, push_id))
    assert result.is_successful, (result.status, result.description)
    assert shown("apns", PHONE)["push_id"].lower() == push_id

    uninstall("apns", GONE)
    result = await client.send_notification(alert(GONE, str(uuid4())))
    assert (result.status, result.description) == ("410", "Unregistered"), result.description
    assert result.timestamp


asyncio.run(main())
print("ok aioapns")
