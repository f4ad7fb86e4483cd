//! stub
use super::*;
use crate::checkpoint::TensorSpec;
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GanConfig { pub data: std::path::PathBuf }
impl GanConfig { pub fn check(&self) -> Result<(), (&'static str, String)> { Ok(()) } }
pub struct GanTask;
impl GanTask { pub fn new(_: GanConfig) -> Result<Self> { anyhow::bail!("stub") } }
impl Task for GanTask {
    fn space(&self) -> &Space { unreachable!() }
    fn tensors(&self, _: &Genotype) -> Result<Vec<TensorSpec>> { unreachable!() }
    fn prepare(&self, _: &Path, _: u64) -> Result<Vec<String>> { unreachable!() }
    fn session<'a>(&'a self, _: Start<'a>, _: Seeds, _: &Path) -> Result<Box<dyn Session + 'a>> { unreachable!() }
}
