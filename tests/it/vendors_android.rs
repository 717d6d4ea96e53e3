//! The Huawei, Xiaomi and OPPO adapters against golden files: requests field by field, replies
//! code by code. Each file names the document it follows; this module walks them all.

use std::collections::{BTreeMap, BTreeSet};

use offpush::model::time::UnixMs;
use offpush::vendor::{Call, SignIn};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::vendors_android::golden::{
    NOW, VENDORS, access, certificate, check_advice, check_answer, check_request, golden,
    good_credential, notification, reply, reply_targets, targets, vendor,
};

mod adapters;
mod golden;

/// Result codes by vendor, from the documents the golden files name.
const DOCUMENTED: [(&str, &[&str]); 3] = [
    (
        "huawei",
        &[
            "80000000", "80100000", "80100001", "80100002", "80100003", "80100004", "80100013",
            "80100016", "80100017", "80100018", "80100022", "80200001", "80200003", "80200005",
            "80300002", "80300007", "80300008", "80300010", "80300011", "80300013", "80300029",
            "80300030", "80300036", "80300037", "80600003", "81000001",
        ],
    ),
    (
        "xiaomi",
        &[
            "0",
            "-1",
            "1",
            "10001",
            "10003",
            "20607",
            "26003",
            "65029",
            "10002",
            "10008",
            "10012",
            "10016",
            "10017",
            "21305",
            "10027",
            "26004",
            "10029",
            "65003",
            "10031",
            "10034",
            "10036",
            "10037",
            "20301",
            "21301",
            "21302",
            "21303",
            "22000",
            "22006",
            "22007",
            "22022",
            "22102",
            "26006",
            "27001",
            "65009",
            "65014",
            "65015",
            "65036",
            "65037",
            "65038",
            "200001",
            "200002",
            "channel_exceed_quota",
        ],
    ),
    (
        "oppo",
        &[
            "0", "-2", "-1", "11", "29", "12", "20", "21", "22", "23", "24", "25", "40", "41",
            "13", "55", "14", "15", "16", "17", "18", "19", "26", "27", "30", "28", "31", "32",
            "33", "34", "51", "54", "59", "67", "10000", "15000", "20000",
        ],
    ),
];

/// Codes whose verdict depends on more than the code: the words, or one target's part.
const BY_CONTEXT: [&str; 2] = ["80100000", "80300007"];

#[test]
fn every_golden_file_names_its_source_and_is_used() {
    let parts = ["expect", "replies", "sign_in", "sign_in_replies"];
    for file in VENDORS.into_iter().flat_map(golden) {
        let source = file.json["source"].as_str().unwrap_or_default();
        assert!(source.len() > 10, "{}: no source", file.name);
        let used = parts.into_iter().filter(|part| file.json.get(part).is_some()).count();
        assert_eq!(used, 1, "{}: one of {parts:?}", file.name);
    }
}

#[test]
fn every_golden_request_is_built() {
    for name in VENDORS {
        let mut built = 0;
        for file in golden(name).iter().filter(|file| file.json.get("expect").is_some()) {
            let json = &file.json;
            let certificate = certificate(name, &json["credential"], &json["options"]);
            let targets = targets(&file.list("targets"));
            let notification = notification(&json["notification"], &json["info"]);
            let access = access();
            let call = Call {
                certificate: &certificate,
                access: Some(&access),
                notification: &notification,
                targets: &targets,
                now: NOW,
            };
            let pushes = vendor(name).encode(&call);
            let expected = file.list("expect");
            assert_eq!(pushes.len(), expected.len(), "{}", file.name);
            for (push, expected) in pushes.iter().zip(&expected) {
                let range = json!([push.targets.start, push.targets.end]);
                assert_eq!(range, expected["targets"], "{}", file.name);
                check_request(&file.name, &push.request, expected);
            }
            built += 1;
        }
        assert!(built >= 20, "{name}: only {built} request files");
    }
}

