//! `[task]`, and the sections of the tasks.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use toml::de::{DeTable, ValueDeserializer};

use super::BadValue;
use crate::task::{TaskConfig, kinds};

/// The chosen task and its settings.
#[derive(Debug, Clone)]
pub struct TaskSection {
    /// `[task] kind`, and the name of the section with its settings.
    pub kind: &'static str,
    pub settings: Arc<dyn TaskConfig>,
}

impl PartialEq for TaskSection {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind && self.settings.to_table().ok() == other.settings.to_table().ok()
    }
}

impl TaskSection {
    /// The settings, if they are those of this kind of task.
    pub fn settings<C: TaskConfig>(&self) -> Option<&C> {
        (&*self.settings as &dyn std::any::Any).downcast_ref()
    }
}

/// The section `[task]`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TaskName {
    pub kind: String,
}

/// Takes the sections of all tasks out of a configuration.
pub(super) fn read_all(document: &mut DeTable) -> Result<Vec<TaskSection>, toml::de::Error> {
    let mut sections = Vec::new();
    for kind in kinds() {
        let section = document.remove(kind.name()).map(ValueDeserializer::from);
        sections.extend(kind.read(section)?.map(|settings| TaskSection { kind: kind.name(), settings }));
    }
    Ok(sections)
}

/// The error for a `kind` that is unknown, or whose required section is missing.
pub(super) fn absent(kind: &str) -> BadValue {
    let known: Vec<&str> = kinds().map(|kind| kind.name()).collect();
    let message = match known.contains(&kind) {
        true => format!("{kind:?} needs a section [{kind}]: see docs/{kind}-task.md"),
        false => super::error::nearest("value", kind, &known),
    };
    BadValue::new("task.kind", message)
}
