//! Parses the command line, runs the command, maps an error to an exit code.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match pbtnas::cli::run(pbtnas::cli::Cli::parse()) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("pbtnas: {}", pbtnas::error::message(&error));
            ExitCode::from(pbtnas::error::exit_code(&error))
        }
    }
}
