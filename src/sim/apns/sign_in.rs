//! Who may push what on which connection: provider tokens and client certificates
//! (vendors-apns-fcm.md, A.2, A.3, A.14).

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use http::{StatusCode, header};

use crate::model::certificate::Environment;
use crate::model::time::UnixMs;
use crate::sim::SimRequest;
use crate::sim::apns::Refusal;
use crate::sim::apns::accounts::{Accounts, Key};
use crate::sim::apns::headers::Head;
use crate::sim::apns::jwt::ProviderToken;
use crate::sim::ca::ClientFacts;

/// Longest use of a provider token (A.2).
pub const TOKEN_AGE_MAX_S: u64 = 3_600;
/// Shortest time between two tokens of one key (A.2).
pub const TOKEN_RENEWAL_MIN_S: u64 = 20 * 60;
/// How far a clock may run ahead of ours. What Apple allows is unknown.
const CLOCK_AHEAD_MAX_S: u64 = 5;
/// Most verified tokens remembered.
const VERIFIED_MAX: usize = 1_024;
/// What a certificate's topic may be extended by (A.13).
const CERTIFICATE_SUFFIXES: [&str; 3] = ["", ".voip", ".complication"];

/// A provider token whose signature has been checked.
#[derive(Debug)]
struct Verified {
    token: String,
    key_id: String,
    team_id: String,
    issued_at: u64,
}

/// What a connection is bound to.
#[derive(Debug, Default)]
struct Connection {
    current: Option<Arc<Verified>>,
    /// The token before: requests signed with it may still be on their way.
    previous: Option<Arc<Verified>>,
    first_key: Option<String>,
    client: Option<Arc<ClientFacts>>,
}

