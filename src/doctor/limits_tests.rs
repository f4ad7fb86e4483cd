//! A case for each finding about a configuration and a cluster.

use super::finding::{Finding, Verdict};
use super::limits::check;
use pbtnas_engine::config::Config;
use pbtnas_engine::scheduler::slurm::cluster::{
    Association, ClusterInfo, NodeInfo, Partition, Preempted, Preemption, SlurmSettings,
};
use pbtnas_engine::scheduler::slurm::units::{Limit, gres};

fn partition(name: &str) -> Partition {
    Partition {
        name: name.into(),
        default: name == "main",
        state: "UP".into(),
        max_time: Some(Limit::Seconds(24 * 3600)),
        default_time: None,
        grace_time: 0,
        preempted: Preempted::Never,
        priority_tier: 1,
        accounts: None,
        qos: None,
    }
}

fn node(name: &str, cpus: u64, memory: u64, has: &str) -> NodeInfo {
    NodeInfo {
        name: name.into(),
        host: name.into(),
        cpus: Some(cpus),
        memory: Some(memory),
        gres: gres(has),
        features: vec!["intel".into()],
        partitions: vec!["main".into(), "spare".into()],
        state: "IDLE".into(),
    }
}

/// Two partitions over two nodes, without special limits.
fn cluster() -> ClusterInfo {
    ClusterInfo {
        settings: SlurmSettings {
            name: "test".into(),
            max_array_size: Some(1001),
            max_job_count: Some(10_000),
            job_requeue: Some(true),
            kill_wait: Some(30),
            ..SlurmSettings::default()
        },
        partitions: vec![partition("main"), partition("spare")],
        nodes: vec![node("big", 64, 256_000, ""), node("gpu", 8, 64_000, "gpu:a100:2")],
        associations: Vec::new(),
    }
}

fn config(slurm: &str) -> Config {
    let text = format!(
        "seed = 1\n[search]\npopulation = 24\nepochs = 8\nepochs_per_generation = 2\n[task]\nkind = \"synthetic\"\n\
         [slurm]\ntime = \"04:00:00\"\n{slurm}\n"
    );
    Config::parse(std::path::Path::new("c.toml"), &text).unwrap_or_else(|error| panic!("{error}"))
}

/// Returns the findings that are not ok: verdict, title and text.
fn checked(slurm: &str, cluster: &ClusterInfo) -> Vec<(Verdict, String, String)> {
    let findings =
        check(&config(slurm), cluster).into_iter().filter(|finding| finding.verdict != Verdict::Ok);
    let said = |finding: Finding| {
        let parts = [Some(finding.found), finding.consequence, finding.advice];
        (finding.verdict, finding.title, parts.into_iter().flatten().collect::<Vec<_>>().join(" | "))
    };
    findings.map(said).collect()
}

/// Asserts that this is the only finding that is not ok.
#[track_caller]
fn assert_one(slurm: &str, cluster: &ClusterInfo, verdict: Verdict, title: &str, words: &[&str]) {
    let all = checked(slurm, cluster);
    assert!(all.len() == 1 && all[0].0 == verdict && all[0].1 == title, "{all:#?}");
    for word in words {
        assert!(all[0].2.contains(word), "{word}: {all:#?}");
    }
}

use Verdict::{Problem, Warning};

#[test]
fn available_resources_can_be_requested() {
    let rich = "partition = \"main,spare\"\ncpus = 8\nmemory = \"60G\"\ngres = \"gpu:a100:2\"\nconstraint = \"intel\"\n\
                max_running = 4\n[slurm.controller]\npartition = \"spare\"\ntime = \"10\"\nmemory = \"1G\"";
    for slurm in ["", rich, "constraint = \"amd|intel\""] {
        assert_eq!(checked(slurm, &cluster()), [], "{slurm}");
    }
}

