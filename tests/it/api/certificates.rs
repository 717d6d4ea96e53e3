//! Certificates through the API: their whole life, and that their secrets never come out.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use offpush::clock::Clock;
use offpush::config::sections::Engine;
use offpush::model::id::CertId;
use offpush::model::time::UnixMs;
use serde_json::{Value, json};

use crate::api::{Bench, path};
use crate::harness::{Relay, Sims, VENDORS, text, token_of, until};

async fn upload(bench: &Bench, vendor: &str) -> Value {
    bench.admin.ok("POST", &path("/certificates"), &bench.sims.upload(vendor)).await
}

fn at(certificate: &Value) -> String {
    path(&format!("/certificates/{}", certificate["cert_id"]))
}

/// The same credential with a secret its vendor does not know.
fn wrong(bench: &Bench, vendor: &str) -> Value {
    let mut upload = bench.sims.upload(vendor);
    let credential = &mut upload["credential"];
    let (field, value) = match vendor {
        "apns" => ("/key_id", "WRONG12345"),
        "fcm" => ("/json/client_email", "nobody@offpush-test.iam.gserviceaccount.com"),
        "huawei" => ("/client_secret", "wrong-client-secret"),
        "xiaomi" => ("/app_secret", "wrong-app-secret"),
        _ => ("/master_secret", "wrong-master-secret"),
    };
    *credential.pointer_mut(field).expect(field) = json!(value);
    upload
}

#[tokio::test]
async fn an_upload_is_answered_and_shown_without_its_secret() {
    let bench = Bench::start().await;
    for vendor in VENDORS {
        let made = upload(&bench, vendor).await;
        let expected = [
            ("vendor", json!(vendor)),
            ("status", json!("active")),
            ("enabled", json!(true)),
            ("revision", json!(1)),
        ];
        for (field, value) in expected {
            assert_eq!(made[field], value, "{vendor} {field}");
        }
        assert!(made["identity"].as_object().is_some_and(|identity| !identity.is_empty()));
        assert_eq!(bench.admin.get(&at(&made)).await, made);
    }
    let list = bench.admin.get(&path("/certificates")).await;
    let ids: Vec<_> = list["certificates"].as_array().expect("a list").iter().collect();
    assert!(ids.iter().map(|made| &made["cert_id"]).eq([1, 2, 3, 4, 5].map(Value::from).iter()));
}

#[tokio::test]
async fn a_chosen_number_is_kept_and_a_taken_one_refused() {
    let bench = Bench::start().await;
    let mut chosen = bench.sims.upload("xiaomi");
    chosen["cert_id"] = json!(4_711);
    let made = bench.admin.ok("POST", &path("/certificates"), &chosen).await;
    assert_eq!(made["cert_id"], 4_711);
    let before = bench.rows().await;
    let admin = &bench.admin;
    let (at, code) = (path("/certificates"), "cert_id_taken");
    admin.refused("POST", &at, &chosen, 409, code, Some("cert_id")).await;
    // The number is one for the whole relay: another app may not take it either.
    let other = "/v1/apps/1400000002";
    admin.ok("PUT", other, &json!({ "name": "other" })).await;
    let after_app = bench.rows().await;
    let at = format!("{other}/certificates");
    admin.refused("POST", &at, &chosen, 409, code, Some("cert_id")).await;
    assert_eq!(bench.rows().await, after_app);
    assert!(before.len() < after_app.len());
    assert_eq!(upload(&bench, "huawei").await["cert_id"], 4_712);
}

