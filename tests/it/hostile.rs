//! The entry points of the fuzz targets, tried with random input in every test run: nothing from
//! outside makes the relay panic, and every reply has one answer per target.

use std::collections::BTreeMap;

use http::{HeaderMap, StatusCode};
use offpush::model::certificate::Environment;
use offpush::model::id::{AppId, Token};
use offpush::model::message::Message;
use offpush::model::time::UnixMs;
use offpush::store::Key;
use offpush::store::keys::{Class, KeyReader, after_prefix, just_after};
use offpush::transport::Reply;
use offpush::vendor::profile::Endpoints;
use offpush::vendor::upload::Upload;
use offpush::vendor::{self, Target};
use offpush::{dedupe, queue, trace, usersig};
use proptest::prelude::*;
use serde_json::{Value, json};

const NOW: UnixMs = UnixMs(1_795_000_000_000);

/// Any JSON, with words that mean something here among its names and texts.
fn any_json() -> impl Strategy<Value = Value> {
    let word = prop_oneof![
        prop::sample::select(vec![
            "From_Account",
            "To_Account",
            "MsgRandom",
            "MsgBody",
            "MsgType",
            "MsgContent",
            "Text",
            "OfflinePushInfo",
            "Desc",
            "TIMTextElem",
            "GroupId",
            "type",
            "p8",
            "p12",
            "data",
            "key",
            "json",
            "service_account",
            "secret",
            "oauth",
            "code",
            "msg",
            "reason",
            "error",
            "details",
            "result",
            "name",
            "status",
            "timestamp",
            "message",
            "access_token",
            "expires_in",
            "auth_token",
            "bad_regids",
            "illegal_tokens",
            "create_time",
            "token_uri",
        ])
        .prop_map(str::to_owned),
        ".{0,12}",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 48, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(word.clone(), inner, 0..8)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// JSON, or octets that are none.
fn any_body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        any_json().prop_map(|json| json.to_string().into_bytes()),
        prop::collection::vec(any::<u8>(), 0..512),
    ]
}

fn read_upload(vendor: &dyn vendor::Vendor, credential: &Value) {
    let endpoints = Endpoints::defaults(vendor.profile());
    let environment = Environment::Production;
    let upload = Upload { credential, environment, endpoints: &endpoints, now: NOW };
    let _ = vendor.read_credential(&upload);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_posted_octets_are_read_or_refused(body in any_body()) {
        if let Ok(posted) = Message::parse_posted(&body) {
            prop_assert!(Message::parse_stored(&posted.content).is_ok());
        }
    }

    #[test]
    fn whatever_is_in_a_message_that_is_taken_it_is_read_back(
        push in any_json(), element in any_json(), to in any_json()
    ) {
        let message = json!({ "From_Account": "a", "To_Account": to, "MsgRandom": 1,
            "OfflinePushInfo": push, "MsgBody": [element] });
        let by_name = json!({ "From_Account": "a", "To_Account": "b", "MsgRandom": 1,
            "OfflinePushInfo": { "Desc": "x", "Ext": message["OfflinePushInfo"].to_string() } });
        for message in [message, by_name] {
            if let Ok(posted) = Message::parse_posted(message.to_string().as_bytes()) {
                prop_assert!(Message::parse_stored(&posted.content).is_ok());
            }
        }
    }

    #[test]
    fn every_reply_has_one_answer_per_target(
        status in 100u16..1_000, body in any_body(), count in 1usize..5, retry in ".{0,16}"
    ) {
        let target = |number| Target {
            token: Token(format!("token-{number}").into()),
            push_id: uuid::Uuid::nil(),
            badge: None,
        };
        let targets: Vec<Target> = (0..count).map(target).collect();
        let mut headers = HeaderMap::new();
        if let Ok(value) = http::HeaderValue::from_str(&retry) {
            headers.insert("retry-after", value);
        }
        let status = StatusCode::from_u16(status).expect("three digits");
        let reply = Reply { status, headers, body: body.into() };
        for vendor in vendor::ALL {
            let answers = vendor.decode(&reply, &targets, NOW);
            prop_assert_eq!(answers.len(), count, "{}", vendor.profile().name);
            let _ = vendor.read_sign_in(&reply, NOW);
        }
    }

    #[test]
    fn any_upload_is_read_or_refused(
        credential in any_json(), file in prop::collection::vec(any::<u8>(), 0..400)
    ) {
        let names = ["password", "key_id", "team_id", "bundle_id"];
        let fields: BTreeMap<_, _> =
            names.map(|name| (name.to_owned(), "ABCDE12345".to_owned())).into();
        for vendor in vendor::ALL {
            read_upload(*vendor, &credential);
            for kind in ["p8", "p12", "service_account"] {
                read_upload(*vendor, &json!({ "type": kind, "key": credential, "data": credential,
                    "json": credential, "key_id": "ABCDE12345", "team_id": "ABCDE12345",
                    "bundle_id": "com.example", "password": "x" }));
            }
            for name in ["a.p8", "a.p12", "a.json"] {
                if let Ok(credential) = vendor.credential_from_file(name, &file, &fields) {
                    read_upload(*vendor, &credential);
                }
            }
        }
    }

    #[test]
    fn a_p12_with_any_octet_changed_is_read_or_refused(at in any::<usize>(), octet in any::<u8>()) {
        let mut file = include_bytes!("../fixtures/apns_sandbox.p12").to_vec();
        let at = at % file.len();
        file[at] = octet;
        let fields: BTreeMap<_, _> = [("password".to_owned(), "offpush".to_owned())].into();
        let vendor = vendor::named("apns").expect("apns");
        if let Ok(credential) = vendor.credential_from_file("a.p12", &file, &fields) {
            read_upload(vendor, &credential);
        }
    }

    #[test]
    fn no_strangers_usersig_is_believed(sig in "[A-Za-z0-9*_-]{0,200}|.{0,50}") {
        let keys = ["a key that nobody knows".to_owned()];
        prop_assert!(usersig::verify(&sig, &keys, AppId(1), "mina", NOW).is_err());
    }

    #[test]
    fn damaged_keys_and_rows_are_refused(
        class in prop::sample::select(vec![b'Q', b'T', b'S', b'U', 0xFF]),
        rest in prop::collection::vec(any::<u8>(), 0..64),
        row in prop::collection::vec(any::<u8>(), 0..256),
    ) {
        let key = Key::from([vec![class], rest].concat());
        let _ = (queue::due_of(&key), queue::id_of(&key), queue::certificate_of(&key));
        let _ = (dedupe::window_of(&key), trace::behind(&key));
        let _ = queue::read(key.clone(), row.clone().into());
        let _ = trace::read(vec![(key.clone(), row.into())]);
        if let Some(mut reader) = KeyReader::new(Class::User, &key) {
            let _ = (reader.u64(), reader.text(), reader.u128(), reader.u16(), reader.u32());
        }
        prop_assert!(just_after(&key) > key);
        let end = after_prefix(&key);
        prop_assert!(end.is_empty() || end > key);
    }
}
