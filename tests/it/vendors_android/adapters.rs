//! What golden files cannot say of the Huawei, Xiaomi and OPPO adapters: repeats, full parcels,
//! sizes, credentials, and that nothing a network brings can upset them.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use offpush::transport::Reply;
use offpush::vendor::{Badge, Call, Target, Verdict};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::vendors_android::golden::{
    NOW, VENDORS, certificate, good_credential, notification, read_credential, target, vendor,
};

#[test]
fn a_repeat_is_the_same_request() {
    for name in VENDORS {
        let certificate = certificate(name, &good_credential(name), &json!({}));
        let notification = notification(&json!({}), &json!({}));
        let targets = [target(0, "AAAA", None), target(1, "BBBB", None)];
        let body = |targets: &[Target]| {
            let call = Call {
                certificate: &certificate,
                access: None,
                notification: &notification,
                targets,
                now: NOW,
            };
            vendor(name).encode(&call).remove(0).request.body
        };
        assert_eq!(body(&targets), body(&targets), "{name}");
        assert!(vendor(name).profile().repeats_are_safe, "{name}");
    }
}

#[test]
fn a_full_parcel_is_one_request() {
    for name in VENDORS {
        let certificate = certificate(name, &good_credential(name), &json!({}));
        let notification = notification(&json!({}), &json!({}));
        let targets: Vec<Target> =
            (0..1_001).map(|at| target(at, &format!("token-{at:04}"), None)).collect();
        let count = |count: usize| -> Vec<_> {
            let targets = &targets[..count];
            let (certificate, notification) = (&certificate, &notification);
            let call = Call { certificate, access: None, notification, targets, now: NOW };
            vendor(name)
                .encode(&call)
                .into_iter()
                .map(|push| (push.targets.start, push.targets.end))
                .collect()
        };
        assert_eq!(count(vendor(name).profile().parcel_deliveries_max), [(0, 1_000)], "{name}");
        assert_eq!(count(1_001), [(0, 1_000), (1_000, 1_001)], "{name}");
        assert!(count(0).is_empty(), "{name}");
    }
}

/// OPPO repeats the content for every target: a long `Ext` for a full parcel is several requests.
#[test]
fn a_request_to_oppo_is_at_most_a_mebibyte() {
    let certificate = certificate("oppo", &good_credential("oppo"), &json!({}));
    let targets: Vec<Target> =
        (0..1_000).map(|at| target(at, &format!("OPPO_CN_{at:032}"), None)).collect();
    // Plain text, text that a form writes with nine bytes a character, and the longest OPPO takes.
    for (ext, most) in [("x".repeat(1_000), 4), ("家".repeat(1_000), 16), ("家".repeat(3_990), 40)]
    {
        let notification = notification(&json!({ "ext": ext }), &json!({}));
        let (certificate, targets) = (&certificate, targets.as_slice());
        let call =
            Call { certificate, access: None, notification: &notification, targets, now: NOW };
        let pushes = vendor("oppo").encode(&call);
        assert!((2..=most).contains(&pushes.len()), "{} requests", pushes.len());
        let mut next = 0;
        for push in &pushes {
            assert_eq!(push.targets.start, next);
            next = push.targets.end;
            let body = &push.request.body;
            assert!(body.len() <= 1 << 20, "{} bytes", body.len());
            let field = form_urlencoded::parse(body).find(|(name, _)| name == "messages");
            let messages: Vec<Value> =
                serde_json::from_str(&field.expect("messages").1).expect("an array");
            let asked = messages.iter().map(|message| message["target_value"].as_str());
            assert!(asked.eq(targets[push.targets.clone()].iter().map(|t| Some(t.token.as_str()))));
        }
        assert_eq!(next, targets.len());
    }
}

