//! Retention of collected files in whole searches.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use rand::Rng;

use super::Run;
use crate::advance::{NextAction, advance};
use crate::attempt::{Claim, Identity, Trainer};
use crate::config::Config;
use crate::create::create;
use crate::signal::StopSignal;
use crate::synthetic::{SyntheticConfig, SyntheticTask};
use crate::task::{Evaluation, Measure, MemberContext, Session, Start, Task};
use pbtnas_core::checkpoint::{Entry, InitialTensors, Meta, Reader, TensorSpec};
use pbtnas_core::durable_fs::{Digest, digest_file};
use pbtnas_core::run::{Layout, Outcome, collect, digest_in, verify};
use pbtnas_core::search::{Genotype, MemberId, Origin, Space, rng};

const GENERATIONS: u32 = 6;
const MEMBERS: u32 = 4;
/// Files that a member collects per generation.
const FILES: usize = 4;

/// The synthetic task with members that collect a file in every step and need the last `capacity` files.
pub(crate) struct Collecting {
    pub inner: SyntheticTask,
    pub capacity: usize,
    pub from_donor: bool,
    /// The fitness decreases during training, so that the best member remains one of the first generation.
    pub falling: bool,
}

impl Task for Collecting {
    fn space(&self) -> &Space {
        self.inner.space()
    }

    fn fresh(&self, genotype: &Genotype, place: &MemberContext) -> Result<InitialTensors> {
        self.inner.fresh(genotype, place)
    }

    fn tensors_in(&self, checkpoint: &Reader) -> Result<Vec<TensorSpec>> {
        self.inner.tensors_in(checkpoint)
    }

    fn final_samples(&self) -> usize {
        self.inner.final_samples()
    }

    fn prepare(&self, dir: &Path) -> Result<Vec<String>> {
        self.inner.prepare(dir)
    }

    fn inherit(&self, base: &Meta, donor: Option<&Meta>) -> Vec<String> {
        donor.filter(|_| self.from_donor).unwrap_or(base).files.clone()
    }

    fn session<'a>(&'a self, start: Start<'a>, place: MemberContext) -> Result<Box<dyn Session + 'a>> {
        let files = match start {
            Start::Checkpoint(reader) => reader.meta().files.clone(),
            Start::Fresh(..) => Vec::new(),
        };
        for name in &files {
            let path = place.collected.join(name);
            let digest = digest_file(&path)?.digest;
            ensure!(digest.starts_with(digest_in(&path).unwrap()), "{name} is damaged");
        }
        let inner = self.inner.session(start, place.clone())?;
        Ok(Box::new(CollectingSession { inner, place, files, task: self }))
    }
}

struct CollectingSession<'a> {
    inner: Box<dyn Session + 'a>,
    place: MemberContext,
    files: Vec<String>,
    task: &'a Collecting,
}

impl Session for CollectingSession<'_> {
    fn position(&self) -> (u32, u64) {
        self.inner.position()
    }

    fn steps_per_epoch(&self) -> u64 {
        self.inner.steps_per_epoch()
    }

    fn advance(&mut self, target: u32) -> Result<()> {
        let (epoch, step) = self.position();
        self.inner.advance(target)?;
        let bytes: [u8; 16] = rng(&self.place.seeds.at(&format!("collect {epoch} {step}"))).random();
        let name = format!("{}/{epoch:03}-{step}-{}.bin", self.place.own(), Digest::of(&bytes).short());
        let path = self.place.collected.join(&name);
        fs::create_dir_all(path.parent().unwrap())?;
        fs::write(path, bytes)?;
        self.files.push(name);
        self.files.drain(..self.files.len().saturating_sub(self.task.capacity));
        Ok(())
    }

    fn describe(&self) -> Result<(Meta, Vec<Entry>)> {
        let (meta, entries) = self.inner.describe()?;
        Ok((Meta { files: self.files.clone(), ..meta }, entries))
    }

    fn tensor(&self, entry: &Entry) -> Result<Vec<u8>> {
        self.inner.tensor(entry)
    }

    fn evaluate(&mut self, measure: Measure) -> Result<Evaluation> {
        let evaluation = self.inner.evaluate(measure)?;
        let fitness = if self.task.falling { -f64::from(self.position().0) } else { evaluation.fitness };
        Ok(Evaluation { fitness, ..evaluation })
    }

    fn export(&mut self, dir: &Path) -> Result<Vec<String>> {
        self.inner.export(dir)
    }
}

