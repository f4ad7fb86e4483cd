use anyhow::{Result, bail};
use clap::Args;

use super::StateArg;
use crate::evaluate::{Subject, evaluate};
use crate::scheduler::slurm;
use crate::search::MemberId;
use crate::soup::find_part;
use crate::state::Run;

/// Measure the best member, another one or the soup, as for a report: with many samples, and everything.
///
/// The result stays in the run; calling it again only prints it. It uses random numbers that the search has
/// not seen.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pbtnas evaluate --state runs/first\n  pbtnas evaluate --state runs/first --soup\n  \
    sbatch --gres=gpu:1 --wrap 'pbtnas evaluate --state runs/first'"
)]
pub struct Evaluate {
    #[command(flatten)]
    state: StateArg,
    /// Number of samples (images); by default as configured (`final_images`).
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..))]
    samples: Option<u32>,
    /// Another member than the best one; needs --generation.
    #[arg(long, value_name = "ID", requires = "generation", conflicts_with = "soup")]
    member: Option<u32>,
    /// The generation of that member.
    #[arg(long, value_name = "N", requires = "member")]
    generation: Option<u32>,
    /// The soup that `pbtnas soup` made.
    #[arg(long)]
    soup: bool,
    /// The soup of this part of the networks, which `pbtnas soup --part` made.
    #[arg(long, value_name = "NAME", requires = "soup")]
    part: Option<String>,
    /// Print the record as JSON.
    #[arg(long)]
    json: bool,
}

impl Evaluate {
    pub fn run(self) -> Result<u8> {
        let run = Run::open(&self.state.state)?;
        super::settle(&run.config)?;
        let task = run.config.task()?;
        let part = self.part.as_deref().map(|part| find_part(task.as_ref(), part)).transpose()?;
        let part = part.map(|part| part.name);
        let subject = match (self.soup, self.generation, self.member) {
            (true, ..) => Subject::Soup(part),
            (false, Some(generation), Some(member)) => Subject::Member(generation, MemberId(member)),
            _ => Subject::Best,
        };
        let samples = self.samples.map_or_else(|| task.final_samples(), |samples| samples as usize);
        let record = evaluate(&run, task.as_ref(), subject, samples, &slurm::host())?;
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
