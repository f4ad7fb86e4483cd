use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};

/// Create a folder with a training script and a configuration for `pbtnas run`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  pbtnas new my-search\n  pbtnas new my-search --template numpy\n\n\
                  Then:\n  pbtnas run --config my-search/search.toml --state my-search/runs/first")]
pub struct NewArgs {
    /// Folder; created if missing.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Library that the script uses.
    #[arg(long, value_enum, default_value_t = Template::Pytorch)]
    template: Template,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Template {
    /// A small image classifier in PyTorch.
    Pytorch,
    /// A small classifier in NumPy.
    Numpy,
}

impl Template {
    /// Returns the names and contents of the files.
    fn files(self) -> [(&'static str, &'static str); 2] {
        match self {
            Self::Pytorch => [
                ("train.py", include_str!("../../examples/template-pytorch/train.py")),
                ("search.toml", include_str!("../../examples/template-pytorch/search.toml")),
            ],
            Self::Numpy => [
                ("train.py", include_str!("../../examples/spirals-numpy/train.py")),
                ("search.toml", include_str!("../../examples/spirals-numpy/search.toml")),
            ],
        }
    }
}

impl NewArgs {
    pub fn run(self) -> Result<u8> {
        let files = self.template.files().map(|(name, text)| (self.dir.join(name), text));
        if let Some((path, _)) = files.iter().find(|(path, _)| path.exists()) {
            bail!("{} already exists and was not changed; name another folder", path.display());
        }
        fs::create_dir_all(&self.dir).with_context(|| format!("failed to create {}", self.dir.display()))?;
        for (path, text) in &files {
            write_new(path, text).with_context(|| format!("failed to write {}", path.display()))?;
            println!("{}", path.display());
        }
        let dir = self.dir.display();
        println!("\ncheck:   pbtnas check --config {dir}/search.toml");
        println!("search:  pbtnas run --config {dir}/search.toml --state {dir}/runs/first");
        Ok(0)
    }
}

/// Fails if the file exists.
fn write_new(path: &Path, text: &str) -> std::io::Result<()> {
    fs::File::create_new(path)?.write_all(text.as_bytes())
}
