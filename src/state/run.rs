//! An existing run: its records, read and checked.

use std::fs;
use std::path::Path;

use super::publish::withdrawn_name;
use super::read::{GONE, read_bytes, sound};
use super::{
    ArchiveRecord, BestRecord, FileRef, Layout, Outcome, PlanRecord, ResultRecord, RunRecord, SoupLayout,
    SoupPlan, StartRecord, StateError, find_json, is_there, read_json, refresh,
};
use crate::checkpoint::{Digest, Reader, digest_file};
use crate::config::Config;
use crate::search::{Algorithm, Genotype, MemberId, Space, Trained};

/// A run that was opened.
#[derive(Debug)]
pub struct Run {
    /// Where everything is.
    pub layout: Layout,
    /// `run.json`.
    pub record: RunRecord,
    /// `config.toml`.
    pub config: Config,
    /// `space.json`.
    pub space: Space,
}

impl Run {
    /// Opens the run in a directory; configuration and space must be those it was made with.
    pub fn open(root: &Path) -> Result<Self, StateError> {
        let layout = Layout::of(root)?;
        let Some(record) = find_json::<RunRecord>(&layout.run())? else {
            return Err(StateError::NoRun(root.to_owned()));
        };
        // Part of the names of jobs, where a comma would begin that of another one.
        let plain = |id: &str| id.len() <= 32 && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if record.run_id.is_empty() || !plain(&record.run_id) {
            let reason = format!("{:?} cannot be the id of a run", record.run_id);
            return Err(StateError::damaged(&layout.run(), reason));
        }
        let path = layout.config();
        let bytes = read_bytes(&path)?;
        if Digest::of(&bytes) != record.config.digest {
            return Err(StateError::damaged(&path, "it was changed after `pbtnas init`"));
        }
        let text = String::from_utf8(bytes).map_err(|error| StateError::damaged(&path, error.to_string()))?;
        let config =
            Config::parse(&path, &text).map_err(|error| StateError::damaged(&path, error.to_string()))?;
        let path = layout.space();
        let bytes = read_bytes(&path)?;
        if Digest::of(&bytes) != record.space.digest {
            return Err(StateError::damaged(&path, "it was changed after `pbtnas init`"));
        }
        let space: Space =
            serde_json::from_slice(&bytes).map_err(|error| StateError::damaged(&path, error.to_string()))?;
        if space != config.space() {
            return Err(StateError::damaged(&path, "it is not the space of the run's configuration"));
        }
        Ok(Self { layout, record, config, space })
    }