#[test]
fn partitions_must_exist_and_be_up() {
    let named = |name: &str| format!("partition = {name:?}\n[slurm.controller]\npartition = \"spare\"");
    let words = ["\"mian\"", "Did you mean \"main\"?", "known: main, spare", "[slurm]"];
    assert_one(&named("mian"), &cluster(), Problem, "partition of members", &words);
    assert_one(&named("main,gone"), &cluster(), Problem, "partition of members", &["\"gone\""]);
    assert_one("extra = [\"--partition=gone\"]", &cluster(), Problem, "partition of members", &["\"gone\""]);
    assert_one(
        "[slurm.controller]\npartition = \"x\"",
        &cluster(),
        Problem,
        "partition of controller jobs",
        &["[slurm.controller]"],
    );

    let mut none = cluster();
    none.partitions[0].default = false;
    assert_one(
        "partition = \"main\"",
        &none,
        Problem,
        "partition of controller jobs",
        &["no default", "main, spare"],
    );
    let mut down = cluster();
    down.partitions[0].state = "DOWN".into();
    assert_one(&named("main"), &down, Problem, "partition of members", &["main: DOWN"]);
    let findings = check(&config(&named("main")), &down);
    assert_eq!(super::exit_code(&findings), 5, "a problem of the cluster, not of the configuration");
    let mut broken = cluster();
    broken.nodes.iter_mut().for_each(|node| node.state = "DOWN*".into());
    assert_eq!(checked("", &broken).len(), 2, "of members and of controller jobs");
    assert_eq!(checked("", &broken)[0].0, Warning);
}

#[test]
fn time_limits_fit_the_partition_and_the_warning() {
    let title = "time limit of members";
    let timed = |time: &str, more: &str| {
        let text = format!(
            "seed = 1\n[search]\npopulation = 24\nepochs = 8\nepochs_per_generation = 2\n[task]\nkind = \
                            \"synthetic\"\n[slurm]\n{time}\n{more}\n"
        );
        let config = Config::parse(std::path::Path::new("c.toml"), &text).unwrap();
        let all = check(&config, &cluster());
        all.into_iter().find(|finding| finding.title == title).unwrap()
    };
    let long = timed("time = \"2-00:00:00\"", "");
    assert!(long.verdict == Problem && long.advice.unwrap().contains("1-00:00:00 or less"));
    assert_eq!(timed("time = \"four hours\"", "").verdict, Problem);
    assert_eq!(timed("time = \"24:00:00\"", "").verdict, Verdict::Ok);
    let circle = timed("time = \"2\"", "warning_seconds = 120");
    assert!(circle.verdict == Problem && circle.consequence.unwrap().contains("endless loop"));
    let none = timed("", "");
    assert!(none.verdict == Warning && none.found.contains("1-00:00:00"), "{none:?}");
    assert_eq!(
        timed("time = \"0\"", "").verdict,
        Problem,
        "0 means unlimited, which the partition does not allow"
    );
    let silent = timed("extra = [\"--time=1:00:00\"]", "");
    assert!(silent.verdict == Warning && silent.found.contains("in [slurm] extra"), "{silent:?}");
    assert_eq!(timed("extra = [\"-t1\"]", "").verdict, Warning, "without a warning there is no loop");
    for signalled in
        ["extra = [\"-t1\", \"--signal=B:USR1@30\"]", "time = \"1:00:00\"\nextra = [\"--time=2:00:00\"]"]
    {
        assert_eq!(timed(signalled, "").verdict, Verdict::Ok, "{signalled}");
    }
    assert_eq!(timed("time = \"1:00:00\"\nextra = [\"-t2\"]", "").verdict, Problem);
    let mut endless = cluster();
    endless.partitions[0].max_time = Some(Limit::Unlimited);
    assert_eq!(checked("extra = [\"--time=0\"]", &endless), [], "without a limit there is no warning");
    assert_one(
        "[slurm.controller]\ntime = \"3-0\"",
        &cluster(),
        Problem,
        "time limit of controller jobs",
        &["[slurm.controller]"],
    );
}

