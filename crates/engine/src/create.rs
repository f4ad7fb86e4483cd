//! Creates a run: the resolved configuration, the search space and the shared files of its members.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use chrono::Utc;

use crate::config::Config;
use crate::run::Run;
use crate::task::Task;
use pbtnas_core::durable_fs::{Digest, FileDigest, digest_file};
use pbtnas_core::durable_fs::{Published, ensure_dir, exists, link, publish_bytes, temporary_name};
use pbtnas_core::run::{
    FORMAT, FileRef, Layout, RunRecord, StateError, abandoned_dirs, drop_folder, publish_json,
};

/// Creates a run in a directory, or opens the run with the same configuration that exists there.
///
/// `run.json` is published last, so that an interrupted init leaves no run and can be repeated.
pub fn create(root: &Path, config: &Config, task: &dyn Task) -> Result<(Run, Published)> {
    let layout = Layout::of(root)?;
    if exists(&layout.run())? {
        let run = Run::open(layout.root())?;
        if run.config != *config {
            return Err(StateError::OtherConfig { path: layout.root().to_owned() }.into());
        }
        return Ok((run, Published::Existed));
    }
    task.space().check().context("invalid search space")?;
    task.check()?;
    for dir in [layout.root(), &layout.shared(), &layout.generations(), &layout.logs()] {
        ensure_dir(dir)?;
    }
    let text = toml::to_string_pretty(config).context("failed to write the configuration")?;
    let config_file = publish_same(&layout, &layout.config(), text.as_bytes())?;
    let space = serde_json::to_vec_pretty(task.space()).context("failed to write the search space")?;
    let space_file = publish_same(&layout, &layout.space(), &space)?;
    let record = RunRecord {
        format: FORMAT,
        run_id: format!("{:08x}", rand::random::<u32>()),
        seed: config.seed,
        program: env!("CARGO_PKG_VERSION").into(),
        created: Utc::now(),
        config: config_file,
        space: space_file,
        shared: prepare(&layout, task)?,
    };
    let published = publish_json(&layout.run(), &record)?;
    Ok((Run::open(layout.root())?, published))
}

/// Publishes bytes; an existing file must have the same contents.
fn publish_same(layout: &Layout, path: &Path, bytes: &[u8]) -> Result<FileRef, StateError> {
    if publish_bytes(path, bytes)? == Published::Existed
        && fs::read(path).map_err(StateError::io("read", path))? != bytes
    {
        return Err(StateError::OtherBeginning { path: layout.root().to_owned() });
    }
    Ok(layout.file_ref(path, FileDigest { size: bytes.len() as u64, digest: Digest::of(bytes) }))
}

/// Lets the task write its shared files to a temporary directory, then publishes them.
fn prepare(layout: &Layout, task: &dyn Task) -> Result<Vec<FileRef>> {
    abandoned_dirs(layout.root()).iter().for_each(|folder| drop_folder(folder));
    let aside = layout.root().join(temporary_name("prepare"));
    ensure_dir(&aside)?;
    let made = task.prepare(&aside).and_then(|names| {
        names
            .iter()
            .map(|name| {
                let (from, to) = (aside.join(name), layout.shared().join(name));
                fs::File::open(&from)
                    .and_then(|file| file.sync_all())
                    .map_err(StateError::io("sync", &from))?;
                link(&from, &to)?;
                Ok(layout.file_ref(&to, digest_file(&to)?))
            })
            .collect()
    });
    let _ = fs::remove_dir_all(&aside);
    made
}
