//! The envelope, who may call, one-to-one messages, states, quiet hours, accounts.

use std::time::Duration;

use offpush::clock::Clock;
use serde_json::{Value, json};

use crate::harness::APP;
use crate::tencent::{Door, KEY, message, now, with};

const SEND: &str = "openim/sendmsg";
const BATCH: &str = "openim/batchsendmsg";
const STATE: &str = "openim/querystate";
const QUIET: &str = "im_msg_db_logic/admin_set_do_not_disturb";

#[tokio::test]
async fn a_message_is_taken_answered_in_the_envelope_and_rings() {
    let door = Door::open().await;
    let cert_id = door.apns().await;
    let token = door.phone("joon", cert_id).await;
    let answer = door.ok(SEND, &message("joon", 5, "see you at nine")).await;
    let time = answer["MsgTime"].as_u64().expect("MsgTime");
    assert!(now().secs().abs_diff(time) < 60);
    assert_eq!(answer["MsgKey"], format!("93847636_5_{time}"));
    let explained = door.settled(&answer).await;
    assert_eq!(explained["deliveries"][0]["state"], "pushed", "{explained:#}");
    assert_eq!(door.shown("see you at nine"), [token]);
}

#[tokio::test]
async fn the_sender_is_the_admin_unless_one_is_named() {
    let door = Door::open().await;
    let query = door.query_of("second");
    let body = with(&message("joon", 5, "x"), "From_Account", Value::Null);
    let answer = door.call_with(SEND, &query, &body).await;
    let explained = door.settled(&answer).await;
    assert_eq!(explained["from"], "second", "{explained:#}");
}

#[tokio::test]
async fn only_an_admin_with_a_valid_usersig_may_call() {
    let door = Door::open().await;
    let body = message("joon", 5, "x");
    let good = door.query_of("administrator");
    let sig = |query: &str| {
        let (_, rest) = query.split_once("usersig=").expect("a usersig");
        rest.split_once('&').expect("more").0.to_owned()
    };
    let sig_of_admin = sig(&good);
    let old = offpush::usersig::make(
        KEY,
        offpush::model::id::AppId(APP),
        "administrator",
        offpush::model::time::UnixMs::from_secs(1_700_000_000),
        std::time::Duration::from_secs(60),
    );
    let other_key = offpush::usersig::make(
        "another key",
        offpush::model::id::AppId(APP),
        "administrator",
        now(),
        std::time::Duration::from_secs(60),
    );
    let app = APP.to_string();
    let other_app = (APP + 1).to_string();
    door.relay.admin.put(&format!("/v1/apps/{other_app}"), &json!({ "name": "other" })).await;
    let cases = [
        (good.replace(&format!("sdkappid={app}&"), ""), 60_012),
        (good.replace(&app, "x"), 60_025),
        (good.replace("identifier=administrator", "identifier="), 60_025),
        (good.replace(&sig_of_admin, ""), 60_025),
        (good.replace("contenttype=json", "contenttype=xml"), 60_025),
        (good.replace(&app, "77"), 70_014),
        (good.replace(&sig_of_admin, &old), 70_001),
        (good.replace(&sig_of_admin, &sig_of_admin[..40]), 70_003),
        (good.replace(&sig_of_admin, &other_key), 70_009),
        (good.replace("identifier=administrator", "identifier=second"), 70_013),
        (good.replace(&app, &other_app), 70_014),
        (door.query_of("joon"), 60_010),
    ];
    for (query, expected) in cases {
        let answer = door.call_with(SEND, &query, &body).await;
        assert_eq!(answer["ErrorCode"], expected, "{query}: {answer}");
    }
    assert_eq!(door.call_with(SEND, &good, &body).await["ErrorCode"], 0);
}

#[tokio::test]
async fn whoever_fails_too_often_is_told_to_wait_and_locks_nobody_out() {
    let door = Door::open().await;
    let body = message("joon", 5, "x");
    let bad = format!("sdkappid={APP}&identifier=administrator&usersig=eJw_&contenttype=json");
    for _ in 0..10 {
        assert_eq!(door.call_with(SEND, &bad, &body).await["ErrorCode"], 70_003);
    }
    assert_eq!(door.call_with(SEND, &bad, &body).await["ErrorCode"], 70_050);
    assert_eq!(door.code(SEND, &body).await, 0);
}