#[test]
fn huaweis_payload_is_its_largest_body_without_tokens() {
    let options = json!({"badge_class": "com.app.Main", "receipt_id": "RCP1"});
    let certificate = certificate("huawei", &good_credential("huawei"), &options);
    let given = json!({"ext": "{\"k\":1}", "lives_s": 9_999_999});
    let notification = notification(&given, &json!({"AndroidInfo": {"PushStyle": 1}}));
    let targets = [target(0, "AAAA", Some(Badge::Set(99)))];
    let call = Call {
        certificate: &certificate,
        access: None,
        notification: &notification,
        targets: &targets,
        now: NOW,
    };
    let sent = vendor("huawei").encode(&call).remove(0).request.body.len();
    let counted = vendor("huawei").payload_bytes(&certificate, &notification);
    assert_eq!(sent, counted + "\"AAAA\"".len());
}

#[test]
fn xiaomi_counts_bytes_of_the_pass_through_text_and_oppo_characters() {
    let given = json!({"ext": "{\"k\":\"é\"}"});
    for (name, size) in [("xiaomi", 10), ("oppo", 9)] {
        let certificate = certificate(name, &good_credential(name), &json!({}));
        let notification = notification(&given, &json!({}));
        assert_eq!(vendor(name).payload_bytes(&certificate, &notification), size, "{name}");
    }
}

#[test]
fn a_credential_says_who_it_is_and_keeps_its_secret() {
    let read = |name| read_credential(name, &good_credential(name)).expect("a credential");
    assert_eq!(read("huawei").identity["client_id"], "1047");
    assert_eq!(read("xiaomi").identity["package_name"], "com.a.b");
    assert_eq!(read("xiaomi").identity["region"], "china");
    assert_eq!(read("oppo").identity["app_key"], "k");
    for name in VENDORS {
        let credential = read(name);
        assert_eq!((credential.warnings.len(), credential.expires_at), (0, None), "{name}");
        let values: Vec<&String> = credential.identity.values().collect();
        assert!(!values.iter().any(|value| ["s3cr/et+=", "x=", "m"].contains(&value.as_str())));
    }
}

#[test]
fn each_mistake_in_a_credential_names_its_field() {
    let cases = [
        ("huawei", json!({"type": "oauth"}), "credential_missing_field", "client_id"),
        ("huawei", json!({"type": "p8"}), "credential_malformed", "type"),
        (
            "huawei",
            json!({"type": "oauth", "client_id": "1", "client_secret": ""}),
            "credential_missing_field",
            "client_secret",
        ),
        (
            "huawei",
            json!({"type": "oauth", "client_id": "../1", "client_secret": "s"}),
            "credential_malformed",
            "client_id",
        ),
        (
            "huawei",
            json!({"type": "oauth", "client_id": "1", "token_endpoint": "https://evil.test"}),
            "foreign_endpoint",
            "token_endpoint",
        ),
        ("xiaomi", json!({"type": "secret"}), "credential_missing_field", "package_name"),
        (
            "xiaomi",
            json!({"type": "secret", "package_name": "a.b"}),
            "credential_missing_field",
            "app_secret",
        ),
        (
            "xiaomi",
            json!({"type": "secret", "package_name": "a.b", "app_secret": "s", "region": "mars"}),
            "credential_malformed",
            "region",
        ),
        (
            "xiaomi",
            json!({"type": "secret", "package_name": "a.b", "app_secret": "s",
                   "region": "https://evil.test"}),
            "foreign_endpoint",
            "region",
        ),
        ("oppo", json!({"type": "master_secret"}), "credential_missing_field", "app_key"),
        (
            "oppo",
            json!({"type": "master_secret", "app_key": "k", "app_secret": "s"}),
            "credential_missing_field",
            "master_secret",
        ),
        (
            "oppo",
            json!({"type": "master_secret", "app_key": "k", "master_secret": 1}),
            "credential_malformed",
            "master_secret",
        ),
    ];
    for (name, credential, code, field) in cases {
        let error = read_credential(name, &credential).err().expect("a refusal");
        let wanted = (code, format!("credential.{field}"));
        assert_eq!((error.code, error.field), wanted, "{name} {credential}");
    }
}

