//! How often a vendor is asked for an access token.

use std::time::Duration;

use serde_json::json;

use crate::faults::fault;
use crate::harness::text;
use crate::stage::Stage;

/// OPPO gives a relay that starts again the token of the day before, which has half an hour left:
/// it is used, and not asked for again with every push.
#[tokio::test]
async fn an_old_token_of_oppos_is_used_while_it_lives() {
    let stage = Stage::new(|_| {}).await;
    let relay = stage.first().await;
    let cert_id = relay.certificate(&stage.sims, "oppo").await;
    relay.device("joon", "oppo", cert_id, 1).await;
    let rule = json!({ "vendor": "oppo", "match": { "path": "/server/v1/auth" }, "action": {} });
    fault(&stage, rule);
    let sign_ins = || stage.sims.server.faults().list()[0].seen;
    let taken = relay.send(&text("mina", "joon", 0, "yesterday")).await;
    relay.settled(&taken["message_id"]).await;
    assert_eq!(sign_ins(), 1, "the token is made");
    let mut relay = relay;
    relay.stop().await;
    stage.clock.skip(Duration::from_secs(23 * 3_600 + 1_800));
    let relay = stage.start().await;
    for number in 1..=20 {
        let taken = relay.send(&text("mina", "joon", number, "today")).await;
        relay.settled(&taken["message_id"]).await;
    }
    assert_eq!(stage.sims.shown("oppo").len(), 21);
    assert_eq!(sign_ins(), 2, "the same token, once for twenty pushes");
    // The token ends and OPPO makes another.
    stage.pass(&relay, Duration::from_secs(3_600));
    let taken = relay.send(&text("mina", "joon", 21, "tomorrow")).await;
    relay.settled(&taken["message_id"]).await;
    assert_eq!((stage.sims.shown("oppo").len(), sign_ins()), (22, 3));
}