#[tokio::test]
async fn a_number_is_given_once_unless_an_upload_asks_for_it() {
    let sims = Sims::start().await;
    let relay = Relay::start_with(&sims, Engine::Redb, |_| {}).await;
    let other = "/v1/apps/1400000002";
    relay.admin.put(other, &json!({ "name": "other" })).await;
    let delete = async |relay: &Relay, app: &str, cert_id: u64| {
        let at = format!("{app}/certificates/{cert_id}");
        assert_eq!(relay.admin.call("DELETE", &at, &Value::Null).await.status, 204);
    };
    assert_eq!(relay.certificate(&sims, "huawei").await, 1);
    assert_eq!(relay.certificate(&sims, "xiaomi").await, 2);
    delete(&relay, &path(""), 2).await;
    assert_eq!(relay.certificate(&sims, "xiaomi").await, 3);
    let theirs = relay.admin.post(&format!("{other}/certificates"), &sims.upload("oppo")).await;
    assert_eq!(theirs["cert_id"], 4);
    delete(&relay, other, 4).await;
    delete(&relay, &path(""), 1).await;
    delete(&relay, &path(""), 3).await;
    let relay = relay.restart().await;
    assert_eq!(relay.certificate(&sims, "huawei").await, 5, "none of the app or of the other");
    let mut chosen = sims.upload("xiaomi");
    chosen["cert_id"] = json!(3);
    let made = relay.admin.post(&path("/certificates"), &chosen).await;
    assert_eq!(made["cert_id"], 3, "whoever asks for a number knows why");
    chosen["cert_id"] = json!(u32::MAX);
    relay.admin.post(&path("/certificates"), &chosen).await;
    let full = relay.admin.call("POST", &path("/certificates"), &sims.upload("oppo")).await;
    assert_eq!((full.status, &full.body["error"]["field"]), (400, &json!("cert_id")));
}

#[tokio::test]
async fn vendor_and_number_are_fixed() {
    let bench = Bench::start().await;
    let at = at(&upload(&bench, "xiaomi").await);
    let before = bench.rows().await;
    for (body, code, field) in [
        (json!({ "vendor": "oppo" }), "vendor_fixed", "vendor"),
        (json!({ "cert_id": 9 }), "cert_id_fixed", "cert_id"),
        (
            json!({ "credential": { "type": "secret" } }),
            "credential_missing_field",
            "credential.package_name",
        ),
    ] {
        bench.admin.refused("PUT", &at, &body, 400, code, Some(field)).await;
    }
    assert_eq!(bench.rows().await, before);
}

#[tokio::test]
async fn a_broken_certificate_works_again_after_rotating_in_place() {
    let bench = Bench::start().await;
    let body = wrong(&bench, "huawei");
    let made = bench.admin.ok("POST", &path("/certificates"), &body).await;
    let cert_id = made["cert_id"].as_u64().expect("a number");
    bench.relay.device("joon", "huawei", cert_id, 1).await;
    let taken = bench.relay.send(&text("mina", "joon", 1, "waits for a good secret")).await;
    until("the certificate is found broken", async || {
        bench.admin.get(&at(&made)).await["status"] == "broken"
    })
    .await;
    let shown = bench.admin.get(&at(&made)).await;
    assert!(shown["broken"].as_str().is_some_and(|why| !why.is_empty()));
    let right = json!({ "credential": bench.sims.upload("huawei")["credential"] });
    let rotated = bench.admin.ok("PUT", &at(&made), &right).await;
    assert_eq!((&rotated["status"], &rotated["revision"]), (&json!("active"), &json!(2)));
    assert_eq!(rotated["cert_id"], made["cert_id"]);
    let credentials = &bench.relay.app.as_ref().expect("running").api.credentials;
    let kept = credentials.get(CertId(u32::try_from(cert_id).expect("small"))).expect("there");
    assert!(credentials.holds(&kept.info, &right["credential"]).await.expect("read"));
    assert!(!credentials.holds(&kept.info, &body["credential"]).await.expect("read"), "old secret");
    let explained = bench.relay.settled(&taken["message_id"]).await;
    assert_eq!(explained["deliveries"][0]["state"], "pushed", "{explained:#}");
}

