//! The hot pieces of a message's way, each alone: `cargo bench --bench hot`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use offpush::credentials::Certificate;
use offpush::dedupe::{Dedupe, DedupeRule, DedupeSettings, Seen};
use offpush::facts;
use offpush::model::app::HonourMute;
use offpush::model::certificate::{CertificateInfo, CertificateStatus, Environment, Options};
use offpush::model::device::{Presence, TokenState};
use offpush::model::id::{AppId, CertId, DeviceId, MessageId, Partition, Token, UserId};
use offpush::model::message::{Message, Posted};
use offpush::model::time::UnixMs;
use offpush::plan::{self, Allowed, Common};
use offpush::policy::{self, CertificateFacts, DeviceFacts, Phase, ReceiverFacts, RuleSettings};
use offpush::queue::Delivery;
use offpush::render::{Collapse, Reader, RenderRequest, render};
use offpush::store::Batch;
use offpush::vendor::profile::Endpoints;
use offpush::vendor::upload::Upload;
use offpush::vendor::{AccessToken, Call, SendingCertificate, SignIn, Target, named};
use secrecy::SecretString;
use uuid::Uuid;

const VENDORS: [&str; 5] = ["apns", "fcm", "huawei", "xiaomi", "oppo"];

const NOW: UnixMs = UnixMs(1_795_348_800_000);

const APP: AppId = AppId(1_400_000_001);

/// Receivers of a large group.
const RECEIVERS: usize = 1_000;

fn main() {
    divan::main();
}

fn json() -> Vec<u8> {
    br#"{"From_Account":"mina","To_Account":"joon","MsgSeq":902,"MsgRandom":771203456,
        "MsgTime":1760000000,"FromNick":"Mina",
        "MsgBody":[{"MsgType":"TIMTextElem","MsgContent":{"Text":"see you at the usual place"}}],
        "OfflinePushInfo":{"PushFlag":0,"Ext":"{\"page\":\"chat\"}"}}"#
        .to_vec()
}

fn posted() -> Posted {
    Message::parse_posted(&json()).expect("a message")
}

fn message() -> Message {
    posted().message
}

fn message_id() -> MessageId {
    MessageId::new(NOW, Partition::of_hash(7), 99)
}

fn settings() -> RuleSettings {
    RuleSettings {
        honour_mute: HonourMute::Always,
        mention_all_lifts_mute: false,
        stale_login: Duration::from_secs(7 * 86_400),
        foreground_expires: Duration::from_secs(300),
    }
}

/// A certificate as an operator uploads it; the simulators know credentials that are well-formed.
fn certificate(name: &str) -> Arc<Certificate> {
    let vendor = named(name).expect("a vendor");
    let simulators = offpush::sim::all();
    let simulator = simulators.iter().find(|simulator| simulator.vendor() == name);
    let usual = simulator.expect("a simulator").credentials().swap_remove(0);
    let endpoints = Endpoints::defaults(vendor.profile());
    let credential = vendor
        .read_credential(&Upload {
            credential: &usual.credential,
            environment: Environment::Production,
            endpoints: &endpoints,
            now: NOW,
        })
        .expect("a good credential");
    let options: Options = serde_json::from_value(usual.options).expect("good options");
    Arc::new(Certificate {
        info: CertificateInfo {
            app: APP,
            cert_id: CertId(7),
            vendor: name.to_owned(),
            name: name.to_owned(),
            environment: Environment::Production,
            options: options.clone(),
            enabled: true,
            broken: None,
            expires_at: None,
            revision: 1,
            created_at: NOW,
            updated_at: NOW,
            warnings: Vec::new(),
            identity: Default::default(),
        },
        vendor,
        sending: SendingCertificate {
            cert_id: 7,
            environment: Environment::Production,
            options: Arc::new(options),
            material: credential.material.clone(),
            endpoints: Arc::new(endpoints),
        },
        credential,
        described: None,
    })
}

fn token(name: &str, number: usize) -> Token {
    let hex = format!("{number:064x}");
    let text = match name {
        "fcm" => format!("{}:APA91b{hex}", &hex[..22]),
        "oppo" => format!("OPPO_CN_{}", &hex[32..]),
        _ => hex,
    };
    Token(text.as_str().into())
}

#[divan::bench]
fn parse(bencher: Bencher) {
    let json = json();
    bencher.bench(|| Message::parse_posted(black_box(&json)).expect("a message"));
}

#[divan::bench]
fn identity_and_mark(bencher: Bencher) {
    let dedupe = Dedupe::new(DedupeSettings {
        c2c_window: Duration::from_secs(120),
        group_window: Duration::from_secs(300),
        front_entries: 262_144,
    });
    let posted = posted();
    bencher.bench(|| {
        let identity = dedupe.identity(APP, black_box(&posted), DedupeRule::Chat);
        let receivers = posted.message.receivers.clone();
        let hit = dedupe.front_hit(identity.front_key(&receivers), NOW);
        let mut batch = Batch::default();
        identity.mark(&Seen::default(), message_id(), receivers, NOW, &mut batch);
        (hit, batch)
    });
}

