//! Significance tests between variants.

use anyhow::{Context, Result};
use serde::Serialize;

use super::{Conventions, FITNESS, RunValues, Setting, Variant};
use crate::report::statistics::{Sides, Wilcoxon, smallest_p, wilcoxon};
use pbtnas_core::search::Algorithm;
use pbtnas_engine::config::SearchConfig;

/// Family-wise error rate.
const LEVEL: f64 = 0.05;

/// The comparisons of the paper: random search and mutation, each in GAN training and in reinforcement learning.
const PAPER_TESTS: usize = 4;

/// The reference against each other variant.
#[derive(Debug, Clone, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Tests {
    /// Label of the reference variant.
    pub reference: String,
    /// Always `fitness`.
    pub metric: &'static str,
    pub sides: Sides,
    /// The number of tests that the threshold accounts for.
    pub corrected_for: usize,
    /// Significance threshold of p: 0.05 divided by `corrected_for` (Bonferroni).
    pub threshold: f64,
    /// Smallest number of nonzero differences with which p can be significant.
    pub pairs_needed: usize,
    pub tests: Vec<Test>,
}

/// The reference against another variant.
#[derive(Debug, Clone, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Test {
    /// Label of the other variant.
    pub variant: String,
    /// The task whose settings the pairs are from; null for all settings.
    pub task: Option<String>,
    /// Number of pairs of runs with equal setting and seed.
    pub pairs: usize,
    /// Number of pairs in which the reference has the higher fitness.
    pub wins: usize,
    /// Null without pairs.
    pub wilcoxon: Option<Wilcoxon>,
    /// The smallest possible p with this number of nonzero differences.
    pub smallest_p: f64,
    pub significant: bool,
}

/// Tests the reference against each other variant. The default reference is the first PBT-NAS with default settings
/// (the paper's), else the first PBT-NAS, else the first variant. Variants without pairs do not count as tests in the
/// correction. By the paper's conventions, the settings of each task are tested together, and those of different tasks
/// are not.
pub(super) fn tests(
    conventions: Conventions,
    settings: &[Setting],
    variants: &[Variant],
    runs: &[RunValues],
    reference: Option<&str>,
) -> Result<Option<Tests>> {
    let reference = match reference {
        Some(label) => variants.iter().find(|variant| variant.label == label).with_context(|| {
            let known: Vec<String> = variants.iter().map(|v| format!("`{}`", v.label)).collect();
            format!("unknown variant `{label}`; the variants are {}", known.join(", "))
        })?,
        None => {
            let first = |wanted: &dyn Fn(&SearchConfig) -> bool| variants.iter().find(|v| wanted(&v.search));
            let first = first(&SearchConfig::is_default)
                .or(first(&|search| search.algorithm == Algorithm::PbtNas))
                .or(variants.first());
            let Some(variant) = first else { return Ok(None) };
            variant
        }
    };
    if variants.len() < 2 {
        return Ok(None);
    }
    let (sides, tasks) = match conventions {
        Conventions::Usual => (Sides::Two, vec![None]),
        Conventions::Paper => {
            let mut tasks: Vec<Option<&str>> = settings.iter().map(|one| Some(one.kind.as_str())).collect();
            tasks.sort_unstable();
            tasks.dedup();
            (Sides::One, tasks)
        }
    };
    let others = || variants.iter().filter(|variant| variant.label != reference.label);
    let mut tests: Vec<Test> = tasks
        .iter()
        .flat_map(|task| others().map(move |variant| (task, variant)))
        .map(|(task, variant)| {
            let of_task = |label: &str| {
                settings.iter().any(|one| one.label == label && Some(one.kind.as_str()) == *task)
            };
            let here = runs.iter().filter(|run| task.is_none() || of_task(&run.setting));
            let task = task.filter(|_| tasks.len() > 1);
            test(sides, task, &reference.label, &variant.label, &here.collect::<Vec<_>>())
        })
        .collect();
    let corrected_for = match conventions {
        Conventions::Usual => tests.iter().filter(|test| test.pairs > 0).count().max(1),
        Conventions::Paper => PAPER_TESTS,
    };
    let threshold = LEVEL / corrected_for as f64;
    for test in &mut tests {
        test.significant = test.wilcoxon.is_some_and(|wilcoxon| wilcoxon.p < threshold);
    }
    let pairs_needed = (1..).find(|&n| smallest_p(n, sides) < threshold).unwrap_or(usize::MAX);
    let reference = reference.label.clone();
    Ok(Some(Tests { reference, metric: FITNESS, sides, corrected_for, threshold, pairs_needed, tests }))
}

