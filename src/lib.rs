//! offpush: an offline push relay that runs beside a chat server.
//!
//! The chat server hands over every message whose receivers are not looking at the app. For each
//! device of each receiver the relay decides whether that message may ring there, and sends it
//! through the push vendor that owns the device. It keeps the registry of push tokens, each
//! registered against the number of an uploaded credential (the **certificate ID**); drops repeats;
//! honours what users said about do-not-disturb and muted conversations; loses nothing it has
//! accepted; and can always tell why a message did or did not ring on a phone.
//!
//! # The way of a message
//!
//! 1. [`api`] takes it over HTTP and [`ingest`] reads it.
//! 2. [`dedupe`] says whether it is a repeat. [`facts`] gathers what is known of each receiver and
//!    device, and [`policy`], an ordered list of plain functions, says whether it may ring.
//! 3. [`plan`] puts the deliveries that may ring into **parcels**: what one certificate can send
//!    with the same words. One commit writes the seen mark, the parcels, the decisions ([`trace`])
//!    and the counters ([`ledger`]). Only then is the request answered.
//! 4. [`dispatch`] has a lane for each certificate. A lane asks the rules again on fresh facts,
//!    renders the notification ([`render`]), lets the vendor's adapter ([`vendor`]) turn it into
//!    requests, and sends them with the only HTTP client ([`transport`]).
//! 5. The adapter reads the reply as one verdict per delivery, and [`outcome`] settles: in one
//!    commit the parcel goes, or stays with what is to be tried again, and its trace and counters
//!    are written.
//! 6. [`explain`] reads the trace back as an answer for people.
//!
//! # Three rules that carry the weight
//!
//! * **Rooms add to a batch, stages commit it.** [`dedupe`], [`queue`], [`trace`] and [`ledger`]
//!   add rows and conditions to a [`store::Batch`]; [`ingest`] and [`outcome`] commit. So a message
//!   is accepted, queued and remembered together or not at all.
//! * **Vendors do no I/O.** An adapter turns values into values. Pools, deadlines, retries, access
//!   tokens, logs and metrics are written once, above.
//! * **A row leaves the queue only in the commit that writes its outcome.** A crash needs no
//!   recovery code: a lease that nobody ended becomes due again.
//!
//! The modules stand on floors and look down only; `tests/it/tidy.rs` keeps it so. Below they are
//! listed from the top floor down. `ARCHITECTURE.md` has the map and one message's walk through the
//! functions.

// The program's commands, and measuring it.
// It measures real time, not the relay's.
#[expect(clippy::disallowed_methods)]
pub mod bench;
pub mod cli;

// Puts the parts together, starts and drains them.
pub mod app;

// What the outside sees: HTTP, settings, simulated vendors.
pub mod api;
pub mod config;
pub mod sim;

// Sends.
pub mod dispatch;
pub mod push_tasks;

// Stages, which commit; and what reads back what they wrote.
pub mod explain;
pub mod ingest;
pub mod outcome;
pub mod recall;
pub mod receipts;

// What stages add to their commits, and what a decision leads to.
pub mod digest;
pub mod plan;
pub mod results;
pub mod statistics;

// What a decision rests on.
pub mod facts;

// Rooms: each knows one thing.
pub mod access;
pub mod account;
pub mod accounts_known;
pub mod api_keys;
pub mod apps;
pub mod credentials;
pub mod dedupe;
pub mod ledger;
pub mod members;
pub mod message_names;
pub mod policy;
pub mod preferences;
pub mod queue;
pub mod registry;
pub mod render;
pub mod seal;
pub mod trace;
pub mod usersig;

// Where rows are kept, and whom pushes go to.
pub mod store;
pub mod vendor;

// How bytes go out.
pub mod transport;

// Time, logs, metrics, and whose turn it is.
pub mod clock;
pub mod telemetry;
pub mod turns;

// The words of the domain.
pub mod model;