/// A search in a temporary folder.
struct TestSearch {
    _dir: tempfile::TempDir,
    run: Run,
    task: Collecting,
}

impl TestSearch {
    fn new(keep: &str, capacity: usize) -> Self {
        Self::with_snapshots(keep, capacity, 0)
    }

    fn with_snapshots(keep: &str, capacity: usize, every: u32) -> Self {
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let config = format!(
            "seed = 11\n[search]\npopulation = {MEMBERS}\ntau = 0.5\nepochs = {}\nepochs_per_generation = 2\n[task]\n\
             kind = \"synthetic\"\n[synthetic]\nsteps_per_epoch = {}\nlayers = 3\n[training]\n\
             snapshot_seconds = {every}\n[storage]\nkeep = {keep}\nretry_seconds = 0\n",
            2 * GENERATIONS,
            FILES / 2
        );
        let config = Config::parse(Path::new("run.toml"), &config).unwrap();
        let task = Collecting {
            inner: SyntheticTask::new(config.task.settings::<SyntheticConfig>().unwrap().clone()),
            capacity,
            from_donor: false,
            falling: false,
        };
        let run = create(&dir.path().join("run"), &config, &task).unwrap().0;
        Self { _dir: dir, run, task }
    }

    /// Trains all members of the current generation.
    fn train(&self) -> NextAction {
        let next = advance(&self.run, &self.task, true).unwrap();
        if let NextAction::Train { generation, members } = &next {
            let plan = self.run.plan(*generation).unwrap();
            let (run, task) = (&self.run, &self.task);
            let identity = Identity { job: None, host: "test".into() };
            let stop = StopSignal::default();
            let trainer = Trainer { run, task, identity, stop, claim: Claim::default() };
            for member in members {
                trainer.train(&plan, *member).unwrap();
            }
        }
        next
    }

    /// Advances to the next generation or to the end, applies retention, and returns the current generation.
    fn step(&self) -> u32 {
        match advance(&self.run, &self.task, true).unwrap() {
            NextAction::Train { generation, .. } | NextAction::Finished { generation } => generation,
        }
    }

    fn run_round(&self, mut look: impl FnMut(u32)) {
        while let NextAction::Train { .. } = self.train() {
            look(self.step());
        }
    }

    /// The collected files of generations in this range.
    fn there(&self, generations: std::ops::Range<u32>) -> BTreeSet<String> {
        let root = self.run.layout.collected();
        let folders = generations.map(|generation| root.join(format!("{generation:04}")));
        let entries = folders.flat_map(walkdir::WalkDir::new).flatten();
        let files = entries.filter(|entry| entry.file_type().is_file());
        let name = |path: &Path| path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        files.map(|entry| name(entry.path())).collect()
    }

    /// The collected files of generations before this one that a checkpoint lists.
    fn named(&self, current: u32) -> BTreeSet<String> {
        let entries = walkdir::WalkDir::new(self.run.layout.generations()).into_iter().flatten();
        let paths = entries.map(walkdir::DirEntry::into_path);
        let checkpoints = paths.filter(|path| path.extension().is_some_and(|end| end == "safetensors"));
        let mut names: BTreeSet<String> =
            checkpoints.flat_map(|path| Reader::open(&path).unwrap().meta().files.clone()).collect();
        names.retain(|name| name[..4].parse::<u32>().unwrap() < current);
        names
    }

    fn final_of(&self, generation: u32, member: MemberId) -> PathBuf {
        self.run.layout.final_checkpoint(generation, member)
    }

    /// The digests of the final networks.
    fn outcome(&self) -> Vec<Digest> {
        let results = self.run.results(GENERATIONS - 1).unwrap();
        let digest = |outcome| match outcome {
            Outcome::Trained { checkpoint, .. } => checkpoint.digest,
            Outcome::Failed { reason, .. } => panic!("{reason}"),
        };
        results.into_iter().map(|result| digest(result.unwrap().outcome)).collect()
    }

    fn faults(&self) -> Vec<String> {
        verify(&self.run)
            .unwrap()
            .iter()
            .map(|problem| {
                format!(
                    "{} {} {}",
                    problem.path.display(),
                    problem.what,
                    problem.hint.clone().unwrap_or_default()
                )
            })
            .collect()
    }
}

