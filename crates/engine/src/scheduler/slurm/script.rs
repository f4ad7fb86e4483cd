//! Builds job scripts and the arguments of sbatch. Runs nothing.

use std::path::Path;

use super::config::{OptionValues, SlurmConfig};
use super::options::{OPTIONS, OptionScope, value_of};
use super::parse::array_spec;
use crate::scheduler::JobSource;
use pbtnas_core::search::MemberId;

/// An array of training tasks that does not exceed the cluster's `MaxArraySize`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// The number of a group is its array index plus this offset.
    pub offset: u32,
    pub indices: Vec<u32>,
}

/// Divides the groups (of `members_per_task` neighbouring members) that have a member to train into chunks whose
/// indices are below `max_array_size`.
pub fn chunks(members: &[MemberId], members_per_task: u32, max_array_size: u32) -> Vec<Chunk> {
    let size = max_array_size.max(1);
    let mut chunks: Vec<Chunk> = Vec::new();
    let mut groups: Vec<u32> = members.iter().map(|member| member.0 / members_per_task.max(1)).collect();
    groups.sort_unstable();
    groups.dedup();
    for group in groups {
        let (offset, index) = (group / size * size, group % size);
        match chunks.last_mut() {
            Some(chunk) if chunk.offset == offset => chunk.indices.push(index),
            _ => chunks.push(Chunk { offset, indices: vec![index] }),
        }
    }
    chunks
}

/// The log of an array task, relative to the run directory.
pub fn log_of(label: &str, array: &str, task: &str) -> String {
    format!("logs/{label}-{task}-{array}.log")
}

/// Quotes a word for a shell.
pub fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// The inputs of every script of a run.
#[derive(Debug, Clone)]
pub struct ScriptContext<'a> {
    pub config: &'a SlurmConfig,
    /// The path of pbtnas.
    pub program: &'a Path,
    /// The run directory.
    pub state: &'a Path,
    /// The round's part of log names.
    pub label: String,
    /// Arguments of pbtnas, except `--state` and the units, that run units of the round.
    pub unit: Vec<String>,
    /// The option that selects units.
    pub unit_option: &'static str,
    /// Units per task.
    pub units_per_task: u32,
    /// Arguments of pbtnas, except `--state`, of the controller job.
    pub step: Vec<String>,
}

impl<'a> ScriptContext<'a> {
    pub fn new(work: &'a dyn JobSource, program: &'a Path, round: u32) -> Self {
        let run = work.run();
        Self {
            config: &run.config.slurm,
            program,
            state: run.layout.root(),
            label: work.label(round),
            unit: work.unit_arguments(round),
            unit_option: work.unit_option(),
            units_per_task: work.units_per_task(),
            step: work.step_arguments(),
        }
    }

    fn head(&self) -> String {
        let mut text = String::from("#!/bin/bash\n");
        for (name, value) in &self.config.environment {
            text += &format!("export {name}={}\n", quote(value));
        }
        for line in &self.config.setup {
            text += line;
            text.push('\n');
        }
        text
    }

    /// The quoted program, or the configured replacement, and the quoted run directory.
    fn call(&self, configured: &[String]) -> (String, String) {
        let words: Vec<String> = configured.iter().map(|word| quote(word)).collect();
        let program = if words.is_empty() { quote(&self.program.to_string_lossy()) } else { words.join(" ") };
        (program, quote(&self.state.to_string_lossy()))
    }

    /// The script of an array task.
    pub fn unit_script(&self, offset: u32) -> String {
        let size = self.units_per_task;
        let first = format!("first=$(( (SLURM_ARRAY_TASK_ID + {offset}) * {size} ))");
        let call = self.unit_call(&format!("\"$first-$(( first + {} ))\"", size - 1));
        format!("{}{first}\n{call}", self.head())
    }

    /// The script of a job step that runs a range of units.
    pub fn group_script(&self, first: MemberId, last: MemberId) -> String {
        format!("{}{}", self.head(), self.unit_call(&format!("{}-{}", first.0, last.0)))
    }

    /// The last line of such a script. It uses `exec`, so that signals reach the program itself.
    fn unit_call(&self, units: &str) -> String {
        let (program, state) = self.call(&self.config.program);
        let (command, rest) = words(&self.unit);
        format!("exec {program} {command} --state {state}{rest} {} {units}\n", self.unit_option)
    }