#[tokio::test]
async fn the_official_usersig_of_the_reference_is_accepted() {
    let door = Door::open().await;
    // Vector A: time 1700000000, expire 15552000: long over, but known as genuine.
    let sig = "eJyrVgrxCdYrSy1SslIy0jNQ0gHzM1NS80oy0zLBwokpuZl5mcUlRYkl*UVQBcUp2YkFBZkp\
               SlaGJgZQAJEpycxNVbIyNEcVTa0oyCwCiZuamhrBRYsz05WslLycqyoS89ws-EJCIhJLTXK1\
               jTIsy8vM0yO98ir9sotzDSpyDf1cI0KNzE1slWoBQr40pw__";
    let settings = json!({ "usersig_keys": [KEY] });
    door.relay.admin.put("/v1/apps/1400000000", &settings).await;
    let query = format!("sdkappid=1400000000&identifier=administrator&usersig={sig}");
    let answer = door.call_with(SEND, &query, &message("joon", 5, "x")).await;
    assert_eq!(answer["ErrorCode"], 70_001, "{answer}");
    let settings = json!({ "usersig_keys": ["another"] });
    door.relay.admin.put("/v1/apps/1400000000", &settings).await;
    let answer = door.call_with(SEND, &query, &message("joon", 5, "x")).await;
    assert_eq!(answer["ErrorCode"], 70_009, "{answer}");
}

#[tokio::test]
async fn what_is_not_served_is_refused_and_never_swallowed() {
    let door = Door::open().await;
    for command in ["openim/importmsg", "sns/friend_add", "x", "openim/sendmsg/more"] {
        assert_eq!(door.code(command, &json!({})).await, 60_009, "{command}");
    }
    let query = door.query_of("administrator");
    let answer = door.anyone.call("PUT", &format!("/v4/{SEND}?{query}"), &json!({})).await;
    assert_eq!((answer.status, &answer.body["ErrorCode"]), (200, &json!(60_009)));
    let path = format!("/v4/{SEND}?{query}");
    for body in ["", "[]", "{", "5"] {
        let answer = door.anyone.raw("POST", &path, "application/json", body.into()).await;
        assert_eq!(answer.body["ErrorCode"], 60_003, "{body:?}");
    }
}

#[tokio::test]
async fn each_mistake_in_a_message_has_tencents_number() {
    let door = Door::open().await;
    let good = message("joon", 5, "x");
    let long = json!([{ "MsgType": "TIMTextElem", "MsgContent": { "Text": "x".repeat(12_300) } }]);
    let cases = [
        ("To_Account", Value::Null, 90_003),
        ("To_Account", json!(["joon"]), 90_003),
        ("To_Account", json!(""), 90_003),
        ("MsgRandom", Value::Null, 90_005),
        ("MsgRandom", json!("5"), 90_005),
        ("MsgRandom", json!(4_294_967_296_u64), 90_005),
        ("MsgTimeStamp", json!("x"), 90_006),
        ("From_Account", json!(5), 90_008),
        ("MsgBody", Value::Null, 90_002),
        ("MsgBody", json!({}), 90_007),
        ("MsgBody", json!([]), 90_002),
        ("MsgBody", json!([{ "MsgType": "TIMTextElem" }]), 90_002),
        ("MsgBody", long, 93_000),
        ("SyncOtherMachine", json!("x"), 90_031),
        ("MsgLifeTime", json!("x"), 90_044),
        ("OfflinePushInfo", json!([]), 90_043),
        ("OfflinePushInfo", json!({ "PushFlag": 7 }), 90_043),
    ];
    for (field, value, expected) in cases {
        let body = with(&good, field, value.clone());
        assert_eq!(door.code(SEND, &body).await, expected, "{field} = {value}");
    }
    assert_eq!(door.relay.ledger().await["accepted"], 0);
}

