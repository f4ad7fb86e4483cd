//! `pbtnas watch`: a live screen of a search, or a line per event.
//!
//! Reading and drawing run in separate threads ([`reader`]), because a shared filesystem or a scheduler may be slow.
//! Pure functions turn what was read into what is shown ([`estimates`], [`snapshot`], [`events`], [`screen`]).

pub mod app;
pub mod estimates;
pub mod events;
pub mod jobs;
mod lines;
pub mod reader;
pub mod run_info;
pub mod screen;
pub mod snapshot;
mod terminal;
mod text;

pub use lines::follow;
pub use terminal::show;
