//! Webhooks in: who may post them, and what each one does.

use serde_json::{Value, json};

use crate::harness::APP;
use crate::tencent::{Door, TOKEN, hook_path, now, sign, with};

fn c2c(random: u32, text: &str) -> Value {
    json!({ "CallbackCommand": "C2C.CallbackAfterSendMsg",
            "From_Account": "mina", "To_Account": "joon",
            "MsgSeq": 902, "MsgRandom": random, "MsgTime": 1_760_000_000,
            "MsgKey": format!("902_{random}_1760000000"), "OnlineOnlyFlag": 0,
            "SendMsgResult": 0, "ErrorInfo": "send msg succeed", "UnreadMsgNum": 3,
            "MsgBody": [{ "MsgType": "TIMTextElem", "MsgContent": { "Text": text } }],
            "CloudCustomData": "", "EventTime": 1_760_000_000_321_u64 })
}

fn group(random: u32, text: &str) -> Value {
    json!({ "CallbackCommand": "Group.CallbackAfterSendMsg", "GroupId": "@TGS#1A",
            "Type": "Public", "From_Account": "mina", "Operator_Account": "mina",
            "Random": random, "MsgSeq": 88, "MsgTime": 1_760_000_000,
            "MsgId": format!("1441152-1760000000-{random}"), "OnlineOnlyFlag": 0,
            "MsgBody": [{ "MsgType": "TIMTextElem", "MsgContent": { "Text": text } }],
            "GroupAtInfo": [{ "GroupAtAllFlag": 0, "GroupAt_Account": "joon" }],
            "EventTime": "1760000000321" })
}

fn state(action: &str, reason: &str) -> Value {
    json!({ "CallbackCommand": "State.StateChange", "EventTime": now().0,
            "Info": { "Action": action, "To_Account": "joon", "Reason": reason } })
}

fn joined(users: &[&str]) -> Value {
    let list: Vec<_> = users.iter().map(|user| json!({ "Member_Account": user })).collect();
    json!({ "CallbackCommand": "Group.CallbackAfterNewMemberJoin", "GroupId": "@TGS#1A",
            "Type": "Public", "JoinType": "Apply", "Operator_Account": "mina",
            "NewMemberList": list })
}

#[tokio::test]
async fn a_message_webhook_rings_once_however_often_it_comes() {
    let door = Door::open().await;
    let cert_id = door.apns().await;
    let token = door.phone("joon", cert_id).await;
    let first = door.hook_ok(&c2c(771_203_456, "hi")).await;
    door.hook_ok(&c2c(771_203_456, "hi")).await;
    let explained = door.settled(&first).await;
    assert_eq!(explained["deliveries"][0]["state"], "pushed", "{explained:#}");
    assert_eq!(door.shown("hi"), [token]);
    assert_eq!(door.sims.shown("apns")[0].raw["badge"], 3);
}

#[tokio::test]
async fn a_message_that_failed_or_is_for_online_users_does_not_ring() {
    let door = Door::open().await;
    let cert_id = door.apns().await;
    door.phone("joon", cert_id).await;
    let failed = with(&c2c(1, "x"), "SendMsgResult", json!(20_012));
    let failed = with(&failed, "UnreadMsgNum", json!(-1));
    let sent = door.hook_ok(&failed).await;
    assert_eq!(door.settled(&sent).await["deliveries"][0]["reason"], "send_failed");
    let sent = door.hook_ok(&with(&c2c(2, "x"), "OnlineOnlyFlag", json!(1))).await;
    assert_eq!(door.settled(&sent).await["deliveries"][0]["reason"], "online_only");
}

#[tokio::test]
async fn how_a_push_looks_may_travel_in_the_custom_data() {
    let door = Door::open().await;
    let cert_id = door.apns().await;
    door.phone("joon", cert_id).await;
    let own = json!({ "other": 1, "offpush": { "FromNick": "Mina", "OfflinePushInfo":
        { "Title": "Custom", "Desc": "from the custom data" } } });
    let body = with(&c2c(1, "x"), "CloudCustomData", json!(own.to_string()));
    let sent = door.hook_ok(&body).await;
    door.settled(&sent).await;
    let shown = door.sims.shown("apns");
    assert_eq!(shown[0].title, "Custom");
    assert_eq!(shown[0].body, "from the custom data");
    let muted = json!({ "offpush": { "OfflinePushInfo": { "PushFlag": 1 } } });
    let body = with(&c2c(2, "x"), "CloudCustomData", json!(muted.to_string()));
    let sent = door.hook_ok(&body).await;
    assert_eq!(door.settled(&sent).await["deliveries"][0]["reason"], "no_push_flag");
    for (random, text) in [(3, "not json"), (4, "{\"offpush\":5}"), (5, "[]")] {
        let body = with(&c2c(random, text), "CloudCustomData", json!(text));
        let sent = door.hook_ok(&body).await;
        assert_eq!(door.settled(&sent).await["deliveries"][0]["state"], "pushed");
    }
    let wrong = json!({ "offpush": { "OfflinePushInfo": 5 } });
    let body = with(&c2c(6, "x"), "CloudCustomData", json!(wrong.to_string()));
    assert_eq!(door.hook(&body).await["ErrorCode"], 90_043);
}

