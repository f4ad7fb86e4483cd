//! Job scripts and arguments of sbatch, from any values that a configuration accepts and any paths.

use std::collections::BTreeMap;
use std::path::Path;

use arbitrary::{Arbitrary, Unstructured};
use pbtnas_engine::config::Config;
use pbtnas_engine::scheduler::slurm::SlurmConfig;
use pbtnas_engine::scheduler::slurm::options::OPTIONS;
use pbtnas_engine::scheduler::slurm::script::{Chunk, ScriptContext};

const BASE: &str = "seed = 1\n[search]\npopulation = 8\nepochs = 2\nepochs_per_generation = 1\n[task]\nkind = \"synthetic\"\n";

/// The lines around the call of `pbtnas step` in its job script.
const BEFORE_STEP: &str =
    "trap 'kill -USR1 $step' USR1\ntrap 'kill -TERM $step' TERM\nfor try in 1 2 3; do\n";
const BEHIND_STEP: &str = " &\nstep=$!\n\
    # A signal interrupts wait.\nuntil wait $step; code=$?; ! kill -0 $step 2>/dev/null; do :; done\n\
    ((code == 137)) || break\ndone\nexit $code\n";

#[derive(Arbitrary)]
struct Input {
    members: [Option<String>; 8],
    controller: [Option<String>; 8],
    extra: Vec<String>,
    environment: BTreeMap<String, String>,
    numbers: [Option<u32>; 2],
    members_per_task: u32,
    offset: u32,
    program: String,
    state: String,
}

pub fn fuzz(input: &[u8]) {
    let Ok(input) = Input::arbitrary_take_rest(Unstructured::new(input)) else { return };
    let mut slurm = SlurmConfig {
        max_running: input.numbers[1],
        members_per_task: input.members_per_task,
        extra: input.extra,
        environment: input.environment,
        ..SlurmConfig::default()
    };
    for (option, value) in OPTIONS.iter().zip(input.members) {
        slurm.options.set(option.key, value.unwrap_or_default());
    }
    for (option, value) in OPTIONS.iter().zip(input.controller) {
        slurm.controller.options.set(option.key, value.unwrap_or_default());
    }
    if let Some(cpus) = input.numbers[0] {
        slurm.options.set("cpus", cpus.to_string());
    }

    let mut config = Config::parse(Path::new("base.toml"), BASE).expect("it is sound");
    config.slurm = slurm;
    if input.program.contains('\0') || input.state.contains('\0') {
        return; // No path has one.
    }
    let Ok(text) = toml::to_string(&config) else { return };
    let Ok(config) = Config::parse(Path::new("run.toml"), &text) else { return };
    let slurm = &config.slurm;
    let (program, state) = (Path::new(&input.program), Path::new(&input.state));
    let words = |words: &str| words.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let context = ScriptContext {
        config: slurm,
        program,
        state,
        label: "g0001".into(),
        unit: words("train --generation 1"),
        unit_option: "--member",
        units_per_task: slurm.members_per_task,
        step: words("step"),
    };

    // A shell reads an export for each variable and the program with its arguments, within the fixed lines.
    let mut expected: Vec<Vec<String>> = vec![];
    for (name, value) in &slurm.environment {
        assert!(!name.starts_with("SLURM_"), "{name} is SLURM's");
        expected.push(vec!["export".into(), format!("{name}={value}")]);
    }
    let call = |command: &[&str]| -> Vec<String> {
        command.iter().map(|word| (*word).to_owned()).chain([input.state.clone()]).collect()
    };
    let script = context.step_script();
    let (before, behind) = script.split_once(BEFORE_STEP).expect("a loop");
    let behind = behind.strip_suffix(BEHIND_STEP).expect("the end of a loop");
    let step = [expected.clone(), vec![call(&[&input.program, "step", "--state"])]].concat();
    assert_eq!([commands(before), commands(behind)].concat(), step);
    let size = slurm.members_per_task;
    let (first, last) = (format!("first=$(( (SLURM_ARRAY_TASK_ID + {}) * {size} ))", input.offset), size - 1);
    let script = context.unit_script(input.offset);
    let calculation = script.find(&first).map(|at| (&script[..at], &script[at + first.len()..]));
    let (before, behind) = calculation.expect("a calculation");
    let span = format!("\"$first-$(( first + {last} ))\"\n");
    let behind = behind.strip_suffix(&span).expect("a range of members");
    let train = call(&["exec", &input.program, "train", "--state"]);
    expected.push([train, words("--generation 1 --member")].concat());
    assert_eq!([commands(before), commands(behind)].concat(), expected);

    // Each value is one argument of sbatch, behind its option.
    let chunk = Chunk { offset: input.offset, indices: vec![0, 1, 5] };
    let arguments = context.unit_arguments("pbtnas-1-a0", &chunk);
    for option in &OPTIONS {
        let (flag, value) = (option.flag, slurm.get(option.key));
        let found: Vec<&String> = arguments
            .iter()
            .filter(|argument| argument.starts_with(&format!("{flag}=")))
            .filter(|argument| !slurm.extra.contains(argument))
            .collect();
        match value {
            Some(value) if !slurm.extra.contains(&format!("{flag}={value}")) => {
                assert_eq!(found, [&format!("{flag}={value}")])
            }
            _ => assert!(found.is_empty()),
        }
    }
    for argument in arguments.iter().chain(&context.step_arguments("pbtnas-1-step", &["5".into()])) {
        assert!(argument.starts_with('-'), "{argument:?} would be taken for a script");
        assert!(argument.starts_with("--chdir=") || !argument.chars().any(char::is_control), "{argument:?}");
    }
}

/// The words of each command of a script, by the rules of a shell (POSIX, 2.2 and 2.3) as far as needed: an expansion or a
/// further command is a failure.
fn commands(script: &str) -> Vec<Vec<String>> {
    let script = script.strip_prefix("#!/bin/bash\n").unwrap_or(script);
    let (mut commands, mut words, mut word): (Vec<Vec<String>>, Vec<String>, Option<String>) =
        Default::default();
    let mut characters = script.chars();
    while let Some(character) = characters.next() {
        match character {
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match characters.next().expect("a quote is closed") {
                        '\'' => break,
                        inside => word.push(inside),
                    }
                }
            }
            '\\' => match characters.next() {
                Some('\'') => word.get_or_insert_default().push('\''),
                other => panic!("a backslash before {other:?}"),
            },
            ' ' | '\n' => {
                words.extend(word.take());
                if character == '\n' && !words.is_empty() {
                    commands.push(std::mem::take(&mut words));
                }
            }
            'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '-' | '=' => {
                word.get_or_insert_default().push(character)
            }
            other => panic!("{other:?} stands unquoted"),
        }
    }
    words.extend(word);
    commands.extend((!words.is_empty()).then_some(words));
    commands
}
