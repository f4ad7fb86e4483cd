//! What people read: tables, plots, and the best network's files.

mod best;
pub mod compare;
pub mod history;
mod numbers;
mod space;
pub mod statistics;
mod status;
mod table;

pub use best::export_best;
pub use space::space_table;
pub use status::{MemberStatus, Status, generation_line, result_table, status, status_table};
