//! Provider tokens and client certificates: one wrong sign-in for every check.

use ring::signature::ECDSA_P256_SHA256_ASN1_SIGNING;

use super::*;
use crate::sim::apns::accounts::{FOREIGN_KEY_ID, FOREIGN_TEAM_ID, SECOND_KEY_ID};
use crate::sim::ca::{Ca, ClientCertificate};

#[test]
fn provider_tokens_must_be_there_and_true() {
    let bench = Bench::new();
    let mut without = bench.good();
    without.headers.remove("authorization");
    bench.refuses(&without, 403, "MissingProviderToken");
    let jwt = bench.jwt(KEY_ID, TEAM_ID, NOW);
    bench.refuses(
        &bench.with(&[("authorization", &format!("Bearer {jwt}"))]),
        403,
        "MissingProviderToken",
    );
    let key = bench.apns.accounts().key(KEY_ID).unwrap();
    let head = format!(r#"{{"alg":"ES256","kid":"{KEY_ID}"}}"#);
    let claims = format!(r#"{{"iss":"{TEAM_ID}","iat":{NOW}}}"#);
    let fixed = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let stranger = Key::generate(KEY_ID, TEAM_ID, BUNDLE_ID, Environment::Production);
    let unknown_key = head.replace(KEY_ID, "NOBODYSKEY");
    let wrong_team = claims.replace(TEAM_ID, FOREIGN_TEAM_ID);
    let text_iat = claims.replace(&NOW.to_string(), &format!("\"{NOW}\""));
    let future = claims.replace(&NOW.to_string(), &(NOW + 60).to_string());
    for (what, jwt) in [
        ("no token", "x.y".to_owned()),
        ("cut", jwt[..jwt.len() - 4].to_owned()),
        ("signed by a stranger", sign(&stranger, &head, &claims, fixed)),
        ("unknown key", sign(key, &unknown_key, &claims, fixed)),
        ("other algorithm", sign(key, &head.replace("ES256", "ES384"), &claims, fixed)),
        ("wrong team", sign(key, &head, &wrong_team, fixed)),
        ("iat as text", sign(key, &head, &text_iat, fixed)),
        ("iat in the future", sign(key, &head, &future, fixed)),
        ("ASN.1 signature", sign(key, &head, &claims, &ECDSA_P256_SHA256_ASN1_SIGNING)),
        ("padded", format!("{jwt}==")),
    ] {
        let request = bench.with(&[("authorization", &format!("bearer {jwt}"))]);
        assert_eq!(bench.ask(&request), (403, "InvalidProviderToken".to_owned()), "{what}");
    }
    let old = bench.jwt(KEY_ID, TEAM_ID, NOW - 3_601);
    bench.refuses(
        &bench.with(&[("authorization", &format!("bearer {old}"))]),
        403,
        "ExpiredProviderToken",
    );
    bench.accepts(&bench.good());
}

#[test]
fn a_token_grows_old_on_its_connection() {
    let bench = Bench::new();
    let request = bench.good();
    bench.accepts(&request);
    bench.accepts(&SimRequest { now: UnixMs::from_secs(NOW + 3_600), ..request.clone() });
    let late = SimRequest { now: UnixMs::from_secs(NOW + 3_601), ..request };
    assert_eq!(bench.ask(&late), (403, "ExpiredProviderToken".to_owned()));
}

#[test]
fn the_lenient_simulator_takes_what_other_clients_send() {
    let bench = Bench::of(Apns::production().lenient());
    let key = bench.apns.accounts().key(KEY_ID).unwrap();
    let head = format!(r#"{{"typ":"JWT","alg":"ES256","kid":"{KEY_ID}"}}"#);
    let claims = format!(r#"{{"iss":"{TEAM_ID}","iat":{NOW}}}"#);
    let asn1 = sign(key, &head, &claims, &ECDSA_P256_SHA256_ASN1_SIGNING);
    bench.accepts(&bench.with(&[("authorization", &format!("Bearer {asn1}"))]));
    // Padded standard base64, as a2 writes it.
    let signed = format!("{}.{}", BASE64_STANDARD.encode(&head), BASE64_STANDARD.encode(&claims));
    let random = SystemRandom::new();
    let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
    let pair = EcdsaKeyPair::from_pkcs8(algorithm, &key.pkcs8(), &random).unwrap();
    let signature = pair.sign(&random, signed.as_bytes()).unwrap();
    let padded = format!("{signed}.{}", BASE64_STANDARD.encode(signature));
    let mut request = bench.with(&[("authorization", &format!("Bearer {padded}"))]);
    request.connection = 2;
    bench.accepts(&request);
}

#[test]
fn a_connection_belongs_to_one_team_and_key() {
    let bench = Bench::new();
    bench.accepts(&bench.good());
    let foreign = bench.jwt(FOREIGN_KEY_ID, FOREIGN_TEAM_ID, NOW);
    let request = bench.with(&[
        ("authorization", &format!("bearer {foreign}")),
        ("apns-topic", "com.example.other"),
    ]);
    assert_eq!(bench.ask(&request), (403, "InvalidProviderToken".to_owned()));
    bench.accepts(&SimRequest { connection: 2, ..request });
    let second = format!("bearer {}", bench.jwt(SECOND_KEY_ID, TEAM_ID, NOW));
    let request = bench.with(&[("authorization", &second)]);
    assert_eq!(bench.ask(&request), (403, "UnrelatedKeyIdInToken".to_owned()));
    bench.apns.connection_closed(1);
    bench.accepts(&request);
}

#[test]
fn a_key_stays_in_its_world_and_with_its_topics() {
    let bench = Bench::new();
    let sandbox = format!("bearer {}", bench.jwt(SANDBOX_KEY_ID, TEAM_ID, NOW));
    let request = bench.with(&[("authorization", &sandbox)]);
    bench.refuses(&request, 403, "BadEnvironmentKeyInToken");
    bench.refuses(&bench.with(&[("apns-topic", "com.example.other")]), 403, "InvalidProviderToken");
    let twin = Bench::of(bench.apns.sandbox());
    let reply = twin.apns.answer(&request, &twin.phones);
    assert_eq!(reply.status, 200);
    assert!(reply.headers.contains_key("apns-unique-id"));
    twin.apns.connection_closed(1);
    assert_eq!(twin.ask(&bench.good()), (403, "BadEnvironmentKeyInToken".to_owned()));
}

#[test]
fn tokens_must_not_be_renewed_too_often() {
    let bench = Bench::new();
    let at = |iat: u64, connection: u64| {
        let jwt = bench.jwt(KEY_ID, TEAM_ID, iat);
        let mut request = bench.with(&[("authorization", &format!("bearer {jwt}"))]);
        request.now = UnixMs::from_secs(NOW + 1_300);
        request.connection = connection;
        request
    };
    let first = at(NOW, 1);
    bench.accepts(&first);
    let refused = (429, "TooManyProviderTokenUpdates".to_owned());
    assert_eq!(bench.ask(&at(NOW + 1_199, 1)), refused);
    bench.accepts(&first);
    bench.accepts(&at(NOW + 1_199, 2));
    bench.accepts(&at(NOW + 1_200, 1));
    // A request signed before the renewal may still be on its way.
    bench.accepts(&first);
}

#[test]
fn a_client_certificate_stands_for_its_app() {
    let bench = Bench::new();
    let certified = |environment, topic: Option<&str>, connection| {
        let wanted = ClientCertificate {
            bundle_id: BUNDLE_ID,
            environments: &[environment],
            not_after: (2096, 1, 1),
        };
        let issued = Ca::of_this_process().issue_client(&wanted).unwrap();
        let mut request = bench.good();
        request.headers.remove("authorization");
        request.headers.remove("apns-topic");
        if let Some(topic) = topic {
            request.headers.insert("apns-topic", topic.parse().unwrap());
        }
        request.client_certificate = Some(Bytes::copy_from_slice(&issued.chain[0]));
        request.connection = connection;
        request
    };
    let production = Environment::Production;
    let sandbox = certified(Environment::Sandbox, Some(BUNDLE_ID), 10);
    bench.refuses(&sandbox, 403, "BadCertificateEnvironment");
    bench.refuses(&certified(production, Some("com.example.other"), 11), 400, "BadTopic");
    let location = format!("{BUNDLE_ID}.location-query");
    let mut request = certified(production, Some(&location), 12);
    request.headers.insert("apns-push-type", HeaderValue::from_static("location"));
    bench.refuses(&request, 400, "BadTopic");
    let mut request = certified(production, None, 13);
    request.client_certificate = Some(Bytes::from_static(b"no certificate"));
    bench.refuses(&request, 403, "BadCertificate");
    bench.accepts(&certified(production, None, 14));
    bench.accepts(&certified(production, Some(BUNDLE_ID), 15));
    let mut call = certified(production, Some(&format!("{BUNDLE_ID}.voip")), 16);
    call.headers.insert("apns-push-type", HeaderValue::from_static("voip"));
    bench.accepts(&call);
}
