//! Fault rules as a client meets them.

use super::*;

#[tokio::test]
async fn faults_answer_in_the_vendors_place() {
    let apns = Apns::start(SimConfig::default()).await;
    let body = json!({"reason": "ServiceUnavailable"});
    apns.fault(json!({"vendor": "apns", "match": {"token": TOKEN, "nth": 2},
        "action": {"status": 503, "body": body, "retry_after": 7}}))
        .await;
    apns.fault(json!({"match": {"token": "aa"}, "action": {"answer": "html_502"}})).await;
    apns.fault(json!({"match": {"token": "bb"}, "action": {"answer": "garbage"}})).await;
    apns.fault(json!({"match": {"token": "cc"}, "action": {"answer": "empty", "status": 500}}))
        .await;
    let mut sender = http2(&apns.server, "apns").await;
    let mut ask = async |token| send(&mut sender, apns.push(token)).await.expect("answered");
    assert_eq!(ask(TOKEN).await.0, 200);
    let (status, headers, answered) = ask(TOKEN).await;
    assert_eq!((status.as_u16(), &headers["retry-after"]), (503, &"7".parse().expect("text")));
    assert_eq!(answered, body.to_string());
    assert_eq!(ask(TOKEN).await.0, 200);
    let (status, _, page) = ask("aa").await;
    assert!(status == 502 && page.starts_with(b"<html>"));
    assert!(serde_json::from_slice::<Value>(&ask("bb").await.2).is_err());
    let (status, _, nothing) = ask("cc").await;
    assert_eq!((status.as_u16(), nothing.len()), (500, 0));
    assert_eq!(apns.server.phones().rung("apns"), 2);
    let (_, rules) = control(&apns.server, "GET", "/faults", None).await;
    assert_eq!((&rules[0]["seen"], &rules[0]["remaining"]), (&json!(2), &json!(0)));
    assert_eq!(control(&apns.server, "DELETE", "/faults", None).await.0, 204);
    assert_eq!(ask("aa").await.0, 200);
    apns.server.shutdown().await;
}

#[tokio::test]
async fn connections_break_on_order() {
    let apns = Apns::start(SimConfig::default()).await;
    let once = |token: &str, action: Value| {
        json!({"match": {"token": token, "times": 1},
        "action": action})
    };
    apns.fault(once("a1", json!({"reset_before": true}))).await;
    apns.fault(once("a2", json!({"reset_after": true}))).await;
    apns.fault(once("a3", json!({"answer": "truncated", "status": 200, "body": "0123456789"})))
        .await;
    apns.fault(once("a4", json!({"goaway": true}))).await;
    let phones = apns.server.phones();
    for (token, rung) in [("a1", 0), ("a2", 1), ("a3", 1)] {
        let mut sender = http2(&apns.server, "apns").await;
        assert!(send(&mut sender, apns.push(token)).await.is_err(), "{token}");
        assert_eq!(phones.rung("apns"), rung, "{token}");
    }
    let mut sender = http2(&apns.server, "apns").await;
    assert_eq!(send(&mut sender, apns.push("a4")).await.expect("answered").0, 200);
    soon(async {
        while sender.ready().await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    apns.server.shutdown().await;
}

#[tokio::test]
async fn one_stream_is_refused_and_the_connection_lives() {
    let apns = Apns::start(SimConfig::default()).await;
    apns.fault(json!({"match": {"nth": 1}, "action": {"reset_stream": 7}})).await;
    let mut sender = http2(&apns.server, "apns").await;
    let refused = send(&mut sender, apns.push(TOKEN)).await.expect_err("refused");
    let reason = std::error::Error::source(&refused)
        .and_then(|source| source.downcast_ref::<h2::Error>())
        .and_then(h2::Error::reason);
    assert_eq!(reason, Some(h2::Reason::REFUSED_STREAM));
    assert_eq!(send(&mut sender, apns.push(TOKEN)).await.expect("answered").0, 200);
    apns.server.shutdown().await;
}

#[tokio::test]
async fn a_silent_vendor_does_not_hold_up_the_others_nor_the_end() {
    let apns = Apns::start(SimConfig::default()).await;
    apns.fault(json!({"match": {"token": "aa"}, "action": {"never_answer": true}})).await;
    let mut sender = http2(&apns.server, "apns").await;
    assert_eq!(send(&mut sender, apns.push(TOKEN)).await.expect("answered").0, 200);
    let silent = tokio::spawn(sender.send_request(apns.push("aa")));
    assert_eq!(send(&mut sender, apns.push(TOKEN)).await.expect("answered").0, 200);
    soon(apns.server.shutdown()).await;
    assert!(soon(silent).await.expect("no panic").is_err());
}

#[tokio::test]
async fn a_delay_follows_the_paused_clock() {
    let apns = Apns::start(SimConfig::default()).await;
    let hour = Duration::from_secs(3_600);
    let delay = json!({"delay_ms": hour.as_millis() as u64});
    apns.fault(json!({"match": {"token": TOKEN}, "action": delay})).await;
    let mut sender = http2(&apns.server, "apns").await;
    tokio::time::pause();
    let asked = tokio::time::Instant::now();
    let reply = sender.send_request(apns.push(TOKEN)).await.expect("answered");
    assert_eq!(reply.status(), 200);
    assert!(asked.elapsed() >= hour);
    apns.server.shutdown().await;
}
