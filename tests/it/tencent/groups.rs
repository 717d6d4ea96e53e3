//! Group messages to the relay's member list, and settings of members.

use serde_json::{Value, json};

use crate::tencent::{Door, with};

const SEND: &str = "group_open_http_svc/send_group_msg";
const MEMBER: &str = "group_open_http_svc/modify_group_member_info";

fn group_message(random: u32, text: &str) -> Value {
    json!({ "GroupId": "@TGS#1A", "From_Account": "mina", "Random": random, "MsgPriority": "High",
            "MsgBody": [{ "MsgType": "TIMTextElem", "MsgContent": { "Text": text } }] })
}

async fn group_of(door: &Door, users: &[&str]) {
    let list: Vec<_> = users.iter().map(|user| json!({ "Member_Account": user })).collect();
    let body = json!({ "GroupId": "@TGS#1A", "MemberList": list });
    door.ok("group_open_http_svc/add_group_member", &body).await;
}

#[tokio::test]
async fn a_message_without_receivers_reaches_the_members_but_not_its_sender() {
    let door = Door::open().await;
    let cert_id = door.apns().await;
    let mut expected = vec![door.phone("joon", cert_id).await, door.phone("ara", cert_id).await];
    expected.sort();
    door.phone("mina", cert_id).await;
    door.phone("stranger", cert_id).await;
    group_of(&door, &["mina", "joon", "ara"]).await;
    let first = door.ok(SEND, &group_message(1, "hello all")).await;
    assert_eq!(first["MsgSeq"], 1);
    door.settled(&first).await;
    assert_eq!(door.shown("hello all"), expected);
    let again = door.ok(SEND, &group_message(1, "hello all")).await;
    assert_eq!((&again["MsgSeq"], &again["MsgTime"]), (&json!(1), &first["MsgTime"]));
    let other = door.ok(SEND, &group_message(1, "something else")).await;
    assert!(other["MsgSeq"].as_u64() > Some(1), "{other}");
    door.settled(&other).await;
    assert_eq!(door.shown("hello all"), expected);
    assert_eq!(door.shown("something else"), expected);
}

#[tokio::test]
async fn a_targeted_message_needs_no_member_list() {
    let door = Door::open().await;
    let cert_id = door.apns().await;
    let token = door.phone("joon", cert_id).await;
    let body = with(&group_message(1, "for you"), "To_Account", json!(["joon"]));
    let sent = door.ok(SEND, &body).await;
    door.settled(&sent).await;
    assert_eq!(door.shown("for you"), [token]);
}

#[tokio::test]
async fn each_mistake_in_a_group_message_has_tencents_number() {
    let door = Door::open().await;
    assert_eq!(door.code(SEND, &group_message(1, "x")).await, 10_010);
    group_of(&door, &["joon"]).await;
    let good = group_message(1, "x");
    let many: Vec<_> = (0..51).map(|n| format!("u{n}")).collect();
    let mention = json!({ "GroupAtAllFlag": 0, "GroupAt_Account": "joon" });
    let long = json!([{ "MsgType": "TIMTextElem", "MsgContent": { "Text": "x".repeat(12_300) } }]);
    for (field, value, code) in [
        ("GroupId", Value::Null, 10_004),
        ("Random", Value::Null, 10_004),
        ("MsgBody", Value::Null, 10_004),
        ("MsgBody", json!({}), 10_004),
        ("MsgPriority", json!("high"), 10_004),
        ("From_Account", json!(""), 90_008),
        ("To_Account", json!(many), 10_004),
        ("To_Account", json!("joon"), 10_004),
        ("GroupAtInfo", json!(vec![mention; 31]), 10_053),
        ("MsgBody", long, 80_002),
        ("OfflinePushInfo", json!(5), 90_043),
    ] {
        let answer = door.call(SEND, &with(&good, field, value.clone())).await;
        assert_eq!(answer["ErrorCode"], code, "{field} = {value}: {answer}");
    }
    let both = with(&good, "OnlineOnlyFlag", json!(1));
    let both = with(&both, "SendMsgControl", json!(["NoUnread"]));
    assert_eq!(door.code(SEND, &both).await, 10_004);
}

#[tokio::test]
async fn a_member_who_wants_no_notification_gets_none_but_a_mention() {
    let door = Door::open().await;
    let cert_id = door.apns().await;
    door.phone("joon", cert_id).await;
    group_of(&door, &["mina", "joon"]).await;
    let quiet = json!({ "GroupId": "@TGS#1A", "Member_Account": "joon",
                        "MsgFlag": "AcceptNotNotify", "NameCard": "J" });
    let answer = door.ok(MEMBER, &quiet).await;
    assert_eq!(answer["ErrorInfo"], "not kept by this relay: NameCard");
    let reason = async |random, text| {
        let sent = door.ok(SEND, &group_message(random, text)).await;
        door.settled(&sent).await["deliveries"][0]["reason"].clone()
    };
    assert_eq!(reason(1, "x").await, "conversation_muted");
    door.ok(MEMBER, &with(&quiet, "MsgFlag", json!("Discard"))).await;
    assert_eq!(reason(2, "x").await, "conversation_blocked");
    door.ok(MEMBER, &with(&quiet, "MsgFlag", json!("AcceptAndNotify"))).await;
    assert_eq!(reason(3, "x").await, Value::Null);
    assert_eq!(door.code(MEMBER, &with(&quiet, "MsgFlag", json!("Loud"))).await, 10_004);
    assert_eq!(door.code(MEMBER, &with(&quiet, "MsgFlag", Value::Null)).await, 10_004);
}

