//! Apple developer accounts: the keys a simulator knows and what each may be used for
//! (vendors-apns-fcm.md, A.2 and A.3).

use std::sync::OnceLock;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;

use crate::model::certificate::Environment;
use crate::sim::SimCredential;
use crate::sim::ca::{Ca, ClientCertificate};

/// The app whose credentials are handed out.
pub const BUNDLE_ID: &str = "com.example.chat";
/// Its team.
pub const TEAM_ID: &str = "SIMTEAM001";
/// Its production key.
pub const KEY_ID: &str = "SIMKEY0001";
/// Its sandbox key.
pub const SANDBOX_KEY_ID: &str = "SIMKEY0002";
/// Another production key of the same team, unrelated to the first.
pub const SECOND_KEY_ID: &str = "SIMKEY0003";
/// A production key of another team.
pub const FOREIGN_KEY_ID: &str = "SIMKEY0004";
/// That other team.
pub const FOREIGN_TEAM_ID: &str = "SIMTEAM002";
/// Password of every p12 handed out.
pub const P12_PASSWORD: &str = "simulator";
/// End of every p12 handed out.
const P12_NOT_AFTER: (i32, u8, u8) = (2096, 1, 1);

/// One signing key.
pub struct Key {
    /// `kid`, 10 characters.
    pub key_id: String,
    /// `iss`, 10 characters.
    pub team_id: String,
    /// Bundle ids it may push to.
    pub topics: Vec<String>,
    /// Worlds it may be used in.
    pub environments: Vec<Environment>,
    /// The one other key that may be used on the same connection.
    pub related: Option<String>,
    pair: rcgen::KeyPair,
}

impl Key {
    /// A fresh P-256 key for one topic and one world.
    pub fn generate(key_id: &str, team_id: &str, topic: &str, environment: Environment) -> Self {
        let pair = rcgen::KeyPair::generate();
        Key {
            key_id: key_id.to_owned(),
            team_id: team_id.to_owned(),
            topics: vec![topic.to_owned()],
            environments: vec![environment],
            related: None,
            pair: pair.expect("only fails without a source of randomness"),
        }
    }

    /// The `.p8` file.
    pub fn p8(&self) -> String {
        self.pair.serialize_pem()
    }

    /// PKCS#8 DER.
    pub fn pkcs8(&self) -> Vec<u8> {
        self.pair.serialize_der()
    }

    /// The public point, uncompressed.
    pub fn public_point(&self) -> &[u8] {
        self.pair.public_key_raw()
    }
}

/// All keys a simulator knows.
pub struct Accounts {
    keys: Vec<Key>,
    p12: [OnceLock<Option<String>>; 2],
}

impl Accounts {
    /// Those keys and no others.
    pub fn new(keys: Vec<Key>) -> Self {
        Accounts { keys, p12: Default::default() }
    }

    /// Fresh keys under the fixed ids of this module.
    pub fn generate() -> Self {
        use Environment::{Production, Sandbox};
        Accounts::new(vec![
            Key::generate(KEY_ID, TEAM_ID, BUNDLE_ID, Production),
            Key::generate(SANDBOX_KEY_ID, TEAM_ID, BUNDLE_ID, Sandbox),
            Key::generate(SECOND_KEY_ID, TEAM_ID, BUNDLE_ID, Production),
            Key::generate(FOREIGN_KEY_ID, FOREIGN_TEAM_ID, "com.example.other", Production),
        ])
    }

    /// The key of that id.
    pub fn key(&self, key_id: &str) -> Option<&Key> {
        self.keys.iter().find(|key| key.key_id == key_id)
    }

    /// What an operator would upload for [`BUNDLE_ID`]: the p8 of that world, and a p12.
    pub fn credentials(&self, environment: Environment) -> Vec<SimCredential> {
        let usable = |key: &&Key| {
            key.environments.contains(&environment) && key.topics.iter().any(|t| t == BUNDLE_ID)
        };
        let p8 = self.keys.iter().find(usable).map(|key| SimCredential {
            name: "p8",
            credential: json!({
                "type": "p8", "key": key.p8(), "key_id": key.key_id, "team_id": key.team_id,
                "bundle_id": BUNDLE_ID,
            }),
            options: json!({}),
        });
        let p12 = self.p12(environment).map(|data| SimCredential {
            name: "p12",
            credential: json!({"type": "p12", "data": data, "password": P12_PASSWORD}),
            options: json!({}),
        });
        p8.into_iter().chain(p12).collect()
    }

    fn p12(&self, environment: Environment) -> Option<&String> {
        let made = &self.p12[usize::from(environment == Environment::Sandbox)];
        made.get_or_init(|| p12(environment).ok()).as_ref()
    }
}

fn p12(environment: Environment) -> anyhow::Result<String> {
    let issued = Ca::of_this_process().issue_client(&ClientCertificate {
        bundle_id: BUNDLE_ID,
        environments: &[environment],
        not_after: P12_NOT_AFTER,
    })?;
    Ok(BASE64_STANDARD.encode(issued.to_p12(P12_PASSWORD)?))
}
