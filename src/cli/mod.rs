//! The command line. A file for each command: it parses, calls and prints.

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
mod man;
mod new;
mod report;
mod run;
mod schema;
mod soup;
mod space;
mod status;
mod step;
mod train;
mod verify;
mod watch;

use std::os::unix::process::CommandExt;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};

use crate::config::{Config, TaskKind};
use crate::gpu;

/// Neural architecture search by Population Based Training (PBT-NAS).
///
/// Exit codes: 0 done; 1 failed; 2 wrong command line; 3 wrong configuration; 4 the run's directory is
/// wrong or damaged; 5 the scheduler refused (try again later); 74 the filesystem refused; 75 stopped by a signal,
/// work is saved, the same command goes on; 76 another process is at this work.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    New(new::New),
    Check(check::Check),
    Doctor(doctor::Doctor),
    #[command(hide = true)]
    Answer(answer::Answer),
    Init(init::Init),
    Step(step::Step),
    Train(train::Train),
    Run(run::RunLocally),
    Status(status::Status),
    Report(report::Report),
    Export(export::Export),
    Watch(watch::Watch),
    Verify(verify::Verify),
    Space(space::ShowSpace),
    Evaluate(evaluate::Evaluate),
    Soup(soup::MakeSoup),
    Best(best::Best),
    Draw(draw::Draw),
    Diff(diff::Diff),
    Lineage(lineage::ShowLineage),
    Compare(compare::Compare),
    Features(features::Features),
    Schema(schema::PrintSchema),
    Completions(completions::Completions),
    Man(man::Man),
}

#[derive(Debug, Args)]
struct StateArg {
    /// Directory of the run.
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
}

/// Gives this process the environment that the precision on a GPU needs, by starting the program anew if
/// need be: libraries read it when they are loaded.
fn settle(config: &Config) -> Result<()> {
    let (device, precision) = match config.task.kind {
        TaskKind::Gan => (config.gan.device, config.gan.precision),
        TaskKind::Rl => (config.rl.device, config.rl.precision),
        TaskKind::Command | TaskKind::Synthetic => return Ok(()),
    };
    let Some((name, value)) = gpu::environment(device, precision) else { return Ok(()) };
    if std::env::var_os(name).is_some_and(|found| found == value) {
        return Ok(());
    }
    let program = std::env::current_exe().context("failed to find this program")?;
    let error = std::process::Command::new(program).args(std::env::args_os().skip(1)).env(name, value).exec();
    Err(error).context("failed to start pbtnas with the environment for its GPU")
}

/// Runs a command; its exit code.
pub fn run(cli: Cli) -> Result<u8> {
    match cli.command {
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
    fn the_command_line_is_sound_and_every_command_has_an_example() {
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