/// `honour_mute = "tencent"` lets pass what servers send, not what users say themselves.
#[tokio::test]
async fn a_users_own_message_stays_silent_in_a_muted_conversation_whatever_the_setting() {
    let door = Door::open().await;
    let cert_id = door.apns().await;
    door.phone("joon", cert_id).await;
    let option = door.relay.path("/users/joon/conversations/c2c:mina/receive-option");
    door.relay.admin.put(&option, &json!({ "option": 2 })).await;
    let reason_of = async |random: u32, platform: &str| {
        let sent = door.hook_from(&c2c(random, "hi"), platform).await;
        door.settled(&sent).await["deliveries"][0]["reason"].clone()
    };
    for (random, platform) in [(1, "iOS"), (2, "RESTAPI")] {
        assert_eq!(reason_of(random, platform).await, "conversation_muted", "{platform}");
    }
    let tencent = json!({ "honour_mute": "tencent" });
    door.relay.admin.put(&door.relay.path(""), &tencent).await;
    for (random, platform) in [(3, "iOS"), (4, "Web"), (5, "Unknown"), (6, "")] {
        assert_eq!(reason_of(random, platform).await, "conversation_muted", "{platform}");
    }
    assert_eq!(reason_of(7, "RESTAPI").await, Value::Null);
    let posted = crate::harness::text("mina", "joon", 8, "posted by a server");
    let sent = door.relay.send(&posted).await;
    let explained = door.relay.settled(&sent["message_id"]).await;
    assert_eq!(explained["deliveries"][0]["state"], "pushed", "{explained:#}");
}

/// What a user said is still known as such when a message that waited is decided again.
#[tokio::test]
async fn a_mute_that_comes_while_a_users_message_waits_keeps_it_silent() {
    let door = Door::open().await;
    let cert_id = door.apns().await;
    door.phone("joon", cert_id).await;
    let tencent = json!({ "honour_mute": "tencent" });
    door.relay.admin.put(&door.relay.path(""), &tencent).await;
    door.lane(cert_id, "pause").await;
    let own = door.hook_from(&c2c(1, "own"), "Android").await;
    let rest = door.hook_from(&c2c(2, "rest"), "RESTAPI").await;
    let option = door.relay.path("/users/joon/conversations/c2c:mina/receive-option");
    door.relay.admin.put(&option, &json!({ "option": 2 })).await;
    door.lane(cert_id, "resume").await;
    assert_eq!(door.settled(&own).await["deliveries"][0]["reason"], "conversation_muted");
    assert_eq!(door.settled(&rest).await["deliveries"][0]["state"], "pushed");
}

#[tokio::test]
async fn a_group_webhook_names_nobody_and_reaches_the_offline_members() {
    let door = Door::open().await;
    let cert_id = door.apns().await;
    let token = door.phone("joon", cert_id).await;
    for user in ["mina", "front", "left", "stranger"] {
        door.phone(user, cert_id).await;
    }
    door.report("joon", "offline").await;
    door.report("front", "foreground").await;
    assert_eq!(door.hook(&group(1, "early")).await["ErrorCode"], 10_010);
    door.hook_ok(&joined(&["mina", "joon", "front", "left"])).await;
    door.hook_ok(&joined(&["joon"])).await;
    let exit = json!({ "CallbackCommand": "Group.CallbackAfterMemberExit", "GroupId": "@TGS#1A",
                       "ExitType": "Quit", "ExitMemberList": [{ "Member_Account": "left" }] });
    door.hook_ok(&exit).await;
    door.hook_ok(&exit).await;
    let sent = door.hook_ok(&group(2, "@joon look")).await;
    let again = door.hook_ok(&group(2, "@joon look")).await;
    let explained = door.settled(&sent).await;
    let deliveries = explained["deliveries"].as_array().expect("deliveries");
    let states: Vec<_> = deliveries
        .iter()
        .map(|one| (one["user"].as_str().expect("user"), one["state"].as_str().expect("state")))
        .collect();
    assert_eq!(states, [("front", "suppressed"), ("joon", "pushed")], "{explained:#}");
    door.settled(&again).await;
    assert_eq!(door.shown("@joon look"), [token]);
    let gone = json!({ "CallbackCommand": "Group.CallbackAfterGroupDestroyed",
                       "GroupId": "@TGS#1A" });
    door.hook_ok(&gone).await;
    assert_eq!(door.hook(&group(3, "late")).await["ErrorCode"], 10_010);
}

