//! Uploads of APNs and FCM credentials: what is read out of them and how mistakes are named.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use offpush::model::certificate::Environment;
use offpush::model::time::UnixMs;
use offpush::vendor::SignIn;
use offpush::vendor::profile::Endpoints;
use offpush::vendor::upload::{Credential, CredentialError, Upload};
use p12_keystore::{KeyStore, KeyStoreEntry, Pkcs12Archive, PrivateKeyChain};
use serde_json::{Value, json};

use crate::vendors_west::{NOW, P8, certificate, p8, read, service_account, vendor};

const BOTH: &[u8] = include_bytes!("../../fixtures/apns_both.p12");
const LEGACY: &[u8] = include_bytes!("../../fixtures/apns_legacy.p12");
const SANDBOX: &[u8] = include_bytes!("../../fixtures/apns_sandbox.p12");
const EXPIRED: &[u8] = include_bytes!("../../fixtures/apns_expired.p12");
const PLAIN: &[u8] = include_bytes!("../../fixtures/apns_plain.p12");
/// End of the fixtures: 2126-01-01.
const END: UnixMs = UnixMs::from_secs(4_922_899_200);

fn p12(file: &[u8], password: &str) -> Value {
    json!({"type": "p12", "data": STANDARD.encode(file), "password": password})
}

fn apns(credential: &Value, environment: Environment) -> Result<Credential, CredentialError> {
    read(vendor("apns"), credential, environment, NOW)
}

fn refusal(read: Result<Credential, CredentialError>) -> (&'static str, String) {
    match read {
        Ok(_) => panic!("the credential was taken"),
        Err(error) => (error.code, error.field),
    }
}

fn with(mut object: Value, pointer: &str, value: Value) -> Value {
    *object.pointer_mut(pointer).expect("a field") = value;
    object
}

#[test]
fn a_p8_key_says_whose_it_is() {
    let read = apns(&p8(), Environment::Sandbox).expect("a good key");
    assert_eq!(read.identity["bundle_id"], "com.example.chat");
    assert_eq!(read.identity["key_id"], "KEY1234567");
    assert_eq!(read.environment, Environment::Sandbox);
    assert!(read.expires_at.is_none() && read.client_identity.is_none());
}

#[test]
fn each_mistake_in_a_p8_upload_names_its_field() {
    let check = |credential: Value, code: &'static str, field: &str| {
        let refused = refusal(apns(&credential, Environment::Production));
        assert_eq!(refused, (code, field.to_owned()));
    };
    let rsa = service_account()["json"]["private_key"].clone();
    let sec1 = P8.replace("PRIVATE", "EC PRIVATE");
    check(with(p8(), "/type", json!("jks")), "credential_malformed", "credential.type");
    check(json!({}), "credential_missing_field", "credential.type");
    check(with(p8(), "/key", Value::Null), "credential_missing_field", "credential.key");
    check(with(p8(), "/key", json!("secret")), "credential_malformed", "credential.key");
    check(with(p8(), "/key", json!(7)), "credential_malformed", "credential.key");
    check(with(p8(), "/key", rsa), "wrong_key_type", "credential.key");
    check(with(p8(), "/key", json!(sec1)), "wrong_key_type", "credential.key");
    check(with(p8(), "/key_id", json!("short")), "credential_malformed", "credential.key_id");
    check(with(p8(), "/team_id", json!("")), "credential_missing_field", "credential.team_id");
    check(with(p8(), "/bundle_id", json!(" ")), "credential_missing_field", "credential.bundle_id");
    let header = json!("com.example\r\nx: y");
    check(with(p8(), "/bundle_id", header), "credential_malformed", "credential.bundle_id");
}

