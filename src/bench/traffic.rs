//! The people and messages of a load, made from numbers so that nothing need be remembered.

use ring::digest::{SHA256, digest};

use crate::bench::sims;

/// The app of every measurement.
pub const APP: u64 = 1_400_009_999;

/// Vendors of the mixed people, one each in turn.
pub const MIX: [&str; 5] = ["apns", "fcm", "huawei", "xiaomi", "oppo"];

/// People with a phone of the mix.
pub const MIXED_PEOPLE: u64 = 2_500;

/// First number of the certificates of the mix; those of APNs people follow from [`FIRST_CERT`].
pub const MIX_CERT: u32 = 101;

/// First number of the certificates of APNs people.
pub const FIRST_CERT: u32 = 1_001;

/// Who is registered.
#[derive(Clone, Copy, Debug)]
pub struct People {
    /// People with one iPhone each.
    pub apns: u64,
    /// Certificates they are spread over.
    pub certificates: u32,
}

/// One registered phone.
#[derive(Clone, Debug)]
pub struct Phone {
    /// User.
    pub user: String,
    /// Certificate.
    pub cert_id: u32,
    /// Token.
    pub token: String,
    /// `ios` or `android`.
    pub platform: &'static str,
}

impl People {
    /// How many phones there are.
    pub fn phones(&self) -> u64 {
        self.apns + MIXED_PEOPLE
    }

    /// A phone by its number, below [`People::phones`].
    pub fn phone(&self, number: u64) -> Phone {
        if number < MIXED_PEOPLE {
            let turn = (number % MIX.len() as u64) as u32;
            let vendor = MIX[turn as usize];
            let user = mixed_user(number);
            let platform = if vendor == "apns" { "ios" } else { "android" };
            return Phone { token: token(vendor, &user), cert_id: MIX_CERT + turn, user, platform };
        }
        let number = number - MIXED_PEOPLE;
        let user = apns_user(number);
        let cert_id = FIRST_CERT + (number % u64::from(self.certificates)) as u32;
        Phone { token: token("apns", &user), cert_id, user, platform: "ios" }
    }

    /// Every certificate: number and vendor.
    pub fn certificates(&self) -> Vec<(u32, &'static str)> {
        let mix = MIX.iter().enumerate().map(|(turn, vendor)| (MIX_CERT + turn as u32, *vendor));
        mix.chain((0..self.certificates).map(|turn| (FIRST_CERT + turn, "apns"))).collect()
    }
}

fn apns_user(number: u64) -> String {
    format!("user{number:08}")
}

fn mixed_user(number: u64) -> String {
    format!("mixed{number:06}")
}

fn token(vendor: &str, user: &str) -> String {
    let hex = hex::encode(digest(&SHA256, format!("{vendor}/{user}").as_bytes()));
    match vendor {
        "fcm" => format!("{}:APA91b{hex}", &hex[..22]),
        "oppo" => format!("OPPO_CN_{}", &hex[..32]),
        _ => hex,
    }
}

/// Text of so many bytes.
pub fn words(bytes: usize) -> String {
    "see you at the usual place ".chars().cycle().take(bytes).collect()
}

/// Who receives the messages of a load.
#[derive(Clone, Copy, Debug)]
pub enum Audience {
    /// One iPhone each.
    One,
    /// A group of so many mixed people each.
    Mixed(u64),
    /// A group of so many people with iPhones each: every receiver makes a parcel.
    Iphones(u64),
    /// One of the mixed people each, whose vendor is one of these turns of [`MIX`]. These messages
    /// carry no time, so the simulators do not measure them.
    Of(&'static [usize]),
}

impl Audience {
    /// Receivers of one message.
    pub fn each(&self) -> u64 {
        match self {
            Audience::One | Audience::Of(_) => 1,
            Audience::Mixed(each) | Audience::Iphones(each) => *each,
        }
    }
}

/// What messages of one scenario look like.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Who is registered.
    pub people: People,
    /// Who of them receives.
    pub audience: Audience,
    /// The text.
    pub text: String,
    /// Sets the messages of one scenario apart from those of another.
    pub run: u32,
}