#[tokio::test]
async fn a_live_group_is_never_pushed_and_the_answer_says_so() {
    let door = Door::open().await;
    door.hook_ok(&joined(&["joon"])).await;
    let answer = door.hook_ok(&with(&group(1, "x"), "Type", json!("AVChatRoom"))).await;
    assert!(answer["ErrorInfo"].as_str().is_some_and(|info| info.contains("live groups")));
    assert_eq!(door.relay.ledger().await["accepted"], 0);
}

#[tokio::test]
async fn a_new_groups_members_are_known() {
    let door = Door::open().await;
    let created = json!({ "CallbackCommand": "Group.CallbackAfterCreateGroup", "GroupId": "g",
                          "Owner_Account": "mina", "MemberList": [{ "Member_Account": "joon" }] });
    door.hook_ok(&created).await;
    let members = door.relay.admin.get(&door.relay.path("/groups/g/members")).await;
    assert_eq!(members["members"], json!(["joon", "mina"]));
}

#[tokio::test]
async fn states_follow_the_link_of_the_devices_platform() {
    let door = Door::open().await;
    let cert_id = door.apns().await;
    door.phone("joon", cert_id).await;
    let set = async |action, reason, platform| {
        let answer = door.hook_from(&state(action, reason), platform).await;
        assert_eq!(answer["ErrorCode"], 0, "{answer}");
        door.presence("joon").await
    };
    assert_eq!(set("Disconnect", "LinkClose", "Android").await, "background");
    assert_eq!(set("Disconnect", "LinkClose", "IOS").await, "offline");
    assert_eq!(set("Login", "Register", "Web").await, "offline");
    assert_eq!(set("Login", "Register", "iOS").await, "background");
    door.report("joon", "foreground").await;
    assert_eq!(set("Login", "Register", "iOS").await, "foreground");
    assert_eq!(set("Disconnect", "TimeOut", "iOS").await, "offline");
    assert_eq!(set("Logout", "Unregister", "iOS").await, "logged_out");
    // Only a registration makes a device ring again that was logged out.
    assert_eq!(set("Disconnect", "LinkClose", "iOS").await, "logged_out");
    assert_eq!(set("Login", "Register", "iOS").await, "logged_out");
    door.phone("joon", cert_id).await;
    assert_eq!(door.presence("joon").await, "background");
}

#[tokio::test]
async fn a_login_removes_older_devices_of_the_named_platforms_only() {
    let door = Door::open().await;
    let cert_id = door.apns().await;
    door.phone("joon", cert_id).await;
    let login = |platform: &str, at: u64| {
        let body = with(&state("Login", "Register"), "EventTime", json!(at.to_string()));
        with(&body, "KickedDevice", json!([{ "Platform": platform }]))
    };
    let later = now().0 + 1_000;
    door.hook_ok(&login("Android", later)).await;
    assert_eq!(door.presence("joon").await, "background");
    // The device registered after this login: it is the one that logged in.
    door.hook_ok(&login("iOS", 1_760_000_000_000)).await;
    assert_eq!(door.presence("joon").await, "background");
    door.hook_ok(&login("iOS", later)).await;
    assert_eq!(door.presence("joon").await, "kicked");
}

#[tokio::test]
async fn old_news_of_a_state_changes_nothing() {
    let door = Door::open().await;
    let cert_id = door.apns().await;
    door.phone("joon", cert_id).await;
    door.report("joon", "foreground").await;
    let old = with(&state("Logout", "Unregister"), "EventTime", json!(1_760_000_000_000_u64));
    door.hook_ok(&old).await;
    assert_eq!(door.presence("joon").await, "foreground");
}