#[test]
fn p12_files_of_both_generations_are_read() {
    for file in [BOTH, LEGACY] {
        let read = apns(&p12(file, "fixture"), Environment::Production).expect("a good file");
        assert_eq!(read.identity["bundle_id"], "com.example.chat");
        assert_eq!(read.identity["team_id"], "TEAM123456");
        assert_eq!(
            read.identity["topics"],
            "com.example.chat com.example.chat.voip com.example.chat.complication"
        );
        assert_eq!(read.expires_at, Some(END));
        assert!(read.warnings.is_empty(), "{:?}", read.warnings);
        let identity = read.client_identity.expect("a client certificate");
        assert_eq!(identity.chain.len(), 2, "leaf and issuer");
        let provider = rustls::crypto::ring::default_provider();
        let key = rustls::sign::CertifiedKey::from_der(
            identity.chain.clone(),
            identity.key.clone_key(),
            &provider,
        );
        key.expect("a usable identity").keys_match().expect("leaf first");
    }
}

#[test]
fn a_p12_certificate_signs_in_by_itself() {
    let vendor = vendor("apns");
    let read = apns(&p12(BOTH, "fixture"), Environment::Production).expect("a good file");
    let mut certificate = certificate(vendor, Environment::Production);
    certificate.material = read.material;
    assert!(matches!(vendor.sign_in(&certificate, NOW), SignIn::None));
}

#[test]
fn each_mistake_in_a_p12_upload_names_its_field() {
    let check = |credential: Value, code: &'static str, field: &str| {
        let refused = refusal(apns(&credential, Environment::Production));
        assert_eq!(refused, (code, field.to_owned()));
    };
    for file in [BOTH, LEGACY] {
        check(p12(file, "other"), "wrong_password", "credential.password");
        check(p12(file, ""), "credential_missing_field", "credential.password");
    }
    check(p12(b"", "x"), "credential_missing_field", "credential.data");
    check(p12(b"not a p12", "x"), "credential_malformed", "credential.data");
    check(p12(&BOTH[..2_000], "fixture"), "credential_malformed", "credential.data");
    check(p12(&[0; 100_000], "x"), "credential_malformed", "credential.data");
    let not_base64 = json!({"type": "p12", "data": "§§", "password": "x"});
    check(not_base64, "credential_malformed", "credential.data");
    check(p12(EXPIRED, "fixture"), "cert_expired", "credential.data");
    check(p12(SANDBOX, "fixture"), "environment_mismatch", "environment");
    let other_way = apns(&p12(LEGACY, "fixture"), Environment::Sandbox);
    assert_eq!(refusal(other_way), ("environment_mismatch", "environment".to_owned()));
}

#[test]
fn a_certificate_for_both_environments_is_taken_as_uploaded() {
    for environment in [Environment::Production, Environment::Sandbox] {
        let read = apns(&p12(BOTH, "fixture"), environment).expect("a good file");
        assert_eq!(read.environment, environment);
    }
    assert!(apns(&p12(SANDBOX, "fixture"), Environment::Sandbox).is_ok());
}

#[test]
fn a_certificate_without_extensions_is_warned_about_and_one_that_ended_is_refused() {
    let at = |file, now| {
        read(vendor("apns"), &p12(file, "fixture"), Environment::Production, now)
            .map(|read| read.warnings)
    };
    // That it ends soon is said when it is looked at.
    assert_eq!(at(BOTH, UnixMs(END.0 - 1)).expect("valid"), [""; 0]);
    assert_eq!(at(BOTH, END).expect_err("ended").code, "cert_expired");
    assert!(at(PLAIN, NOW).expect("valid")[0].contains("which environment"));
}

#[test]
fn a_key_that_belongs_to_another_certificate_is_refused() {
    let open = |file| Pkcs12Archive::from_pkcs12(file, "fixture").expect("a fixture");
    let (mut right, mut other) = (open(BOTH), open(SANDBOX));
    let key = other.keys.remove(0).key;
    let chain = PrivateKeyChain::new("1", key, [right.certs.remove(0).cert]);
    let mut store = KeyStore::new();
    store.add_entry("push", KeyStoreEntry::PrivateKeyChain(chain));
    let file = store.writer("fixture").write().expect("a file");
    let refused = refusal(apns(&p12(&file, "fixture"), Environment::Production));
    assert_eq!(refused, ("key_mismatch", "credential.data".to_owned()));
}

