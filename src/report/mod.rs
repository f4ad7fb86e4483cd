//! Output for users and other programs: tables, charts, diagrams, reports, exports.

mod best;
pub mod chart;
pub mod compare;
pub mod diagram;
mod difference;
pub mod export;
pub mod history;
pub mod lineage;
pub mod page;
mod reference;
mod space;
pub mod statistics;
mod status;
mod table;
pub mod words;

pub use best::export_best;
pub use difference::{DiffSide, Difference, Differing, difference, difference_text, title};
pub use lineage::{Carrier, Lineage, LineageMember, VariablePath, lineage, lineage_text};
pub use reference::{NamedNetwork, Reference};
pub use space::{SpaceDocument, space_table};
pub use status::{MemberStatus, RunStatus, generation_line, result_table, status, status_table};
