//! The story: one scene per reason why a message rings or does not.
//!
//! Each scene prepares the world over the API and hands in one message; the [`Observer`] waits
//! until its deliveries rest, reads back what became of them, and compares that with the endings
//! written here.

use anyhow::Context;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::cli::demo::cast::{Cast, OPPO_MISTAKE, below, phone};
use crate::cli::demo::observer::{Observer, Plot};
use crate::cli::demo::report::{Report, Scene};
use crate::cli::demo::stage::Stage;
use crate::clock::Clock;

/// How long ago the do-not-disturb window of the story opened, in seconds.
const WINDOW_OPEN_SINCE_S: u64 = 3_600;

/// For how long that window stays open, in seconds.
const WINDOW_S: u64 = 8 * 3_600;

/// The story as it goes.
pub struct Story<'a> {
    stage: &'a Stage,
    cast: &'a Cast,
    observer: Observer<'a>,
    clock: Clock,
    /// `MsgRandom` of the first message: another one every time, for data that is kept.
    first_random: u32,
    /// The message that waits for its certificate.
    waiting: String,
}

impl<'a> Story<'a> {
    /// Nothing told yet.
    ///
    /// # Errors
    /// When relay or simulators do not answer.
    pub async fn begin(stage: &'a Stage, cast: &'a Cast) -> anyhow::Result<Self> {
        Ok(Story {
            stage,
            cast,
            observer: Observer::new(stage).await?,
            clock: Clock::system(),
            first_random: fastrand::u32(1..1 << 31),
            waiting: String::new(),
        })
    }

    /// The next scene, told to its end; `None` when there are no more.
    ///
    /// # Errors
    /// When relay or simulators refuse, or something never comes to rest.
    pub async fn next(&mut self) -> anyhow::Result<Option<Scene>> {
        Ok(Some(match self.observer.begin().await? {
            1 => self.one_to_one().await?,
            2 => self.group().await?,
            3 => self.duplicate().await?,
            4 => self.no_push_flag().await?,
            5 => self.muted().await?,
            6 => self.foreground().await?,
            7 => self.do_not_disturb().await?,
            8 => self.dead_token().await?,
            9 => self.dead_token_again().await?,
            10 => self.custom_without_desc().await?,
            11 => self.wrong_secret().await?,
            12 => self.rotated().await?,
            _ => return Ok(None),
        }))
    }

    /// Whether the ledger agrees with everything that was told.
    ///
    /// # Errors
    /// When relay or simulators do not answer.
    pub async fn balance(&self, report: &mut Report) -> anyhow::Result<()> {
        self.observer.balance(report).await
    }

    /// A text of Mina's; the same `nth` is the same message.
    fn text(&self, to: &str, nth: u32, text: &str) -> Value {
        json!({
            "From_Account": "mina", "FromNick": "Mina", "To_Account": to,
            "MsgSeq": nth + 1, "MsgRandom": self.first_random + nth,
            "MsgTime": self.clock.now().secs(),
            "MsgBody": [{ "MsgType": "TIMTextElem", "MsgContent": { "Text": text } }],
        })
    }

    async fn one_to_one(&mut self) -> anyhow::Result<Scene> {
        let plot = Plot {
            name: "one_to_one",
            title: "Mina writes to Joon, who has an iPhone and a Galaxy",
            endings: &[("joon", "iphone", "pushed", ""), ("joon", "galaxy", "pushed", "")],
        };
        self.observer.send(plot, self.text("joon", 0, "See you at nine")).await
    }

    async fn group(&mut self) -> anyhow::Result<Scene> {
        let plot = Plot {
            name: "group",
            title: "Mina shows a picture to a group: five vendors, and words in four languages",
            endings: &[
                ("joon", "iphone", "pushed", ""),
                ("joon", "galaxy", "pushed", ""),
                ("sora", "pixel", "pushed", ""),
                ("wei", "mate", "pushed", ""),
                ("lin", "redmi", "pushed", ""),
                ("ana", "find", "pushed", ""),
            ],
        };
        let mut message = self.text("", 1, "");
        message["To_Account"] = json!(["joon", "sora", "wei", "lin", "ana"]);
        message["GroupId"] = json!("hiking");
        message["GroupName"] = json!("Hiking club");
        let picture = json!({ "UUID": "summit", "ImageFormat": 1, "ImageInfoArray": [] });
        message["MsgBody"] = json!([{ "MsgType": "TIMImageElem", "MsgContent": picture }]);
        self.observer.send(plot, message).await
    }

    async fn duplicate(&mut self) -> anyhow::Result<Scene> {
        let plot = Plot {
            name: "duplicate",
            title: "The chat server sends the first message once more (same MsgRandom)",
            endings: &[("joon", "", "suppressed", "duplicate")],
        };
        self.observer.send(plot, self.text("joon", 0, "See you at nine")).await
    }

    async fn no_push_flag(&mut self) -> anyhow::Result<Scene> {
        let plot = Plot {
            name: "no_push_flag",
            title: "A message that shall not ring (PushFlag 1)",
            endings: &[
                ("joon", "iphone", "suppressed", "no_push_flag"),
                ("joon", "galaxy", "suppressed", "no_push_flag"),
            ],
        };
        let mut message = self.text("joon", 2, "Only in the list, please");
        message["OfflinePushInfo"] = json!({ "PushFlag": 1 });
        self.observer.send(plot, message).await
    }

