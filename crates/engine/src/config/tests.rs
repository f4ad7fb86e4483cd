//! Tests of reading and checking configurations.

use pbtnas_core::checkpoint::ShrinkPerturb;
use pbtnas_core::run::Keep;

use super::*;

const GOOD: &str = r#"
seed = 1

[search]
population = 8
epochs = 10
epochs_per_generation = [{ epochs = 2, until = 5 }, { epochs = 1 }]

[task]
kind = "synthetic"
"#;

fn error(text: &str) -> String {
    Config::parse(Path::new("run.toml"), text).unwrap_err().to_string()
}

#[test]
fn defaults_are_those_of_the_paper() {
    let config = Config::parse(Path::new("run.toml"), GOOD).unwrap();
    assert_eq!(config.search.tau, 0.25);
    assert_eq!(config.search.replace_probability, 0.25);
    assert_eq!(config.search.shrink_perturb, ShrinkPerturb { lambda: 0.4, gamma: 0.1 });
    // The values of Population Based Training: the paper does not search hyperparameters.
    assert_eq!(config.search.resample_probability, 0.25);
    assert_eq!(config.search.explore_factors, [0.8, 1.2]);
    assert_eq!(config.storage.keep, Keep::Generations(2));
}

#[test]
fn resolved_configurations_round_trip() {
    for extra in
        ["", "[storage]\nkeep = \"all\"\n", "[storage]\nkeep = 5\n[slurm]\nsetup = [\"a b\"]\n", RANGES]
    {
        let config = Config::parse(Path::new("run.toml"), &format!("{GOOD}{extra}")).unwrap();
        let text = toml::to_string_pretty(&config).unwrap();
        assert_eq!(Config::parse(Path::new("again.toml"), &text).unwrap(), config);
    }
}

const RANGES: &str = "[synthetic]\nrate = { low = 0.01, high = 1, scale = \"log\" }\n";

#[test]
fn ranges_become_the_last_variables() {
    let space =
        |extra: &str| Config::parse(Path::new("run.toml"), &format!("{GOOD}{extra}")).unwrap().space();
    let (fixed, searched) = (space(""), space(RANGES));
    let (last, others) = searched.variables.split_last().unwrap();
    assert_eq!(others, fixed.variables);
    assert_eq!(last.name, "rate");
    assert_eq!(searched.size(), fixed.size());
}

#[test]
fn names_are_short_single_lines() {
    let named = |name: &str| format!("name = {name:?}\n{GOOD}");
    let config = Config::parse(Path::new("run.toml"), &named("no mixing, λ = 1")).unwrap();
    assert_eq!(config.name.as_deref(), Some("no mixing, λ = 1"));
    let text = toml::to_string_pretty(&config).unwrap();
    assert_eq!(Config::parse(Path::new("again.toml"), &text).unwrap(), config);
    for wrong in ["", "  ", "two\nlines", &"x".repeat(81)] {
        let message = error(&named(wrong));
        assert!(message.starts_with("run.toml:1: name: must be a single line"), "{message}");
    }
}

#[test]
fn unknown_keys_are_rejected_with_the_nearest_key() {
    let message = error(&GOOD.replace("population", "populaton"));
    assert!(message.starts_with("run.toml:5: unknown key `populaton`"), "{message}");
    assert!(message.contains("did you mean `population`?"), "{message}");
    let message = error(&format!("{GOOD}\n[slurm]\npartion = \"gpu\"\n"));
    assert!(message.contains("run.toml:13: ") && message.contains("`partition`"), "{message}");
}

