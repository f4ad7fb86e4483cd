use anyhow::{Result, bail};
use clap::Args;

use super::StateArg;
use pbtnas_core::durable_fs::host;
use pbtnas_core::search::MemberId;
use pbtnas_engine::evaluate::{Subject, evaluate};
use pbtnas_engine::run::Run;
use pbtnas_engine::soup::find_part;

/// Evaluate the best member, another member or a soup with the final number of samples and all metrics.
///
/// The result is stored in the run; repeating the command prints it. The random numbers differ from those of the
/// search.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pbtnas evaluate --state runs/first\n  pbtnas evaluate --state runs/first --soup\n  \
    sbatch --gres=gpu:1 --wrap 'pbtnas evaluate --state runs/first'"
)]
pub struct EvaluateArgs {
    #[command(flatten)]
    state: StateArg,
    /// Number of samples (images, episodes). [default: as configured, e.g. `gan.final_images`]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..))]
    samples: Option<u32>,
    /// Evaluate this member of --generation instead of the best member.
    #[arg(long, value_name = "ID", requires = "generation", conflicts_with = "soup")]
    member: Option<u32>,
    /// Generation of --member.
    #[arg(long, value_name = "N", requires = "member")]
    generation: Option<u32>,
    /// Evaluate the soup.
    #[arg(long)]
    soup: bool,
    /// Evaluate the soup of this part (`pbtnas soup --part`).
    #[arg(long, value_name = "NAME", requires = "soup")]
    part: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl EvaluateArgs {
    pub fn run(self) -> Result<u8> {
        let run = Run::open(&self.state.state)?;
        super::apply_environment(&run.config)?;
        let task = run.config.task();
        let part = self.part.as_deref().map(|part| find_part(task.as_ref(), part)).transpose()?;
        let part = part.map(|part| part.name);
        let subject = match (self.soup, self.generation, self.member) {
            (true, ..) => Subject::Soup(part),
            (false, Some(generation), Some(member)) => Subject::Member(generation, MemberId(member)),
            _ => Subject::Best,
        };
        let samples = self.samples.map_or_else(|| task.final_samples(), |samples| samples as usize);
        let record = evaluate(&run, task.as_ref(), subject, samples, &host())?;
        if self.json {
            println!("{}", serde_json::to_string_pretty(&record)?);
            return Ok(0);
        }
        let Some(fitness) = record.fitness else {
            bail!("{} has no finite fitness: the network diverged", record.checkpoint.path)
        };
        println!("{}: fitness {fitness:.4} with {samples} samples", record.checkpoint.path);
        for (name, value) in &record.metrics {
            println!("  {name} {value:.4}");
        }
        Ok(0)
    }
}
