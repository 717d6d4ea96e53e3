#!/usr/bin/env python3
"""Writes first inputs for the fuzz targets, made of the goldens and fixtures of the tests.

    fuzz/seeds.py DIRECTORY     one directory per target in it, and words.dict for `-dict`
"""

import hashlib
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
# The order of `vendor::ALL`.
VENDORS = ["apns", "fcm", "huawei", "xiaomi", "oppo"]
HI = [{"MsgType": "TIMTextElem", "MsgContent": {"Text": "hi"}}]


def goldens():
    """Each golden with the number of its vendor."""
    for number, vendor in enumerate(VENDORS):
        for path in sorted((ROOT / "tests/golden" / vendor).glob("*.json")):
            yield number, json.loads(path.read_text())


def written(body):
    return body.encode() if isinstance(body, str) else json.dumps(body).encode()


def found(value, name):
    """Every value of that name, at any depth."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == name:
                yield inner
            yield from found(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from found(inner, name)


def messages():
    """Messages with every kind of element, mention and push setting."""
    elements = [
        {"MsgType": "TIMCustomElem", "MsgContent": {"Data": "d", "Desc": "x", "Ext": "{}", "Sound": "a"}},
        {"MsgType": "TIMLocationElem", "MsgContent": {"Desc": "here", "Latitude": 1.5, "Longitude": 2}},
        {"MsgType": "TIMFaceElem", "MsgContent": {"Index": 1, "Data": "smile"}},
        {"MsgType": "TIMFileElem", "MsgContent": {"FileName": "a.pdf", "FileSize": 3, "UUID": "u"}},
        {"MsgType": "TIMImageElem", "MsgContent": {"UUID": "u", "ImageFormat": 1}},
        {"MsgType": "TIMSoundElem", "MsgContent": {"Second": 7, "UUID": "u"}},
        {"MsgType": "TIMVideoFileElem", "MsgContent": {"VideoSecond": 9}},
        {"MsgType": "TIMRelayElem", "MsgContent": {"Title": "t", "MsgNum": 2}},
    ]
    plain = {"From_Account": "mina", "To_Account": "joon", "MsgRandom": 1, "MsgBody": HI}
    yield plain
    yield plain | {"To_Account": ["joon", "ben"], "MsgBody": elements, "FromNick": "Mina"}
    yield plain | {"GroupId": "team", "GroupName": "Team", "MsgSeq": 3, "MsgKey": "3_1_9",
                   "GroupAtInfo": [{"GroupAtAllFlag": 0, "GroupAt_Account": "joon"},
                                   {"GroupAtAllFlag": 1}], "MsgPriority": "High"}
    yield plain | {"SendMsgControl": ["NoUnread", "WithMuteNotifications"], "UnreadMsgNum": 3,
                   "MsgLifeTime": 60, "OnlineOnlyFlag": 0, "SendMsgResult": 0,
                   "ForbidCallbackControl": ["x"], "CloudCustomData": "{}", "MsgTime": 1760000000}
    for _, golden in goldens():
        for info in found(golden, "info"):
            if info:
                yield plain | {"OfflinePushInfo": info}


def requests():
    """Each message, for each vendor."""
    for number, message in enumerate(messages()):
        for vendor in range(len(VENDORS)):
            yield bytes([vendor, number % 256]) + written(message)


def replies():
    for vendor, golden in goldens():
        for reply in [golden.get("reply"), *golden.get("replies", [])]:
            if reply:
                head = bytes([vendor]) + reply.get("status", 200).to_bytes(2, "little")
                targets = len(reply.get("targets", [1]))
                wait = int("retry-after" in reply.get("headers", {}))
                yield head + bytes([targets, wait]) + written(reply.get("body", ""))
    receipts = [
        (2, {"statuses": [{"biTag": "b", "appid": "1", "token": "t", "status": 2,
                           "timestamp": 1760000000000, "requestId": "r"}]}),
        (3, "data=" + json.dumps({"m-1": {"param": "p", "type": 16, "targets": "t,u",
                                          "jobkey": "k", "errorCode": 1}})),
        (4, [{"messageId": "m", "appId": "a", "eventTime": 1760000000000, "param": "p",
              "registrationIds": "t,u", "eventType": "push_arrive"}]),
    ]
    for vendor, body in receipts:
        yield bytes([vendor]) + (200).to_bytes(2, "little") + b"\x01\x00" + written(body)


def bare(path):
    """The same `.p12` with nothing encrypted and no MAC, so that a changed octet reaches the reading
    of what is inside; openssl makes it."""
    # openssl reads this file twice, so a pipe will not do.
    with tempfile.NamedTemporaryFile() as pem:
        subprocess.run(["openssl", "pkcs12", "-passin", "pass:fixture", "-nodes", "-legacy",
                        "-in", path], stdout=pem, stderr=subprocess.DEVNULL, check=True)
        made = subprocess.run(["openssl", "pkcs12", "-export", "-passout", "pass:fixture", "-nomac",
                               "-keypbe", "NONE", "-certpbe", "NONE", "-in", pem.name],
                              capture_output=True, check=True)
    return made.stdout


def uploads():
    for path in sorted((ROOT / "tests/fixtures").iterdir()):
        if path.suffix == ".p12" and shutil.which("openssl"):
            yield b"\x00" + bare(path)
        if path.suffix in (".p12", ".p8", ".json", ".pem"):
            yield bytes([1 if path.suffix == ".json" else 0]) + path.read_bytes()
    key = (ROOT / "tests/fixtures/apns_key.p8").read_text()
    yield b"\x00" + written({"type": "p8", "key": key, "key_id": "ABCDE12345",
                             "team_id": "ABCDE12345", "bundle_id": "com.example.chat"})
    account = (ROOT / "tests/fixtures/fcm_service_account.json").read_text()
    yield b"\x01" + written({"type": "service_account", "json": account})
    for vendor, golden in goldens():
        for credential in found(golden, "credential"):
            yield bytes([vendor]) + written(credential)


def usersigs():
    claims = {"TLS.ver": "2.0", "TLS.identifier": "mina", "TLS.sdkappid": 1,
              "TLS.time": 1794999000, "TLS.expire": 86400, "TLS.sig": "AAAA"}
    yield written(claims)
    yield written(claims | {"TLS.userbuf": "AAECAw=="})


def varint(number):
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(out) + bytes([number])


def text(value):
    octets = value.encode()
    return varint(len(octets)) + octets


def parcel():
    """A `Parcel` as postcard writes it."""
    content = json.dumps({"From_Account": "mina", "MsgRandom": 1, "MsgBody": HI})
    delivery = varint(1) + text("joon") + text("phone") + text("token") + varint(7) + b"\x01\x00\x03"
    return (varint(1) + varint(2) + varint(7) + varint(0) + b"\x01" + b"\x01" + text("ko")
            + b"\x00" + varint(1_795_000_000_000) + varint(0) + varint(0) + varint(1) + delivery
            + text(content))


def rows():
    yield b"\x00" + parcel()
    yield b"\x06" + parcel() + varint(1_795_000_000_000) + b"\x00"
    yield b"\x08" + text("mina") + text("phone")


def keys():
    wide = (7).to_bytes(16, "big")
    due = (1_795_000_000_000).to_bytes(8, "big")
    for key, row in [
        (b"Q" + (2).to_bytes(4, "big") + due + wide + b"\x00\x00", parcel()),
        (b"T" + wide + bytes(8) + b"\x00\x00", b""),
        (b"H" + due + (1).to_bytes(8, "big") + b"mina\x00c2c:joon\x00" + wide, b""),
        (b"S" + due + wide, b""),
    ]:
        yield bytes([len(key)]) + key + row


def webhooks():
    query = b"SdkAppid=4711&CallbackCommand=C2C.CallbackAfterSendMsg&contenttype=json&OptPlatform=iOS\n"
    own = {"offpush": {"FromNick": "Mina", "GroupName": "Team", "OfflinePushInfo": {"Desc": "x"}}}
    for body in [
        {"From_Account": "mina", "To_Account": "joon", "MsgSeq": 9, "MsgRandom": 5, "MsgKey": "9_5_1",
         "MsgTime": 1760000000, "MsgBody": HI, "CloudCustomData": json.dumps(own),
         "EventTime": "1760000000321", "Report_Account": "joon"},
        {"GroupId": "@TGS#1A", "NewMemberList": [{"Member_Account": "a"}], "ExitMemberList": [],
         "MemberList": ["a"], "MsgSeqList": [{"MsgSeq": 3}], "FromNick": "Mina",
         "KickedDevice": [{"Platform": "iOS"}]},
    ]:
        yield query + written(body)


def words(value):
    """Names and short texts in it."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield name
            yield from words(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from words(inner)
    elif isinstance(value, str) and len(value) < 32:
        yield value


def dictionary():
    """A dictionary in libFuzzer's form: every word of the seeds, with its quotation marks."""
    known = {word for message in messages() for word in words(message)}
    for _, golden in goldens():
        for body in [*found(golden, "body"), *found(golden, "credential")]:
            known.update(words(body))
    known = sorted(word for word in known if word.isascii() and word.isprintable() and word)
    for number, word in enumerate(known):
        word = word.replace("\\", "\\\\").replace('"', '\\"')
        yield f'w{number}="\\"{word}\\""'


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "words.dict").write_text("\n".join(dictionary()) + "\n")
    made = {"message": map(written, messages()), "reply": replies(), "requests": requests(),
            "upload": uploads(), "usersig": usersigs(), "webhook": webhooks(),
            "keys": keys(), "stored_rows": rows()}
    for target, inputs in made.items():
        place = folder / target
        place.mkdir(exist_ok=True)
        for octets in inputs:
            (place / hashlib.sha1(octets).hexdigest()[:16]).write_bytes(octets)


if __name__ == "__main__":
    main()