fn test(sides: Sides, task: Option<&str>, reference: &str, variant: &str, runs: &[&RunValues]) -> Test {
    let fitness = |variant: &str, like: &RunValues| {
        let same = |run: &&&RunValues| {
            run.variant == variant && (&run.setting, run.seed) == (&like.setting, like.seed)
        };
        runs.iter().find(same).and_then(|run| run.metrics.get(FITNESS)).copied()
    };
    let differences: Vec<f64> = runs
        .iter()
        .filter(|run| run.variant == reference)
        .filter_map(|run| Some(fitness(reference, run)? - fitness(variant, run)?))
        .collect();
    let wilcoxon = (!differences.is_empty()).then(|| wilcoxon(&differences, sides));
    Test {
        variant: variant.into(),
        task: task.map(str::to_owned),
        pairs: differences.len(),
        wins: differences.iter().filter(|difference| **difference > 0.0).count(),
        smallest_p: smallest_p(wilcoxon.map_or(0, |wilcoxon| wilcoxon.n), sides),
        wilcoxon,
        significant: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pbtnas_engine::config::EpochsPerGeneration;

    fn variant(label: &str, algorithm: Algorithm) -> Variant {
        let search = SearchConfig { algorithm, ..SearchConfig::new(8, 6, EpochsPerGeneration::Constant(2)) };
        Variant { label: label.into(), name: None, search, of_algorithm: Default::default() }
    }

    fn run(variant: &str, setting: &str, seed: u64, fitness: f64) -> RunValues {
        RunValues {
            state: format!("{variant}-{seed}"),
            run_id: "0".into(),
            seed,
            setting: setting.into(),
            variant: variant.into(),
            epoch: 6,
            epochs: 6,
            finished: true,
            metrics: [(FITNESS.to_owned(), fitness)].into(),
        }
    }

    #[test]
    fn runs_are_paired_by_setting_and_seed() {
        let variants = [variant("random", Algorithm::RandomSearch), variant("pbt", Algorithm::PbtNas)];
        let mut runs = Vec::new();
        for setting in ["a", "b"] {
            for seed in 1..=3 {
                runs.push(run("pbt", setting, seed, 10.0 * seed as f64));
                runs.push(run("random", setting, 4 - seed, 10.0 * (4 - seed) as f64 - seed as f64));
            }
        }
        runs.push(run("random", "b", 4, 99.0));
        let tests = tests(Conventions::Usual, &[], &variants, &runs, None).unwrap().unwrap();
        assert_eq!((tests.reference.as_str(), tests.threshold, tests.pairs_needed), ("pbt", 0.05, 6));
        let test = &tests.tests[0];
        assert_eq!((test.variant.as_str(), test.pairs, test.wins), ("random", 6, 6));
        assert_eq!(test.wilcoxon.unwrap().p, 0.03125);
        assert!(test.significant);
    }

    #[test]
    fn threshold_depends_on_the_number_of_tests_made() {
        let names = ["pbt", "b", "c", "d"];
        let variants = names.map(|name| variant(name, Algorithm::PbtNas));
        let runs: Vec<RunValues> = names[..3]
            .iter()
            .zip(0..)
            .flat_map(|(name, i)| (1..=6).map(move |seed| run(name, "a", seed, (seed * 10 + i) as f64)))
            .collect();
        let tests = tests(Conventions::Usual, &[], &variants, &runs, Some("b")).unwrap().unwrap();
        assert_eq!((tests.threshold, tests.pairs_needed), (0.025, 7));
        let found: Vec<_> = tests.tests.iter().map(|t| (t.variant.as_str(), t.pairs, t.wins)).collect();
        assert_eq!(found, [("pbt", 6, 6), ("c", 6, 0), ("d", 0, 0)]);
        assert!(tests.tests.iter().all(|test| !test.significant));
        assert_eq!(tests.tests[2].wilcoxon, None);
    }

    /// Three GAN settings and two RL settings with three seeds: 9 and 6 pairs. All differences of one sign give the one-
    /// sided p of 2^-9 and 2^-6; the paper's threshold is 0.05 / 4 (section 4.1).
    #[test]
    fn papers_tests_are_one_sided_per_task_and_corrected_for_four() {
        let setting = |label: &str, kind: &str| Setting {
            label: label.into(),
            kind: kind.into(),
            section: toml::Table::new(),
        };
        let settings = [("a", "gan"), ("b", "gan"), ("x", "rl"), ("c", "gan"), ("y", "rl")];
        let settings = settings.map(|(label, kind)| setting(label, kind));
        let variants = [variant("pbt", Algorithm::PbtNas), variant("random", Algorithm::RandomSearch)];
        let mut runs = Vec::new();
        for setting in &settings {
            for seed in 1..=3 {
                runs.push(run("pbt", &setting.label, seed, 10.0 * seed as f64));
                runs.push(run("random", &setting.label, seed, 9.0 * seed as f64));
            }
        }
        let found = |reference: &str| {
            tests(Conventions::Paper, &settings, &variants, &runs, Some(reference)).unwrap().unwrap()
        };
        let better = found("pbt");
        assert_eq!((better.corrected_for, better.threshold, better.pairs_needed), (4, 0.0125, 7));
        let all = |tests: &Tests| -> Vec<(Option<String>, usize, f64, bool)> {
            let one =
                |test: &Test| (test.task.clone(), test.pairs, test.wilcoxon.unwrap().p, test.significant);
            tests.tests.iter().map(one).collect()
        };
        let task = |name: &str| Some(name.to_owned());
        let expected = [(task("gan"), 9, 0.5_f64.powi(9), true), (task("rl"), 6, 0.5_f64.powi(6), false)];
        assert_eq!(all(&better), expected);
        let worse = found("random");
        assert!(worse.tests.iter().all(|test| test.wilcoxon.unwrap().p == 1.0 && !test.significant));
    }

    #[test]
    fn default_reference_is_the_algorithm_of_the_paper() {
        let random = variant("random", Algorithm::RandomSearch);
        let mut ablation = variant("ablation", Algorithm::PbtNas);
        ablation.search.mixing = false;
        let ours = variant("ours", Algorithm::PbtNas);
        for (variants, expected) in [
            (vec![random.clone(), ablation.clone(), ours.clone()], "ours"),
            (vec![random.clone(), ablation.clone()], "ablation"),
            (vec![random.clone(), random.clone()], "random"),
        ] {
            assert_eq!(
                tests(Conventions::Usual, &[], &variants, &[], None).unwrap().unwrap().reference,
                expected
            );
        }
    }

    #[test]
    fn unknown_references_fail_and_a_single_variant_has_no_tests() {
        let variants = [variant("pbt", Algorithm::PbtNas)];
        let message = tests(Conventions::Usual, &[], &variants, &[], Some("pbtt")).unwrap_err().to_string();
        assert_eq!(message, "unknown variant `pbtt`; the variants are `pbt`");
        assert_eq!(tests(Conventions::Usual, &[], &variants, &[], None).unwrap(), None);
    }
}