#[tokio::test]
async fn options_names_and_the_switch_change_without_the_secret() {
    let bench = Bench::start().await;
    let made = upload(&bench, "xiaomi").await;
    let change = json!({ "name": "renamed", "options": { "channel_id": "130001" } });
    let changed = bench.admin.ok("PUT", &at(&made), &change).await;
    assert_eq!((&changed["name"], &changed["revision"]), (&json!("renamed"), &json!(1)));
    assert_eq!(changed["options"]["channel_id"], "130001");
    let cert_id = made["cert_id"].as_u64().expect("a number");
    bench.relay.device("joon", "xiaomi", cert_id, 1).await;
    let off = bench.admin.ok("PUT", &at(&made), &json!({ "enabled": false })).await;
    assert_eq!((&off["status"], &off["name"]), (&json!("disabled"), &json!("renamed")));
    let taken = bench.relay.send(&text("mina", "joon", 1, "not now")).await;
    let explained = bench.relay.settled(&taken["message_id"]).await;
    assert_eq!(explained["deliveries"][0]["reason"], "cert_disabled");
    let on = bench.admin.ok("PUT", &at(&made), &json!({ "enabled": true })).await;
    assert_eq!(on["status"], "active");
    let taken = bench.relay.send(&text("mina", "joon", 2, "now")).await;
    let explained = bench.relay.settled(&taken["message_id"]).await;
    assert_eq!(explained["deliveries"][0]["state"], "pushed");
}

#[tokio::test]
async fn options_against_the_vendors_rules_are_refused() {
    let bench = Bench::start().await;
    let options = json!({ "click_action": { "type": "open_url", "url": "http://example.test" } });
    let mut wrong = bench.sims.upload("huawei");
    wrong["options"] = options.clone();
    let made = upload(&bench, "huawei").await;
    let change = json!({ "options": options });
    for (method, path, body) in
        [("POST", path("/certificates"), &wrong), ("PUT", at(&made), &change)]
    {
        let field = Some("options.click_action.url");
        bench.admin.refused(method, &path, body, 400, "option_malformed", field).await;
    }
    assert_eq!(bench.admin.get(&at(&made)).await, made, "nothing was changed");
}

#[tokio::test]
async fn options_for_tokens_of_one_kind_are_refused_where_there_are_none() {
    let bench = Bench::start().await;
    for vendor in ["fcm", "huawei", "xiaomi", "oppo"] {
        let made = upload(&bench, vendor).await;
        for option in ["voip", "live_activity"] {
            let change = json!({ "options": { option: true } });
            let field = format!("options.{option}");
            let refused = (400, "option_malformed", Some(field.as_str()));
            bench.admin.refused("PUT", &at(&made), &change, refused.0, refused.1, refused.2).await;
        }
    }
}

#[tokio::test]
async fn what_is_sent_by_a_deleted_certificate_ends_as_cert_not_found() {
    let bench = Bench::start().await;
    let made = upload(&bench, "xiaomi").await;
    let cert_id = made["cert_id"].as_u64().expect("a number");
    bench.relay.device("joon", "xiaomi", cert_id, 1).await;
    bench.admin.ok("DELETE", &at(&made), &Value::Null).await;
    let gone = Some("cert_id");
    for (method, rest) in
        [("GET", ""), ("DELETE", ""), ("PUT", ""), ("POST", "/verify"), ("POST", "/test-push")]
    {
        let at = format!("{}{rest}", at(&made));
        bench.admin.refused(method, &at, &json!({}), 404, "cert_not_found", gone).await;
    }
    let taken = bench.relay.send(&text("mina", "joon", 1, "nowhere")).await;
    let explained = bench.relay.settled(&taken["message_id"]).await;
    assert_eq!(explained["deliveries"][0]["reason"], "cert_not_found", "{explained:#}");
    let devices = bench.admin.get(&path("/users/joon/devices")).await;
    assert_eq!(devices["devices"][0]["vendor"], Value::Null);
}

