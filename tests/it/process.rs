//! The real program as a process: what it prints, which signals it obeys, how it leaves.
//!
//! Nothing here waits for a while: a line is read, or a state is asked for until it is there.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};

use serde_json::{Value, json};

use crate::harness::{ADMIN, APP, Caller, VENDORS, token_of, until};

/// The program without the settings of whoever runs the tests.
fn program(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_offpush"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("OFFPUSH") {
            command.env_remove(name);
        }
    }
    command.args(args);
    command
}

fn run(args: &[&str]) -> Output {
    program(args).output().expect("the program runs")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A program that stays; killed when the test is over.
struct Running {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Running {
    fn start(mut command: Command) -> Running {
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("the program starts");
        let stdout = BufReader::new(child.stdout.take().expect("its standard output"));
        Running { child, stdout }
    }

    /// A relay on this data; answers it and its base URL.
    fn serve(data_dir: &Path, more: &[&str]) -> (Running, String) {
        let data_dir = data_dir.to_str().expect("a path in UTF-8");
        let mut args = vec!["serve", "--listen", "127.0.0.1:0", "--data-dir", data_dir];
        args.extend(more);
        let mut command = program(&args);
        command.env("OFFPUSH_ADMIN_KEY", ADMIN);
        let mut relay = Running::start(command);
        let line = relay.line();
        let address = line.strip_prefix("listening on ").expect("the address");
        assert!(address.starts_with("http://127.0.0.1:"), "{line}");
        (relay, address.to_owned())
    }

    /// The next line of its standard output.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("a line");
        line.trim_end().to_owned()
    }

    fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        let sent = Command::new("sh").args(["-c", &kill]).status().expect("a shell");
        assert!(sent.success(), "{kill}");
    }

    /// What else it prints before it ends, and how it ends.
    fn end(mut self) -> (String, ExitStatus) {
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).expect("the rest");
        (rest, self.child.wait().expect("its status"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn below_app(rest: &str) -> String {
    format!("/v1/apps/{APP}{rest}")
}

async fn certificates(relay: &Caller) -> Vec<Value> {
    let listed = relay.get(&below_app("/certificates")).await;
    listed["certificates"].as_array().expect("a list").clone()
}

#[test]
fn the_demonstration_goes_as_told_and_leaves_with_zero() {
    let output = run(&["demo", "--exit", "--listen", "127.0.0.1:0", "-o", "json"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let report: Value = serde_json::from_slice(&output.stdout).expect("one JSON report");
    assert_eq!(report["ok"], true, "{report:#}");
    assert_eq!(report["version"]["store"], "redb");
    let scene = |name: &str| {
        let scenes = report["scenes"].as_array().expect("scenes");
        scenes.iter().find(|scene| scene["name"] == name).cloned().expect("a scene")
    };
    for reason in [
        "duplicate",
        "no_push_flag",
        "conversation_muted",
        "foreground",
        "do_not_disturb",
        "empty_custom_desc",
    ] {
        assert_eq!(scene(reason)["silent"][0]["reason"], reason);
        assert_ne!(scene(reason)["silent"][0]["advice"], "");
    }
    assert_eq!(scene("dead_token")["silent"][0]["state"], "token_dead");
    assert_eq!(scene("dead_token_again")["silent"][0]["reason"], "token_dead");
    let waiting = &scene("wrong_secret")["silent"][0];
    assert_eq!(
        (&waiting["state"], &waiting["verdict"]),
        (&json!("in_flight"), &json!("auth_rejected"))
    );
    assert!(waiting["advice"].as_str().is_some_and(|advice| advice.contains("MasterSecret")));
    assert_eq!(scene("rotated")["rang"][0]["user"], "bo");
    assert_eq!(scene("group")["rang"].as_array().map(Vec::len), Some(6));
    assert_eq!(report["ledger"]["balanced"], true);
    assert_eq!(report["ledger"]["in_flight"], 0);
}

#[test]
fn kept_data_lets_the_demonstration_go_as_told_once_more() {
    let folder = tempfile::tempdir().expect("a folder");
    let data_dir = folder.path().to_str().expect("a path in UTF-8");
    for _ in 0..2 {
        let args = ["demo", "--exit", "--listen", "127.0.0.1:0", "--data-dir", data_dir];
        let output = run(&args);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(0), "{text}{}", stderr(&output));
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    }
}

#[test]
fn serve_without_an_admin_key_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let data_dir = folder.path().to_str().expect("a path in UTF-8");
    let output = run(&["serve", "--listen", "127.0.0.1:0", "--data-dir", data_dir]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("OFFPUSH_ADMIN_KEY"), "{}", stderr(&output));
    assert!(output.stdout.is_empty());
}

#[test]
fn serve_lists_every_mistake_of_its_settings() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("offpush.toml");
    let settings = "\
listen = \"here\"
colour = \"red\"
[store]
engine = \"paper\"
cache_mb = \"much\"
[log]
format = \"poem\"
";
    std::fs::write(&file, settings).expect("written");
    let mut command = program(&["serve", "--config", file.to_str().expect("a path in UTF-8")]);
    let output = command.env("OFFPUSH_ADMIN_KEY", ADMIN).output().expect("the program runs");
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    for key in ["listen", "colour", "store.engine", "store.cache_mb", "log.format"] {
        assert!(said.contains(key), "{key} is missing in: {said}");
    }
    assert!(output.stdout.is_empty());
}

/// Everything at once, and before anything is made.
#[test]
fn serve_and_check_refuse_the_same_files_and_serve_makes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str| folder.path().join(name).to_str().expect("text").to_owned();
    std::fs::write(file("garbage.pem"), "garbage").expect("written");
    let data_dir = file("data");
    let settings = [
        format!("tls.cert_file={}", file("absent.pem")),
        format!("tls.key_file={}", file("garbage.pem")),
        format!("vendors.ca_file={}", file("garbage.pem")),
    ];
    for command in ["serve", "check"] {
        let mut args = vec![command, "--listen", "127.0.0.1:0", "--data-dir", &data_dir];
        args.extend(settings.iter().flat_map(|setting| ["--set", setting]));
        let output = program(&args).env("OFFPUSH_ADMIN_KEY", ADMIN).output().expect("it runs");
        assert_eq!(output.status.code(), Some(1), "{command}");
        let said = stderr(&output) + &String::from_utf8_lossy(&output.stdout);
        for key in ["tls.cert_file: ", "tls.key_file: ", "vendors.ca_file: "] {
            assert!(said.contains(key), "{command}: {key} is missing in: {said}");
        }
        assert!(!Path::new(&data_dir).exists(), "{command}");
    }
}

#[test]
fn a_mistyped_log_level_is_refused_by_serve_and_check() {
    let folder = tempfile::tempdir().expect("a folder");
    let data_dir = folder.path().join("data");
    for command in ["serve", "check"] {
        let data_dir = data_dir.to_str().expect("text");
        let level = ["--set", "log.level=warning"];
        let args = [&[command, "--dev", "--data-dir", data_dir][..], &level].concat();
        let output = run(&args);
        assert_eq!(output.status.code(), Some(1), "{command}");
        let said = stderr(&output);
        assert!(said.contains("log.level") && said.contains("error, warn, info"), "{said}");
    }
}

#[tokio::test]
async fn a_lost_secret_key_is_asked_for_and_no_other_is_made() {
    let folder = tempfile::tempdir().expect("a folder");
    let (relay, _) = Running::serve(folder.path(), &[]);
    relay.signal("TERM");
    assert_eq!(relay.end().1.code(), Some(0));
    let key = folder.path().join("secret.key");
    let kept = std::fs::read(&key).expect("the key");
    std::fs::remove_file(&key).expect("removed");
    let data_dir = folder.path().to_str().expect("text");
    for command in ["serve", "check"] {
        let args = [command, "--listen", "127.0.0.1:0", "--data-dir", data_dir];
        let output = program(&args).env("OFFPUSH_ADMIN_KEY", ADMIN).output().expect("it runs");
        assert_eq!(output.status.code(), Some(1), "{command}");
        let said = stderr(&output) + &String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("restore the file"), "{command}: {said}");
        assert!(!key.exists(), "{command}");
    }
    std::fs::write(&key, kept).expect("restored");
    let (relay, _) = Running::serve(folder.path(), &[]);
    relay.signal("TERM");
    assert_eq!(relay.end().1.code(), Some(0));
}