#[tokio::test]
async fn a_message_of_a_large_group_is_taken_in_parts_under_one_number() {
    let door = Door::open().await;
    let users: Vec<_> = (0..2_100).map(|n| format!("u{n:04}")).collect();
    let path = door.relay.path("/groups/@TGS%231A/members");
    let answer = door.relay.admin.post(&path, &json!({ "members": users })).await;
    assert_eq!(answer["count"], 2_100);
    let sent = door.ok(SEND, &group_message(1, "x")).await;
    assert_eq!(sent["MessageIds"].as_array().map(Vec::len), Some(3), "{sent}");
    assert_eq!(door.relay.ledger().await["accepted"], 2_100);
    let recall = json!({ "GroupId": "@TGS#1A", "MsgSeqList": [{ "MsgSeq": 1 }, { "MsgSeq": 7 }] });
    let answer = door.ok("group_open_http_svc/group_msg_recall", &recall).await;
    let codes: Vec<_> = answer["RecallRetList"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| &one["RetCode"])
        .collect();
    assert_eq!(codes, [&json!(0), &json!(10_030)]);
}

#[tokio::test]
async fn the_member_list_follows_the_group_apis() {
    let door = Door::open().await;
    let path = door.relay.path("/groups/g/members");
    let members = async || door.relay.admin.get(&path).await["members"].clone();
    let create = json!({ "GroupId": "g", "Type": "Public", "Name": "G", "Owner_Account": "owner",
                         "MemberList": [{ "Member_Account": "a" }] });
    door.ok("group_open_http_svc/create_group", &create).await;
    assert_eq!(members().await, json!(["a", "owner"]));
    let delete = json!({ "GroupId": "g", "MemberToDel_Account": ["a", "ghost"] });
    door.ok("group_open_http_svc/delete_group_member", &delete).await;
    assert_eq!(members().await, json!(["owner"]));
    door.ok("group_open_http_svc/destroy_group", &json!({ "GroupId": "g" })).await;
    assert_eq!(members().await, json!([]));
    let again = door.code("group_open_http_svc/destroy_group", &json!({ "GroupId": "g" })).await;
    assert_eq!(again, 10_010);
    for command in ["create_group", "add_group_member", "delete_group_member", "destroy_group"] {
        let command = format!("group_open_http_svc/{command}");
        assert_eq!(door.code(&command, &json!({})).await, 10_004, "{command}");
    }
}

#[tokio::test]
async fn a_recall_names_one_to_ten_messages_by_their_numbers() {
    let door = Door::open().await;
    let recall = "group_open_http_svc/group_msg_recall";
    let list = |count: u32| -> Vec<_> { (1..=count).map(|seq| json!({ "MsgSeq": seq })).collect() };
    for bad in [
        Value::Null,
        json!([]),
        json!("7"),
        json!([7]),
        json!([{ "MsgSeq": 1 }, { "MsgSeq": -1 }]),
        json!([{ "MsgSeq": 1 }, { "MsgSeq": 4_294_967_296_u64 }]),
        json!(list(11)),
    ] {
        let body = with(&json!({ "GroupId": "g" }), "MsgSeqList", bad.clone());
        let answer = door.call(recall, &body).await;
        assert_eq!(answer["ErrorCode"], 10_004, "{bad}: {answer}");
        let info = answer["ErrorInfo"].as_str().expect("a sentence");
        assert!(info.starts_with("MsgSeqList"), "{bad}: {info}");
    }
    let answer = door.ok(recall, &json!({ "GroupId": "g", "MsgSeqList": list(10) })).await;
    let results = answer["RecallRetList"].as_array().expect("a list");
    assert_eq!(results.len(), 10);
    assert!(results.iter().all(|one| one["RetCode"] == 10_030), "{answer}");
}

#[tokio::test]
async fn members_that_are_no_ids_do_not_vanish() {
    let door = Door::open().await;
    let create = "group_open_http_svc/create_group";
    for bad in [json!("x"), json!([{ "Account": "x" }]), json!([""]), json!([3])] {
        let answer = door.call(create, &json!({ "GroupId": "g", "MemberList": bad.clone() })).await;
        assert_eq!(answer["ErrorCode"], 10_004, "{bad}: {answer}");
        assert!(answer["ErrorInfo"].as_str().is_some_and(|info| info.starts_with("MemberList")));
    }
    let owner = json!({ "GroupId": "g", "Owner_Account": "x".repeat(129) });
    assert_eq!(door.code(create, &owner).await, 10_004);
    let long = "x".repeat(129);
    let list = json!([{ "Member_Account": "joon" }, { "Member_Account": long }]);
    let add = json!({ "GroupId": "g", "MemberList": list });
    let answer = door.ok("group_open_http_svc/add_group_member", &add).await;
    let expected = json!([{ "Member_Account": "joon", "Result": 1 },
                          { "Member_Account": long, "Result": 0 }]);
    assert_eq!(answer["MemberList"], expected);
    let members = door.relay.admin.get(&door.relay.path("/groups/g/members")).await;
    assert_eq!(members["members"], json!(["joon"]));
    let malformed = door.relay.path("/groups/g/members?cursor=%00");
    let answer = door.relay.admin.call("GET", &malformed, &Value::Null).await;
    assert_eq!((answer.status, &answer.body["error"]["field"]), (400, &json!("cursor")));
}