#[tokio::test]
async fn verifying_tells_a_good_secret_from_a_wrong_one() {
    let bench = Bench::start().await;
    for vendor in VENDORS {
        let good = upload(&bench, vendor).await;
        let verified = bench.admin.ok("POST", &format!("{}/verify", at(&good)), &json!({})).await;
        assert_eq!(verified["ok"], true, "{vendor}: {verified:#}");
        assert_eq!(verified["hint"], Value::Null, "{vendor}: nothing is wrong: {verified:#}");
        assert_ne!(verified["status"], 0, "{vendor}: it answered: {verified:#}");
        let body = wrong(&bench, vendor);
        let bad = bench.admin.ok("POST", &path("/certificates"), &body).await;
        let verified = bench.admin.ok("POST", &format!("{}/verify", at(&bad)), &json!({})).await;
        assert_eq!(verified["ok"], false, "{vendor}: {verified:#}");
        assert_eq!(verified["verdict"], "auth_rejected", "{vendor}: {verified:#}");
        assert_ne!(verified["status"], 0, "{vendor}: it answered: {verified:#}");
        assert_ne!(verified["raw"], "", "{vendor}: {verified:#}");
        let hint = verified["hint"].as_str().unwrap_or_else(|| panic!("{vendor}: {verified:#}"));
        if vendor == "oppo" {
            assert!(hint.contains("MasterSecret"), "{hint}");
        }
    }
    for vendor in VENDORS {
        let shown = bench.sims.shown(vendor);
        // What the app alone gets is not drawn by the system: background, passed through.
        let silent = shown.iter().all(|shown| {
            let drawn = !shown.title.is_empty() || !shown.body.is_empty();
            !drawn || shown.raw["form"]["pass_through"] == "1"
        });
        assert!(silent, "{vendor}: verifying rang a phone: {shown:?}");
    }
}

#[tokio::test]
async fn a_test_push_rings_a_phone_that_is_not_registered() {
    let bench = Bench::start().await;
    for vendor in VENDORS {
        let made = upload(&bench, vendor).await;
        let body = json!({ "token": token_of(vendor, "tester", 1), "title": "T", "desc": "works" });
        let at = format!("{}/test-push", at(&made));
        let pushed = bench.admin.ok("POST", &at, &body).await;
        assert_eq!(pushed["ok"], true, "{vendor}: {pushed:#}");
        let shown = bench.sims.shown(vendor);
        assert_eq!((shown.len(), shown[0].body.as_str()), (1, "works"), "{vendor}");
        for (token, code) in [(" ", "22003"), ("a b", "token_malformed")] {
            let body = json!({ "token": token });
            bench.admin.refused("POST", &at, &body, 400, code, Some("token")).await;
        }
        bench.admin.refused("POST", &at, &json!({}), 400, "missing_field", Some("token")).await;
    }
}

/// Apple takes nothing but calls for a token that was made for calls.
#[tokio::test]
async fn a_test_push_is_of_the_kind_that_the_certificates_tokens_take() {
    let bench = Bench::start().await;
    let mut upload = bench.sims.upload("apns");
    upload["options"] = json!({ "voip": true });
    let made = bench.admin.ok("POST", &path("/certificates"), &upload).await;
    let body = json!({ "token": token_of("apns", "tester", 1) });
    let pushed = bench.admin.ok("POST", &format!("{}/test-push", at(&made)), &body).await;
    assert_eq!(pushed["ok"], true, "{pushed:#}");
    let shown = bench.sims.shown("apns");
    assert!(shown[0].raw.to_string().contains("voip"), "{}", shown[0].raw);
    upload["options"] = json!({ "live_activity": true });
    let made = bench.admin.ok("POST", &path("/certificates"), &upload).await;
    let trial = format!("{}/test-push", at(&made));
    bench.admin.refused("POST", &trial, &body, 400, "no_test_push", Some("cert_id")).await;
}

