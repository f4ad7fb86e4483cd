//! Recorded output of a real cluster (tests/data/slurm: SLURM 22.05.8), and unusual output.

use proptest::prelude::*;

use super::show::*;
use super::units::Limit;

fn recorded(name: &str) -> String {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/slurm");
    std::fs::read_to_string(folder.join(name)).unwrap()
}

#[test]
fn recorded_settings() {
    let settings = settings(&recorded("config.txt"));
    assert_eq!(settings.name, "sandbox");
    assert_eq!((settings.max_array_size, settings.max_job_count), (Some(1001), Some(10_000)));
    assert_eq!((settings.job_requeue, settings.kill_wait), (Some(true), Some(10)));
    assert_eq!((settings.preemption, settings.preempted), (Preemption::ByPartition, Preempted::Requeued));
    let s = &settings;
    assert!(!s.kills_invalid_dependencies && !s.accounts_enforced && !s.limits_enforced);
}

#[test]
fn unusual_settings() {
    let odd = settings(
        "DependencyParameters    = kill_invalid_depend,max_depend_depth=5\nJobRequeue = 0\n\
         AccountingStorageEnforce = associations,limits,qos,safe\nPreemptMode = gang,SUSPEND\nMaxArraySize = many\n",
    );
    assert!(odd.kills_invalid_dependencies && odd.accounts_enforced && odd.limits_enforced);
    assert_eq!(odd.job_requeue, Some(false));
    assert_eq!((odd.preempted, odd.preemption), (Preempted::Suspended, Preemption::None));
    let enforced = settings("AccountingStorageEnforce = associations\n");
    assert!(enforced.accounts_enforced && !enforced.limits_enforced);
    assert_eq!((odd.max_array_size, odd.kill_wait), (None, None));
}

#[test]
fn recorded_partitions() {
    let partitions = partitions(&recorded("partitions.txt"));
    let names: Vec<&str> = partitions.iter().map(|partition| &*partition.name).collect();
    assert_eq!(names, ["main", "low", "high"]);
    let main = &partitions[0];
    assert!(main.default && !partitions[1].default && main.state == "UP");
    assert_eq!((main.max_time, main.default_time), (Some(Limit::Unlimited), Some(Limit::Seconds(3600))));
    assert_eq!((main.preempted, partitions[1].preempted), (Preempted::Never, Preempted::Requeued));
    assert_eq!((main.priority_tier, partitions[1].priority_tier, main.grace_time), (10, 1, 0));
    assert_eq!((&main.accounts, &main.qos), (&None, &None));
}

#[test]
fn unusual_partitions() {
    let odd = partitions(
        "PartitionName=gpu\n   AllowGroups=ALL AllowAccounts=vision,speech AllowQos=long\n   \
         DefaultTime=NONE GraceTime=120 MaxTime=2-00:00:00 State=DOWN PreemptMode=CANCEL\n\n\
         PartitionName=old State=UP MaxTime=whenever PriorityTier=-\n",
    );
    assert_eq!(odd.len(), 2);
    assert_eq!((odd[0].max_time, odd[0].default_time), (Some(Limit::Seconds(172_800)), None));
    assert_eq!(odd[0].accounts.as_deref(), Some(&["vision".to_owned(), "speech".to_owned()][..]));
    assert_eq!(odd[0].qos.as_deref(), Some(&["long".to_owned()][..]));
    assert_eq!((odd[0].grace_time, odd[0].preempted, &*odd[0].state), (120, Preempted::Cancelled, "DOWN"));
    assert_eq!((odd[1].max_time, odd[1].priority_tier, odd[1].preempted), (None, 1, Preempted::Never));
    assert!(partitions("No partitions in the system\n").is_empty());
}

#[test]
fn recorded_nodes() {
    let nodes = nodes(&recorded("nodes.txt"));
    assert_eq!(nodes.len(), 4);
    let first = &nodes[0];
    assert_eq!((&*first.name, first.cpus), ("n1", Some(2)));
    assert_eq!(first.memory, Some(24_105));
    assert_eq!((first.gres[0].to_string(), first.gres.len()), ("gpu:1".to_owned(), 1));
    assert_eq!(first.partitions, ["main", "low", "high"]);
    assert!(first.features.is_empty() && nodes.iter().all(NodeInfo::usable));
}