#[test]
fn resources_must_exist_on_a_node() {
    let title = "resources of members";
    for (slurm, words) in [
        ("cpus = 65", &["65 processors", "has 64"][..]),
        ("memory = \"300G\"", &["300G", "256000M"]),
        ("memory = \"plenty\"", &["invalid memory"]),
        ("gres = \"gpu:3\"", &["gpu:3", "Nodes have gpu:a100:2 in main, spare."]),
        ("gres = \"gpu:h100:1\"", &["gpu:h100:1"]),
        ("constraint = \"amd\"", &["\"amd\"", "intel"]),
        ("gres = \"gpu:1\"\ncpus = 16", &["no node has all of it"]),
        ("extra = [\"--mem=300G\"]", &["300G"]),
    ] {
        assert_one(slurm, &cluster(), Problem, title, words);
    }
    let memory = "[slurm.controller]\nmemory = \"1T\"";
    assert_one(
        memory,
        &cluster(),
        Problem,
        "resources of controller jobs",
        &["[slurm.controller]", "256000M"],
    );
    let mut bare = cluster();
    bare.nodes.pop();
    assert_one(
        "gres = \"gpu:1\"",
        &bare,
        Problem,
        title,
        &["No node of this cluster has generic resources."],
    );
}

#[test]
fn task_counts_fit_arrays_and_queues() {
    let title = "number of tasks";
    let mut small = cluster();
    small.settings.max_array_size = Some(1);
    assert_one("", &small, Problem, title, &["no job arrays"]);
    small.settings.max_array_size = Some(10);
    assert_eq!(checked("", &small), []);
    let found = check(&config(""), &small).into_iter().find(|finding| finding.title == title).unwrap().found;
    assert_eq!(found, "24 per generation, in 3 arrays (MaxArraySize)");
    small.settings.max_job_count = Some(20);
    assert_one("", &small, Problem, title, &["allows 20 jobs in total", "members_per_task"]);
    assert_eq!(checked("members_per_task = 2", &small), []);

    let mut mine = cluster();
    let association = |account: &str, most| Association {
        account: account.into(),
        partition: None,
        max_submit: most,
        max_jobs: Some(3),
    };
    mine.associations = vec![association("vision", Some(20)), association("speech", None)];
    assert_eq!(checked("account = \"vision\"", &mine), [], "the limit is not enforced");
    (mine.settings.accounts_enforced, mine.settings.limits_enforced) = (true, true);
    assert_one("account = \"vision\"", &mine, Problem, title, &["MaxSubmitJobs", "20 jobs"]);
    let found =
        check(&config("account = \"speech\""), &mine).into_iter().find(|finding| finding.title == title);
    assert!(found.unwrap().found.ends_with("your account allows 3 to run at a time"));

    // An association for another partition is ignored; one for this partition precedes one for all.
    let within = |partition: &str, most| Association {
        partition: Some(partition.into()),
        ..association("vision", most)
    };
    mine.associations = vec![association("vision", Some(20)), within("spare", None)];
    assert_one("account = \"vision\"", &mine, Problem, title, &["20 jobs"]);
    assert_eq!(checked("account = \"vision\"\npartition = \"main,spare\"", &mine), []);
    mine.associations = vec![association("vision", None), within("main", Some(10))];
    assert_one("account = \"vision\"", &mine, Problem, title, &["10 jobs"]);
    assert_eq!(checked("account = \"vision\"\npartition = \"spare\"", &mine), []);
}

#[test]
fn partitions_must_allow_account_and_qos() {
    let mut closed = cluster();
    closed.partitions[0].accounts = Some(vec!["vision".into()]);
    let steps = "[slurm.controller]\npartition = \"spare\"";
    assert_eq!(checked(&format!("account = \"vision\"\n{steps}"), &closed), []);
    let title = "account of members";
    let words = ["main does not allow \"speech\"", "allowed: vision"];
    assert_one(&format!("account = \"speech\"\n{steps}"), &closed, Problem, title, &words);
    let both = format!("account = \"speech\"\npartition = \"main,spare\"\n{steps}");
    assert_one(&both, &closed, Warning, title, &["main does not allow \"speech\"", "other partitions only"]);
    let mut all = closed.clone();
    all.partitions[1].accounts = Some(vec!["sound".into()]);
    assert!(checked(&both, &all).iter().all(|one| one.0 == Problem), "{:?}", checked(&both, &all));
    closed.partitions[1].qos = Some(vec!["long".into()]);
    let steps = "account = \"vision\"\n[slurm.controller]\npartition = \"spare\"\nqos = \"short\"";
    assert_one(steps, &closed, Problem, "qos of controller jobs", &["spare does not allow \"short\""]);

    let mut mine = cluster();
    mine.settings.accounts_enforced = true;
    let vision = Association { account: "vision".into(), partition: None, max_submit: None, max_jobs: None };
    mine.associations = vec![vision];
    let all = checked("account = \"speech\"", &mine);
    assert!(all.len() == 2 && all[0].0 == Problem && all[0].2.contains("Your accounts: vision."), "{all:?}");
}