#[tokio::test]
async fn the_life_time_zero_means_online_only() {
    let door = Door::open().await;
    let cert_id = door.apns().await;
    door.phone("joon", cert_id).await;
    let answer = door.ok(SEND, &with(&message("joon", 5, "x"), "MsgLifeTime", json!(0))).await;
    let explained = door.settled(&answer).await;
    assert_eq!(explained["deliveries"][0]["state"], "suppressed", "{explained:#}");
    assert_eq!(explained["deliveries"][0]["reason"], "online_only", "{explained:#}");
}

#[tokio::test]
async fn a_message_is_a_repeat_by_sender_number_random_and_content() {
    let door = Door::open().await;
    let cert_id = door.apns().await;
    door.phone("joon", cert_id).await;
    let first = door.ok(SEND, &message("joon", 5, "once")).await;
    let again = door.ok(SEND, &message("joon", 5, "once")).await;
    assert_eq!(first["MsgKey"], again["MsgKey"]);
    assert_eq!(first["MsgTime"], again["MsgTime"]);
    let other = door.ok(SEND, &message("joon", 5, "other")).await;
    door.settled(&first).await;
    let explained = door.settled(&other).await;
    assert_eq!(explained["deliveries"][0]["state"], "pushed", "{explained:#}");
    assert_eq!(door.shown("once").len(), 1);
    // A front door's message and the relay's own are the same when they say the same.
    let mut own = message("joon", 5, "once");
    own["To_Account"] = json!(["joon"]);
    assert_eq!(door.relay.send(&own).await["status"], "duplicate");
}

#[tokio::test]
async fn a_batch_reaches_all_and_lists_whom_the_relay_does_not_know() {
    let door = Door::open().await;
    let cert_id = door.apns().await;
    let mut expected = vec![door.phone("joon", cert_id).await, door.phone("ara", cert_id).await];
    expected.sort();
    let body = with(&message("", 5, "all"), "To_Account", json!(["joon", "ghost", "ara", "joon"]));
    let answer = door.ok(BATCH, &body).await;
    assert_eq!(answer["ErrorList"], json!([{ "To_Account": "ghost", "ErrorCode": 70_107 }]));
    let explained = door.settled(&answer).await;
    assert_eq!(explained["deliveries"].as_array().map(Vec::len), Some(3), "{explained:#}");
    assert_eq!(door.shown("all"), expected);
    let many: Vec<_> = (0..501).map(|n| format!("u{n}")).collect();
    let long = json!([{ "MsgType": "TIMTextElem", "MsgContent": { "Text": "x".repeat(12_300) } }]);
    for (field, value, code) in [
        ("To_Account", Value::Null, 90_003),
        ("To_Account", json!("joon"), 90_028),
        ("To_Account", json!([]), 90_029),
        ("To_Account", json!(many), 90_011),
        ("MsgBody", long, 90_055),
    ] {
        assert_eq!(door.code(BATCH, &with(&body, field, value)).await, code, "{field}");
    }
}

#[tokio::test]
async fn a_message_is_withdrawn_by_its_key() {
    let door = Door::open().await;
    let cert_id = door.apns().await;
    door.phone("joon", cert_id).await;
    door.lane(cert_id, "pause").await;
    let sent = door.ok(SEND, &message("joon", 5, "secret")).await;
    let body = json!({ "From_Account": "mina", "To_Account": "joon", "MsgKey": sent["MsgKey"] });
    door.ok("openim/admin_msgwithdraw", &body).await;
    door.lane(cert_id, "resume").await;
    let explained = door.settled(&sent).await;
    assert_eq!(explained["deliveries"][0]["state"], "cancelled", "{explained:#}");
    assert!(door.shown("secret").is_empty());
    let unknown = with(&body, "MsgKey", json!("1_2_3"));
    assert_eq!(door.code("openim/admin_msgwithdraw", &unknown).await, 20_022);
    assert_eq!(door.code("openim/admin_msgwithdraw", &json!({})).await, 90_054);
}

