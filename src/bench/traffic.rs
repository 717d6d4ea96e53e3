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

/// What messages of one scenario look like.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Who may receive.
    pub people: People,
    /// Receivers of one message; more than one makes it a group message to mixed people.
    pub receivers: u64,
    /// The text.
    pub text: String,
    /// Sets the messages of one scenario apart from those of another.
    pub run: u32,
}

impl Shape {
    /// The body of a request that carries messages `first` to `first + count`.
    pub fn body(&self, first: u64, count: u64) -> String {
        let mut body = String::with_capacity(count as usize * (320 + self.text.len()));
        if count > 1 {
            body.push_str("{\"messages\":[");
        }
        for number in first..first + count {
            if number > first {
                body.push(',');
            }
            self.message(number, &mut body);
        }
        if count > 1 {
            body.push_str("]}");
        }
        body
    }

    fn message(&self, number: u64, body: &mut String) {
        use std::fmt::Write;
        // Far from each other, so that caches of rows and partitions see what a real day brings.
        let scattered = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 8;
        let from = apns_user((scattered + 1) % self.people.apns);
        let random = (number as u32).wrapping_mul(2_654_435_761) ^ self.run;
        let (text, mark) = (&self.text, sims::mark());
        let _ = write!(body, "{{\"From_Account\":\"{from}\",\"To_Account\":");
        if self.receivers > 1 {
            for index in 0..self.receivers {
                let user = mixed_user((number * 7 + index) % MIXED_PEOPLE);
                let opens = if index == 0 { '[' } else { ',' };
                let _ = write!(body, "{opens}\"{user}\"");
            }
            let _ = write!(body, "],\"GroupId\":\"@TGS#{}\"", number % 50);
        } else {
            let _ = write!(body, "\"{}\"", apns_user(scattered % self.people.apns));
        }
        let _ = write!(
            body,
            ",\"MsgSeq\":{number},\"MsgRandom\":{random},\"FromNick\":\"Mina\",\
             \"MsgBody\":[{{\"MsgType\":\"TIMTextElem\",\"MsgContent\":{{\"Text\":\"{text}\"}}}}],\
             \"OfflinePushInfo\":{{\"PushFlag\":0,\"Ext\":\"{mark}\"}}}}"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::message::Message;

    fn shape(receivers: u64) -> Shape {
        let people = People { apns: 1_000, certificates: 3 };
        Shape { people, receivers, text: words(40), run: 7 }
    }

    #[test]
    fn messages_can_be_read_and_differ() {
        let one = Message::parse(shape(1).body(5, 1).as_bytes()).expect("a message");
        let other = Message::parse(shape(1).body(6, 1).as_bytes()).expect("a message");
        assert_ne!(one.random, other.random);
        assert_ne!(one.receivers[0], one.from);
        let group = Message::parse(shape(500).body(5, 1).as_bytes()).expect("a message");
        assert_eq!(group.receivers.len(), 500);
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
