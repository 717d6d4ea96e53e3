//! Every operation of the API, one entry each, in the router's order.

use crate::api::openapi::operation::{Answer, Caller, Operation, Takes, delete, get, post, put};

/// All of them.
pub const OPERATIONS: &[Operation] = &[
    Operation {
        id: "list_apps",
        caller: Caller::Admin,
        summary: "Every app",
        answers: &[("200", Answer::Json("AppList"))],
        ..get("/v1/apps")
    },
    Operation {
        id: "show_app",
        caller: Caller::App,
        summary: "One app",
        answers: &[("200", Answer::Json("App"))],
        ..get("/v1/apps/{app}")
    },
    Operation {
        id: "put_app",
        caller: Caller::Admin,
        summary: "Creates an app, or changes the fields that are given",
        takes: Takes::Json("AppSettings"),
        answers: &[("200", Answer::Json("App")), ("201", Answer::Json("App"))],
        ..put("/v1/apps/{app}")
    },
    Operation {
        id: "create_key",
        caller: Caller::Admin,
        summary: "Makes a key of the app, shown once",
        takes: Takes::JsonOrNothing("NewKey"),
        answers: &[("201", Answer::Json("CreatedKey"))],
        ..post("/v1/apps/{app}/keys")
    },
    Operation {
        id: "list_keys",
        caller: Caller::Admin,
        summary: "The app's keys, without the keys",
        answers: &[("200", Answer::Json("KeyList"))],
        ..get("/v1/apps/{app}/keys")
    },
    Operation {
        id: "delete_key",
        caller: Caller::Admin,
        summary: "Takes a key out of use",
        answers: &[("204", Answer::Nothing)],
        ..delete("/v1/apps/{app}/keys/{id}")
    },
    Operation {
        id: "create_certificate",
        caller: Caller::Admin,
        summary: "Uploads a vendor credential",
        takes: Takes::JsonOrForm("CertificateUpload", "CertificateForm"),
        answers: &[("201", Answer::Json("Certificate"))],
        ..post("/v1/apps/{app}/certificates")
    },
    Operation {
        id: "list_certificates",
        caller: Caller::App,
        summary: "The app's certificates",
        answers: &[("200", Answer::Json("CertificateList"))],
        ..get("/v1/apps/{app}/certificates")
    },
    Operation {
        id: "show_certificate",
        caller: Caller::App,
        summary: "One certificate",
        answers: &[("200", Answer::Json("Certificate"))],
        ..get("/v1/apps/{app}/certificates/{cert_id}")
    },
    Operation {
        id: "change_certificate",
        caller: Caller::Admin,
        summary: "Rotates the secret, changes options, switches off or on",
        takes: Takes::JsonOrForm("CertificateChange", "CertificateForm"),
        answers: &[("200", Answer::Json("Certificate"))],
        ..put("/v1/apps/{app}/certificates/{cert_id}")
    },
    Operation {
        id: "delete_certificate",
        caller: Caller::Admin,
        summary: "Deletes a certificate",
        answers: &[("204", Answer::Nothing)],
        ..delete("/v1/apps/{app}/certificates/{cert_id}")
    },
    Operation {
        id: "verify_certificate",
        caller: Caller::Admin,
        summary: "Asks the vendor whether it works, ringing nobody",
        answers: &[("200", Answer::Json("Verified"))],
        ..post("/v1/apps/{app}/certificates/{cert_id}/verify")
    },
    Operation {
        id: "test_push",
        caller: Caller::Admin,
        summary: "Sends one push to a token",
        takes: Takes::Json("TestPush"),
        answers: &[("200", Answer::Json("Verified"))],
        ..post("/v1/apps/{app}/certificates/{cert_id}/test-push")
    },
    Operation {
        id: "list_devices_of_certificate",
        caller: Caller::App,
        summary: "The registry by certificate",
        query: &["cursor", "limit"],
        answers: &[("200", Answer::Json("DevicePage"))],
        ..get("/v1/apps/{app}/certificates/{cert_id}/devices")
    },
    Operation {
        id: "list_devices",
        caller: Caller::User,
        summary: "A user's devices",
        answers: &[("200", Answer::Json("DeviceList"))],
        ..get("/v1/apps/{app}/users/{user}/devices")
    },
    Operation {
        id: "register_device",
        caller: Caller::User,
        summary: "Registers a token",
        takes: Takes::Json("Register"),
        answers: &[("200", Answer::Json("Device"))],
        ..put("/v1/apps/{app}/users/{user}/devices/{device_id}")
    },
    Operation {
        id: "log_out",
        caller: Caller::User,
        summary: "Logs out: the token rests until the next registration",
        answers: &[("204", Answer::Nothing)],
        ..delete("/v1/apps/{app}/users/{user}/devices/{device_id}")
    },
    Operation {
        id: "report_state",
        caller: Caller::User,
        summary: "Where the app is on that device",
        takes: Takes::Json("StateReport"),
        answers: &[("200", Answer::Json("Device"))],
        ..post("/v1/apps/{app}/users/{user}/devices/{device_id}/state")
    },
    Operation {
        id: "show_preferences",
        caller: Caller::User,
        summary: "What the user wants",
        answers: &[("200", Answer::Json("Preferences"))],
        ..get("/v1/apps/{app}/users/{user}/preferences")
    },
    Operation {
        id: "set_preferences",
        caller: Caller::User,
        summary: "Replaces what the user wants",
        takes: Takes::Json("Preferences"),
        answers: &[("200", Answer::Json("Preferences"))],
        ..put("/v1/apps/{app}/users/{user}/preferences")
    },
    Operation {
        id: "show_receive_option",
        caller: Caller::User,
        summary: "The option of a conversation",
        answers: &[("200", Answer::Json("ReceiveOption"))],
        ..get("/v1/apps/{app}/users/{user}/conversations/{conversation}/receive-option")
    },
    Operation {
        id: "set_receive_option",
        caller: Caller::User,
        summary: "Sets it",
        takes: Takes::Json("SetReceiveOption"),
        answers: &[("200", Answer::Json("ReceiveOption"))],
        ..put("/v1/apps/{app}/users/{user}/conversations/{conversation}/receive-option")
    },
    Operation {
        id: "clear_receive_option",
        caller: Caller::User,
        summary: "Back to receiving",
        answers: &[("204", Answer::Nothing)],
        ..delete("/v1/apps/{app}/users/{user}/conversations/{conversation}/receive-option")
    },
    Operation {
        id: "post_messages",
        caller: Caller::App,
        summary: "Takes one message or a batch",
        takes: Takes::Json("Post"),
        answers: &[("202", Answer::Json("TakenList"))],
        ..post("/v1/apps/{app}/messages")
    },
    Operation {
        id: "withdraw_message",
        caller: Caller::App,
        summary: "Takes a message back: what is queued ends as cancelled",
        query: &["from_nick", "group_name"],
        answers: &[("200", Answer::Json("Withdrawn"))],
        ..delete("/v1/apps/{app}/messages/{message_id}")
    },
    Operation {
        id: "explain_message",
        caller: Caller::App,
        summary: "Why it rang, or not",
        query: &["user", "device_id"],
        answers: &[("200", Answer::Json("Explanation"))],
        ..get("/v1/apps/{app}/messages/{message_id}/explain")
    },
    Operation {
        id: "search_explanations",
        caller: Caller::App,
        summary: "Finds messages and explains them",
        query: &[
            "user",
            "device_id",
            "from",
            "msg_random",
            "msg_key",
            "since",
            "until",
            "reason",
            "cursor",
            "limit",
        ],
        answers: &[("200", Answer::Json("ExplanationPage"))],
        ..get("/v1/apps/{app}/explain")
    },
    Operation {
        id: "dry_run",
        caller: Caller::App,
        summary: "Decides without sending",
        takes: Takes::Json("Message"),
        answers: &[("200", Answer::Json("Explanation"))],
        ..post("/v1/apps/{app}/explain")
    },
    Operation {
        id: "simulate",
        caller: Caller::App,
        summary: "Decides what came again, with other settings and without any effect",
        takes: Takes::Json("Simulate"),
        answers: &[("200", Answer::Json("Simulated"))],
        ..post("/v1/apps/{app}/simulate")
    },
    Operation {
        id: "examine_user",
        caller: Caller::App,
        summary: "Why nothing rings for a user: the usual suspects, one by one",
        answers: &[("200", Answer::Json("Checkup"))],
        ..get("/v1/apps/{app}/users/{user}/doctor")
    },
    Operation {
        id: "show_statistics",
        caller: Caller::App,
        summary: "Pushes tried, taken, shown and tapped, by day (UTC) and vendor",
        query: &["since", "until"],
        answers: &[("200", Answer::Json("Statistics"))],
        ..get("/v1/apps/{app}/statistics")
    },
    Operation {
        id: "list_dead_letters",
        caller: Caller::App,
        summary: "What was given up",
        query: &["cert_id", "cursor", "limit"],
        answers: &[("200", Answer::Json("DeadLetterPage"))],
        ..get("/v1/apps/{app}/dead-letters")
    },
    Operation {
        id: "replay_dead_letters",
        caller: Caller::App,
        summary: "Queues them again",
        takes: Takes::JsonOrNothing("Replay"),
        answers: &[("200", Answer::Json("Replayed"))],
        ..post("/v1/apps/{app}/dead-letters/replay")
    },
    Operation {
        id: "post_webhook",
        caller: Caller::ChatServer,
        summary: "Takes a webhook in Tencent's shape",
        takes: Takes::Json("Webhook"),
        query: &["SdkAppid", "CallbackCommand", "OptPlatform", "Sign", "RequestTime"],
        answers: &[
            ("200", Answer::Json("WebhookAnswer")),
            ("default", Answer::Json("WebhookAnswer")),
        ],
        ..post("/v1/apps/{app}/webhooks/tencent")
    },
    Operation {
        id: "list_push_tasks",
        caller: Caller::App,
        summary: "Pushes to all users, newest first",
        answers: &[("200", Answer::Json("PushTaskList"))],
        ..get("/v1/apps/{app}/push-tasks")
    },
    Operation {
        id: "show_push_task",
        caller: Caller::App,
        summary: "How far one of them is",
        answers: &[("200", Answer::Json("PushTask"))],
        ..get("/v1/apps/{app}/push-tasks/{task_id}")
    },
    Operation {
        id: "list_members",
        caller: Caller::App,
        summary: "A group's members, as far as the relay knows them",
        query: &["cursor", "limit"],
        answers: &[("200", Answer::Json("MemberPage"))],
        ..get("/v1/apps/{app}/groups/{group}/members")
    },
    Operation {
        id: "add_members",
        caller: Caller::App,
        summary: "Adds members to a group",
        takes: Takes::Json("Members"),
        answers: &[("200", Answer::Json("MemberCount"))],
        ..post("/v1/apps/{app}/groups/{group}/members")
    },
    Operation {
        id: "remove_members",
        caller: Caller::App,
        summary: "Removes members, or without a body all of them",
        takes: Takes::JsonOrNothing("Members"),
        answers: &[("200", Answer::Json("MemberCount"))],
        ..delete("/v1/apps/{app}/groups/{group}/members")
    },
    Operation {
        id: "show_ledger",
        caller: Caller::Admin,
        summary: "Every delivery, counted",
        query: &["app"],
        answers: &[("200", Answer::Json("Ledger"))],
        ..get("/v1/ledger")
    },
    Operation {
        id: "list_lanes",
        caller: Caller::Admin,
        summary: "How each certificate's lane does",
        answers: &[("200", Answer::Json("LaneList"))],
        ..get("/v1/lanes")
    },
    Operation {
        id: "pause_lane",
        caller: Caller::Admin,
        summary: "Stops sending; messages wait",
        answers: &[("200", Answer::Json("LanePaused"))],
        ..post("/v1/lanes/{cert_id}/pause")
    },
    Operation {
        id: "resume_lane",
        caller: Caller::Admin,
        summary: "Sends again",
        answers: &[("200", Answer::Json("LanePaused"))],
        ..post("/v1/lanes/{cert_id}/resume")
    },
    Operation {
        id: "post_receipts",
        caller: Caller::Vendor,
        summary: "Takes a vendor's receipts that a signature proves",
        takes: Takes::Json("VendorReceipts"),
        answers: &[("200", Answer::Json("VendorReceiptsTaken"))],
        ..post("/v1/receipts/{vendor}")
    },
    Operation {
        id: "post_receipts_with_secret",
        caller: Caller::Vendor,
        summary: "Takes a vendor's receipts that the secret in the path proves",
        takes: Takes::Json("VendorReceipts"),
        answers: &[("200", Answer::Json("VendorReceiptsTaken"))],
        ..post("/v1/receipts/{vendor}/{secret}")
    },
    Operation {
        id: "show_health",
        caller: Caller::Anybody,
        summary: "The process answers",
        answers: &[("200", Answer::Json("Health"))],
        ..get("/healthz")
    },
    Operation {
        id: "show_health_alias",
        caller: Caller::Anybody,
        summary: "As /readyz",
        answers: &[("200", Answer::Json("Readiness")), ("503", Answer::Json("Readiness"))],
        ..get("/health")
    },
    Operation {
        id: "show_readiness",
        caller: Caller::Anybody,
        summary: "New messages are taken",
        answers: &[("200", Answer::Json("Readiness")), ("503", Answer::Json("Readiness"))],
        ..get("/readyz")
    },
    Operation {
        id: "show_version",
        caller: Caller::Anybody,
        summary: "Name, version, store",
        answers: &[("200", Answer::Json("Version"))],
        ..get("/version")
    },
    Operation {
        id: "show_metrics",
        caller: Caller::Anybody,
        summary: "Prometheus text",
        answers: &[("200", Answer::Text)],
        ..get("/metrics")
    },
    Operation {
        id: "show_openapi",
        caller: Caller::Anybody,
        summary: "This document",
        answers: &[("200", Answer::Json("Document"))],
        ..get("/openapi.json")
    },
];
