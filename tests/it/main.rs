//! The one integration binary; each module says what belongs in it.

mod sim_west;