#[test]
fn every_golden_sign_in_is_built() {
    for name in ["huawei", "oppo"] {
        let files = golden(name);
        let file = files.iter().find(|file| file.json.get("sign_in").is_some()).expect("one");
        let certificate = certificate(name, &file.json["credential"], &json!({}));
        let now = file.json.get("now_ms").and_then(Value::as_u64).map_or(NOW, UnixMs);
        let SignIn::Exchange(request) = vendor(name).sign_in(&certificate, now) else {
            panic!("{name} signs in by asking");
        };
        check_request(&file.name, &request, &file.json["sign_in"]);
    }
    let certificate = certificate("xiaomi", &good_credential("xiaomi"), &json!({}));
    assert!(matches!(vendor("xiaomi").sign_in(&certificate, NOW), SignIn::None));
}

#[test]
fn every_golden_sign_in_reply_is_read() {
    for name in ["huawei", "oppo"] {
        let mut read = 0;
        for file in golden(name) {
            for case in file.list("sign_in_replies") {
                read += 1;
                match vendor(name).read_sign_in(&reply(&case), NOW) {
                    Ok(token) => {
                        let wanted = case["token"].as_str().unwrap_or("no token");
                        assert_eq!(token.value.expose_secret(), wanted, "{}: {case}", file.name);
                        let renew_in_s = token.renew_at.since(NOW).as_secs();
                        let expires_in_s = token.expires_at.since(NOW).as_secs();
                        assert_eq!(renew_in_s, case["renew_in_s"], "{}: {case}", file.name);
                        assert_eq!(expires_in_s, case["expires_in_s"], "{}: {case}", file.name);
                    }
                    Err(answer) => {
                        check_answer(&file.name, &case, &answer, &case["answer"]);
                        check_advice(name, &file.name, &case, &answer);
                    }
                }
            }
        }
        assert!(read >= 10, "{name}: only {read} sign-in replies");
    }
}

#[test]
fn every_golden_reply_is_read() {
    for name in VENDORS {
        for file in golden(name) {
            for case in file.list("replies") {
                let targets = reply_targets(name, &case);
                let answers = vendor(name).decode(&reply(&case), &targets, NOW);
                let expected = case["answers"].as_array().expect("answers");
                assert_eq!(answers.len(), targets.len(), "{}: {case}", file.name);
                assert_eq!(answers.len(), expected.len(), "{}: {case}", file.name);
                for (answer, expected) in answers.iter().zip(expected) {
                    check_answer(&file.name, &case, answer, expected);
                    let tells = targets.iter().any(|t| answer.says.contains(t.token.as_str()));
                    assert!(!tells, "{}: a token in {:?}", file.name, answer.says);
                }
                check_advice(name, &file.name, &case, &answers[answers.len() - 1]);
            }
        }
    }
}

#[test]
fn every_documented_code_has_exactly_one_verdict() {
    for (name, codes) in DOCUMENTED {
        let mut verdicts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let cases = golden(name).into_iter().flat_map(|file| file.list("replies"));
        // From 500 on the status speaks, whatever the code; and success is none with a 4xx.
        for case in cases.filter(|case| case["status"].as_u64() < Some(500)) {
            for answer in case["answers"].as_array().expect("answers") {
                let code = answer["code"].as_str().expect("a code").to_owned();
                if code == "0" && case["status"] != 200 {
                    continue;
                }
                // Whether renewing helps is part of the verdict.
                let verdict = format!("{} {:?}", answer["verdict"], answer.get("renew"));
                verdicts.entry(code).or_default().insert(verdict);
            }
        }
        for code in codes {
            let found = verdicts.get(*code).map_or(0, BTreeSet::len);
            let most = if BY_CONTEXT.contains(code) { 2 } else { 1 };
            assert_eq!(found, most, "{name} {code}: {:?}", verdicts.get(*code));
        }
    }
}
