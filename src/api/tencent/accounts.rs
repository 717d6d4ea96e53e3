//! Accounts as far as push needs them: known, forgotten, thrown out
//! (cloud.tencent.com/document/product/269/1608, /4919, /36443, /38417, /3853).

use std::sync::Arc;

use serde_json::{Value, json};

use crate::api::Api;
use crate::api::tencent::auth::Caller;
use crate::api::tencent::envelope::{Answer, Fail, fields};
use crate::api::tencent::fields::{Fields, checked, names_in};
use crate::model::device::Presence;
use crate::model::id::UserId;

/// Most accounts of one call.
const ACCOUNTS_MAX: usize = 100;

/// An illegal parameter of the account APIs.
const ILLEGAL: u32 = 70_402;

/// The account of a call; older texts name the field `Identifier`.
fn user_of(given: &Fields<'_>) -> Result<UserId, Fail> {
    let name = ["UserID", "Identifier"].into_iter().find(|name| given.raw(name).is_some());
    Ok(UserId::from(given.id(name.unwrap_or("UserID"), ILLEGAL)?.as_str()))
}

/// An account as it was named, and what is wrong with its id: these APIs answer one by one.
type Judged = (UserId, Result<(), Fail>);

fn users_of(given: &Fields<'_>, names: &[&str]) -> Result<Vec<Judged>, Fail> {
    let name = names.iter().find(|name| given.raw(name).is_some()).unwrap_or(&names[0]);
    let users = names_in(given, name, "UserID", ILLEGAL)?;
    if users.is_empty() || users.len() > ACCOUNTS_MAX {
        return Err(Fail::new(ILLEGAL, format!("{name} must name 1 to {ACCOUNTS_MAX} accounts")));
    }
    let judged = |id: &String| (UserId::from(id.as_str()), checked(id, "UserID", ILLEGAL));
    Ok(users.iter().map(judged).collect())
}

fn failed(user: &UserId, fail: &Fail) -> Value {
    json!({ "UserID": user, "ResultCode": fail.code, "ResultInfo": fail.info })
}

/// `im_open_login_svc/account_import`
pub async fn import(api: &Arc<Api>, caller: &Caller, given: &Fields<'_>) -> Answer {
    let user = user_of(given)?;
    api.front_door.accounts.import(caller.app.app, &[user]).await?;
    Ok(fields(json!({})))
}

/// `im_open_login_svc/multiaccount_import`
pub async fn import_many(api: &Arc<Api>, caller: &Caller, given: &Fields<'_>) -> Answer {
    let users = users_of(given, &["AccountList", "Accounts"])?;
    let (good, bad): (Vec<_>, Vec<_>) = users.into_iter().partition(|(_, judged)| judged.is_ok());
    let [good, bad] =
        [good, bad].map(|users| users.into_iter().map(|(user, _)| user).collect::<Vec<_>>());
    api.front_door.accounts.import(caller.app.app, &good).await?;
    Ok(fields(json!({ "FailAccounts": bad })))
}

/// `im_open_login_svc/account_delete`
pub async fn delete(api: &Arc<Api>, caller: &Caller, given: &Fields<'_>) -> Answer {
    let users = users_of(given, &["DeleteItem"])?;
    let mut results = Vec::with_capacity(users.len());
    let app = caller.app.app;
    for (user, judged) in &users {
        if let Err(fail) = judged {
            results.push(failed(user, fail));
            continue;
        }
        api.registry.forget(app, user).await?;
        api.receive_options.forget(app, user).await?;
        api.front_door.accounts.delete(app, user).await?;
        results.push(json!({ "ResultCode": 0, "ResultInfo": "", "UserID": user }));
    }
    Ok(fields(json!({ "ResultItem": results })))
}

/// `im_open_login_svc/account_check`
pub async fn check(api: &Arc<Api>, caller: &Caller, given: &Fields<'_>) -> Answer {
    let users = users_of(given, &["CheckItem"])?;
    let ids: Vec<UserId> = users.iter().map(|(user, _)| user.clone()).collect();
    let known = api.front_door.accounts.known(caller.app.app, &ids).await?;
    let results: Vec<_> = users
        .iter()
        .zip(known)
        .map(|((user, judged), known)| {
            if let Err(fail) = judged {
                return failed(user, fail);
            }
            let status = if known { "Imported" } else { "NotImported" };
            json!({ "UserID": user, "ResultCode": 0, "ResultInfo": "", "AccountStatus": status })
        })
        .collect();
    Ok(fields(json!({ "ResultItem": results })))
}

/// `im_open_login_svc/kick`: the login ends on every device; none rings until it registers again.
pub async fn kick(api: &Arc<Api>, caller: &Caller, given: &Fields<'_>) -> Answer {
    let user = user_of(given)?;
    let now = api.clock.now();
    let kicked = Presence::Kicked;
    api.registry.set_presence(caller.app.app, &user, kicked, now, |_| true).await?;
    Ok(fields(json!({})))
}