#[test]
fn options_that_no_push_could_carry_are_refused_by_their_field() {
    let https = "must begin with https://";
    let long = "is too long";
    let intent = |length: usize| {
        json!({ "click_action": { "type": "open_intent",
        "intent": "i".repeat(length) } })
    };
    let url = |url: &str| json!({ "click_action": { "type": "open_url", "url": url } });
    let page =
        |page: &str| json!({ "click_action": { "type": "open_activity", "activity": page } });
    let template = json!({ "template_id": "t".repeat(1_000) });
    let receipts =
        |length: usize| json!({ "receipt_url": format!("{:r<length$}", "https://relay.test/") });
    let cases = [
        ("huawei", url("http://example.test"), Some(("click_action.url", https))),
        ("huawei", url("example.test"), Some(("click_action.url", https))),
        ("huawei", url("HTTPS://example.test"), None),
        ("huawei", intent(2_000), None),
        ("huawei", page("com.app.OPEN_CHAT"), None),
        ("huawei", page("com.app.ChatActivity"), Some(("click_action.activity", "is a class"))),
        ("huawei", json!({ "importance": "low" }), None),
        ("huawei", json!({ "importance": "URGENT" }), Some(("importance", "LOW, NORMAL or HIGH"))),
        ("xiaomi", intent(1_000), Some(("click_action", long))),
        // With the job key, the keys and the effect exactly 1,024, and one more.
        ("xiaomi", intent(956), None),
        ("xiaomi", intent(957), Some(("click_action", long))),
        // The package, here com.a.b, stands in the intent of a page.
        ("xiaomi", page(&"A".repeat(914)), None),
        ("xiaomi", page(&"A".repeat(915)), Some(("click_action", long))),
        ("xiaomi", template, Some(("template_id", long))),
        ("xiaomi", receipts(1_000), Some(("receipt_url", long))),
        ("xiaomi", url("http://example.test"), None),
        ("oppo", url("http://example.test"), None),
        ("oppo", receipts(200), None),
        ("oppo", receipts(201), Some(("receipt_url", long))),
        ("oppo", page(&"a".repeat(501)), Some(("click_action", long))),
        ("oppo", intent(2_001), Some(("click_action", long))),
        ("oppo", json!({ "notify_level": 16 }), None),
        ("oppo", json!({ "notify_level": 3 }), Some(("notify_level", "1, 2 or 16"))),
    ];
    for (name, options, wanted) in cases {
        let certificate = certificate(name, &good_credential(name), &options);
        let checked = vendor(name).check_options(&certificate);
        let wanted = wanted.map(|(field, why)| (format!("options.{field}"), why));
        match (checked, wanted) {
            (Ok(()), None) => {}
            (Err(error), Some((field, why))) => {
                assert_eq!((error.code, &error.field), ("option_malformed", &field), "{name}");
                assert!(error.message.contains(why), "{error}");
            }
            (checked, wanted) => panic!("{name} {options}: {checked:?}, not {wanted:?}"),
        }
    }
}

/// Xiaomi's extras as sent, without `extra.`.
fn extras(options: &Value, notification: &Value) -> BTreeMap<String, String> {
    let certificate = certificate("xiaomi", &good_credential("xiaomi"), options);
    let notification = crate::vendors_android::golden::notification(notification, &json!({}));
    let targets = [target(0, "AAAA", None)];
    let call = Call {
        certificate: &certificate,
        access: None,
        notification: &notification,
        targets: &targets,
        now: NOW,
    };
    let body = vendor("xiaomi").encode(&call).remove(0).request.body;
    let fields = form_urlencoded::parse(&body).into_owned();
    fields
        .filter_map(|(key, value)| Some((key.strip_prefix("extra.")?.to_owned(), value)))
        .collect()
}