#[tokio::test]
async fn an_expired_certificate_does_not_ring_and_can_still_be_changed() {
    let clock = Clock::starting_at(UnixMs::from_secs(1_800_000_000));
    let bench = Bench::start_at(clock.clone(), |_| {}).await;
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/");
    let p12 = std::fs::read(format!("{folder}apns_both.p12")).expect("a fixture");
    let credential = json!({ "type": "p12", "data": STANDARD.encode(p12), "password": "fixture" });
    let body = json!({ "vendor": "apns", "credential": credential });
    let made = bench.admin.ok("POST", &path("/certificates"), &body).await;
    let cert_id = made["cert_id"].as_u64().expect("a number");
    // The fixture ends on 2126-01-01.
    clock.skip(Duration::from_secs(4_922_899_200 - 1_800_000_000));
    bench.relay.device("joon", "apns", cert_id, 1).await;
    assert_eq!(bench.admin.get(&at(&made)).await["status"], "expired");
    let taken = bench.relay.send(&text("mina", "joon", 1, "too late")).await;
    let explained = bench.relay.settled(&taken["message_id"]).await;
    assert_eq!(explained["deliveries"][0]["reason"], "cert_expired", "{explained:#}");
    let change = json!({ "options": { "sound": "ding.caf" }, "name": "old" });
    let changed = bench.admin.ok("PUT", &at(&made), &change).await;
    assert_eq!((&changed["status"], &changed["name"]), (&json!("expired"), &json!("old")));
    let again = json!({ "credential": body["credential"] });
    let field = Some("credential.data");
    bench.admin.refused("PUT", &at(&made), &again, 400, "cert_expired", field).await;
    let key = json!({ "credential": bench.sims.upload("apns")["credential"] });
    let rotated = bench.admin.ok("PUT", &at(&made), &key).await;
    assert_eq!((&rotated["status"], &rotated["expires_at"]), (&json!("active"), &Value::Null));
}

/// Every text of a credential that is a secret.
fn secrets(vendor: &str, credential: &Value) -> Vec<String> {
    let fields: &[&str] = match vendor {
        "apns" => &["/key"],
        "fcm" => &["/json/private_key"],
        "huawei" => &["/client_secret"],
        "xiaomi" => &["/app_secret"],
        _ => &["/master_secret"],
    };
    let texts = fields.iter().map(|field| credential.pointer(field).expect(field));
    texts
        .map(|text| text.as_str().expect("a text"))
        // Of a PEM a line in the middle: line ends are written in more than one way.
        .map(|text| text.lines().nth(1).unwrap_or(text).to_owned())
        .collect()
}

fn holds(haystack: &[u8], needle: &str) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle.as_bytes())
}

#[tokio::test]
async fn no_secret_is_ever_answered_or_stored_readable() {
    let bench = Bench::start().await;
    let mut secrets_found = vec![crate::api::USERSIG_KEY.to_owned(), "hook-secret".to_owned()];
    let mut answers = Vec::new();
    for vendor in VENDORS {
        let body = bench.sims.upload(vendor);
        secrets_found.extend(secrets(vendor, &body["credential"]));
        let made = upload(&bench, vendor).await;
        let put = json!({ "credential": body["credential"] });
        answers.push(bench.admin.ok("PUT", &at(&made), &put).await);
        let push = json!({ "token": token_of(vendor, "tester", 1) });
        answers.push(bench.admin.ok("POST", &format!("{}/test-push", at(&made)), &push).await);
        answers.push(bench.admin.ok("POST", &format!("{}/verify", at(&made)), &json!({})).await);
        // A refused upload must not repeat it either.
        let mut twisted = body.clone();
        twisted["environment"] = json!("moon");
        answers.push(bench.admin.call("POST", &path("/certificates"), &twisted).await.body);
        answers.push(made);
    }
    let app = json!({ "callback_key": "hook-secret", "webhook_token": "hook-secret" });
    answers.push(bench.admin.ok("PUT", &path(""), &app).await);
    let key = bench.app_key(crate::harness::APP).await;
    for rest in ["", "/certificates", "/keys"] {
        answers.push(bench.admin.get(&path(rest)).await);
    }
    secrets_found.push(key);
    for secret in &secrets_found {
        assert!(secret.len() > 8, "a secret worth looking for");
        for answer in &answers {
            assert!(!answer.to_string().contains(secret.as_str()), "an answer tells a secret");
        }
        for (key, row) in bench.rows().await {
            assert!(!holds(&key, secret) && !holds(&row, secret), "a row holds a secret: {key:?}");
        }
    }
}