    /// The script of the controller job. It restarts a controller that was killed with SIGKILL (e.g. by the kernel, out
    /// of memory), up to three tries in all.
    pub fn step_script(&self) -> String {
        let (program, state) = self.call(&self.config.controller.program);
        let (command, rest) = words(&self.step);
        format!(
            "{head}trap 'kill -USR1 $step' USR1\n\
             trap 'kill -TERM $step' TERM\n\
             for try in 1 2 3; do\n\
             {program} {command} --state {state}{rest} &\n\
             step=$!\n\
             # A signal interrupts wait.\n\
             until wait $step; code=$?; ! kill -0 $step 2>/dev/null; do :; done\n\
             ((code == 137)) || break\n\
             done\n\
             exit $code\n",
            head = self.head()
        )
    }

    /// The arguments of sbatch for a training array. The array is held until it is recorded.
    pub fn unit_arguments(&self, name: &str, chunk: &Chunk) -> Vec<String> {
        let config = self.config;
        let throttle = config.max_running.map(|count| format!("%{count}")).unwrap_or_default();
        let mut arguments = self.common(name, &log_of(&self.label, "%A", "%a"));
        arguments.extend(["--hold".into(), "--requeue".into()]);
        arguments.push(format!("--array={}{throttle}", array_spec(&chunk.indices)));
        push_options(&mut arguments, &config.options, &[OptionScope::Members, OptionScope::Both]);
        if config.get("time").is_some() {
            arguments.push(format!("--signal=B:USR1@{}", config.warning_seconds));
        }
        arguments.extend(config.extra.iter().cloned());
        arguments
    }

    /// The arguments of sbatch for the controller job that follows the arrays, whether they succeed or fail.
    pub fn step_arguments(&self, name: &str, after: &[String]) -> Vec<String> {
        let controller = &self.config.controller;
        let mut arguments = self.common(name, &format!("logs/{}-step-%j.log", self.label));
        arguments.push("--requeue".into());
        if !after.is_empty() {
            arguments.push(format!("--dependency=afterany:{}", after.join(":")));
        }
        push_options(&mut arguments, &controller.options, &[OptionScope::Both]);
        if controller.options.get("time").is_some() {
            arguments.push("--signal=B:USR1@60".into());
        }
        arguments.extend(controller.extra.iter().cloned());
        arguments
    }

    /// The arguments of sbatch for a trial job with the requests of a controller job, except the time limit and the
    /// excluded nodes.
    pub fn trial_arguments(&self, name: &str, minutes: u64, away_from: &[String]) -> Vec<String> {
        const NODES: [(&str, &str); 3] = [("--exclude", "-x"), ("--nodelist", "-w"), ("--nodefile", "-F")];
        let mut arguments = self.step_arguments(name, &[]);
        // The last of repeated options counts.
        arguments.extend([format!("--time={minutes}"), "--no-requeue".into()]);
        // Nodes chosen in [slurm.controller] extra take precedence.
        let chosen =
            NODES.iter().any(|(long, short)| value_of(&self.config.controller.extra, long, short).is_some());
        if !away_from.is_empty() && !chosen {
            arguments.push(format!("--exclude={}", away_from.join(",")));
        }
        arguments
    }

    fn common(&self, name: &str, output: &str) -> Vec<String> {
        let mut arguments = vec![
            "--parsable".to_owned(),
            format!("--job-name={name}"),
            // Paths are relative to the run directory: sbatch would expand % in its name.
            format!("--chdir={}", self.state.to_string_lossy()),
            format!("--output={output}"),
            "--open-mode=append".to_owned(),
        ];
        push_options(&mut arguments, &self.config.options, &[OptionScope::All]);
        arguments
    }
}

/// Splits off the command; each argument gets a leading space.
fn words(arguments: &[String]) -> (&str, String) {
    let (command, rest) = arguments.split_first().map_or(("", &[][..]), |(first, rest)| (first, rest));
    (command, rest.iter().map(|word| format!(" {word}")).collect())
}