/// What does not fit beside what is more needed is left out whole: every push would else be
/// refused with code 65015.
#[test]
fn xiaomis_extras_stay_within_their_characters() {
    let size = |extras: &BTreeMap<String, String>| -> usize {
        extras.iter().map(|(key, value)| key.chars().count() + value.chars().count()).sum()
    };
    let options = |intent: usize, url: usize| {
        json!({ "channel_id": "130001", "template_id": "P1001",
            "click_action": { "type": "open_intent", "intent": "意".repeat(intent) },
            "receipt_url": format!("https://relay.test/{}", "r".repeat(url)) })
    };
    let sound = json!({ "sound": "ding" });
    let all = extras(&options(100, 100), &sound);
    assert_eq!(all.len(), 10, "{all:?}");
    assert_eq!(all["notify_effect"], "2");
    // The receipts give way to the page.
    let page = extras(&options(600, 200), &sound);
    assert_eq!(page["intent_uri"].chars().count(), 600);
    assert!(page.keys().all(|key| !key.starts_with("callback")), "{page:?}");
    assert_eq!(page["notify_foreground"], "0", "what is smaller still fits");
    // The page gives way to the template: the tap opens the app.
    let app = extras(&options(900, 200), &sound);
    assert_eq!((app["notify_effect"].as_str(), app.get("intent_uri")), ("1", None), "{app:?}");
    assert!(app.contains_key("mi_template_param") && app.contains_key("callback"), "{app:?}");
    for extras in [all, page, app] {
        assert!(size(&extras) <= 1_024, "{extras:?}");
    }
}

#[test]
fn the_oppo_secret_mix_up_is_explained() {
    let credential = json!({"type": "master_secret", "app_key": "k", "app_secret": "hush"});
    let error = read_credential("oppo", &credential).err().expect("a refusal");
    assert!(error.message.contains("MasterSecret"), "{error}");
    assert!(!error.message.contains("hush"), "{error}");
    let advice = vendor("oppo").advice("16", Verdict::AuthRejected { renew: false });
    assert!(advice.is_some_and(|advice| advice.contains("AppSecret")), "{advice:?}");
}

#[test]
fn no_credential_of_these_is_a_file() {
    for name in VENDORS {
        let read = vendor(name).credential_from_file("key.json", b"{}", &BTreeMap::new());
        assert_eq!(read.expect_err("a refusal").field, "credential", "{name}");
    }
}

#[test]
fn without_an_access_token_there_is_no_authorization_header() {
    let certificate = certificate("huawei", &good_credential("huawei"), &json!({}));
    let notification = notification(&json!({}), &json!({}));
    let targets = [target(0, "AAAA", None)];
    let call = Call {
        certificate: &certificate,
        access: None,
        notification: &notification,
        targets: &targets,
        now: NOW,
    };
    let request = vendor("huawei").encode(&call).remove(0).request;
    assert!(!request.headers.contains_key("authorization"));
}

fn any_json() -> impl Strategy<Value = Value> {
    let names = "code|msg|data|message|illegal_tokens|bad_regids|errorCode|registrationId|x";
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "(0|11|80000000|80100000|80300007|20301|tok-1|tok-2,tok-1|\\{\\}|\\[|.{0,6})"
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(names, inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn whatever_arrives_gives_one_answer_per_target_and_no_token(
        json in any_json(),
        noise in prop::collection::vec(any::<u8>(), 0..40),
        is_json in any::<bool>(),
        status in 200_u16..600,
        count in 0_usize..4,
    ) {
        let body = if is_json { Bytes::from(json.to_string()) } else { noise.into() };
        let status = StatusCode::from_u16(status).expect("a status");
        let reply = Reply { status, headers: HeaderMap::new(), body };
        let targets: Vec<Target> =
            (0..count).map(|at| target(at, &format!("tok-{at}"), None)).collect();
        for name in VENDORS {
            let answers = vendor(name).decode(&reply, &targets, NOW);
            prop_assert_eq!(answers.len(), targets.len());
            for answer in answers {
                // Only the tokens of this call can be recognised as tokens.
                let told = targets.iter().any(|target| answer.says.contains(target.token.as_str()));
                prop_assert!(!told, "{}", answer.says);
                let accepted = answer.verdict == Verdict::Accepted;
                prop_assert!(!accepted || status.is_success(), "accepted with {}", status);
            }
            let _ = vendor(name).read_sign_in(&reply, NOW);
        }
    }
}