#[test]
fn preempted_jobs_need_time_and_a_requeue() {
    let title = "preemption of members";
    let mut preempting = cluster();
    preempting.settings.preemption = Preemption::ByPartition;
    preempting.settings.preempted = Preempted::Requeued;
    preempting.partitions[0].preempted = Preempted::Requeued;
    let steps = "[slurm.controller]\npartition = \"spare\"";
    assert_eq!(checked(steps, &preempting), [], "no partition has a higher tier");
    preempting.partitions[1].priority_tier = 10;
    assert_eq!(checked(steps, &preempting), [], "they are requeued");
    preempting.settings.job_requeue = Some(false);
    assert_eq!(checked(steps, &preempting), [], "they set --requeue");
    assert_one(
        "partition = \"spare\"",
        &preempting,
        Warning,
        "preemption of controller jobs",
        &["search stops"],
    );
    assert_one(
        &format!("extra = [\"--no-requeue\"]\n{steps}"),
        &preempting,
        Warning,
        title,
        &["--no-requeue"],
    );
    preempting.settings.kill_wait = Some(3);
    assert_one(
        steps,
        &preempting,
        Warning,
        title,
        &["have 3 s between SIGTERM and SIGKILL, and may need 5 s", "snapshot_seconds"],
    );
    preempting.partitions[0].grace_time = 60;
    assert_eq!(checked(steps, &preempting), [], "a grace time of a minute is enough");
    preempting.partitions[0].preempted = Preempted::Cancelled;
    assert_one(steps, &preempting, Warning, title, &["not requeued"]);
    preempting.partitions[0].preempted = Preempted::Suspended;
    assert_eq!(checked(steps, &preempting), []);
    preempting.settings.preemption = Preemption::ByQos;
    preempting.settings.preempted = Preempted::Cancelled;
    assert_eq!(checked(steps, &preempting).len(), 2, "of members and of controller jobs");
}

#[test]
fn kill_invalid_depend_is_reported() {
    let mut odd = cluster();
    odd.settings.kills_invalid_dependencies = true;
    let found = |cluster: &ClusterInfo| check(&config(""), cluster).pop().unwrap().found;
    assert!(
        found(&odd).contains("kill_invalid_depend") && !found(&cluster()).contains("kill_invalid_depend")
    );
}

#[test]
fn device_and_requested_gpus_must_agree() {
    let check = |task: &str, slurm: &str| {
        let text = format!(
            "seed = 1\n[search]\npopulation = 24\nepochs = 8\nepochs_per_generation = 2\n[task]\nkind = \"command\"\n\
             [command]\ncommand = [\"true\"]\n\
             variables = [{{ name = \"width\", options = [\"1\", \"2\"] }}]\n{task}\n\
             [slurm]\n{slurm}\n"
        );
        let config = Config::parse(std::path::Path::new("c.toml"), &text).unwrap();
        super::resources::device(&config, &cluster())
            .into_iter()
            .map(|one| (one.verdict, one.title))
            .collect::<Vec<_>>()
    };
    let gpu = || vec![(Warning, "GPU of members".to_owned())];
    assert_eq!(check("device = \"cuda\"", ""), gpu());
    assert_eq!(check("device = \"auto\"", ""), gpu());
    assert_eq!(check("device = \"cpu\"", "gres = \"gpu:1\""), gpu());
    assert_eq!(check("device = \"cpu\"", ""), []);
    for asks in ["gres = \"gpu:1\"", "extra = [\"--gpus=1\"]", "gres = \"shard:4\""] {
        assert_eq!(check("device = \"cuda\"", asks), [], "{asks}");
    }
    let threads = || vec![(Warning, "processors of members".to_owned())];
    assert_eq!(check("device = \"cpu\"\nthreads = 2", ""), threads());
    assert_eq!(check("device = \"cpu\"\nthreads = 2", "cpus = 4\nmembers_per_task = 3"), threads());
    assert_eq!(check("device = \"cpu\"\nthreads = 2", "cpus = 6\nmembers_per_task = 3"), []);
}