    /// The last generation that has a plan, if any has.
    pub fn latest_generation(&self) -> Result<Option<u32>, StateError> {
        let dir = self.layout.generations();
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StateError::io("read", &dir)(error)),
        };
        let mut numbers: Vec<u32> = Vec::new();
        for entry in entries {
            let name = entry.map_err(StateError::io("read", &dir))?.file_name();
            numbers.extend(name.to_str().and_then(|name| name.parse::<u32>().ok()));
        }
        // A step has an epoch at least.
        numbers.retain(|&generation| generation < self.config.search.epochs);
        numbers.sort_unstable();
        for generation in numbers.into_iter().rev() {
            refresh(&self.layout.generation(generation));
            if is_there(&self.layout.plan(generation))? {
                return Ok(Some(generation));
            }
        }
        Ok(None)
    }

    /// The last generation that has a plan, after checking that all that best.json knows are there: weeks of work
    /// that somebody removed, or that a file server hides, must not be begun anew in silence.
    pub fn latest_of_all(&self) -> Result<Option<u32>, StateError> {
        // In this order: another process may publish a generation meanwhile.
        let best = match self.best() {
            Err(error) if error.is_damage() => None,
            found => found?,
        };
        let latest = self.latest_generation()?;
        match best {
            Some(best) if latest.is_none_or(|latest| latest < best.as_of) => {
                // Those that this program put aside since they were damaged are decided again.
                for generation in latest.map_or(0, |latest| latest + 1)..=best.as_of {
                    if !is_there(&withdrawn_name(&self.layout.plan(generation)))? {
                        return Err(StateError::damaged(
                            &self.layout.generation(best.as_of),
                            "it is gone although best.json knows it (if you want it begun anew, delete best.json too)",
                        ));
                    }
                }
                Ok(latest)
            }
            _ => Ok(latest),
        }
    }

    /// What to tell where there is no best member.
    pub fn no_best(&self) -> String {
        let state = self.layout.root().display();
        format!(
            "{state} has no best member: no generation is complete yet, or nothing in it has a fitness (supernets do not \
             count); see `pbtnas status --state {state}`"
        )
    }

    /// A generation's plan.
    pub fn plan(&self, generation: u32) -> Result<PlanRecord, StateError> {
        let path = self.layout.plan(generation);
        let plan: PlanRecord = read_json(&path)?;
        let in_order = plan.members.iter().zip(0..).all(|(member, id)| member.id == MemberId(id));
        if plan.generation != generation || !in_order || plan.members.len() != self.config.search.population {
            return Err(StateError::damaged(&path, "generation or members do not fit the run"));
        }
        let schedule = self.config.search.schedule();
        let end = schedule.ok().and_then(|schedule| schedule.next_boundary(plan.from_epoch));
        // Every generation before this one had an epoch at least.
        if end != Some(plan.to_epoch) || plan.from_epoch < generation {
            return Err(StateError::damaged(&path, "its epochs do not fit the run"));
        }
        for member in &plan.members {
            if let StartRecord::Checkpoint(file) = &member.start {
                let before = generation.checked_sub(1).filter(|_| !member.origin.is_made());
                let place = match before {
                    Some(before) => self.layout.final_checkpoint(before, member.id),
                    None => self.layout.start(generation, member.id),
                };
                self.check_place(&path, file, &place)?;
            }
            let may_be_supernet = self.config.search.algorithm == Algorithm::AdversarialNas;
            if !(may_be_supernet && member.genotype == Genotype::supernet(&self.space)) {
                self.space
                    .check_genotype(&member.genotype)
                    .map_err(|source| StateError::Space { path: path.clone(), source })?;
            }
        }
        Ok(plan)
    }

    /// A member's result, if it is there. For all of a generation [`Run::results`] is quicker.
    pub fn result(&self, generation: u32, member: MemberId) -> Result<Option<ResultRecord>, StateError> {
        if let Some(result) = self.result_file(generation, member)? {
            return Ok(Some(result));
        }
        let archived = self.archive(generation)?.map(|archive| archive.results);
        Ok(archived.and_then(|results| results.into_iter().nth(member.0 as usize)))
    }

    /// A member's own `result.json`, which an archived generation has no more.
    pub fn result_file(&self, generation: u32, member: MemberId) -> Result<Option<ResultRecord>, StateError> {
        let path = self.layout.result(generation, member);
        let Some(result) = find_json::<ResultRecord>(&path)? else { return Ok(None) };
        if (result.generation, result.member) != (generation, member) {
            return Err(StateError::damaged(&path, "it belongs to another member"));
        }
        self.check_result(&path, &result)?;
        Ok(Some(result))
    }

    /// A member's result, if it is there and sound. A damaged one is taken out of use: the member goes on from
    /// its last checkpoint and gets the same again.
    pub fn sound_result(
        &self,
        generation: u32,
        member: MemberId,
    ) -> Result<Option<ResultRecord>, StateError> {
        sound(&self.layout.result(generation, member), self.result(generation, member))
    }

    /// The results of a generation's members, in order of their ids.
    pub fn results(&self, generation: u32) -> Result<Vec<Option<ResultRecord>>, StateError> {
        match self.archive(generation)? {
            Some(archive) => Ok(archive.results.into_iter().map(Some).collect()),
            None => (0..self.config.search.population as u32)
                .map(|member| self.result(generation, MemberId(member)))
                .collect(),
        }
    }

    /// What became of the members of a generation whose files are dropped; none before that.
    pub fn archive(&self, generation: u32) -> Result<Option<ArchiveRecord>, StateError> {
        let path = self.layout.archive(generation);
        let Some(archive) = find_json::<ArchiveRecord>(&path)? else { return Ok(None) };
        let in_order = archive
            .results
            .iter()
            .zip(0..)
            .all(|(result, id)| (result.generation, result.member) == (archive.generation, MemberId(id)));
        let population = self.config.search.population;
        let whole = archive.results.len() == population && archive.attempts.len() == population;
        if archive.generation != generation || !in_order || !whole {
            return Err(StateError::damaged(&path, "generation or members do not fit the run"));
        }
        archive.results.iter().try_for_each(|result| self.check_result(&path, result))?;
        if let Some(preview) = &archive.preview {
            self.check_place(&path, preview, &self.layout.best_preview(generation))?;
        }
        Ok(Some(archive))
    }

    /// A round of the search for a soup.
    pub fn soup_plan(&self, soup: &SoupLayout, round: u32) -> Result<SoupPlan, StateError> {
        let path = soup.plan(round);
        let plan: SoupPlan = read_json(&path)?;
        // The first round has one ingredient, and each later one another.
        if plan.round != round || plan.ingredients.is_empty() || plan.ingredients.len() != round as usize {
            return Err(StateError::damaged(&path, "its ingredients do not fit the round"));
        }
        for one in plan.ingredients.iter().chain(&plan.candidates) {
            let place = self.layout.final_checkpoint(one.generation, one.member);
            self.check_place(&path, &one.checkpoint, &place)?;
        }
        Ok(plan)
    }

    /// A result may name the member's own files only.
    fn check_result(&self, path: &Path, result: &ResultRecord) -> Result<(), StateError> {
        let (generation, member) = (result.generation, result.member);
        match &result.outcome {
            Outcome::Trained { checkpoint, preview, .. } => {
                if let Some(preview) = preview {
                    self.check_place(path, preview, &self.layout.preview(generation, member))?;
                }
                self.check_place(path, checkpoint, &self.layout.final_checkpoint(generation, member))
            }
            Outcome::Failed { .. } => Ok(()),
        }
    }

    /// Checks that a record (`path`) names the file that it should.
    fn check_place(&self, path: &Path, file: &FileRef, place: &Path) -> Result<(), StateError> {
        if self.layout.resolve(&file.path).as_deref() == Some(place) {
            return Ok(());
        }
        let wanted = self.layout.relative(place);
        Err(StateError::damaged(path, format!("it names the file {:?} instead of {wanted}", file.path)))
    }

    /// What the search sees of a generation's members and their results. A supernet that diverged is of no more use than a
    /// member that failed. Fails if a supernet's result does not tell what it came to.
    pub fn trained<'a>(
        &self,
        plan: &PlanRecord,
        results: impl Iterator<Item = &'a ResultRecord>,
    ) -> Result<Vec<Trained>, StateError> {
        let trained = plan.members.iter().zip(results).map(|(member, result)| {
            let (fitness, has_network, derived) = match &result.outcome {
                Outcome::Trained { fitness, epoch, option_weights, .. } if member.genotype.is_supernet() => {
                    let diverged = fitness.is_none() || option_weights.is_empty();
                    let over = *epoch >= self.config.supernet_epochs();
                    let derived = (over && !diverged).then(|| self.config.derive(option_weights));
                    let derived = derived.transpose().map_err(|error| {
                        let path = self.layout.result(plan.generation, member.id);
                        StateError::damaged(&path, error.to_string())
                    })?;
                    (*fitness, !diverged, derived)
                }
                Outcome::Trained { fitness, .. } => (*fitness, true, None),
                Outcome::Failed { .. } => (None, false, None),
            };
            Ok(Trained { id: member.id, genotype: member.genotype.clone(), fitness, has_network, derived })
        });
        trained.collect()
    }

    /// The best member so far, if there is one.
    pub fn best(&self) -> Result<Option<BestRecord>, StateError> {
        let path = self.layout.best();
        let Some(best) = find_json::<BestRecord>(&path)? else { return Ok(None) };
        // What it names is removed when a better member is found: it must not be another file.
        let place = self.layout.final_checkpoint(best.generation, best.member);
        self.check_place(&path, &best.checkpoint, &place)?;
        if best.generation > best.as_of || best.as_of >= self.config.search.epochs {
            return Err(StateError::damaged(&path, "its generations do not fit the run"));
        }
        self.space
            .check_genotype(&best.genotype)
            .map_err(|error| StateError::damaged(&path, error.to_string()))?;
        Ok(Some(best))
    }

    /// The path of a file that a record names.
    pub fn path_of(&self, file: &FileRef) -> Result<std::path::PathBuf, StateError> {
        self.layout.resolve(&file.path).ok_or_else(|| {
            StateError::damaged(self.layout.root(), format!("a record names the file {:?}", file.path))
        })
    }

    /// Checks size and digest of a file that a record names.
    pub fn check_file(&self, file: &FileRef) -> Result<std::path::PathBuf, StateError> {
        let path = self.path_of(file)?;
        let size = match fs::metadata(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(StateError::damaged(&path, GONE));
            }
            found => found.map_err(StateError::io("read", &path))?.len(),
        };
        if size != file.size {
            return Err(StateError::damaged(&path, format!("it has {size} bytes instead of {}", file.size)));
        }
        let found = digest_file(&path)?.digest;
        if found != file.digest {
            return Err(StateError::damaged(
                &path,
                format!("its contents have changed: {found} instead of {}", file.digest),
            ));
        }
        Ok(path)
    }

    /// Opens a checkpoint that a record names, after checking its digest.
    pub fn checkpoint(&self, file: &FileRef) -> Result<Reader, StateError> {
        Ok(Reader::open(&self.check_file(file)?)?)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::advance::advance;
    use crate::create::create;
    use crate::state::{FORMAT, Ingredient, SoupPlan, replace_json};

    const CONFIG: &str = "seed = 7\n[search]\npopulation = 8\nepochs = 6\nepochs_per_step = 2\n\
                          [task]\nkind = \"synthetic\"\n[synthetic]\nlayers = 2\n";

    /// A run with its first plan.
    fn begun(dir: &Path) -> Run {
        let config = Config::parse(Path::new("run.toml"), CONFIG).unwrap();
        let task = config.task().unwrap();
        let run = create(&dir.join("run"), &config, task.as_ref()).unwrap().0;
        advance(&run, task.as_ref(), false).unwrap();
        run
    }

    /// Writes what is in a record, but for one value (a JSON pointer).
    fn rewrite(path: &Path, record: &impl serde::Serialize, pointer: &str, value: Value) {
        let mut changed = serde_json::to_value(record).unwrap();
        *changed.pointer_mut(pointer).unwrap() = value;
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        replace_json(path, &changed).unwrap();
    }

    fn reason<T: std::fmt::Debug>(result: Result<T, StateError>) -> String {
        match result.unwrap_err() {
            StateError::Damaged { reason, .. } => reason,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn a_plan_s_numbers_fit_the_run() {
        let dir = tempfile::tempdir().unwrap();
        let run = begun(dir.path());
        let plan = run.plan(0).unwrap();
        for (pointer, value) in [
            ("/generation", json!(1)),
            ("/from_epoch", json!(3)),
            ("/from_epoch", json!(u32::MAX)),
            ("/to_epoch", json!(0)),
            ("/to_epoch", json!(u32::MAX)),
            ("/members", json!([])),
            ("/members/1/id", json!(0)),
        ] {
            rewrite(&run.layout.plan(0), &plan, pointer, value.clone());
            let reason = reason(run.plan(0));
            assert!(reason.contains("not fit the run"), "{pointer} {value}: {reason}");
        }
        // A folder of this number is no generation, whatever is in it.
        rewrite(&run.layout.plan(0), &plan, "/generation", json!(0));
        rewrite(&run.layout.plan(u32::MAX), &plan, "/generation", json!(u32::MAX));
        assert_eq!(run.latest_generation().unwrap(), Some(0));
    }

    #[test]
    fn records_name_the_file_that_belongs_to_them_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let run = begun(dir.path());
        let file =
            |path: &Path| FileRef { path: run.layout.relative(path), size: 1, digest: Digest::of(b"") };
        let member = MemberId(3);
        let own = file(&run.layout.final_checkpoint(0, member));
        let others = [
            "../../victim",
            "/etc/passwd",
            "run.json",
            "config.toml",
            "generations/0000/members/04/final.safetensors",
            "generations/0000/members/03/../03/final.safetensors",
        ];

        let mut result = ResultRecord {
            format: FORMAT,
            generation: 0,
            member,
            outcome: Outcome::Trained {
                fitness: Some(1.0),
                metrics: Default::default(),
                curve: Vec::new(),
                option_weights: Default::default(),
                preview: None,
                epoch: 2,
                checkpoint: own.clone(),
                attempt: 1,
                host: "here".into(),
                started: Default::default(),
                finished: Default::default(),
            },
        };
        let best = BestRecord {
            format: FORMAT,
            as_of: 0,
            generation: 0,
            member,
            fitness: 1.0,
            metrics: Default::default(),
            genotype: run.plan(0).unwrap().members[3].genotype.clone(),
            checkpoint: own.clone(),
        };
        let ingredient = Ingredient { generation: 0, member, fitness: 1.0, checkpoint: own.clone() };
        let soup = SoupPlan {
            format: FORMAT,
            round: 1,
            ingredients: vec![ingredient.clone()],
            fitness: 1.0,
            candidates: vec![ingredient],
        };
        let mut plan = run.plan(0).unwrap();
        plan.members[3].start = StartRecord::Checkpoint(own.clone());

        let paths = [
            run.layout.result(0, member),
            run.layout.best(),
            run.layout.soup(None).plan(1),
            run.layout.plan(0),
        ];
        rewrite(&paths[0], &result, "/format", json!(FORMAT));
        rewrite(&paths[1], &best, "/format", json!(FORMAT));
        rewrite(&paths[2], &soup, "/format", json!(FORMAT));
        assert_eq!(run.result(0, member).unwrap().as_ref(), Some(&result));
        assert_eq!(run.best().unwrap().as_ref(), Some(&best));
        assert_eq!(run.soup_plan(&run.layout.soup(None), 1).unwrap(), soup);
        for other in others {
            rewrite(&paths[0], &result, "/outcome/checkpoint/path", json!(other));
            rewrite(&paths[1], &best, "/checkpoint/path", json!(other));
            rewrite(&paths[2], &soup, "/candidates/0/checkpoint/path", json!(other));
            rewrite(&paths[3], &plan, "/members/3/start/checkpoint/path", json!(other));
            for reason in [
                reason(run.result(0, member)),
                reason(run.best()),
                reason(run.soup_plan(&run.layout.soup(None), 1)),
                reason(run.plan(0)),
            ] {
                assert!(reason.contains("it names the file"), "{other}: {reason}");
            }
        }
        // Not in an archive either.
        result.outcome = Outcome::Failed { reason: "no".into(), attempts: 3, left: None };
        let mut results: Vec<ResultRecord> =
            (0..8).map(|id| ResultRecord { member: MemberId(id), ..result.clone() }).collect();
        if let Outcome::Failed { .. } = results[3].outcome {
            let checkpoint = FileRef { path: "run.json".into(), ..own };
            results[3].outcome = Outcome::Trained {
                fitness: None,
                metrics: Default::default(),
                curve: Vec::new(),
                option_weights: Default::default(),
                preview: None,
                epoch: 2,
                checkpoint,
                attempt: 1,
                host: "here".into(),
                started: Default::default(),
                finished: Default::default(),
            };
        }
        let attempts = vec![vec![]; 8];
        let archive = ArchiveRecord { format: FORMAT, generation: 0, results, preview: None, attempts };
        rewrite(&run.layout.archive(0), &archive, "/format", json!(FORMAT));
        assert!(reason(run.results(0)).contains("it names the file \"run.json\""));
    }

    #[test]
    fn the_best_and_a_round_of_the_soup_fit_the_run() {
        let dir = tempfile::tempdir().unwrap();
        let run = begun(dir.path());
        let own = run.layout.relative(&run.layout.final_checkpoint(1, MemberId(0)));
        let checkpoint = FileRef { path: own, size: 1, digest: Digest::of(b"") };
        let best = BestRecord {
            format: FORMAT,
            as_of: 1,
            generation: 1,
            member: MemberId(0),
            fitness: 1.0,
            metrics: Default::default(),
            genotype: run.plan(0).unwrap().members[0].genotype.clone(),
            checkpoint: checkpoint.clone(),
        };
        for (pointer, value) in
            [("/as_of", json!(0)), ("/as_of", json!(6)), ("/genotype", json!({ "layer0": "o99" }))]
        {
            rewrite(&run.layout.best(), &best, pointer, value);
            reason(run.best());
        }
        let ingredient = Ingredient { generation: 1, member: MemberId(0), fitness: 1.0, checkpoint };
        let ingredients = vec![ingredient];
        let soup = SoupPlan { format: FORMAT, round: 1, ingredients, fitness: 1.0, candidates: vec![] };
        for (pointer, value) in
            [("/round", json!(2)), ("/round", json!(u32::MAX)), ("/ingredients", json!([]))]
        {
            rewrite(&run.layout.soup(None).plan(1), &soup, pointer, value);
            assert!(reason(run.soup_plan(&run.layout.soup(None), 1)).contains("do not fit the round"));
        }
    }

    #[test]
    fn a_run_s_id_space_and_size_are_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        let run = begun(dir.path());
        let (root, path) = (run.layout.root(), run.layout.run());
        for id in ["", "a,somebody-s-job", "a b", "../a", "é", &"a".repeat(33)] {
            rewrite(&path, &run.record, "/run_id", json!(id));
            assert!(reason(Run::open(root)).contains("cannot be the id of a run"));
        }
        // Nobody can choose the numbers that the search divides by.
        let space = r#"{"variables":[{"name":"layer0","options":[],"owns":[]}]}"#;
        std::fs::write(run.layout.space(), space).unwrap();
        rewrite(&path, &run.record, "/space/digest", json!(Digest::of(space.as_bytes())));
        assert!(reason(Run::open(root)).contains("not the space of the run's configuration"));
        // Holes: a terabyte on no disk.
        std::fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
        assert!(reason(Run::open(root)).contains("bytes"));
    }
}