#[tokio::test]
async fn a_log_out_that_comes_late_does_not_undo_a_newer_registration() {
    let door = Door::open().await;
    let cert_id = door.apns().await;
    door.phone("joon", cert_id).await;
    let left = with(&state("Logout", "Unregister"), "EventTime", json!(now().0 - 1_000));
    door.hook_ok(&left).await;
    assert_eq!(door.presence("joon").await, "background", "it registered after that");
    // The device is known for longer than its new registration.
    door.hook_ok(&state("Logout", "Unregister")).await;
    assert_eq!(door.presence("joon").await, "logged_out");
    door.phone("joon", cert_id).await;
    door.hook_ok(&left).await;
    assert_eq!(door.presence("joon").await, "background");
}

#[tokio::test]
async fn what_was_read_elsewhere_does_not_ring_and_lowers_the_badge() {
    let door = Door::open().await;
    let cert_id = door.apns().await;
    door.phone("joon", cert_id).await;
    door.lane(cert_id, "pause").await;
    let read = door.hook_ok(&c2c(1, "read")).await;
    let other = door.hook_ok(&with(&c2c(2, "other"), "From_Account", json!("ara"))).await;
    let report = json!({ "CallbackCommand": "C2C.CallbackAfterMsgReport",
                         "Report_Account": "joon", "Peer_Account": "mina",
                         "LastReadTime": now().secs() + 1, "UnreadMsgNum": 1 });
    door.hook_ok(&report).await;
    door.hook_ok(&report).await;
    door.lane(cert_id, "resume").await;
    let explained = door.settled(&read).await;
    assert_eq!(explained["deliveries"][0]["state"], "cancelled", "{explained:#}");
    assert_eq!(door.settled(&other).await["deliveries"][0]["state"], "pushed");
    assert!(door.shown("read").is_empty());
    let devices = door.relay.admin.get(&door.relay.path("/users/joon/devices")).await;
    assert_eq!(devices["devices"][0]["unread"], 1);
    // The next message counts on from what was reported.
    let next = with(&c2c(3, "next"), "UnreadMsgNum", Value::Null);
    let next = door.hook_ok(&next).await;
    door.settled(&next).await;
    let shown = door.sims.shown("apns");
    let next = shown.iter().find(|shown| shown.body == "next").expect("shown");
    assert_eq!(next.raw["badge"], 2);
}

#[tokio::test]
async fn a_withdrawn_message_does_not_ring() {
    let door = Door::open().await;
    let cert_id = door.apns().await;
    door.phone("joon", cert_id).await;
    door.hook_ok(&joined(&["joon"])).await;
    door.lane(cert_id, "pause").await;
    let single = door.hook_ok(&c2c(1, "oops")).await;
    let group = door.hook_ok(&group(2, "oops")).await;
    let withdrawn = json!({ "CallbackCommand": "C2C.CallbackAfterMsgWithDraw",
                            "From_Account": "mina", "To_Account": "joon",
                            "MsgKey": "902_1_1760000000", "UnreadMsgNum": 7 });
    door.hook_ok(&withdrawn).await;
    door.hook_ok(&with(&withdrawn, "UnreadMsgNum", json!(-1))).await;
    let devices = door.relay.admin.get(&door.relay.path("/users/joon/devices")).await;
    assert_eq!(devices["devices"][0]["unread"], 7, "a number below zero is none");
    let recalled = json!({ "CallbackCommand": "Group.CallbackAfterRecallMsg",
                           "GroupId": "@TGS#1A", "MsgSeqList": [{ "MsgSeq": 88 }] });
    door.hook_ok(&recalled).await;
    door.lane(cert_id, "resume").await;
    for sent in [&single, &group] {
        let explained = door.settled(sent).await;
        assert_eq!(explained["deliveries"][0]["state"], "cancelled", "{explained:#}");
    }
    assert!(door.shown("oops").is_empty());
    let unknown = with(&withdrawn, "MsgKey", json!("1_1_1"));
    assert_eq!(door.hook(&unknown).await["ErrorCode"], 20_022);
}

