//! The command line: one file per command.

mod answer;
mod best;
mod check;
mod compare;
mod completions;
mod diff;
mod doctor;
mod draw;
mod evaluate;
mod export;
mod features;
mod init;
mod lineage;
mod log;
mod man;
mod new;
mod report;
mod run;
mod schema;
mod schemas;
mod soup;
mod space;
mod status;
mod step;
mod train;
mod verify;
mod watch;
mod workers;

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};

use pbtnas_core::fault::message;
use pbtnas_engine::config::Config;
use pbtnas_engine::device;
use pbtnas_engine::fault::{exit_code, hint_of};
use workers::WorkersArgs;

/// Neural architecture search by Population Based Training (PBT-NAS).
///
/// Exit codes: 0 success; 1 failure; 2 invalid command line; 3 invalid configuration; 4 invalid or damaged run
/// directory; 5 scheduler error (retry later); 74 filesystem error; 75 stopped by a signal after saving (repeat the
/// command to resume); 76 another process is doing this work.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    verbosity: log::Verbosity,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    New(new::NewArgs),
    Check(check::CheckArgs),
    Doctor(doctor::DoctorArgs),
    #[command(hide = true)]
    Answer(answer::AnswerArgs),
    Init(init::InitArgs),
    Step(step::StepArgs),
    Train(train::TrainArgs),
    Run(run::RunArgs),
    Status(status::StatusArgs),
    Report(report::ReportArgs),
    Export(export::ExportArgs),
    Watch(watch::WatchArgs),
    Verify(verify::VerifyArgs),
    Space(space::SpaceArgs),
    Evaluate(evaluate::EvaluateArgs),
    Soup(soup::SoupArgs),
    Best(best::BestArgs),
    Draw(draw::DrawArgs),
    Diff(diff::DiffArgs),
    Lineage(lineage::LineageArgs),
    Compare(compare::CompareArgs),
    Features(features::FeaturesArgs),
    Schema(schema::SchemaArgs),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
}

#[derive(Debug, Args)]
struct StateArg {
    /// Run directory.
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
}

/// Sets the environment variable that the precision on a GPU needs by executing the program again, because libraries
/// read it when they are loaded.
fn apply_environment(config: &Config) -> Result<()> {
    let compute = config.task.settings.compute();
    let Some((name, value)) = compute.and_then(|compute| device::environment(&compute)) else {
        return Ok(());
    };
    if std::env::var_os(name).is_some_and(|found| found == value) {
        return Ok(());
    }
    let program = std::env::current_exe().context("failed to find this program")?;
    let error = std::process::Command::new(program).args(std::env::args_os().skip(1)).env(name, value).exec();
    Err(error).context("failed to start pbtnas with the environment for its GPU")
}

/// Runs a command and returns its exit code.
pub fn run(cli: Cli) -> u8 {
    cli.verbosity.start();
    run_command(cli.command).unwrap_or_else(|error| {
        let mut stderr = std::io::stderr();
        // A closed terminal does not change the exit code.
        let _ = writeln!(stderr, "pbtnas: {}", message(&error));
        if let Some(hint) = hint_of(&error) {
            let _ = writeln!(stderr, "hint: {hint}");
        }
        exit_code(&error)
    })
}

fn run_command(command: Command) -> Result<u8> {
    match command {
        Command::New(command) => command.run(),
        Command::Check(command) => command.run(),
        Command::Doctor(command) => command.run(),
        Command::Answer(command) => command.run(),
        Command::Init(command) => command.run(),
        Command::Step(command) => command.run(),
        Command::Train(command) => command.run(),
        Command::Run(command) => command.run(),
        Command::Status(command) => command.run(),
        Command::Report(command) => command.run(),
        Command::Export(command) => command.run(),
        Command::Watch(command) => command.run(),
        Command::Verify(command) => command.run(),
        Command::Space(command) => command.run(),
        Command::Evaluate(command) => command.run(),
        Command::Soup(command) => command.run(),
        Command::Best(command) => command.run(),
        Command::Draw(command) => command.run(),
        Command::Diff(command) => command.run(),
        Command::Lineage(command) => command.run(),
        Command::Compare(command) => command.run(),
        Command::Features(command) => command.run(),
        Command::Schema(command) => command.run(),
        Command::Completions(command) => command.run(),
        Command::Man(command) => command.run(),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn command_line_is_valid_and_every_command_has_an_example() {
        let mut command = super::Cli::command();
        command.build();
        command.clone().debug_assert();
        for sub in command.get_subcommands_mut().filter(|sub| sub.get_name() != "help") {
            let name = sub.get_name().to_owned();
            let help = sub.render_long_help().to_string();
            assert!(help.contains(&format!("\n  pbtnas {name} ")), "{help}");
        }
    }
}