fn truncate(path: &Path) {
    fs::write(path, &fs::read(path).unwrap()[..100]).unwrap();
}

#[test]
fn only_files_that_a_checkpoint_lists_are_kept() {
    for keep in ["1", "2", "100", "\"best\""] {
        // A member needs three of its generation's four files, or all files of all generations.
        for capacity in [3, 1000] {
            let search = TestSearch::new(keep, capacity);
            let mut most = 0;
            search.run_round(|current| {
                let there = search.there(0..current);
                assert_eq!(there, search.named(current), "keep = {keep}, {capacity}, generation {current}");
                let folders = fs::read_dir(search.run.layout.collected()).unwrap().count();
                assert!(folders <= there.len() + 1, "empty folders are removed");
                most = most.max(there.len());
                assert_eq!(search.faults(), Vec::<String>::new());
            });
            let own = search.there(GENERATIONS - 1..GENERATIONS);
            assert_eq!(own.len(), MEMBERS as usize * FILES, "files of the last generation are kept");
            // Survivors still list files of their ancestors in generation 0.
            let old = search.there(0..1).len();
            assert!(old > 0 || capacity == 3, "keep = {keep}");
            println!(
                "keep = {keep}, capacity {capacity}: {old} files of generation 0 at the end, at most {most}"
            );
        }
    }
}

#[test]
fn files_of_the_best_member_are_kept_at_any_age() {
    let mut search = TestSearch::new("1", 3);
    search.task.falling = true;
    search.run_round(|current| assert_eq!(search.there(0..current), search.named(current)));
    let best = search.run.best().unwrap().unwrap();
    assert_eq!(best.generation, 0);
    let files = Reader::open(&search.final_of(0, best.member)).unwrap().meta().files.clone();
    assert_eq!(search.there(0..1), files.into_iter().collect());
    assert_eq!(search.faults(), Vec::<String>::new());
}

#[test]
fn keep_all_keeps_all_files() {
    let search = TestSearch::new("\"all\"", 3);
    search.run_round(|current| {
        assert_eq!(search.there(0..current).len(), current.min(GENERATIONS - 1) as usize * 4 * FILES);
    });
}

#[test]
fn children_inherit_files_as_the_task_decides() {
    for from_donor in [false, true] {
        let mut search = TestSearch::new("2", 5);
        search.task.from_donor = from_donor;
        let mut mixes = 0;
        search.run_round(|current| {
            for member in search.run.plan(current).unwrap().members {
                let Origin::Mix { base, donor, .. } = member.origin else { continue };
                let files = |path: &Path| Reader::open(path).unwrap().meta().files.clone();
                let parent = if from_donor { donor } else { base };
                let start = files(&search.run.layout.start(current, member.id));
                assert_eq!(start, files(&search.final_of(current - 1, parent)));
                mixes += 1;
            }
        });
        assert!(mixes > 2);
    }
}

#[test]
fn nothing_is_removed_while_a_checkpoint_cannot_be_read() {
    let search = TestSearch::new("2", 3);
    for _ in 0..2 {
        search.train();
        search.step();
    }
    search.train();
    let member = MemberId(0);
    for path in [
        search.final_of(1, member),
        search.run.layout.progress(1, member).read_dir().unwrap().next().unwrap().unwrap().path(),
    ] {
        assert!(path.exists());
        let good = fs::read(&path).unwrap();
        // The final checkpoint and the snapshot are hard links to one file: separate them.
        fs::remove_file(&path).unwrap();
        fs::write(&path, &good).unwrap();
        let before = search.there(0..3);
        truncate(&path);
        let current = search.step();
        assert_eq!(current, 3);
        assert_eq!(search.there(0..3), before, "{}", path.display());
        fs::write(&path, good).unwrap();
        collect(&search.run, current, search.run.best().unwrap().as_ref(), None, false).unwrap();
        assert_eq!(search.there(0..3), search.named(3));
        assert!(search.there(0..3).len() < before.len());
        // Restores the files for the second path.
        let layout = Layout::new(search.run.layout.root());
        fs::remove_dir_all(layout.generation(3)).unwrap();
        for path in before.iter().map(|name| layout.collected().join(name)).filter(|path| !path.exists()) {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "again").unwrap();
        }
    }
}