#[tokio::test]
async fn a_recalled_message_nobody_knows_keeps_no_other_from_being_withdrawn() {
    let door = Door::open().await;
    let cert_id = door.apns().await;
    door.phone("joon", cert_id).await;
    door.hook_ok(&joined(&["joon"])).await;
    door.lane(cert_id, "pause").await;
    let sent = door.hook_ok(&group(2, "oops")).await;
    let recalled = json!({ "CallbackCommand": "Group.CallbackAfterRecallMsg", "GroupId": "@TGS#1A",
                           "MsgSeqList": [{ "MsgSeq": 7 }, { "MsgSeq": 88 }, { "MsgSeq": 9 }] });
    door.hook_ok(&recalled).await;
    door.lane(cert_id, "resume").await;
    let explained = door.settled(&sent).await;
    assert_eq!(explained["deliveries"][0]["state"], "cancelled", "{explained:#}");
}

#[tokio::test]
async fn a_time_of_reading_beyond_all_times_counts_as_now() {
    let door = Door::open().await;
    let cert_id = door.apns().await;
    door.phone("joon", cert_id).await;
    door.lane(cert_id, "pause").await;
    let read = door.hook_ok(&c2c(1, "read")).await;
    let report = json!({ "CallbackCommand": "C2C.CallbackAfterMsgReport",
                         "Report_Account": "joon", "Peer_Account": "mina",
                         "LastReadTime": i64::MAX, "UnreadMsgNum": 1 });
    door.hook_ok(&report).await;
    door.lane(cert_id, "resume").await;
    let explained = door.settled(&read).await;
    assert_eq!(explained["deliveries"][0]["state"], "cancelled", "{explained:#}");
}

#[tokio::test]
async fn a_list_that_names_nobody_is_refused_by_its_name() {
    let door = Door::open().await;
    let created = json!({ "CallbackCommand": "Group.CallbackAfterCreateGroup", "GroupId": "g" });
    let left = json!({ "CallbackCommand": "Group.CallbackAfterMemberExit", "GroupId": "g" });
    let recalled = json!({ "CallbackCommand": "Group.CallbackAfterRecallMsg", "GroupId": "g" });
    for (hook, list, value) in [
        (joined(&[]), "NewMemberList", json!("joon")),
        (joined(&[]), "NewMemberList", json!([{ "Member_Account": "joon" }, { "User": "ara" }])),
        (created, "MemberList", json!([""])),
        (left, "ExitMemberList", json!([{ "Member_Account": "x".repeat(129) }])),
        (group(1, "x"), "To_Account", json!({ "Member_Account": "joon" })),
        (state("Login", "Register"), "KickedDevice", json!([3])),
        (recalled.clone(), "MsgSeqList", json!("88")),
        (recalled, "MsgSeqList", json!([{ "MsgSeq": "88" }])),
    ] {
        let answer = door.hook(&with(&hook, list, value.clone())).await;
        assert_eq!(answer["ErrorCode"], 10_004, "{list} = {value}: {answer}");
        let info = answer["ErrorInfo"].as_str().expect("a sentence");
        assert!(info.starts_with(list), "{info}");
    }
    let members = door.relay.admin.get(&door.relay.path("/groups/@TGS%231A/members")).await;
    assert_eq!(members["members"], json!([]));
}

#[tokio::test]
async fn a_webhook_the_relay_does_not_use_is_refused_and_one_before_a_message_lets_it_pass() {
    let door = Door::open().await;
    for command in ["Group.CallbackAfterGroupFull", "", "x"] {
        let answer = door.hook(&json!({ "CallbackCommand": command })).await;
        assert_eq!(
            (&answer["ActionStatus"], &answer["ErrorCode"]),
            (&json!("FAIL"), &json!(60_009))
        );
    }
    let before = with(&c2c(1, "x"), "CallbackCommand", json!("C2C.CallbackBeforeSendMsg"));
    door.hook_ok(&before).await;
    assert_eq!(door.relay.ledger().await["accepted"], 0);
}

