//! The front door in Tencent's shape: its REST API below `/v4`, and its webhooks.
//!
//! A chat server written for Tencent Cloud Chat's offline push talks to the relay unchanged, but
//! for the host. Field names, codes and limits are Tencent's; `docs/tencent.md` lists what is
//! served and what differs. A command that is not served is refused with 60009, never swallowed.

pub mod accounts;
pub mod auth;
pub mod envelope;
pub mod fields;
pub mod groups;
pub mod push;
pub mod send;
pub mod state;
pub mod webhook_auth;
pub mod webhooks;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, RawQuery, Request, State};
use axum::http::Method;
use axum::response::Response;
use axum::routing::{any, get, post};

use crate::accounts_known::KnownAccounts;
use crate::api::Api;
use crate::api::body;
use crate::api::tencent::auth::{Caller, Failures, Query};
use crate::api::tencent::envelope::{Answer, Fail, TRY_AGAIN, UNKNOWN_COMMAND};
use crate::api::tencent::fields::Fields;
use crate::api::tencent::push::TextFrom;
use crate::members::Members;
use crate::push_tasks::PushTasks;
use crate::telemetry::events::{self, TurnedAway};

/// The rooms only this door uses.
pub struct FrontDoor {
    /// Group members.
    pub members: Members,
    /// Imported accounts.
    pub accounts: KnownAccounts,
    /// Pushes to all members.
    pub tasks: PushTasks,
    /// UserSigs that failed.
    pub failures: Failures,
}

/// The routes, below the root.
pub fn router() -> Router<Arc<Api>> {
    Router::new()
        .route("/v4/{*command}", any(call))
        .route("/v1/apps/{app}/webhooks/tencent", post(webhooks::take))
        .route("/v1/apps/{app}/push-tasks", get(push::list))
        .route("/v1/apps/{app}/push-tasks/{task_id}", get(push::show))
        .route(
            "/v1/apps/{app}/groups/{group}/members",
            get(groups::list).post(groups::add).delete(groups::remove),
        )
}

/// The commands of the REST API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Command {
    SendMsg,
    BatchSendMsg,
    WithdrawMsg,
    QueryState,
    SendGroupMsg,
    RecallGroupMsg,
    CreateGroup,
    DestroyGroup,
    AddMembers,
    DeleteMembers,
    ModifyMember,
    BatchPush,
    PushAll(TextFrom),
    SetDoNotDisturb,
    ImportAccount,
    ImportAccounts,
    DeleteAccounts,
    CheckAccounts,
    Kick,
}

const COMMANDS: &[(&str, Command)] = &[
    ("openim/sendmsg", Command::SendMsg),
    ("openim/batchsendmsg", Command::BatchSendMsg),
    ("openim/admin_msgwithdraw", Command::WithdrawMsg),
    ("openim/querystate", Command::QueryState),
    ("openim/query_online_status", Command::QueryState),
    ("group_open_http_svc/send_group_msg", Command::SendGroupMsg),
    ("group_open_http_svc/group_msg_recall", Command::RecallGroupMsg),
    ("group_open_http_svc/create_group", Command::CreateGroup),
    ("group_open_http_svc/import_group", Command::CreateGroup),
    ("group_open_http_svc/destroy_group", Command::DestroyGroup),
    ("group_open_http_svc/add_group_member", Command::AddMembers),
    ("group_open_http_svc/import_group_member", Command::AddMembers),
    ("group_open_http_svc/delete_group_member", Command::DeleteMembers),
    ("group_open_http_svc/modify_group_member_info", Command::ModifyMember),
    ("timpush/batch", Command::BatchPush),
    ("timpush/push", Command::PushAll(TextFrom::PushInfo)),
    ("all_member_push/im_push", Command::PushAll(TextFrom::Message)),
    ("im_msg_db_logic/admin_set_do_not_disturb", Command::SetDoNotDisturb),
    ("im_open_login_svc/account_import", Command::ImportAccount),
    ("im_open_login_svc/multiaccount_import", Command::ImportAccounts),
    ("im_open_login_svc/account_delete", Command::DeleteAccounts),
    ("im_open_login_svc/account_check", Command::CheckAccounts),
    ("im_open_login_svc/kick", Command::Kick),
];

/// The path of every command below `/v4/`.
pub fn commands() -> impl Iterator<Item = &'static str> {
    COMMANDS.iter().map(|(path, _)| *path)
}

/// `POST /v4/{command}`
async fn call(
    State(api): State<Arc<Api>>,
    method: Method,
    Path(command): Path<String>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Response {
    let query = Query::read(query.as_deref().unwrap_or_default());
    envelope::respond(answer(&api, &method, &command, &query, request).await)
}

async fn answer(
    api: &Arc<Api>,
    method: &Method,
    command: &str,
    query: &Query,
    request: Request,
) -> Answer {
    let known = COMMANDS.iter().find(|(path, _)| *path == command).map(|(_, command)| *command);
    let Some(known) = known else {
        return Err(Fail::new(UNKNOWN_COMMAND, "this relay does not serve this command"));
    };
    // The documentation says POST; some clients read with GET, and a body all the same.
    if !matches!(*method, Method::POST | Method::GET) {
        return Err(Fail::new(UNKNOWN_COMMAND, "this command is called with POST"));
    }
    let caller = auth::check(api, query)?;
    if api.is_draining() {
        events::messages_turned_away(TurnedAway::Draining, 1);
        return Err(Fail::new(TRY_AGAIN, "the relay is stopping"));
    }
    api.limits.may_ask(caller.app.app).inspect_err(|_| {
        events::messages_turned_away(TurnedAway::RateLimited, 1);
    })?;
    let body = body::of(request, None).await?;
    let fields = Fields::parse(&body)?;
    run(api, known, &caller, &fields, body.len()).await
}

async fn run(
    api: &Arc<Api>,
    command: Command,
    caller: &Caller,
    fields: &Fields<'_>,
    body_bytes: usize,
) -> Answer {
    match command {
        Command::SendMsg => send::one(api, caller, fields).await,
        Command::BatchSendMsg => send::batch(api, caller, fields).await,
        Command::WithdrawMsg => send::withdraw(api, caller, fields).await,
        Command::QueryState => state::query(api, caller, fields).await,
        Command::SendGroupMsg => groups::send(api, caller, fields).await,
        Command::RecallGroupMsg => groups::recall(api, &caller.app, fields).await,
        Command::CreateGroup => groups::create(api, caller, fields).await,
        Command::DestroyGroup => groups::destroy(api, caller, fields).await,
        Command::AddMembers => groups::add_members(api, caller, fields).await,
        Command::DeleteMembers => groups::delete_members(api, caller, fields).await,
        Command::ModifyMember => groups::modify_member(api, caller, fields).await,
        Command::BatchPush => push::named(api, caller, fields).await,
        Command::PushAll(text) => push::all(api, caller, fields, body_bytes, text).await,
        Command::SetDoNotDisturb => state::set_do_not_disturb(api, caller, fields).await,
        Command::ImportAccount => accounts::import(api, caller, fields).await,
        Command::ImportAccounts => accounts::import_many(api, caller, fields).await,
        Command::DeleteAccounts => accounts::delete(api, caller, fields).await,
        Command::CheckAccounts => accounts::check(api, caller, fields).await,
        Command::Kick => accounts::kick(api, caller, fields).await,
    }
}
