//! What people read: tables, plots, pictures of architectures, and the best network's files.

mod best;
pub mod chart;
pub mod compare;
pub mod diagram;
mod difference;
pub mod export;
pub mod history;
pub mod lineage;
pub mod numbers;
pub mod page;
mod reference;
mod relation;
mod space;
pub mod statistics;
mod status;
mod table;
pub mod words;

pub use best::export_best;
pub use difference::{Difference, Differing, Side, difference, difference_text, title};
pub use lineage::{Carrier, Lineage, Step, VariablePath, lineage, lineage_text};
pub use reference::{Named, Reference};
pub use relation::{Relation, Role};
pub use space::{SpaceDocument, space_table};
pub use status::{MemberStatus, Status, generation_line, result_table, status, status_table};