#[divan::bench]
fn decide_1000_receivers(bencher: Bencher) {
    let message = facts::of_message(&message(), NOW);
    let settings = settings();
    let receiver = ReceiverFacts {
        duplicate_of: None,
        is_sender: false,
        push_enabled: true,
        receive_option: 0,
        mentioned: false,
        window: None,
        read_at: None,
        withdrawn: false,
    };
    let device = DeviceFacts {
        presence: Presence::Offline,
        presence_at: NOW,
        was_background: true,
        seen_at: NOW,
        token_state: TokenState::Live,
        token_elsewhere: false,
        certificate: CertificateFacts::Known { status: CertificateStatus::Active, mismatch: false },
    };
    bencher.counter(ItemsCount::new(RECEIVERS)).bench(|| {
        (0..RECEIVERS)
            .filter(|_| {
                let facts = policy::Facts {
                    now: NOW,
                    phase: Phase::Accept,
                    message: black_box(&message),
                    receiver: black_box(&receiver),
                    device: Some(black_box(&device)),
                    settings: &settings,
                };
                policy::decide(&facts).is_none()
            })
            .count()
    });
}

#[divan::bench]
fn plan_1000_receivers(bencher: Bencher) {
    let certificates = VENDORS.map(certificate);
    let message = message();
    let allowed = |number: usize| Allowed {
        delivery: Delivery {
            number: number as u16,
            user: UserId::from(format!("user{number}").as_str()),
            device_id: DeviceId::from("phone"),
            token: token(VENDORS[number % VENDORS.len()], number),
            registered_at: NOW,
            badge: None,
        },
        certificate: certificates[number % VENDORS.len()].clone(),
        locale: None,
        sound: None,
    };
    let common = Common {
        app: APP,
        default_locale: "en",
        message: &message,
        message_id: message_id(),
        expires_at: NOW.after(Duration::from_secs(600)),
        content: Bytes::from(json()),
    };
    bencher
        .counter(ItemsCount::new(RECEIVERS))
        .with_inputs(|| (0..RECEIVERS).map(allowed).collect::<Vec<_>>())
        .bench_values(|allowed| plan::parcels(&common, allowed));
}

/// What one request takes; for vendors that batch it carries 100 targets.
#[divan::bench(args = VENDORS)]
fn render_and_encode(bencher: Bencher, name: &str) {
    let certificate = certificate(name);
    let message = message();
    let most = certificate.vendor.profile().parcel_deliveries_max.min(100);
    let batches = !matches!(name, "apns" | "fcm");
    let targets: Vec<Target> = (0..if batches { most } else { 1 })
        .map(|number| Target {
            token: token(name, number),
            push_id: Uuid::from_u128(number as u128 + 1),
            badge: None,
        })
        .collect();
    let access = access(&certificate);
    bencher.bench(|| {
        let rendered = render(&RenderRequest {
            message: black_box(&message),
            message_id: message_id(),
            expires_at: NOW.after(Duration::from_secs(3_600)),
            reader: &Reader::default(),
            default_locale: "en",
            vendor: certificate.vendor,
            certificate: &certificate.sending,
            collapse: Collapse::Never,
        })
        .expect("it fits");
        certificate.vendor.encode(&Call {
            certificate: &certificate.sending,
            access: Some(&access),
            notification: &rendered.notification,
            targets: &targets,
            now: NOW,
        })
    });
}

fn access(certificate: &Certificate) -> AccessToken {
    match certificate.vendor.sign_in(&certificate.sending, NOW) {
        SignIn::Minted(access) => access,
        _ => AccessToken {
            value: Arc::new(SecretString::from("an-access-token-of-some-length")),
            issued_at: NOW,
            renew_at: NOW.after(Duration::from_secs(3_000)),
            expires_at: NOW.after(Duration::from_secs(3_600)),
            header: Arc::default(),
        },
    }
}

/// What each push would pay if the provider token were not kept.
#[divan::bench]
fn sign_a_provider_token(bencher: Bencher) {
    let certificate = certificate("apns");
    bencher.bench(|| match certificate.vendor.sign_in(&certificate.sending, NOW) {
        SignIn::Minted(access) => access,
        _ => panic!("a p8 certificate signs"),
    });
}

/// What a push pays instead: a shared copy.
#[divan::bench]
fn reuse_a_provider_token(bencher: Bencher) {
    let certificate = certificate("apns");
    let access = access(&certificate);
    bencher.bench(|| black_box(&access).clone());
}