    async fn muted(&mut self) -> anyhow::Result<Scene> {
        let plot = Plot {
            name: "conversation_muted",
            title: "Kofi has muted the conversation with Mina (receive option 2)",
            endings: &[("kofi", "galaxy", "suppressed", "conversation_muted")],
        };
        let path = below(&["users", "kofi", "conversations", "c2c:mina", "receive-option"]);
        self.stage.relay.put(&path, &json!({ "option": 2 })).await?;
        self.observer.send(plot, self.text("kofi", 3, "Are you still angry?")).await
    }

    async fn foreground(&mut self) -> anyhow::Result<Scene> {
        let plot = Plot {
            name: "foreground",
            title: "Emma has the app open on her iPhone; her iPad lies in a bag",
            endings: &[
                ("emma", "iphone", "suppressed", "foreground"),
                ("emma", "ipad", "pushed", ""),
            ],
        };
        let path = below(&["users", "emma", "devices", "iphone", "state"]);
        self.stage.relay.post(&path, &json!({ "state": "foreground" })).await?;
        self.observer.send(plot, self.text("emma", 4, "Look at this")).await
    }

    async fn do_not_disturb(&mut self) -> anyhow::Result<Scene> {
        let plot = Plot {
            name: "do_not_disturb",
            title: "Yuki's do-not-disturb window opened an hour ago, Tokyo time",
            endings: &[("yuki", "iphone", "suppressed", "do_not_disturb")],
        };
        let opened_s = self.clock.now().secs().saturating_sub(WINDOW_OPEN_SINCE_S);
        let opened = Timestamp::from_second(i64::try_from(opened_s)?)?;
        let start = opened.in_tz("Asia/Tokyo")?.strftime("%H:%M").to_string();
        let daily = json!({ "start": start, "duration_s": WINDOW_S, "time_zone": "Asia/Tokyo" });
        let preferences = json!({ "do_not_disturb": [{ "daily": daily }] });
        self.stage.relay.put(&below(&["users", "yuki", "preferences"]), &preferences).await?;
        self.observer.send(plot, self.text("yuki", 5, "Are you awake?")).await
    }

    async fn dead_token(&mut self) -> anyhow::Result<Scene> {
        let plot = Plot {
            name: "dead_token",
            title: "Omar has removed the app; the relay learns it from FCM",
            endings: &[("omar", "moto", "token_dead", "")],
        };
        let omar = phone("omar", "moto").context("omar has a phone")?;
        let dead = json!({ "vendor": omar.vendor(), "token": omar.token(), "life": "dead" });
        self.stage.phones.post("/phones", &dead).await?;
        self.observer.send(plot, self.text("omar", 6, "Come back!")).await
    }

    async fn dead_token_again(&mut self) -> anyhow::Result<Scene> {
        let plot = Plot {
            name: "dead_token_again",
            title: "The next message to Omar: FCM is not even asked",
            endings: &[("omar", "moto", "suppressed", "token_dead")],
        };
        self.observer.send(plot, self.text("omar", 7, "Please?")).await
    }

    async fn custom_without_desc(&mut self) -> anyhow::Result<Scene> {
        let plot = Plot {
            name: "empty_custom_desc",
            title: "A custom element without Desc: there is nothing to show",
            endings: &[
                ("joon", "iphone", "suppressed", "empty_custom_desc"),
                ("joon", "galaxy", "suppressed", "empty_custom_desc"),
            ],
        };
        let mut message = self.text("joon", 8, "");
        let custom = json!({ "Data": "{\"order\":7}", "Desc": "", "Ext": "", "Sound": "" });
        message["MsgBody"] = json!([{ "MsgType": "TIMCustomElem", "MsgContent": custom }]);
        self.observer.send(plot, message).await
    }

    async fn wrong_secret(&mut self) -> anyhow::Result<Scene> {
        let plot = Plot {
            name: "wrong_secret",
            title: "Bo's certificate holds AppSecret where OPPO wants MasterSecret",
            endings: &[("bo", "reno", "in_flight", "")],
        };
        let message = self.text("bo", 9, "Your table is ready");
        let mut scene = self.observer.hand_in(&plot, &message).await?;
        self.waiting.clone_from(&scene.message_id);
        let cert_id = self.cast.cert_id(OPPO_MISTAKE);
        let path = below(&["certificates", &cert_id]);
        let refused = async || {
            let certificate = self.stage.relay.get(&path).await?;
            let explained = self.observer.explain(&scene.message_id).await?;
            let attempts = explained["deliveries"][0]["attempts"].as_array();
            Ok(certificate["status"] == "broken" && attempts.is_some_and(|all| !all.is_empty()))
        };
        self.observer.until("OPPO refuses the wrong secret", refused).await?;
        scene.answer = format!("{}; certificate {cert_id} is broken now", scene.answer);
        self.observer.conclude(&plot, &mut scene).await?;
        Ok(scene)
    }

    async fn rotated(&mut self) -> anyhow::Result<Scene> {
        let plot = Plot {
            name: "rotated",
            title: "The operator rotates that certificate to MasterSecret: what waited rings",
            endings: &[("bo", "reno", "pushed", "")],
        };
        let cert_id = self.cast.cert_id(OPPO_MISTAKE);
        let body = json!({ "credential": self.cast.oppo_right });
        let path = below(&["certificates", &cert_id]);
        let changed = self.stage.relay.put(&path, &body).await?;
        let sent = format!("a new secret for certificate {cert_id}, and no new message");
        let status = changed["status"].as_str().unwrap_or_default();
        let answer = format!("{status}, revision {}", changed["revision"]);
        let mut scene = self.observer.scene(&plot, sent, answer, &self.waiting);
        self.observer.settle(&self.waiting).await?;
        self.observer.conclude(&plot, &mut scene).await?;
        Ok(scene)
    }
}
