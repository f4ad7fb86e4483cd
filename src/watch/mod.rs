//! A search, watched while it goes on: a screen of its members, or a line for each thing that happens.
//!
//! Threads read and ask ([`reader`]), since a shared filesystem and a scheduler may be slow or away; what they find is
//! turned into what is shown by pure functions ([`figures`], [`board`], [`events`], [`screen`]).

pub mod app;
pub mod board;
pub mod events;
pub mod facts;
pub mod figures;
pub mod jobs;
mod lines;
pub mod reader;
pub mod screen;
mod terminal;
mod text;

pub use lines::follow;
pub use terminal::show;
