//! Export for other programs: CSV and JSON Lines tables, TensorBoard event files.

mod events;
mod rows;
mod tensorboard;

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;

use super::history::History;
use pbtnas_engine::run::Run;
pub use rows::{AttemptRow, CurveRow, MemberRow};

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ExportFormat {
    /// TensorBoard event files, one directory per member.
    Tensorboard,
    /// CSV tables of members, curves and attempts.
    Csv,
    /// The same tables as JSON Lines.
    Jsonl,
}

/// Writes the chosen formats to a directory, which is created if needed; returns what was written. When repeated, event
/// files are appended to and tables replaced.
pub fn export(run: &Run, history: &History, folder: &Path, formats: &[ExportFormat]) -> Result<Vec<PathBuf>> {
    fs::create_dir_all(folder).with_context(|| format!("failed to create {}", folder.display()))?;
    let mut written = Vec::new();
    for format in formats {
        match format {
            ExportFormat::Tensorboard => {
                written.push(tensorboard::write(run, history, &folder.join("tensorboard"))?)
            }
            ExportFormat::Csv => {
                written.push(wide(run, history, &folder.join("members.csv"))?);
                written.push(flat(&CurveRow::COLUMNS, rows::curves(history), &folder.join("curves.csv"))?);
                written.push(flat(
                    &AttemptRow::COLUMNS,
                    rows::attempts(history),
                    &folder.join("attempts.csv"),
                )?);
            }
            ExportFormat::Jsonl => {
                written.push(lines(rows::members(history), &folder.join("members.jsonl"))?);
                written.push(lines(rows::curves(history), &folder.join("curves.jsonl"))?);
                written.push(lines(rows::attempts(history), &folder.join("attempts.jsonl"))?);
            }
        }
    }
    Ok(written)
}

/// Writes members as CSV, with one column per metric and per variable.
fn wide(run: &Run, history: &History, path: &Path) -> Result<PathBuf> {
    let rows: Vec<MemberRow> = rows::members(history).collect();
    let metrics = rows::metric_names(&rows);
    let variables: Vec<&str> = run.space.variables.iter().map(|variable| variable.name.as_str()).collect();
    table(path, |table| {
        let metric_columns = metrics.iter().map(|name| format!("metric:{name}"));
        let variable_columns = variables.iter().map(|name| format!("variable:{name}"));
        let head = MemberRow::COLUMNS.into_iter().map(str::to_owned);
        table.write_record(head.chain(metric_columns).chain(variable_columns))?;
        for row in &rows {
            let number = |name: &String| row.metrics.get(name).map(f64::to_string).unwrap_or_default();
            let value = |name: &&str| row.genotype.get(name).unwrap_or_default().to_owned();
            let cells = row.cells().into_iter();
            table.write_record(cells.chain(metrics.iter().map(number)).chain(variables.iter().map(value)))?;
        }
        Ok(())
    })
}

/// Writes rows without nested values as CSV.
fn flat(columns: &[&str], rows: impl Iterator<Item = impl Serialize>, path: &Path) -> Result<PathBuf> {
    table(path, |table| {
        table.write_record(columns)?;
        rows.into_iter().try_for_each(|row| table.serialize(row))
    })
}

type Table<'a> = csv::Writer<&'a mut BufWriter<File>>;

fn table(path: &Path, fill: impl FnOnce(&mut Table) -> csv::Result<()>) -> Result<PathBuf> {
    write(path, |file| {
        // Written by hand, so that empty tables have a header.
        let mut table = csv::WriterBuilder::new().has_headers(false).from_writer(file);
        fill(&mut table)?;
        Ok(table.flush()?)
    })
}

fn lines(rows: impl Iterator<Item = impl Serialize>, path: &Path) -> Result<PathBuf> {
    write(path, |file| {
        for row in rows {
            serde_json::to_writer(&mut *file, &row)?;
            file.write_all(b"\n")?;
        }
        Ok(())
    })
}

/// Replaces a file atomically. The temporary name must not contain `tfevents`: TensorBoard would read the file.
fn write(path: &Path, fill: impl FnOnce(&mut BufWriter<File>) -> Result<()>) -> Result<PathBuf> {
    let hidden = path.with_file_name(format!(".writing-{}", std::process::id()));
    let write = || {
        let mut file = BufWriter::new(File::create(&hidden)?);
        fill(&mut file)?;
        file.flush()?;
        Ok(fs::rename(&hidden, path)?)
    };
    let written: Result<()> = write();
    if written.is_err() {
        let _ = fs::remove_file(&hidden);
    }
    written.with_context(|| format!("failed to write {}", path.display()))?;
    Ok(path.to_owned())
}