#[test]
fn renamed_keys_are_refused_with_the_new_name() {
    for (old, new) in [
        ("[search]\nepochs_per_step = 2", "search.epochs_per_generation"),
        ("[search]\nshrink = 0.4", "search.shrink_perturb.lambda"),
        ("[search]\nperturb = 0.1", "search.shrink_perturb.gamma"),
        ("[search]\nperturb_survivors = true", "search.shrink_perturb_survivors"),
        ("[search]\nperturb_factors = [0.8]", "search.explore_factors"),
        ("[slurm.step]\npartition = \"cpu\"", "slurm.controller"),
        ("[slurm]\npatience_seconds = 1", "slurm.retry_seconds"),
        ("[storage]\npatience_seconds = 1", "storage.retry_seconds"),
    ] {
        let (section, line) = old.split_once('\n').unwrap();
        let text = match section {
            "[search]" => GOOD.replace("[search]", old),
            _ => format!("{GOOD}{section}\n{line}\n"),
        };
        let message = error(&text);
        assert!(
            message.contains(&format!("now called {new}")) && !message.starts_with("run.toml:0"),
            "{message}"
        );
    }
}

#[test]
fn invalid_values_are_rejected_with_their_line() {
    let message = error(&GOOD.replace("population = 8", "population = 7"));
    assert!(message.starts_with("run.toml:5: search.population: "), "{message}");
    assert!(message.contains("at least 8"), "{message}");
    let message = error(&GOOD.replace("epochs = 10", "epochs = 10\ntau = 0.7"));
    assert!(message.starts_with("run.toml:7: search.tau: "), "{message}");
    let message = error(&GOOD.replace("\"synthetic\"", "\"synthetik\""));
    assert!(message.contains("run.toml:10") && message.contains("did you mean `synthetic`?"), "{message}");
    let message = error(&GOOD.replace("population = 8", "population = \"8\""));
    assert!(message.starts_with("run.toml:5: "), "{message}");
    let message = error(&format!("{GOOD}[slurm]\naccount = \"a\\nb\"\n"));
    assert!(message.starts_with("run.toml:12: slurm.account: "), "{message}");
}

/// Without bounds, a search of 4 billion epochs ended before it began, a timeout overflowed, and a large number
/// could not be written back.
#[test]
fn numbers_have_bounds() {
    let huge = "9223372036854775807";
    let larger = "9223372036854775808";
    for (wrong, key) in [
        (GOOD.replace("seed = 1", &format!("seed = {larger}")), "seed"),
        (GOOD.replace("population = 8", "population = 10001"), "search.population"),
        (format!("{GOOD}[local]\nworkers = {larger}\n"), "local.workers"),
        (format!("{GOOD}[storage]\nvisibility_timeout = {huge}\n"), "storage.visibility_timeout"),
        (format!("{GOOD}[storage]\nretry_seconds = {huge}\n"), "storage.retry_seconds"),
        (format!("{GOOD}[training]\nsnapshot_seconds = {huge}\n"), "training.snapshot_seconds"),
        (format!("{GOOD}[slurm]\nretry_seconds = {huge}\n"), "slurm.retry_seconds"),
        (format!("{GOOD}[slurm]\nmembers_per_task = 4294967295\n"), "slurm.members_per_task"),
        (format!("{GOOD}[slurm]\nwarning_seconds = 65536\n"), "slurm.warning_seconds"),
        (format!("{GOOD}[synthetic]\nlayers = 101\n"), "synthetic.layers"),
        (format!("{GOOD}[synthetic]\nsteps_per_epoch = {larger}\n"), "synthetic.steps_per_epoch"),
        (format!("{GOOD}[synthetic]\ncrash_option = 4\n"), "synthetic.crash_option"),
        (
            GOOD.replace("epochs = 10", "epochs = 10\nresample_probability = 1.5"),
            "search.resample_probability",
        ),
        (GOOD.replace("epochs = 10", "epochs = 10\nexplore_factors = []"), "search.explore_factors"),
        (GOOD.replace("epochs = 10", "epochs = 10\nexplore_factors = [0.8, 0.0]"), "search.explore_factors"),
        (GOOD.replace("epochs = 10", "epochs = 10\nexplore_factors = [inf]"), "search.explore_factors"),
    ] {
        let message = error(&wrong);
        assert!(message.contains(&format!(": {key}: must be ")), "{key}: {message}");
    }
}