fn push_options(arguments: &mut Vec<String>, values: &OptionValues, scopes: &[OptionScope]) {
    for option in OPTIONS.iter().filter(|option| scopes.contains(&option.scope)) {
        arguments.extend(values.get(option.key).map(|value| format!("{}={value}", option.flag)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ids(ids: impl IntoIterator<Item = u32>) -> Vec<MemberId> {
        ids.into_iter().map(MemberId).collect()
    }

    #[test]
    fn arrays_respect_max_array_size() {
        let all = chunks(&ids(0..25), 1, 10);
        assert_eq!(
            all.iter().map(|c| (c.offset, c.indices.len())).collect::<Vec<_>>(),
            [(0, 10), (10, 10), (20, 5)]
        );
        let some = chunks(&ids([3, 17, 20]), 1, 1001);
        assert_eq!(some, [Chunk { offset: 0, indices: vec![3, 17, 20] }]);
        let shared = chunks(&ids([0, 1, 7, 9]), 4, 1001);
        assert_eq!(shared, [Chunk { offset: 0, indices: vec![0, 1, 2] }]);
        assert!(chunks(&[], 1, 10).is_empty());
    }

    #[test]
    fn scripts_and_arguments() {
        let mut options = OptionValues::default();
        for (key, value) in [("partition", "gpu"), ("gres", "gpu:1"), ("time", "04:00:00")] {
            options.set(key, value);
        }
        let config = SlurmConfig {
            options,
            max_running: Some(8),
            members_per_task: 3,
            extra: vec!["--exclusive".into()],
            setup: vec!["module load cuda".into()],
            environment: [("WHO".to_owned(), "it's".to_owned())].into(),
            ..SlurmConfig::default()
        };
        let words = |text: &str| text.split(' ').map(str::to_owned).collect();
        let context = ScriptContext {
            config: &config,
            program: Path::new("/bin/pbt nas"),
            state: Path::new("/run's/dir"),
            label: "g0007".into(),
            unit: words("train --generation 7"),
            unit_option: "--member",
            units_per_task: 3,
            step: words("soup --submit"),
        };
        assert_eq!(
            context.unit_script(1000),
            "#!/bin/bash\nexport WHO='it'\\''s'\nmodule load cuda\n\
             first=$(( (SLURM_ARRAY_TASK_ID + 1000) * 3 ))\n\
             exec '/bin/pbt nas' train --state '/run'\\''s/dir' --generation 7 \
             --member \"$first-$(( first + 2 ))\"\n"
        );
        assert!(
            context.step_script().contains("\n'/bin/pbt nas' soup --state '/run'\\''s/dir' --submit &\n")
        );
        assert_eq!(
            context.unit_arguments("n", &Chunk { offset: 1000, indices: vec![0, 1, 2, 5] }).join(" "),
            "--parsable --job-name=n --chdir=/run's/dir --output=logs/g0007-%a-%A.log --open-mode=append --hold \
             --requeue --array=0-2,5%8 --partition=gpu --gres=gpu:1 --time=04:00:00 --signal=B:USR1@120 --exclusive"
        );
        assert_eq!(
            context.step_arguments("n", &["5".into(), "6".into()]).join(" "),
            "--parsable --job-name=n --chdir=/run's/dir --output=logs/g0007-step-%j.log --open-mode=append \
             --requeue --dependency=afterany:5:6"
        );
        let trial = context.trial_arguments("n", 5, &["a".into(), "b".into()]).join(" ");
        assert!(trial.ends_with(" --requeue --time=5 --no-requeue --exclude=a,b"), "{trial}");
    }

    #[test]
    fn nodes_chosen_by_the_user_take_precedence() {
        for extra in ["--exclude=bad", "-xbad", "--nodelist=n1", "-wn1", "-Fnodes"] {
            let mut config = SlurmConfig::default();
            config.controller.extra = vec![extra.to_owned()];
            let context = ScriptContext {
                config: &config,
                program: Path::new("p"),
                state: Path::new("s"),
                label: String::new(),
                unit: Vec::new(),
                unit_option: "",
                units_per_task: 1,
                step: Vec::new(),
            };
            let trial = context.trial_arguments("n", 5, &["here".into()]).join(" ");
            assert!(trial.contains(extra) && !trial.contains("here"), "{trial}");
        }
    }

    #[test]
    fn options_are_found_in_long_and_short_form() {
        let words: Vec<String> = "--mem=1 -pa -pb --memory=3 --wait".split(' ').map(str::to_owned).collect();
        assert_eq!(value_of(&words, "--mem", ""), Some("1"));
        assert_eq!(value_of(&words, "--partition", "-p"), Some("b"));
        assert_eq!(value_of(&words, "--wait", "-W"), None);
        assert_eq!(value_of(&words, "--time", "-t"), None);
    }

    #[test]
    fn a_configured_program_replaces_pbtnas() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let mut config =
            SlurmConfig { program: words("apptainer run my$image.sif"), ..SlurmConfig::default() };
        let script = |config: &SlurmConfig| {
            let context = ScriptContext {
                config,
                program: Path::new("/bin/pbtnas"),
                state: Path::new("s"),
                label: String::new(),
                unit: words("train"),
                unit_option: "--member",
                units_per_task: 1,
                step: words("step"),
            };
            (context.unit_script(0), context.step_script())
        };
        let (unit, step) = script(&config);
        assert!(
            unit.contains("\nexec 'apptainer' 'run' 'my$image.sif' train --state 's' --member "),
            "{unit}"
        );
        assert!(step.contains("\n'/bin/pbtnas' step --state 's' &\n"), "{step}");
        config.controller.program = words("wrapped pbtnas");
        assert!(script(&config).1.contains("\n'wrapped' 'pbtnas' step --state 's' &\n"));
    }

    /// Texts with characters that a shell interprets.
    fn nasty() -> impl Strategy<Value = String> {
        prop_oneof![
            any::<String>(),
            "[a-z'\"\\\\$`(){}\\[\\];&|<>!*?~#%\n\t =-]{0,12}",
            Just("$(touch gone)".to_owned()),
            Just("'; touch gone; '".to_owned()),
            Just("'\n#SBATCH --wrap='touch gone'\ntouch gone\n'".to_owned()),
            Just("a[$(touch gone)]".to_owned()),
        ]
        .prop_map(|text| text.replace('\0', ""))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        /// Runs the scripts with bash; the program prints its arguments.
        #[test]
        fn values_are_not_interpreted_by_the_shell(values in prop::array::uniform2(nasty()), state in nasty()) {
            let dir = tempfile::tempdir().unwrap();
            let program = dir.path().join("it's a $(program)");
            let text = "#!/bin/sh\nprintf '%s\\0' \"$@\" \"$A\" \"$B\"\n";
            std::fs::write(&program, text).unwrap();
            std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
            let [a, b] = &values;
            let environment = [("A".to_owned(), a.clone()), ("B".to_owned(), b.clone())].into();
            let config = SlurmConfig { environment, ..SlurmConfig::default() };
            let words = |text: &str| text.split(' ').map(str::to_owned).collect();
            let context = ScriptContext {
                config: &config,
                program: &program,
                state: Path::new(&state),
                label: "g0001".into(),
                unit: words("train --generation 1"),
                unit_option: "--member",
                units_per_task: 2,
                step: words("step"),
            };
            let train = vec!["train", "--state", &state, "--generation", "1", "--member", "26-27"];
            for (script, arguments) in [
                (context.step_script(), vec!["step", "--state", &state]),
                (context.unit_script(10), train.clone()),
                (context.group_script(MemberId(26), MemberId(27)), train),
            ] {
                let output = std::process::Command::new("bash")
                    .args(["-c", &script])
                    .env("SLURM_ARRAY_TASK_ID", "3")
                    .current_dir(dir.path())
                    .output()
                    .unwrap();
                prop_assert!(output.status.success() && output.stderr.is_empty(), "{:?}", output);
                let expected: Vec<&str> = arguments.into_iter().chain([a.as_str(), b.as_str()]).collect();
                let given = String::from_utf8(output.stdout).unwrap();
                prop_assert_eq!(given.split_terminator('\0').collect::<Vec<_>>(), expected);
            }
            prop_assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        }
    }

    #[test]
    fn only_a_killed_controller_is_restarted() {
        let dir = tempfile::tempdir().unwrap();
        let (program, log) = (dir.path().join("program"), dir.path().join("log"));
        let tries = |body: &str| {
            let _ = std::fs::remove_file(&log);
            std::fs::write(&program, format!("#!/bin/bash\necho x >>{}\n{body}\n", log.display())).unwrap();
            std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
            let context = ScriptContext {
                config: &SlurmConfig::default(),
                program: &program,
                state: Path::new("s"),
                label: String::new(),
                unit: Vec::new(),
                unit_option: "",
                units_per_task: 1,
                step: vec!["step".into()],
            };
            let script = context.step_script();
            let status = std::process::Command::new("bash").args(["-c", &script]).status().unwrap();
            (status.code(), std::fs::read_to_string(&log).unwrap().lines().count())
        };
        assert_eq!(tries("exit 0"), (Some(0), 1));
        assert_eq!(tries("exit 5"), (Some(5), 1));
        assert_eq!(tries("kill -KILL $$"), (Some(137), 3));
        assert_eq!(tries(&format!("(($(wc -l <{}) == 2)) || kill -KILL $$", log.display())), (Some(0), 2));
        // Signals of the job are forwarded, and the controller's exit code is kept.
        for signal in ["USR1", "TERM"] {
            let body = format!(
                "trap 'exit 75' {signal}; sleep 0.3; kill -{signal} $PPID; while :; do sleep 0.05; done"
            );
            assert_eq!(tries(&body), (Some(75), 1));
        }
    }

    #[test]
    fn quoted_words_are_literal() {
        for word in ["plain", "it's", "$(rm -rf x) `y` \"z\" \\ *", "'; touch gone; '"] {
            let script = format!("printf %s {}", quote(word));
            let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), word);
        }
    }
}
