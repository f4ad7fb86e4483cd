//! Tests of the documentation: commands that pages show are run, options exist, links resolve.
//!
//! In README.md and docs/*.md a command is shown in a block
//!
//! ````text
//! ```console
//! $ pbtnas status --state runs/first
//! generation 3, up to epoch 8 of 8: finished
//! ...
//! ```
//! ````
//!
//! The commands of a page are run in order, in one fresh folder with the files of a clone. The lines below a command must be
//! its output (see `likeness.rs`); without such lines its output is not compared. Commands that only read (`squeue`,
//! `status`) are repeated for up to three minutes until they match. A fence with a file name (```` ```toml search.toml ````)
//! is a file, written in its turn. Other ```` ```toml ```` blocks are configurations and must be valid.

mod checkout;
mod likeness;
mod page;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use checkout::Checkout;
use page::{Block, anchors, blocks, links, prose, spans};

use crate::support::{PBTNAS, text};

/// Commands that are shown and not run: a part of them, and the reason.
const NOT_RUN: &[(&str, &str)] = &[
    ("git clone ", "there is no network in CI"),
    ("cd pbtnas", "the clone is where the commands run"),
    ("scripts/setup", "CI has called it before the tests"),
    ("scripts/quickstart", "CI calls it, without the tests"),
    ("cargo build", "CI has built the program"),
    ("debootstrap ", "it takes root and minutes"),
    ("apptainer ", "Debian has no package of it, and the image takes a quarter of an hour to build"),
    ("scripts/slurm-sandbox down", "other tests use the sandbox"),
    ("runs/no-mixing-2", "the paper's data cannot be had in CI, and it takes days"),
    ("runs/quadrants", "PyTorch starts 48 times, which takes a minute; `check` has run the script before"),
    ("pbtnas compare ", "the runs that it compares take minutes; tests/it/compare.rs has smaller ones"),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// README.md and docs/*.md: path and text.
fn pages() -> Vec<(PathBuf, String)> {
    let docs = std::fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> =
        docs.filter(|path| path.extension().is_some_and(|end| end == "md")).collect();
    paths.sort();
    paths.insert(0, root().join("README.md"));
    paths.into_iter().map(|path| (path.clone(), std::fs::read_to_string(path).unwrap())).collect()
}

fn why_not(command: &str) -> Option<&'static str> {
    NOT_RUN.iter().find(|(part, _)| command.contains(part)).map(|(_, why)| *why)
}

/// Calls of pbtnas in a line of a shell: the command's name and its arguments.
fn called(line: &str) -> Vec<(String, Vec<String>)> {
    let line = line.replace(['\'', '"', '(', ')'], " ").replace("\\\n", " ");
    let parts = line.split(['|', ';', '&', '#', '\n', '>']);
    let mut calls = Vec::new();
    for part in parts {
        let mut words = part.split_whitespace();
        let found = words.by_ref().any(|word| word == "pbtnas" || word.ends_with("release/pbtnas"));
        if found && let Some(name) = words.next() {
            calls.push((name.to_owned(), words.map(str::to_owned).collect()));
        }
    }
    calls
}

fn run_page(name: &str, on_cluster: bool) {
    let (_, text) = pages().into_iter().find(|(path, _)| path.ends_with(name)).unwrap();
    let mut checkout = Checkout::new();
    let mut wrong = None;
    for block in blocks(&text) {
        if let Some(file) = block.file() {
            checkout.write(file, &block.lines);
        }
        if block.info != "console" {
            continue;
        }
        for call in block.calls().iter().filter(|call| why_not(&call.command).is_none()) {
            // Later commands may depend on a failed one.
            if wrong.is_none() {
                let began = std::time::Instant::now();
                wrong = checkout.call(call).err();
                eprintln!("{:5.1} s  {name}: {}", began.elapsed().as_secs_f64(), call.command);
            }
        }
    }
    if on_cluster {
        checkout.cancel_jobs();
    }
    assert!(wrong.is_none(), "{name}, {}", wrong.unwrap_or_default());
}

/// Runs the pages that need the cluster, or the others.
pub fn run_pages(on_cluster: bool) {
    for (path, text) in pages() {
        let shown = blocks(&text).into_iter().filter(|block| block.info == "console").collect::<Vec<_>>();
        let submits = |line: &String| {
            ["sbatch ", "slurm-sandbox", "pbtnas step"].iter().any(|word| line.contains(word))
        };
        let cluster = shown
            .iter()
            .flat_map(|block| block.calls())
            .any(|call| why_not(&call.command).is_none() && submits(&call.command));
        if !shown.is_empty() && cluster == on_cluster {
            run_page(path.strip_prefix(root()).unwrap().to_str().unwrap(), on_cluster);
        }
    }
}

