use anyhow::Result;
use clap::{Args, CommandFactory};
use clap_complete::{Shell, generate};

use super::Cli;

/// Print a shell completion script.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pbtnas completions bash > ~/.local/share/bash-completion/completions/pbtnas\n  pbtnas completions fish > ~/.config/fish/completions/pbtnas.fish"
)]
pub struct CompletionsArgs {
    #[arg(value_enum)]
    shell: Shell,
}

impl CompletionsArgs {
    pub fn run(self) -> Result<u8> {
        let mut script = Vec::new();
        generate(self.shell, &mut Cli::command(), "pbtnas", &mut script);
        print!("{}", String::from_utf8_lossy(&script));
        Ok(0)
    }
}