#[test]
fn a_service_account_says_whose_it_is() {
    let read = read(vendor("fcm"), &service_account(), Environment::Production, NOW);
    let read = read.expect("a good file");
    assert_eq!(read.identity["project_id"], "offpush-test");
    assert_eq!(read.identity["client_email"], "push@offpush-test.iam.gserviceaccount.com");
    assert!(!format!("{:?}", read.identity).contains("PRIVATE KEY"));
}

#[test]
fn each_mistake_in_a_service_account_names_its_field() {
    let check = |pointer: &str, value: Value, code: &'static str, field: &str| {
        let credential = with(service_account(), pointer, value);
        let read = read(vendor("fcm"), &credential, Environment::Production, NOW);
        assert_eq!(refusal(read), (code, field.to_owned()), "{pointer}");
    };
    let missing = "credential_missing_field";
    check("/type", json!("server_key"), "credential_malformed", "credential.type");
    check("/json", Value::Null, missing, "credential.json");
    check("/json", json!("{}"), "credential_malformed", "credential.json");
    for name in ["type", "project_id", "private_key_id", "private_key", "client_email"] {
        let field = format!("credential.json.{name}");
        check(&format!("/json/{name}"), Value::Null, missing, &field);
    }
    let user = json!("authorized_user");
    check("/json/type", user, "credential_malformed", "credential.json.type");
    let path = json!("../../x");
    check("/json/project_id", path, "credential_malformed", "credential.json.project_id");
    let key = "credential.json.private_key";
    check("/json/private_key", json!(P8), "wrong_key_type", key);
    let short = include_str!("../../fixtures/rsa_1024.pem");
    check("/json/private_key", json!(short), "wrong_key_type", key);
    check("/json/private_key", json!("x"), "credential_malformed", key);
    for foreign in [json!("https://evil.example/token"), json!(7)] {
        check("/json/token_uri", foreign, "foreign_endpoint", "credential.json.token_uri");
    }
}

#[test]
fn the_configured_token_endpoint_may_be_named() {
    let vendor = vendor("fcm");
    let local = "http://127.0.0.1:9/token";
    let mut endpoints = Endpoints::defaults(vendor.profile());
    endpoints.0.insert("token_endpoint".into(), local.into());
    for named in [json!(local), json!("https://oauth2.googleapis.com/token"), Value::Null] {
        let credential = with(service_account(), "/json/token_uri", named);
        let upload = Upload {
            credential: &credential,
            environment: Environment::Production,
            endpoints: &endpoints,
            now: NOW,
        };
        assert!(vendor.read_credential(&upload).is_ok());
    }
}

#[test]
fn files_with_form_fields_become_credentials() {
    let fields = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
    };
    let vendor = vendor("apns");
    let form = fields(&[("team_id", "TEAM123456"), ("bundle_id", "com.example.chat")]);
    let made = vendor.credential_from_file("AuthKey_KEY1234567.p8", P8.as_bytes(), &form);
    assert_eq!(made.expect("a credential"), p8());
    let unnamed = vendor.credential_from_file("key.p8", P8.as_bytes(), &form).expect_err("no id");
    assert_eq!((unnamed.code, unnamed.field.as_str()), ("credential_missing_field", "key_id"));
    let made = vendor.credential_from_file("push.p12", BOTH, &fields(&[("password", "fixture")]));
    assert_eq!(made.expect("a credential"), p12(BOTH, "fixture"));

    let vendor = crate::vendors_west::vendor("fcm");
    let file = service_account()["json"].to_string();
    let made = vendor.credential_from_file("sa.json", file.as_bytes(), &fields(&[]));
    // What nothing reads is left out.
    let mut kept = service_account();
    for unread in ["auth_uri", "client_id"] {
        assert!(kept["json"].as_object_mut().expect("an object").remove(unread).is_some());
    }
    assert_eq!(made.expect("a credential"), kept);
    assert!(vendor.credential_from_file("sa.json", b"PK", &fields(&[])).is_err());
}