/// Sign-ins of all connections of one environment.
pub struct SignIns {
    environment: Environment,
    connections: Mutex<HashMap<u64, Connection>>,
    verified: Mutex<HashMap<String, Arc<Verified>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl SignIns {
    /// No connections yet.
    pub fn new(environment: Environment) -> Self {
        SignIns { environment, connections: Mutex::default(), verified: Mutex::default() }
    }

    /// Forgets a connection.
    pub fn forget(&self, connection: u64) {
        lock(&self.connections).remove(&connection);
    }

    /// The client certificate of the request's connection, if it has one.
    ///
    /// # Errors
    /// `BadCertificate` when it is not one of Apple's kind.
    pub fn client(&self, request: &SimRequest) -> Result<Option<Arc<ClientFacts>>, Refusal> {
        let Some(leaf) = &request.client_certificate else { return Ok(None) };
        let mut connections = lock(&self.connections);
        let connection = connections.entry(request.connection).or_default();
        if connection.client.is_none() {
            let facts = ClientFacts::read(leaf).ok_or(Refusal::forbidden("BadCertificate"))?;
            connection.client = Some(Arc::new(facts));
        }
        Ok(connection.client.clone())
    }

    /// Whether that certificate may push this. TLS has looked at its end by the machine's clock,
    /// this looks at it by the vendor's.
    ///
    /// # Errors
    /// `BadCertificate` after its end, `BadCertificateEnvironment` or `BadTopic`.
    pub fn check_certificate(
        &self,
        facts: &ClientFacts,
        head: &Head<'_>,
        now: UnixMs,
    ) -> Result<(), Refusal> {
        if facts.not_after < now.secs() {
            return Err(Refusal::forbidden("BadCertificate"));
        }
        let allowed = match self.environment {
            Environment::Production => facts.production,
            Environment::Sandbox => facts.development,
        };
        if !allowed {
            return Err(Refusal::forbidden("BadCertificateEnvironment"));
        }
        let rest = head.topic.strip_prefix(facts.bundle_id.as_str());
        if rest.is_none_or(|rest| !CERTIFICATE_SUFFIXES.contains(&rest)) {
            return Err(Refusal::bad("BadTopic"));
        }
        Ok(())
    }

    /// Whether the request's provider token may push this on its connection, and binds the
    /// connection to it.
    ///
    /// # Errors
    /// The refusals of A.13 (8) and A.14 (1 to 3).
    pub fn check_token(
        &self,
        request: &SimRequest,
        head: &Head<'_>,
        accounts: &Accounts,
        lenient: bool,
    ) -> Result<(), Refusal> {
        let token = bearer(request, lenient).ok_or(Refusal::forbidden("MissingProviderToken"))?;
        let mut connections = lock(&self.connections);
        let connection = connections.entry(request.connection).or_default();
        let current = connection.current.as_ref().filter(|current| current.token == token);
        let (verified, fresh) = match current {
            Some(current) => (Arc::clone(current), false),
            None => (self.verify(token, accounts, lenient)?, true),
        };
        let invalid = Refusal::forbidden("InvalidProviderToken");
        let key = accounts.key(&verified.key_id).ok_or(invalid.clone())?;
        if fresh {
            connection.check_key(key)?;
            if !key.environments.contains(&self.environment) {
                return Err(Refusal::forbidden("BadEnvironmentKeyInToken"));
            }
        }
        let now = request.now.secs();
        if verified.issued_at > now + CLOCK_AHEAD_MAX_S {
            return Err(invalid);
        }
        if now.saturating_sub(verified.issued_at) > TOKEN_AGE_MAX_S {
            return Err(Refusal::forbidden("ExpiredProviderToken"));
        }
        if !key.topics.iter().any(|topic| topic == head.bundle_id) {
            return Err(invalid);
        }
        if fresh { connection.renew(verified) } else { Ok(()) }
    }

    fn verify(
        &self,
        token: &str,
        accounts: &Accounts,
        lenient: bool,
    ) -> Result<Arc<Verified>, Refusal> {
        if let Some(known) = lock(&self.verified).get(token) {
            return Ok(Arc::clone(known));
        }
        let invalid = Refusal::forbidden("InvalidProviderToken");
        let read = ProviderToken::read(token, lenient).ok_or(invalid.clone())?;
        let key = accounts.key(&read.key_id).ok_or(invalid.clone())?;
        if key.team_id != read.team_id || !read.is_signed_by(key.public_point()) {
            return Err(invalid);
        }
        let verified = Arc::new(Verified {
            token: token.to_owned(),
            key_id: read.key_id,
            team_id: read.team_id,
            issued_at: read.issued_at,
        });
        let mut known = lock(&self.verified);
        if known.len() == VERIFIED_MAX {
            known.clear();
        }
        known.insert(token.to_owned(), Arc::clone(&verified));
        Ok(verified)
    }
}

impl Connection {
    /// A connection belongs to one team, and to one key and its related one.
    fn check_key(&self, key: &Key) -> Result<(), Refusal> {
        let Some(current) = &self.current else { return Ok(()) };
        if current.team_id != key.team_id {
            return Err(Refusal::forbidden("InvalidProviderToken"));
        }
        let first = self.first_key.as_deref();
        if first != Some(&key.key_id) && first != key.related.as_deref() {
            return Err(Refusal::forbidden("UnrelatedKeyIdInToken"));
        }
        Ok(())
    }

    /// Goes on with another token, if it does not come too soon after the last of its key.
    fn renew(&mut self, verified: Arc<Verified>) -> Result<(), Refusal> {
        let Some(current) = &self.current else {
            self.first_key = Some(verified.key_id.clone());
            self.current = Some(verified);
            return Ok(());
        };
        if self.previous.as_ref().is_some_and(|previous| previous.token == verified.token) {
            return Ok(());
        }
        let soonest = current.issued_at + TOKEN_RENEWAL_MIN_S;
        if current.key_id == verified.key_id && verified.issued_at < soonest {
            let reason = "TooManyProviderTokenUpdates";
            return Err(Refusal::new(StatusCode::TOO_MANY_REQUESTS, reason));
        }
        self.previous = self.current.replace(verified);
        Ok(())
    }
}

/// The bearer token of a request.
fn bearer(request: &SimRequest, lenient: bool) -> Option<&str> {
    let value = request.headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let scheme_fits = scheme == "bearer" || (lenient && scheme.eq_ignore_ascii_case("bearer"));
    (scheme_fits && !token.is_empty()).then_some(token)
}