#[test]
fn unusual_nodes() {
    let odd = nodes(
        "NodeName=g01 Arch=x86_64 CPUTot=64 RealMemory=1000 MemSpecLimit=100 \n   AvailableFeatures=a100,ib \n   \
         Gres=gpu:a100:4(S:0-1),shard:8\n   State=DOWN*+DRAIN ThreadsPerCore=1\n   Partitions=gpu \n   \
         OS=Linux 5.14.0 #1 SMP\n   Reason=Not responding [slurm@2025-01-01T00:00:00]\n\nNodeName=cloud1 \
         State=IDLE+CLOUD+POWERED_DOWN\n\nNodeName=old State=MIXED+DRAIN\n\nNodeName=slow State=IDLE*\n",
    );
    assert_eq!((odd[0].memory, odd[0].cpus, &*odd[0].host), (Some(900), Some(64), "g01"));
    assert_eq!(odd[0].features, ["a100", "ib"]);
    assert_eq!(odd[0].gres.len(), 2);
    assert_eq!(odd.iter().map(NodeInfo::usable).collect::<Vec<_>>(), [false, true, false, false]);
}

#[test]
fn job_states_pings_and_associations() {
    let (state, reason, nodes) = job(&recorded("job.txt")).unwrap();
    assert_eq!((&*state, &*reason, &*nodes), ("COMPLETED", "None", "n1"));
    assert_eq!(job("slurm_load_jobs error: Invalid job id specified"), None);
    assert!(is_controller_up("Slurmctld(primary) at vm is UP\n"));
    assert!(is_controller_up("Slurmctld(primary) at a is DOWN\nSlurmctld(backup) at b is UP\n"));
    assert!(!is_controller_up("Slurmctld(primary) at vm is DOWN\n"));
    let all = associations("vision||20|4\nvision|gpu||\n\nsacctmgr: a notice\n");
    assert_eq!(all.len(), 2);
    assert_eq!((all[0].max_submit, all[0].max_jobs, &all[0].partition), (Some(20), Some(4), &None));
    assert_eq!((all[1].max_submit, all[1].partition.as_deref()), (None, Some("gpu")));
}

#[test]
fn running_jobs() {
    let job = running_job(&recorded("running-job.txt")).unwrap();
    let share =
        NodeAllocation { nodes: 4, cpus: 2, memory: 0, gres: crate::scheduler::slurm::units::gres("gpu:1") };
    assert_eq!((job.batch, job.limit, job.ran), (true, Some(Limit::Seconds(300)), 0));
    assert_eq!((&*job.nodes, job.shares.as_slice()), ("n[1-4]", [share].as_slice()));
    assert_eq!(job.left(), Some(300));

    let uneven = "JobId=7 JobName=x BatchFlag=0\n RunTime=1-00:00:10 TimeLimit=UNLIMITED NodeList=a[1-2],b\n\
                  Nodes=a[1-2] CPU_IDs=0-3,8 Mem=2000 GRES=gpu:a100:2(IDX:0,3)\n Nodes=b CPU_IDs=7 Mem=500 GRES=\n\n\
                  JobId=8 RunTime=00:00:01 NodeList=c\n Nodes=c CPU_IDs=0-9 Mem=0 GRES=\n";
    let job = running_job(uneven).unwrap();
    assert_eq!((job.batch, job.ran, job.left()), (false, 86_410, None));
    let counts: Vec<_> = job.shares.iter().map(|share| (share.nodes, share.cpus, share.memory)).collect();
    assert_eq!(counts, [(2, 5, 2000), (1, 1, 500)]);
    assert_eq!(running_job(""), None);
    // A job beyond its time limit, and a pending one.
    let late = "JobId=7 RunTime=00:02:00 TimeLimit=00:01:00 NodeList=n1";
    assert_eq!(running_job(late).unwrap().left(), Some(0));
    assert_eq!(running_job("JobId=7 RunTime=00:00:00 TimeLimit=00:01:00 NodeList=(null)"), None);
}

#[test]
fn cpus_per_core_counts_threads_where_slurm_does() {
    let node = |cpus| format!("NodeName=a CoresPerSocket=16 CPUTot={cpus} Sockets=2 ThreadsPerCore=2\n");
    assert_eq!(cpus_per_core(&recorded("nodes.txt")), 1);
    assert_eq!(cpus_per_core(&node(64)), 2);
    assert_eq!(cpus_per_core(&node(32)), 1);
    assert_eq!(cpus_per_core(&format!("{}{}", node(32), node(64))), 2);
    assert_eq!([cpus_per_core(""), cpus_per_core("NodeName=a CoresPerSocket=0 CPUTot=2 Sockets=1")], [1, 1]);
}

proptest! {
    #[test]
    fn no_output_panics(output in "(?s).{0,200}|([A-Za-z]{1,12} ?=[^\n]{0,20}[ \n]){0,20}") {
        settings(&output);
        partitions(&format!("PartitionName={output}"));
        nodes(&format!("NodeName={output}"));
        associations(&output);
        job(&format!("JobId={output}"));
        running_job(&format!("JobId={output}"));
        cpus_per_core(&format!("NodeName={output}"));
        is_controller_up(&output);
    }
}
