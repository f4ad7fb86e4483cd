use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};

/// Check a network whose features measure image quality.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  pbtnas features check inception-2015-12-05.pt")]
pub struct FeaturesArgs {
    #[command(subcommand)]
    command: FeaturesCommand,
}

#[derive(Debug, Subcommand)]
enum FeaturesCommand {
    Check(FeaturesCheckArgs),
}

/// Check and time a file with the Inception network of FID and Inception Score.
///
/// The file is inception-2015-12-05.pt (TorchScript, distributed by NVIDIA with the metrics of StyleGAN) or the output
/// of scripts/inception-to-safetensors for the weights of the pytorch-fid project. The check uses a few fixed images;
/// to validate the features, reproduce a known FID.
///
/// Exit code: 0 if the file is usable, otherwise 1.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  pbtnas features check inception-2015-12-05.pt")]
struct FeaturesCheckArgs {
    /// File of either kind.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl FeaturesArgs {
    pub fn run(self) -> Result<u8> {
        match self.command {
            FeaturesCommand::Check(check) => check.run(),
        }
    }
}

impl FeaturesCheckArgs {
    fn run(self) -> Result<u8> {
        let report =
            check_inception(&self.file).with_context(|| format!("{} cannot be used", self.file.display()))?;
        if self.json {
            println!("{}", serde_json::to_string_pretty(&report)?);
            return Ok(0);
        }
        println!("{}: the Inception network, as {}", self.file.display(), report.kind);
        println!("digest {}, {} bytes", report.digest, report.bytes);
        println!(
            "{} fixed images: features as expected; they differ by {:.0e} between batches",
            report.images, report.moved
        );
        println!("{:.1} ms per image on {} ({} threads)", report.milliseconds, report.device, report.threads);
        Ok(0)
    }
}

#[cfg(feature = "torch")]
use pbtnas_torch::gan::check_inception;

#[cfg(not(feature = "torch"))]
fn check_inception(_: &std::path::Path) -> Result<pbtnas_torch::gan::InceptionReport> {
    anyhow::bail!(
        "this pbtnas was built without libtorch, which the network is run with; build one that has it: scripts/setup && \
         cargo build --release --locked --features torch"
    )
}
