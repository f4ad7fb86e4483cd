use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};

use crate::tasks::gan::check_inception;

/// Networks whose features measure the quality of images.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  pbtnas features check inception-2015-12-05.pt")]
pub struct Features {
    #[command(subcommand)]
    command: FeaturesCommand,
}

#[derive(Debug, Subcommand)]
enum FeaturesCommand {
    Check(Check),
}

/// Check a file with the Inception network of FID and Inception Score, and time it.
///
/// It is either inception-2015-12-05.pt (TorchScript, distributed by NVIDIA with the measures of StyleGAN) or
/// what scripts/inception-to-safetensors makes of the pytorch-fid project's weights. The network sees a few
/// fixed images; whether its features mean anything, only a known FID can tell.
///
/// Exit code 0 if it can be used, 1 if not.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  pbtnas features check inception-2015-12-05.pt")]
struct Check {
    /// The file, of either kind, whatever its name.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Features {
    pub fn run(self) -> Result<u8> {
        match self.command {
            FeaturesCommand::Check(check) => check.run(),
        }
    }
}

impl Check {
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
            "{} fixed images: all as it should be; features move by {:.0e} with an image's neighbours",
            report.images, report.moved
        );
        println!(
            "{:.1} ms for an image on {} ({} threads)",
            report.milliseconds, report.device, report.threads
        );
        Ok(0)
    }
}