#[tokio::test]
async fn states_are_told_in_tencents_words() {
    let door = Door::open().await;
    let cert_id = door.apns().await;
    for (user, state) in [
        ("front", "foreground"),
        ("back", "background"),
        ("killed", "offline"),
        ("gone", "logged_out"),
    ] {
        door.phone(user, cert_id).await;
        door.report(user, state).await;
    }
    door.ok("im_open_login_svc/account_import", &json!({ "UserID": "new" })).await;
    let asked = ["front", "back", "killed", "gone", "new", "ghost"];
    let answer = door.ok(STATE, &json!({ "To_Account": asked })).await;
    let states: Vec<_> = answer["QueryResult"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|entry| entry["State"].as_str().expect("a state"))
        .collect();
    assert_eq!(states, ["Online", "Online", "PushOnline", "Offline", "Offline"]);
    assert_eq!(answer["ErrorList"], json!([{ "To_Account": "ghost", "ErrorCode": 70_107 }]));
    assert_eq!(door.code(STATE, &json!({ "To_Account": [] })).await, 90_029);
    assert_eq!(door.code(STATE, &json!({})).await, 90_003);
}

#[tokio::test]
async fn quiet_hours_begin_and_end() {
    let door = Door::open().await;
    let cert_id = door.apns().await;
    door.phone("joon", cert_id).await;
    let start = now().secs() - 60;
    for repeated in [0, 1] {
        let quiet = json!({ "To_Account": "joon", "StartTime": start, "EndTime": start + 3_600,
                            "IsRepeated": repeated, "Level": 1 });
        door.ok(QUIET, &quiet).await;
        let sent = door.ok(SEND, &message("joon", 5 + repeated, "quiet")).await;
        let explained = door.settled(&sent).await;
        assert_eq!(explained["deliveries"][0]["reason"], "do_not_disturb", "{explained:#}");
    }
    door.ok(QUIET, &json!({ "To_Account": "joon", "Level": 0 })).await;
    let sent = door.ok(SEND, &message("joon", 9, "loud")).await;
    assert_eq!(door.settled(&sent).await["deliveries"][0]["state"], "pushed");
    for body in [
        json!({ "StartTime": 1, "EndTime": 2 }),
        json!({ "To_Account": "joon", "StartTime": 2, "EndTime": 1 }),
        json!({ "To_Account": "joon", "StartTime": 1, "EndTime": 2, "Level": 9 }),
    ] {
        assert_eq!(door.code(QUIET, &body).await, 70_402, "{body}");
    }
}