#[tokio::test]
async fn only_the_apps_own_server_may_post() {
    let door = Door::open().await;
    let body = c2c(1, "x");
    let good = hook_path(&body["CallbackCommand"], "iOS");
    let (unsigned, _) = good.split_once("&Sign=").expect("signed");
    let signed_at = |time: u64, token: &str| {
        format!("{unsigned}&Sign={}&RequestTime={time}", sign(token, time))
    };
    let now_s = now().secs();
    let status = async |path: &str| {
        let answer = door.anyone.call("POST", path, &body).await;
        assert!(answer.status == 200 || answer.body["ErrorCode"] == 60_025, "{answer:?}");
        answer.status
    };
    assert_eq!(status(&good).await, 200);
    assert_eq!(status(unsigned).await, 401);
    assert_eq!(status(&signed_at(now_s, "other")).await, 401);
    assert_eq!(status(&signed_at(now_s - 90, TOKEN)).await, 401);
    assert_eq!(status(&signed_at(now_s + 90, TOKEN)).await, 401);
    assert_eq!(status(&good.replace(&format!("SdkAppid={APP}"), "SdkAppid=5")).await, 403);
    assert_eq!(status(&good.replace(&format!("apps/{APP}"), "apps/5")).await, 401);
    // With a key no signature is needed; with neither token nor key nobody may.
    let by_key = door.relay.admin.call("POST", unsigned, &body).await;
    assert_eq!(by_key.status, 200);
    let stranger = door.anyone.with_key(Some("nobody's")).call("POST", &good, &body).await;
    assert_eq!(stranger.status, 401);
    door.relay.admin.put(&door.relay.path(""), &json!({ "webhook_token": null })).await;
    assert_eq!(status(&good).await, 401);
}

/// A stranger cannot tell an app with a token from one without and from none at all.
#[tokio::test]
async fn a_strangers_webhook_is_answered_the_same_whether_the_app_exists() {
    let door = Door::open().await;
    let bare = APP + 1;
    door.relay.admin.put(&format!("/v1/apps/{bare}"), &json!({ "name": "no token" })).await;
    let body = c2c(1, "x");
    let time = now().secs();
    for proof in [
        String::new(),
        format!("&Sign={}&RequestTime={time}", sign("other", time)),
        format!("&Sign={}&RequestTime={time}", sign("", time)),
        format!("&Sign={}&RequestTime={}", sign("other", time - 90), time - 90),
    ] {
        let mut answers = Vec::new();
        for app in [APP, bare, 77] {
            let path = format!("/v1/apps/{app}/webhooks/tencent?CallbackCommand=x{proof}");
            let answer = door.anyone.call("POST", &path, &body).await;
            assert_eq!(answer.status, 401, "{answer:?}");
            answers.push(answer.body);
        }
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    }
}

#[tokio::test]
async fn what_only_its_body_can_prove_may_not_be_long() {
    let door = Door::open().await;
    let time = now().secs();
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, TOKEN.as_bytes());
    let query = format!("?CallbackCommand=x&RequestTime={time}");
    for (bytes, code) in [(1_024 * 1_024, 60_003), (1_024 * 1_024 + 1, 93_000)] {
        let body = "x".repeat(bytes);
        let signature = ring::hmac::sign(&key, format!("{time}.{body}").as_bytes());
        let path = format!("/v1/apps/{APP}/webhooks/tencent{query}");
        let request = door.anyone.request("POST", &path);
        let request = request.header("x-offpush-signature", hex::encode(signature));
        let answer = door.anyone.send(request, body.into_bytes()).await.expect("an answer");
        assert_eq!(answer.body["ErrorCode"], code, "{}", answer.body["ErrorInfo"]);
    }
    // Whose query proves it may send as much as everybody else.
    let body = "x".repeat(1_024 * 1_024 + 1).into_bytes();
    let path = hook_path(&json!("x"), "iOS");
    let answer = door.anyone.raw("POST", &path, "application/json", body).await;
    assert_eq!(answer.body["ErrorCode"], 60_003, "{}", answer.body["ErrorInfo"]);
}

#[tokio::test]
async fn no_answer_repeats_a_value_of_the_wrong_type() {
    const SECRET: &str = "what nobody else may read";
    let door = Door::open().await;
    let app = format!("/v1/apps/{APP}");
    let body = with(&c2c(1, "x"), "From_Account", json!([SECRET]));
    let hook = door.hook(&body).await;
    let body = with(&c2c(1, "x"), "CallbackCommand", json!({ "x": SECRET }));
    let command = door.hook(&body).await;
    let message = with(&c2c(1, "x"), "MsgLifeTime", json!(SECRET));
    let rest = door.call("openim/sendmsg", &with(&message, "To_Account", json!("joon"))).await;
    let posted = door.relay.admin.call("POST", &format!("{app}/messages"), &message).await;
    let settings = json!({ "usersig_keys": SECRET });
    let put = door.relay.admin.call("PUT", &app, &settings).await;
    for answer in [hook, command, rest, posted.body, put.body] {
        let told = answer.to_string();
        assert!(told.contains("malformed") || told.contains("invalid type"), "{told}");
        assert!(!told.contains(SECRET), "{told}");
    }
}
