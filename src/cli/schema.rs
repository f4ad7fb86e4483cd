use anyhow::Result;
use clap::Args;

use crate::schema::{Document, schema};

/// Print the JSON Schema of what a command prints with --json, or of a file that `export` writes.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  pbtnas schema status\n  pbtnas schema members > members.schema.json")]
pub struct PrintSchema {
    /// What is described.
    #[arg(value_enum)]
    document: Document,
}

impl PrintSchema {
    pub fn run(self) -> Result<u8> {
        println!("{}", serde_json::to_string_pretty(&schema(self.document))?);
        Ok(0)
    }
}
