//! What is sent: any message that is taken becomes requests that the strict simulators of the
//! vendors take too, or is refused for a value of its own. Simulators and adapters share no code.
//! The first byte says which vendor, the second how it is shown, the rest is the message.
#![no_main]

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use offpush::model::certificate::{Environment, Options, Privacy};
use offpush::model::id::{MessageId, Token};
use offpush::model::message::Message;
use offpush::model::time::UnixMs;
use offpush::render::{Collapse, Reader, RenderRequest, render};
use offpush::sim::phones::Phones;
use offpush::sim::{self, SimRequest, Simulator};
use offpush::transport::{Reply, Request};
use offpush::vendor::profile::Endpoints;
use offpush::vendor::upload::Upload;
use offpush::vendor::{self, AccessToken, Badge, Call, SendingCertificate, SignIn, Target, Vendor};
use offpush::vendor::{Notification, Verdict};

const NOW: UnixMs = UnixMs(1_795_000_000_000);

/// What simulators say of values that the message itself names and the relay passes on as they are:
/// the vendor knows them, or what the app may use. Everything else would be a mistake of an adapter.
const OWN_FAULT: [&str; 4] = [
    "category is invalid",
    "channel info does not match",
    "notify_level is invalid",
    "no right to send high priority messages",
];

/// A vendor with its simulator and a certificate the simulator knows.
struct World {
    vendor: &'static dyn Vendor,
    simulator: Arc<dyn Simulator>,
    phones: Phones,
    certificate: SendingCertificate,
    access: Option<AccessToken>,
}

impl World {
    fn new(vendor: &'static dyn Vendor) -> Self {
        let mut simulators = sim::all().into_iter();
        let name = vendor.profile().name;
        let simulator = simulators.find(|simulator| simulator.vendor() == name).expect("simulated");
        let given = simulator.credentials().remove(0);
        let endpoints = Endpoints::defaults(vendor.profile());
        let environment = Environment::Production;
        let credential = &given.credential;
        let upload = Upload { credential, environment, endpoints: &endpoints, now: NOW };
        let material = vendor.read_credential(&upload).expect("a good credential").material;
        let options = serde_json::from_value::<Options>(given.options).expect("options");
        let endpoints = Arc::new(endpoints);
        let options = Arc::new(Options { voip: true, ..options });
        let certificate =
            SendingCertificate { cert_id: 7, environment, options, material, endpoints };
        let phones = Phones::default();
        phones.set_recording(false);
        let mut world = World { vendor, simulator, phones, certificate, access: None };
        world.access = match vendor.sign_in(&world.certificate, NOW) {
            SignIn::None => None,
            SignIn::Minted(access) => Some(access),
            SignIn::Exchange(request) => {
                let reply = world.ask(*request);
                Some(vendor.read_sign_in(&reply, NOW).expect("signed in"))
            }
        };
        world
    }

    fn ask(&self, request: Request) -> Reply {
        let answer = self.simulator.answer(
            &SimRequest {
                method: request.method,
                path: request.uri.path().to_owned(),
                query: request.uri.query().unwrap_or_default().to_owned(),
                headers: request.headers,
                body: request.body,
                connection: 1,
                client_certificate: None,
                now: NOW,
            },
            &self.phones,
        );
        Reply { status: answer.status, headers: answer.headers, body: answer.body }
    }

    fn targets(&self) -> Vec<Target> {
        let target = |(number, badge)| Target {
            token: self.token(number),
            push_id: uuid::Uuid::from_u128(number + 1),
            badge,
        };
        let badges = [None, Some(Badge::Set(3)), Some(Badge::Set(0))];
        (0..3u128).zip(badges).map(target).collect()
    }

    fn token(&self, number: u128) -> Token {
        let text = match self.vendor.profile().name {
            "apns" => format!("{:064x}", number + 0xA1),
            "oppo" => format!("CN_{number:032x}"),
            _ => format!("token{number:032x}"),
        };
        self.vendor.check_token(&text).expect("a token of the vendor's form")
    }

    fn show(&self, notification: &Notification) {
        let targets = self.targets();
        let call = Call {
            certificate: &self.certificate,
            access: self.access.as_ref(),
            notification,
            targets: &targets,
            now: NOW,
        };
        let mut carried = 0;
        for push in self.vendor.encode(&call) {
            assert_eq!(push.targets.start, carried, "each target once, in order");
            carried = push.targets.end;
            let said = String::from_utf8_lossy(&push.request.body).into_owned();
            let reply = self.ask(push.request);
            for answer in self.vendor.decode(&reply, &targets[push.targets], NOW) {
                let is_taken = answer.verdict == Verdict::Accepted;
                let name = self.vendor.profile().name;
                let reply = String::from_utf8_lossy(&reply.body);
                assert!(
                    is_taken || OWN_FAULT.iter().any(|words| reply.contains(words)),
                    "{name} answers {reply} to {said}"
                );
            }
        }
        assert!(carried == targets.len(), "each target is carried");
    }
}

thread_local! {
    static WORLDS: RefCell<Vec<World>> =
        RefCell::new(vendor::ALL.iter().map(|vendor| World::new(*vendor)).collect());
}

fuzz_target!(|input: (u8, u8, &[u8])| {
    let (which, how, json) = input;
    let Ok(message) = Message::parse(json) else { return };
    WORLDS.with_borrow_mut(|worlds| {
        let at = usize::from(which) % worlds.len();
        let world = &mut worlds[at];
        let privacy = [Privacy::Full, Privacy::SenderOnly, Privacy::IdOnly];
        let options = Options {
            privacy: privacy[usize::from(how) % privacy.len()],
            voip: how & 0x40 == 0,
            live_activity: how & 0x20 == 0,
            ..(*world.certificate.options).clone()
        };
        world.certificate.options = Arc::new(options);
        let message_id = MessageId(u128::from(NOW.0) << 80 | 7);
        let locales = [None, Some("ko-KR"), Some("zh-Hant")];
        let rendered = render(&RenderRequest {
            message: &message,
            message_id,
            expires_at: NOW.after(Duration::from_secs(u64::from(message.life_time_s()))),
            reader: &Reader {
                locale: locales[usize::from(how / 4) % locales.len()],
                ..Reader::default()
            },
            default_locale: "en",
            vendor: world.vendor,
            certificate: &world.certificate,
            collapse: match how & 0x80 {
                0 => Collapse::Never,
                _ => Collapse::Message(MessageId(message_id.0 - 1)),
            },
        });
        if let Ok(rendered) = rendered {
            world.show(&rendered.notification);
        }
    });
});