#[tokio::test]
async fn accounts_are_imported_checked_kicked_and_deleted() {
    let door = Door::open().await;
    let cert_id = door.apns().await;
    let import = json!({ "AccountList": [{ "UserID": "a", "Nick": "A" }, { "UserID": "b" }] });
    let answer = door.ok("im_open_login_svc/multiaccount_import", &import).await;
    assert_eq!(answer["FailAccounts"], json!([]));
    door.phone("joon", cert_id).await;
    let check =
        json!({ "CheckItem": [{ "UserID": "a" }, { "UserID": "joon" }, { "UserID": "x" }] });
    let statuses = async || {
        let answer = door.ok("im_open_login_svc/account_check", &check).await;
        let items = answer["ResultItem"].as_array().expect("items").clone();
        items.iter().map(|item| item["AccountStatus"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(statuses().await, ["Imported", "Imported", "NotImported"]);
    door.ok("im_open_login_svc/kick", &json!({ "UserID": "joon" })).await;
    assert_eq!(door.presence("joon").await, "kicked");
    let delete = json!({ "DeleteItem": [{ "UserID": "a" }, { "UserID": "joon" }] });
    door.ok("im_open_login_svc/account_delete", &delete).await;
    assert_eq!(statuses().await, ["NotImported", "NotImported", "NotImported"]);
    let listed = door.relay.path(&format!("/certificates/{cert_id}/devices"));
    assert_eq!(door.relay.admin.get(&listed).await["devices"], json!([]));
    for command in
        ["account_import", "multiaccount_import", "account_delete", "account_check", "kick"]
    {
        let command = format!("im_open_login_svc/{command}");
        assert_eq!(door.code(&command, &json!({})).await, 70_402, "{command}");
    }
}

#[tokio::test]
async fn an_account_that_is_no_id_is_told_one_by_one_and_a_list_that_is_none_is_refused() {
    let door = Door::open().await;
    let long = "x".repeat(129);
    let import =
        json!({ "AccountList": [{ "UserID": "a" }, { "UserID": long }, { "UserID": "" }] });
    let answer = door.ok("im_open_login_svc/multiaccount_import", &import).await;
    assert_eq!(answer["FailAccounts"], json!([long, ""]));
    for (command, list) in [("account_check", "CheckItem"), ("account_delete", "DeleteItem")] {
        let body = json!({ list: [{ "UserID": "a" }, { "UserID": long }] });
        let answer = door.ok(&format!("im_open_login_svc/{command}"), &body).await;
        let codes = [0, 1].map(|at| answer["ResultItem"][at]["ResultCode"].clone());
        assert_eq!(codes, [json!(0), json!(70_402)], "{answer}");
        for bad in [json!("a"), json!([{ "User": "a" }]), json!([7])] {
            let body = json!({ list: bad });
            let answer = door.call(&format!("im_open_login_svc/{command}"), &body).await;
            assert_eq!(answer["ErrorCode"], 70_402, "{answer}");
            assert!(answer["ErrorInfo"].as_str().is_some_and(|info| info.starts_with(list)));
        }
    }
}

#[tokio::test]
async fn a_deleted_account_leaves_no_mute_to_whoever_has_its_name_next() {
    let door = Door::open().await;
    let cert_id = door.apns().await;
    let token = door.phone("joon", cert_id).await;
    let option = door.relay.path("/users/joon/conversations/c2c:mina/receive-option");
    door.relay.admin.put(&option, &json!({ "option": 2 })).await;
    door.ok("im_open_login_svc/account_delete", &json!({ "DeleteItem": [{ "UserID": "joon" }] }))
        .await;
    let check = json!({ "CheckItem": [{ "UserID": "joon" }] });
    let answer = door.ok("im_open_login_svc/account_check", &check).await;
    assert_eq!(answer["ResultItem"][0]["AccountStatus"], "NotImported", "{answer}");
    assert_eq!(door.relay.admin.get(&option).await["option"], 0);
    assert_eq!(door.phone("joon", cert_id).await, token);
    let sent = door.ok(SEND, &message("joon", 5, "anew")).await;
    assert_eq!(door.settled(&sent).await["deliveries"][0]["state"], "pushed");
}

#[tokio::test]
async fn who_is_silent_for_as_long_as_the_settings_say_is_offline() {
    let clock = Clock::starting_at(now());
    let door =
        Door::open_at(clock.clone(), |settings| settings.presence.stale_login_days = 30).await;
    let cert_id = door.apns().await;
    door.phone("joon", cert_id).await;
    door.report("joon", "offline").await;
    let state = async || {
        let answer = door.ok(STATE, &json!({ "To_Account": ["joon"] })).await;
        answer["QueryResult"][0]["State"].clone()
    };
    clock.skip(Duration::from_secs(29 * 86_400));
    assert_eq!(state().await, "PushOnline");
    clock.skip(Duration::from_secs(2 * 86_400));
    assert_eq!(state().await, "Offline");
}

/// Another app's admin learns nothing here: not even which apps there are.
#[tokio::test]
async fn an_app_of_others_and_one_that_does_not_exist_answer_the_same() {
    let door = Door::open().await;
    let validity = std::time::Duration::from_secs(3_600);
    let body = message("joon", 5, "x");
    for command in offpush::api::tencent::commands() {
        let mut answers = Vec::new();
        for app in [APP, 77] {
            let id = offpush::model::id::AppId(app);
            for (key, user) in [("another key", "administrator"), ("another key", "stranger")] {
                let sig = offpush::usersig::make(key, id, user, now(), validity);
                let query = format!("sdkappid={app}&identifier={user}&usersig={sig}");
                let answer = door.call_with(command, &query, &body).await;
                assert_ne!(answer["ErrorCode"], 0, "{command}: {answer}");
                answers.push(answer);
            }
        }
        assert_eq!(answers[..2], answers[2..], "{command}");
    }
}
