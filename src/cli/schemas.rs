//! JSON Schemas of the output of `--json` and `pbtnas export`.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};

use crate::doctor;
use crate::report::compare::Comparison;
use crate::report::export::{AttemptRow, CurveRow, MemberRow};
use crate::report::{Difference, Lineage, RunStatus, SpaceDocument};
use crate::watch::events::Event;
use pbtnas_core::run::{BestRecord, EvaluationRecord, Problem};
use pbtnas_torch::gan::InceptionReport;

/// A kind of JSON document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Document {
    /// `pbtnas status --json`
    Status,
    /// `pbtnas best --json`
    Best,
    /// `pbtnas evaluate --json`
    Evaluate,
    /// `pbtnas verify --json`
    Verify,
    /// `pbtnas space --json`
    Space,
    /// `pbtnas compare --json`
    Compare,
    /// `pbtnas features check --json`
    Features,
    /// `pbtnas doctor --json`
    Doctor,
    /// `pbtnas lineage --json`
    Lineage,
    /// `pbtnas diff --json`
    Diff,
    /// A line of `pbtnas watch --json`
    Watch,
    /// A line of members.jsonl
    Members,
    /// A line of curves.jsonl
    Curves,
    /// A line of attempts.jsonl
    Attempts,
}

/// The JSON Schema (draft 7) of a document.
pub fn schema(document: Document) -> Schema {
    match document {
        Document::Status => of::<RunStatus>(),
        Document::Best => of::<BestRecord>(),
        Document::Evaluate => of::<EvaluationRecord>(),
        Document::Verify => of::<Vec<Problem>>(),
        Document::Space => of::<SpaceDocument>(),
        Document::Compare => of::<Comparison>(),
        Document::Features => of::<InceptionReport>(),
        Document::Doctor => of::<doctor::DoctorReport>(),
        Document::Lineage => of::<Lineage>(),
        Document::Diff => of::<Difference>(),
        Document::Watch => of::<Event>(),
        Document::Members => of::<MemberRow>(),
        Document::Curves => of::<CurveRow>(),
        Document::Attempts => of::<AttemptRow>(),
    }
}

fn of<T: JsonSchema>() -> Schema {
    SchemaSettings::draft07().for_serialize().into_generator().into_root_schema_for::<T>()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::ValueEnum;

    use super::*;

    #[test]
    fn documented_schemas_are_up_to_date() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/schemas");
        let mut names = vec![];
        for document in Document::value_variants() {
            let name = document.to_possible_value().unwrap().get_name().to_owned();
            let file = folder.join(format!("{name}.json"));
            let there = std::fs::read_to_string(&file).unwrap_or_default();
            let now = serde_json::to_string_pretty(&schema(*document)).unwrap() + "\n";
            assert!(
                there == now,
                "describe the change in CHANGELOG.md and run: pbtnas schema {name} > docs/schemas/{name}.json"
            );
            names.push(format!("{name}.json"));
        }
        let entries = std::fs::read_dir(folder).unwrap();
        let mut there: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        there.sort();
        assert_eq!(there, names);
    }
}