#[test]
fn type_errors_do_not_mention_rust_types() {
    for (wrong, message) in [
        ("search = 3\n".to_owned(), "run.toml:1: search: must be a section, not 3"),
        (
            GOOD.replace("epochs = 10", "epochs = \"10\""),
            ": search.epochs: must be a whole number from 0 to ",
        ),
        (GOOD.replace("epochs = 10", "epochs = -1"), "not -1"),
        (GOOD.replace("epochs = 10", "epochs = 0"), ": search.epochs: must be at least 1"),
        (
            GOOD.replace("epochs = 10", "epochs = 10\nexplore_factors = 2"),
            ": search.explore_factors: must be a list, as in [\"a\", \"b\"], not 2",
        ),
        (
            format!("{GOOD}[synthetic]\nnoise = \"x\"\n"),
            "run.toml:12: synthetic.noise: must be a number, not \"x\"",
        ),
        (GOOD.replace("epochs = 10\n", ""), "the key `epochs` is missing"),
    ] {
        let found = error(&wrong);
        assert!(found.contains(message), "{found}");
        for rust in ["usize", "u32", "f64", "struct", "invalid type", "field"] {
            assert!(!found.contains(rust), "{found}");
        }
    }
}

#[test]
fn invalid_ranges_are_rejected_with_their_line() {
    let synthetic = |line: &str| error(&format!("{GOOD}[synthetic]\nlayers = 2\n{line}\n"));
    for (line, message) in [
        ("rate = { low = 1.0, high = 0.5 }", "low of a range must be less than its high"),
        ("rate = { low = 0.0, high = 0.5, scale = \"log\" }", "must be greater than 0"),
        ("rate = { low = 0.1, hihg = 0.5 }", "unknown key `hihg`: did you mean `high`?"),
        ("rate = { low = 0.1 }", "the key `high` is missing"),
        ("rate = { low = 0.1, high = 0.5, scale = \"lin\" }", "did you mean `linear`?"),
        ("rate = \"fast\"", "a number, or a range such as { low = "),
        ("rate = { low = -0.5, high = 0.5 }", "synthetic.rate: must be between 0 and"),
        ("rate = nan", "synthetic.rate: must be between 0 and"),
        ("noise = -1.0", "synthetic.noise: must be between 0 and"),
    ] {
        let found = synthetic(line);
        assert!(found.starts_with("run.toml:13: ") && found.contains(message), "{line}: {found}");
    }
}

#[test]
fn deep_nesting_is_rejected() {
    for deep in [
        format!("a = {}", "[".repeat(100_000)),
        format!("a = {}", "{ a = ".repeat(100_000)),
        format!("{} = 1", ["a"; 100_000].join(".")),
        format!("[{}]", ["a"; 100_000].join(".")),
    ] {
        error(&format!("{GOOD}\n{deep}\n"));
    }
}

/// The job script uses `SLURM_ARRAY_TASK_ID` in shell arithmetic, which executes the command in `a[$(command)]`.
#[test]
fn variables_of_slurm_cannot_be_set() {
    let wrong = |line: &str| error(&format!("{GOOD}[slurm.environment]\n{line}\n"));
    let message = wrong("SLURM_ARRAY_TASK_ID = \"a[$(touch gone)]\"");
    assert!(message.contains("run.toml:12: slurm.environment.SLURM_ARRAY_TASK_ID: "), "{message}");
    for line in
        ["\"A=1; touch gone; B\" = \"\"", "\"\" = \"\"", "\"é\" = \"\"", "1A = \"\"", "\"A\\nB\" = \"\""]
    {
        assert!(wrong(line).contains("is not a valid name of an environment variable"), "{line}");
    }
    assert!(wrong("A = \"a\\u0000b\"").contains("NUL characters"));
}

#[test]
fn errors_without_a_line_are_reported() {
    let message = error("seed = 1\n[task]\nkind = \"synthetic\"\n");
    assert!(message.contains("run.toml") && message.contains("search"), "{message}");
    assert!(error("seed = = 1").starts_with("run.toml:1: "));
}
