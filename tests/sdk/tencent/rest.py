"""A server that talks to Tencent with the package timsdk, pointed at the relay.

Usage: rest.py <base> <app> <key>
"""
import sys

from timsdk import TimClient

BASE, APP, KEY = sys.argv[1], int(sys.argv[2]), sys.argv[3]


def pointed_at_the_relay(client):
    """The package knows one host only."""
    http = client.open_im.get_client()
    given = http.get_url
    for room in ("open_im", "im_open_login_svc", "group_open_http_svc"):
        used = getattr(client, room).get_client()
        used.get_url = lambda path, given=given: given(path).replace(
            "https://console.tim.qq.com", BASE
        )
    return client


def expect(what, answer, code=0):
    assert answer["ErrorCode"] == code, (what, answer)
    assert answer["ActionStatus"] == ("OK" if code == 0 else "FAIL"), (what, answer)
    print("ok", what)
    return answer


tim = pointed_at_the_relay(TimClient(APP, KEY))
login, im, groups = tim.im_open_login_svc, tim.open_im, tim.group_open_http_svc

expect("account_import", login.account_import("joon", nick="Joon"))
checked = expect("account_check", login.account_check(["joon", "ghost"]))
assert [one["AccountStatus"] for one in checked["ResultItem"]] == ["Imported", "NotImported"]
sent = expect("sendmsg", im.send_text_msg("joon", "hello", from_account="mina"))
expect("admin_msgwithdraw", im.admin_msg_withdraw("joon", "mina", sent["MsgKey"]))
batch = expect("batchsendmsg", im.batch_send_text_msg(["joon", "ghost"], "hello"))
assert [one["To_Account"] for one in batch["ErrorList"]] == ["ghost"], batch
states = expect("querystate", im.query_state(["joon"]))
assert states["QueryResult"][0]["State"] == "Offline", states
members = [{"Member_Account": "joon"}, {"Member_Account": "mina"}]
expect("add_group_member", groups.add_group_member("@TGS#1", members))
body = [{"MsgType": "TIMTextElem", "MsgContent": {"Text": "hello all"}}]
sent = expect("send_group_msg", groups.send_group_msg("@TGS#1", body))
recalled = expect(
    "group_msg_recall", groups.group_msg_recall("@TGS#1", [{"MsgSeq": sent["MsgSeq"]}])
)
assert recalled["RecallRetList"][0]["RetCode"] == 0, recalled
flag = groups.modify_group_member_info("@TGS#1", "joon", msg_flag="AcceptNotNotify")
expect("modify_group_member_info", flag)
expect("delete_group_member", groups.delete_group_member("@TGS#1", ["mina"]))
expect("destroy_group", groups.destroy_group("@TGS#1"))
expect("kick", login.kick("joon"))
expect("account_delete", login.account_delete(["joon"]))
expect("importmsg is not served", im.import_text_msg("joon", "mina", "old"), 60009)