/// An alert asks how much a counter grew: it must be there before its first event.
#[tokio::test]
async fn a_fresh_relay_has_the_counters_of_the_alerts_at_zero_and_every_metric_has_a_help_text() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_relay, address) = Running::serve(folder.path(), &[]);
    let metrics = Caller::new(&address, None).get("/metrics").await;
    let metrics = metrics.as_str().expect("text");
    let mut expected = vec![
        r#"offpush_deliveries_total{state="dead_letter",reason=""}"#.to_owned(),
        r#"offpush_deliveries_total{state="suppressed",reason="cert_broken"}"#.to_owned(),
        r#"offpush_messages_turned_away_total{cause="queue_overdue"}"#.to_owned(),
        r#"offpush_results_dropped_total{cause="too_old"}"#.to_owned(),
        r#"offpush_results_posts_failed_total{kind="Push.OfflinePush"}"#.to_owned(),
        r#"offpush_receipts_total{vendor="oppo",result="unreadable"}"#.to_owned(),
    ];
    for vendor in VENDORS {
        for name in ["certificates_broken", "clock_refusals", "tokens_retired"] {
            expected.push(format!(r#"offpush_{name}_total{{vendor="{vendor}"}}"#));
        }
        for cause in ["lost", "tls_expired"] {
            let labels = format!(r#"vendor="{vendor}",cause="{cause}""#);
            expected.push(format!("offpush_requests_unanswered_total{{{labels}}}"));
        }
    }
    for series in expected {
        let line = format!("{series} 0");
        assert!(metrics.lines().any(|one| one == line), "{line} is missing in: {metrics}");
    }
    // What can never be counted is no series.
    for never in [r#"reason="no_push_flag""#, r#"offpush_receipts_total{vendor="apns""#] {
        assert!(!metrics.contains(never), "{never} is in: {metrics}");
    }
    for line in metrics.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let name = line.split(['{', ' ']).next().expect("a name");
        let family = ["_bucket", "_sum", "_count"].into_iter().find_map(|s| name.strip_suffix(s));
        let help = format!("# HELP {} ", family.unwrap_or(name));
        assert!(metrics.contains(&help), "{help}is missing in: {metrics}");
    }
}

#[tokio::test]
async fn serve_prints_one_line_and_leaves_in_order_on_sigterm() {
    let folder = tempfile::tempdir().expect("a folder");
    let (relay, address) = Running::serve(folder.path(), &[]);
    let ready = Caller::new(&address, None).get("/readyz").await;
    assert_eq!(ready["status"], "ready");
    relay.signal("TERM");
    let (rest, status) = relay.end();
    assert_eq!((rest.as_str(), status.code()), ("", Some(0)));
}

#[tokio::test]
async fn a_data_directory_serves_one_process_at_a_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let (relay, _) = Running::serve(folder.path(), &[]);
    let data_dir = folder.path().to_str().expect("a path in UTF-8");
    let mut second = program(&["serve", "--listen", "127.0.0.1:0", "--data-dir", data_dir]);
    let output = second.env("OFFPUSH_ADMIN_KEY", ADMIN).output().expect("the program runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let said = stderr(&output);
    assert!(said.contains("in use") && said.contains("data_dir"), "{said}");
    relay.signal("TERM");
    assert_eq!(relay.end().1.code(), Some(0));
}

#[tokio::test]
async fn sighup_picks_up_a_credential_that_was_dropped() {
    let folder = tempfile::tempdir().expect("a folder");
    let certs = folder.path().join("certs");
    std::fs::create_dir(&certs).expect("a folder");
    let certs_dir = format!("certs_dir={}", certs.display());
    let (running, address) = Running::serve(&folder.path().join("data"), &["--set", &certs_dir]);
    let relay = Caller::new(&address, Some(ADMIN));
    relay.put(&below_app(""), &json!({ "name": "tests" })).await;
    assert!(certificates(&relay).await.is_empty());
    let secret = json!({ "type": "secret", "package_name": "com.example", "app_secret": "s" });
    let dropped =
        json!({ "app": APP, "vendor": "xiaomi", "name": "dropped", "credential": secret });
    std::fs::write(certs.join("xiaomi.json"), dropped.to_string()).expect("written");
    running.signal("HUP");
    until("the certificate is there", async || !certificates(&relay).await.is_empty()).await;
    assert_eq!(certificates(&relay).await[0]["name"], "dropped");
}

#[tokio::test]
async fn what_sim_writes_lets_a_relay_push() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("sim");
    let out = out.to_str().expect("a path in UTF-8");
    let command = program(&["sim", "--listen", "127.0.0.1:0", "--out", out, "-o", "json"]);
    let mut sims = Running::start(command);
    let mut printed = serde_json::Deserializer::from_reader(&mut sims.stdout).into_iter();
    let announced: Value = printed.next().expect("an announcement").expect("JSON");
    drop(printed);
    let settings = format!("{out}/offpush.sim.toml");
    let (running, address) = Running::serve(&folder.path().join("data"), &["--config", &settings]);
    let relay = Caller::new(&address, Some(ADMIN));
    relay.put(&below_app(""), &json!({ "name": "tests" })).await;
    // The same file is a body of the upload API.
    let upload = std::fs::read_to_string(format!("{out}/certs/oppo.json")).expect("a file");
    let upload: Value = serde_json::from_str(&upload).expect("JSON");
    relay.post(&below_app("/certificates"), &upload).await;
    running.signal("HUP");
    until("all certificates are there", async || certificates(&relay).await.len() == 6).await;
    for (number, vendor) in ["fcm", "oppo"].into_iter().enumerate() {
        let all = certificates(&relay).await;
        let own = all.iter().find(|one| one["name"] == vendor).expect("a certificate");
        let token = token_of(vendor, "joon", number);
        let device = json!({ "cert_id": own["cert_id"], "token": token, "platform": "android" });
        relay.put(&below_app(&format!("/users/joon/devices/{vendor}")), &device).await;
    }
    let text = json!([{ "MsgType": "TIMTextElem", "MsgContent": { "Text": "hello" } }]);
    let message = json!({ "From_Account": "mina", "To_Account": "joon", "MsgRandom": 7,
        "MsgBody": text });
    relay.post(&below_app("/messages"), &message).await;
    let control = announced["control"].as_str().expect("the control URL");
    let control = Caller::new(control, None);
    until("both phones rang", async || {
        control.get("/phones").await.as_array().is_some_and(|shown| shown.len() == 2)
    })
    .await;
    let shown = control.get("/phones").await;
    assert_eq!((&shown[0]["body"], &shown[1]["body"]), (&json!("hello"), &json!("hello")));
    sims.signal("TERM");
    assert_eq!(sims.end().1.code(), Some(0));
    running.signal("TERM");
    assert_eq!(running.end().1.code(), Some(0));
}
