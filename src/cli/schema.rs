use anyhow::Result;
use clap::Args;

use crate::cli::schemas::{Document, schema};

/// Print the JSON Schema of a command's --json output or of an exported file.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  pbtnas schema status\n  pbtnas schema members > members.schema.json")]
pub struct SchemaArgs {
    /// Document to describe.
    #[arg(value_enum)]
    document: Document,
}

impl SchemaArgs {
    pub fn run(self) -> Result<u8> {
        println!("{}", serde_json::to_string_pretty(&schema(self.document))?);
        Ok(0)
    }
}