#[test]
fn other_files_are_not_removed() {
    let search = TestSearch::new("1", 2);
    let root = search.run.layout.collected();
    let others =
        ["run/x.bin", "node-a/0000/00/y.bin", "notes.txt", "1/00/z.bin", "00001/00/z.bin", "0009/z.bin"];
    for other in others {
        fs::create_dir_all(root.join(other).parent().unwrap()).unwrap();
        fs::write(root.join(other), "theirs").unwrap();
    }
    // A link to another folder.
    let elsewhere = search.run.layout.root().with_file_name("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, root.join("0000")).unwrap();
    search.run_round(|_| {});
    for other in others {
        assert!(root.join(other).exists(), "{other}");
    }
    assert_eq!(elsewhere.read_dir().unwrap().count(), MEMBERS as usize);
    // The next step removes leftovers of an interrupted one, restored files, and empty folders.
    let left = root.join("0002/03/deep/left.bin");
    fs::create_dir_all(left.parent().unwrap()).unwrap();
    fs::create_dir_all(root.join("0001/02")).unwrap();
    fs::write(&left, "left").unwrap();
    search.step();
    assert!(!root.join("0001/02").exists() && !root.join("0002/03/deep").exists());
    assert_eq!(search.there(1..GENERATIONS - 1), {
        let mut named = search.named(GENERATIONS - 1);
        named.retain(|name| !name.starts_with("0000"));
        named
    });
}

/// In generation 3, a checkpoint is missing, and so are all files to rebuild it from except its plan: only the previous
/// generation is kept.
#[test]
fn lost_checkpoints_are_rebuilt_with_their_collected_files() {
    let begun = |every| {
        let search = TestSearch::with_snapshots("1", 6, every);
        (0..3).for_each(|_| {
            search.train();
            search.step();
        });
        search
    };
    let calm = begun(0);
    let plan = |generation| calm.run.plan(generation).unwrap().members;
    let (before, members) = (plan(2), plan(3));
    calm.run_round(|_| {});
    let mut began_with = BTreeSet::new();
    for (member, every) in members.iter().flat_map(|member| [(member, 0), (member, 600)]) {
        let search = begun(every);
        // The survivor's checkpoint, or that of a child's base parent and the child's first checkpoint.
        let lost = match member.origin {
            Origin::Mix { base, .. } => base,
            _ => member.id,
        };
        fs::remove_file(search.final_of(2, lost)).unwrap();
        fs::remove_dir_all(search.run.layout.progress(2, lost)).unwrap();
        let _ = fs::remove_file(search.run.layout.start(3, member.id));
        search.run_round(|_| {});
        assert_eq!(search.outcome(), calm.outcome(), "{member:?}");
        assert_eq!(search.faults(), Vec::<String>::new());
        began_with.insert(before[lost.0 as usize].origin.is_made());
    }
    // Both cases occurred: its start exists, or was removed with the previous generation, which is then retrained.
    assert_eq!(began_with.len(), 2);
}

#[test]
fn verify_reports_missing_and_changed_files() {
    let search = TestSearch::new("2", 3);
    search.run_round(|_| {});
    assert_eq!(search.faults(), Vec::<String>::new());
    let name = Reader::open(&search.final_of(GENERATIONS - 1, MemberId(1))).unwrap().meta().files[1].clone();
    let path = search.run.layout.collected().join(&name);
    let good = fs::read(&path).unwrap();
    fs::write(&path, [&good[1..], &[0]].concat()).unwrap();
    let faults = search.faults();
    assert!(faults.len() == 1 && faults[0].contains(&name), "{faults:?}");
    assert!(faults[0].contains("contents have changed") && faults[0].contains("or continue"), "{faults:?}");
    fs::remove_file(&path).unwrap();
    let faults = search.faults();
    assert!(
        faults.len() == 1 && faults[0].contains(&name) && faults[0].contains("the file is missing"),
        "{faults:?}"
    );
    fs::write(&path, good).unwrap();
    assert_eq!(search.faults(), Vec::<String>::new());
}

#[test]
fn names_contain_half_of_the_digest() {
    let digits = Digest::of(b"x").short().to_owned();
    assert_eq!(digest_in(Path::new(&format!("0001/02/7-{digits}.bin"))), Some(digits.as_str()));
    for other in [
        format!("0001/02/7-{digits}"),
        format!("7-{}.bin", digits.to_uppercase()),
        "buffer.bin".into(),
        format!("{digits}.bin"),
    ] {
        assert_eq!(digest_in(Path::new(&other)), None, "{other}");
    }
}