impl Shape {
    /// The body of a request that carries messages `first` to `first + count` and was due at
    /// `due_us` ([`sims::now_us`]).
    pub fn body(&self, first: u64, count: u64, due_us: u64) -> String {
        let mut body = String::with_capacity(count as usize * (320 + self.text.len()));
        if count > 1 {
            body.push_str("{\"messages\":[");
        }
        for number in first..first + count {
            if number > first {
                body.push(',');
            }
            self.message(number, due_us, &mut body);
        }
        if count > 1 {
            body.push_str("]}");
        }
        body
    }

    fn message(&self, number: u64, due_us: u64, body: &mut String) {
        use std::fmt::Write;
        // Far from each other, so that caches of rows and partitions see what a real day brings.
        let scattered = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 8;
        let from = apns_user((scattered + 1) % self.people.apns);
        let random = (number as u32).wrapping_mul(2_654_435_761) ^ self.run;
        let _ = write!(body, "{{\"From_Account\":\"{from}\",\"To_Account\":");
        match self.audience {
            Audience::One => {
                let _ = write!(body, "\"{}\"", apns_user(scattered % self.people.apns));
            }
            Audience::Of(turns) => {
                let turn = turns[(number % turns.len() as u64) as usize] as u64;
                let mix = MIX.len() as u64;
                let user = mixed_user(scattered % (MIXED_PEOPLE / mix) * mix + turn);
                let _ = write!(body, "\"{user}\"");
            }
            Audience::Mixed(each) => {
                let user = |index| mixed_user((number * 7 + index) % MIXED_PEOPLE);
                group(number, (0..each).map(user), body);
            }
            Audience::Iphones(each) => {
                // After the sender, so that nobody writes to himself.
                let user = |index| apns_user((scattered + 2 + index) % self.people.apns);
                group(number, (0..each).map(user), body);
            }
        }
        let _ = write!(
            body,
            ",\"MsgSeq\":{number},\"MsgRandom\":{random},\"FromNick\":\"Mina\",\
             \"MsgBody\":[{{\"MsgType\":\"TIMTextElem\",\"MsgContent\":{{\"Text\":\"{}\"}}}}],\
             \"OfflinePushInfo\":{{\"PushFlag\":0",
            self.text
        );
        if !matches!(self.audience, Audience::Of(_)) {
            let _ = write!(body, ",\"Ext\":\"{}\"", sims::mark(due_us));
        }
        body.push_str("}}");
    }
}

/// The receivers of a group message.
fn group(number: u64, users: impl Iterator<Item = String>, body: &mut String) {
    use std::fmt::Write;
    for (index, user) in users.enumerate() {
        let opens = if index == 0 { '[' } else { ',' };
        let _ = write!(body, "{opens}\"{user}\"");
    }
    let _ = write!(body, "],\"GroupId\":\"@TGS#{}\"", number % 50);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::message::Message;

    fn shape(audience: Audience) -> Shape {
        let people = People { apns: 1_000, certificates: 3 };
        Shape { people, audience, text: words(40), run: 7 }
    }

    fn message(audience: Audience, number: u64) -> Message {
        let body = shape(audience).body(number, 1, 1);
        Message::parse(body.as_bytes()).expect("a message")
    }

    #[test]
    fn messages_can_be_read_and_differ() {
        let one = message(Audience::One, 5);
        assert_ne!(one.random, message(Audience::One, 6).random);
        assert_ne!(one.receivers[0], one.from);
        for audience in [Audience::Mixed(500), Audience::Iphones(500)] {
            let group = message(audience, 5);
            assert_eq!(group.receivers.len() as u64, audience.each());
            assert!(!group.receivers.contains(&group.from));
        }
    }

    #[test]
    fn messages_to_people_of_one_vendor_reach_no_other() {
        let people = People { apns: 10, certificates: 1 };
        let users: Vec<_> = (0..MIXED_PEOPLE).map(|number| people.phone(number)).collect();
        for number in 0..50 {
            let receiver = message(Audience::Of(&[3]), number).receivers[0].clone();
            let phone = users.iter().find(|phone| phone.user == receiver.as_str());
            assert_eq!(phone.expect("somebody").cert_id, MIX_CERT + 3);
        }
    }

    #[test]
    fn every_phone_has_a_certificate_that_is_uploaded() {
        let people = People { apns: 10, certificates: 3 };
        let certificates = people.certificates();
        for number in 0..people.phones() {
            let phone = people.phone(number);
            assert!(certificates.iter().any(|(cert_id, _)| *cert_id == phone.cert_id));
        }
    }
}
