//! offpush: an offline push relay that runs beside a chat server.

pub mod clock;
pub mod model;
pub mod sim;
pub mod store;
pub mod transport;
pub mod usersig;
pub mod vendor;