#[test]
fn commands_shown_work() {
    run_pages(false);
}

#[test]
fn excluded_commands_are_shown_somewhere() {
    let commands: Vec<String> = pages()
        .iter()
        .flat_map(|(_, text)| blocks(text))
        .filter(|block| block.info == "console")
        .flat_map(|block| block.calls())
        .map(|call| call.command)
        .collect();
    for (part, _) in NOT_RUN {
        assert!(commands.iter().any(|command| command.contains(part)), "no page shows {part:?}");
    }
}

/// The output of `--help`, if the command exists.
fn help(name: &str) -> Option<String> {
    let output = Command::new(PBTNAS).args([name, "--help"]).output().unwrap();
    output.status.success().then(|| text(&output))
}

#[test]
fn commands_are_shown_in_blocks_that_are_run() {
    for (path, text) in pages() {
        let shells = ["sh", "bash", "shell", "shell-session"];
        let others: Vec<Block> =
            blocks(&text).into_iter().filter(|block| shells.contains(&&*block.info)).collect();
        assert!(others.is_empty(), "{}: a block of commands is ```console: {others:?}", path.display());
        for (number, line) in prose(&text) {
            let indented = line.strip_prefix("    ").is_some_and(|line| {
                ["pbtnas ", "scripts/", "sbatch ", "cargo ", "$ "].iter().any(|word| line.starts_with(word))
            });
            assert!(!indented, "{}:{number}: a block of commands is ```console: {line}", path.display());
        }
    }
}

#[test]
fn options_that_pages_name_exist() {
    let (mut unknown, mut helps) = (BTreeSet::new(), BTreeMap::new());
    let mut seen = 0;
    for (path, page) in pages() {
        let shown = blocks(&page).into_iter().filter(|block| block.info == "console");
        let typed = shown.flat_map(|block| block.calls()).map(|call| call.command);
        for (name, words) in typed.chain(spans(&page)).flat_map(|line| called(&line)) {
            // `pbtnas NAME ...` in a text about commands.
            if !name.starts_with(|c: char| c.is_ascii_lowercase()) {
                continue;
            }
            let Some(help) = helps.entry(name.clone()).or_insert_with(|| help(&name)) else {
                unknown.insert(format!("{}: pbtnas {name}", path.display()));
                continue;
            };
            for word in words {
                let option = word.trim_matches(|c: char| !c.is_ascii_alphanumeric() && c != '-');
                if !option.starts_with("--") || name == "features" {
                    continue;
                }
                seen += 1;
                let option = option.split('=').next().unwrap_or(option);
                let known = help.split_whitespace().any(|word| word.trim_end_matches(',') == option);
                if !known {
                    unknown.insert(format!("{}: pbtnas {name} {option}", path.display()));
                }
            }
        }
    }
    assert!(unknown.is_empty(), "{unknown:#?}");
    assert!(seen > 50, "only {seen} options were looked at");
}

#[test]
fn configurations_in_pages_are_valid() {
    let checkout = Checkout::new();
    for (path, page) in pages() {
        for block in blocks(&page).iter().filter(|block| block.info == "toml") {
            let shown = block.lines.join("\n");
            // A part of a configuration is tested as an extension of a complete one.
            let whole = shown.contains("[search]\n") && shown.contains("[task]\n");
            let before = match shown.contains("[command") {
                _ if whole || shown.contains("extends = ") => "",
                true => "extends = \"../../../examples/spirals-numpy/search.toml\"\n",
                false => "extends = \"../../fashion-small.toml\"\n",
            };
            let file = "configs/paper/cifar10-gan-hard/shown.toml";
            checkout.write(file, &[format!("{before}{shown}")]);
            let output = Command::new(PBTNAS)
                .args(["space", "--config", file])
                .current_dir(checkout.path())
                .output()
                .unwrap();
            assert!(output.status.success(), "{}:{}: {}", path.display(), block.line, text(&output));
        }
    }
}

#[test]
fn links_between_pages_resolve() {
    for (path, page) in pages() {
        for link in links(&page) {
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            assert!(target.exists(), "{}: there is no {link}", path.display());
            let found = anchor.is_empty()
                || anchors(&std::fs::read_to_string(&target).unwrap()).iter().any(|a| a == anchor);
            assert!(found, "{}: {file} has no heading for #{anchor}", path.display());
        }
    }
}
