"""Huawei's own SDK as packaged: `token_server`, `push_open_url` and `verify_peer` are its options.
Its modules import each other below `src`, a package that it does not install; both names are given
to the same directory here."""

import importlib
import sys
import types
import warnings
from importlib.util import find_spec
from pathlib import Path

# It compares numbers by identity, which newer Pythons remark on.
warnings.simplefilter("ignore", SyntaxWarning)
src = types.ModuleType("src")
src.__path__ = [str(Path(find_spec("push_admin").origin).parents[1])]
sys.modules["src"] = src
push_admin = importlib.import_module("src.push_admin")
messaging = importlib.import_module("src.push_admin.messaging")

from world import CA, TEXT, TITLE, credential, endpoint, shown, token_endpoint, uninstall

PHONE = "hw-token-of+a/phone="
GONE = "hw-token-of-nobody"
OK, SOME_TOKENS, ALL_TOKENS = "80000000", "80100000", "80300007"


def send(*tokens):
    """Sends one message and returns the vendor's answer."""
    note = messaging.AndroidNotification(
        title=TITLE,
        body=TEXT,
        tag="chat-7",
        click_action=messaging.AndroidClickAction(action_type=3),
        badge=messaging.AndroidBadgeNotification(add_num=1, clazz="com.example.chat.Main"),
        importance=messaging.AndroidNotification.PRIORITY_DEFAULT,
    )
    android = messaging.AndroidConfig(
        urgency=messaging.AndroidConfig.HIGH_PRIORITY,
        ttl="3600s",
        bi_tag="a-tag",
        notification=note,
    )
    message = messaging.Message(android=android, token=list(tokens))
    return messaging.send_message(message, verify_peer=CA)


account = credential("huawei")
push_admin.initialize_app(
    account["client_id"],
    account["client_secret"],
    token_server=token_endpoint("huawei"),
    push_open_url=endpoint("huawei"),
)
uninstall("huawei", GONE)
answer = send(PHONE)
assert answer.code == OK, (answer.code, answer.reason)
seen = shown("huawei", PHONE)
assert (seen["push_id"], seen["replaces"]) == ("a-tag", "chat-7"), seen
assert send(PHONE, GONE).code == SOME_TOKENS
assert send(GONE).code == ALL_TOKENS
print("ok python-huawei-push-admin")
