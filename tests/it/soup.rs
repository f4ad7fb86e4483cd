//! Soups and final evaluations, and the baselines.

use std::collections::BTreeSet;

use pbtnas_core::checkpoint::Reader;
use serde_json::Value;

use crate::compare::columns;
use crate::support::{PBTNAS, Search, signal, synthetic, text};

/// Without mixing the population converges to few architectures, which can be averaged; after many steps the distance
/// to the optimum is noise, so averaging helps.
pub const CONVERGING: &str = "seed = 7\n[search]\npopulation = 8\nepochs = 10\nepochs_per_generation = 2\nmixing = false\n\
                              [task]\nkind = \"synthetic\"\n[storage]\nkeep = \"all\"\nvisibility_timeout = 2\n\
                              [synthetic]\nsteps_per_epoch = 100\n";

/// (generation, member) of the ingredients of the soup in a folder.
pub fn ingredients(search: &Search, folder: &str) -> Vec<(u64, u64)> {
    let soup = search.json(&format!("{folder}/soup.json"));
    let number = |one: &Value, key: &str| one[key].as_u64().unwrap();
    soup["ingredients"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (number(one, "generation"), number(one, "member")))
        .collect()
}

/// Repeats the greedy search from the records of all rounds in a folder.
pub fn check_greedy(search: &Search, folder: &str) {
    let mut round = 1;
    let mut evaluated = 0;
    loop {
        let dir = format!("{folder}/round-{round:02}");
        let plan = search.json(&format!("{dir}/plan.json"));
        let fitness = plan["fitness"].as_f64().unwrap();
        let candidates = plan["candidates"].as_array().unwrap();
        // Children without fitness come last.
        let order: Vec<Option<f64>> = candidates.iter().map(|c| c["fitness"].as_f64()).collect();
        assert!(order.windows(2).all(|pair| pair[0] >= pair[1]), "candidates come best first: {order:?}");
        let taken = (0..candidates.len()).find(|at| {
            let path = format!("{dir}/candidates/{at:02}/result.json");
            let result = search.json(&path)["fitness"].as_f64();
            evaluated += 1;
            result > Some(fitness)
        });
        let next = search.path(&format!("{folder}/round-{:02}/plan.json", round + 1));
        match taken {
            Some(at) if at + 1 < candidates.len() => {
                let next = search.json(&format!("{folder}/round-{:02}/plan.json", round + 1));
                let mut expected = plan["ingredients"].as_array().unwrap().clone();
                expected.push(candidates[at].clone());
                assert_eq!(next["ingredients"], Value::from(expected));
                assert_eq!(next["candidates"], Value::from(candidates[at + 1..].to_vec()));
                round += 1;
            }
            taken => {
                assert!(!next.exists());
                let count = plan["ingredients"].as_array().unwrap().len() + usize::from(taken.is_some());
                assert_eq!(ingredients(search, folder).len(), count);
                break;
            }
        }
    }
    assert!(evaluated > 0, "there was nothing to try");
}

#[test]
fn a_soup_is_the_result_of_the_greedy_search() {
    let search = Search::init(CONVERGING);
    let early = search.call(&["soup"]);
    assert!(text(&early).contains("a soup requires a finished search"), "{}", text(&early));
    search.ok(&["run"]);
    let printed = search.ok(&["soup", "--workers", "1"]);
    assert!(printed.contains("difference to the best member alone"), "{printed}");
    check_greedy(&search, "soup");
    // More workers and kills do not change the soup.
    let soup = search.json("soup/soup.json");
    std::fs::remove_dir_all(search.path("soup")).unwrap();
    for _ in 0..2 {
        let mut cooking = search.start(&["soup", "--workers", "3"]);
        std::thread::sleep(std::time::Duration::from_millis(150));
        signal(cooking.id(), "KILL");
        cooking.wait().unwrap();
    }
    search.ok(&["soup", "--workers", "3"]);
    assert_eq!(search.json("soup/soup.json"), soup);
    assert!(soup["fitness"].as_f64() >= search.json("best.json")["fitness"].as_f64());

    assert!(search.ok(&["verify"]).starts_with("valid"));
    // Both can be evaluated; a second evaluation has the same result.
    let best: Value = serde_json::from_str(&search.ok(&["evaluate", "--json"])).unwrap();
    assert_eq!(best["fitness"], search.json("best.json")["fitness"]);
    let of_soup: Value = serde_json::from_str(&search.ok(&["evaluate", "--soup", "--json"])).unwrap();
    assert_eq!(of_soup["fitness"], soup["fitness"]);
    let again: Value = serde_json::from_str(&search.ok(&["evaluate", "--soup", "--json"])).unwrap();
    assert_eq!(again, of_soup);
    assert!(ingredients(&search, "soup").len() > 1, "nothing was averaged");
    assert!(search.path("soup/soup.safetensors").exists());
}

/// A search that converges early: noise decides in which generation the best member is.
fn noisy(best_of: &str) -> Search {
    noisy_keeping("1", best_of)
}

fn noisy_keeping(keep: &str, best_of: &str) -> Search {
    let search = Search::init(&format!(
        "seed = 1\n[search]\npopulation = 16\nepochs = 20\nepochs_per_generation = 2\nmixing = false\n{best_of}\n\
         [task]\nkind = \"synthetic\"\n[storage]\nkeep = {keep}\nvisibility_timeout = 2\n\
         [synthetic]\nsteps_per_epoch = 100\nlayers = 1\n"
    ));
    search.ok(&["run"]);
    search
}

/// The fitness of a generation's members.
fn fitness_of(search: &Search, generation: u64) -> Vec<Option<f64>> {
    search.ok(&["export", "--format", "jsonl", "--output", search.folder().to_str().unwrap()]);
    let rows = std::fs::read_to_string(search.folder().join("members.jsonl")).unwrap();
    let rows = rows.lines().map(|row| serde_json::from_str::<Value>(row).unwrap());
    rows.filter(|row| row["generation"] == generation).map(|row| row["fitness"].as_f64()).collect()
}

#[test]
fn candidates_are_the_population_after_the_selection_of_the_best_generation() {
    let search = noisy("");
    let best = search.json("best.json");
    let (generation, member) = (best["generation"].as_u64().unwrap(), best["member"].as_u64().unwrap());
    assert!(generation < 8, "the best member is of generation {generation}, whose files are kept anyway");
    let members = |generation: u64| {
        let plan = search.json(&format!("generations/{generation:04}/plan.json"));
        plan["members"].as_array().unwrap().clone()
    };
    let after = members(generation + 1);
    let is_child = |id: u64| after[id as usize]["origin"]["kind"] == "mix";
    let alike = |member: &Value| member["genotype"] == best["genotype"];
    // Survivors with the best member's architecture, best first; then children, with their first checkpoints.
    let mut expected: Vec<(u64, u64, Option<f64>)> = Vec::new();
    for ((id, before), fitness) in (0..).zip(members(generation)).zip(fitness_of(&search, generation)) {
        if id != member && !is_child(id) && alike(&before) {
            expected.push((generation, id, fitness));
        }
    }
    expected.sort_by(|a, b| b.2.partial_cmp(&a.2).unwrap());
    let survivors = expected.len();
    search.ok(&["soup"]);
    let plan = search.json("soup/round-01/plan.json");
    let trained = plan["candidates"].as_array().unwrap().iter().filter(|one| !one["fitness"].is_null());
    let trained: Vec<&Value> = trained.chain([&best]).map(|one| &one["checkpoint"]["digest"]).collect();
    for (id, child) in (0..).zip(&after) {
        // A child that took no weights from its donor is its base.
        if is_child(id) && alike(child) && !trained.contains(&&child["start"]["checkpoint"]["digest"]) {
            expected.push((generation + 1, id, None));
        }
    }
    assert!(survivors > 0 && expected.len() > survivors, "{expected:?}");
    let candidates = plan["candidates"].as_array().unwrap().iter().map(|one| {
        let number = |key: &str| one[key].as_u64().unwrap();
        (number("generation"), number("member"), one["fitness"].as_f64())
    });
    assert_eq!(candidates.collect::<Vec<_>>(), expected);
    check_greedy(&search, "soup");
    assert!(search.ok(&["verify"]).starts_with("valid"));
}

/// The checkpoints on disk in generations before `first`, as (generation, member, whether it is that of a child).
fn old_checkpoints(search: &Search, first: u64) -> BTreeSet<(u64, u64, bool)> {
    let root = search.path("generations");
    let files = walkdir::WalkDir::new(&root).into_iter().map(|entry| entry.unwrap().into_path());
    let checkpoints = files.filter(|path| path.extension().is_some_and(|ending| ending == "safetensors"));
    let place = |path: std::path::PathBuf| {
        let parts: Vec<String> =
            path.strip_prefix(&root).unwrap().iter().map(|part| part.to_str().unwrap().to_owned()).collect();
        (parts[0].parse().unwrap(), parts[2].parse().unwrap(), parts[3] == "start.safetensors")
    };
    checkpoints.map(place).filter(|(generation, ..)| *generation < first).collect()
}

#[test]
fn of_old_generations_only_the_best_member_and_the_candidates_of_its_soup_are_kept() {
    for (keep, best_of) in [("1", ""), ("\"best\"", ""), ("1", "best_of = \"last-generation\"")] {
        let search = noisy_keeping(keep, best_of);
        search.ok(&["soup"]);
        let best = search.json("best.json");
        let number = |one: &Value, key: &str| one[key].as_u64().unwrap();
        let mut expected = BTreeSet::from([(number(&best, "generation"), number(&best, "member"), false)]);
        for one in search.json("soup/round-01/plan.json")["candidates"].as_array().unwrap() {
            expected.insert((number(one, "generation"), number(one, "member"), one["fitness"].is_null()));
        }
        // The last two generations are kept anyway; children that equal their parents are no candidates.
        expected.retain(|(generation, ..)| *generation < 8);
        let mut found = old_checkpoints(&search, 8);
        found.retain(|one| !one.2 || expected.contains(one));
        assert_eq!(found, expected, "keep = {keep}, {best_of}");
        assert_eq!(expected.is_empty(), !best_of.is_empty());
    }
}

#[test]
fn the_best_of_the_last_generation_counts_if_the_configuration_says_so() {
    let (ever, last) = (noisy(""), noisy("best_of = \"last-generation\""));
    let fitness = |search: &Search| search.json("best.json")["fitness"].as_f64().unwrap();
    let best_of = |generation| fitness_of(&last, generation).into_iter().flatten().fold(f64::MIN, f64::max);
    assert_eq!(last.json("best.json")["generation"], 9);
    assert_eq!(fitness(&last), best_of(9));
    assert_eq!(fitness(&ever), (0..10).map(best_of).fold(f64::MIN, f64::max));
    assert!(fitness(&ever) > fitness(&last));
    for search in [&ever, &last] {
        let status: Value = serde_json::from_str(&search.ok(&["status", "--json"])).unwrap();
        assert_eq!(status["best"]["fitness"].as_f64(), Some(fitness(search)));
        assert!(search.ok(&["verify"]).starts_with("valid"));
        let best = std::fs::read(search.path("best.json")).unwrap();
        std::fs::remove_file(search.path("best.json")).unwrap();
        search.ok(&["run"]);
        assert_eq!(std::fs::read(search.path("best.json")).unwrap(), best);
        assert!(search.ok(&["verify"]).starts_with("valid"));
    }
}

#[test]
fn soups_of_parts_change_their_part_only() {
    let search = Search::init(CONVERGING);
    search.ok(&["run"]);
    let wrong = search.call(&["soup", "--part", "tail"]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(text(&wrong).contains("unknown part \"tail\"; the parts are head, layers"), "{}", text(&wrong));
    let early = search.call(&["evaluate", "--soup", "--part", "head"]);
    assert!(
        text(&early).contains("soup --state") && text(&early).contains("--part head`"),
        "{}",
        text(&early)
    );

    // All at the same time, one of them killed.
    let parts = [vec!["soup"], vec!["soup", "--part", "head"], vec!["soup", "--part", "layers"]];
    let mut interrupted = search.start(&parts[2]);
    std::thread::sleep(std::time::Duration::from_millis(150));
    signal(interrupted.id(), "KILL");
    interrupted.wait().unwrap();
    for mut cooking in parts.clone().map(|arguments| search.start(&arguments)) {
        assert!(cooking.wait().unwrap().success());
    }
    let folders = ["soup", "soup-head", "soup-layers"];
    let soups = folders.map(|folder| {
        check_greedy(&search, folder);
        std::fs::read(search.path(&format!("{folder}/soup.json"))).unwrap()
    });
    // One at a time they are the same.
    for ((folder, arguments), soup) in folders.iter().zip(&parts).zip(&soups) {
        std::fs::remove_dir_all(search.path(folder)).unwrap();
        let printed = search.ok(arguments);
        assert!(
            printed.contains(&format!(
                "--soup{}",
                arguments[1..].iter().map(|a| format!(" {a}")).collect::<String>()
            )),
            "{printed}"
        );
        assert!(*soup == std::fs::read(search.path(&format!("{folder}/soup.json"))).unwrap(), "{folder}");
    }
    assert!(search.ok(&["verify"]).starts_with("valid"));

    // In a soup of one part, the other part is the best member's, bit for bit.
    let best =
        Reader::open(&search.path(search.json("best.json")["checkpoint"]["path"].as_str().unwrap())).unwrap();
    for (folder, part) in [("soup-head", "net/head"), ("soup-layers", "net/layer")] {
        assert!(ingredients(&search, folder).len() > 1, "nothing was averaged");
        let soup = Reader::open(&search.path(&format!("{folder}/soup.safetensors"))).unwrap();
        let mut averaged = 0;
        for entry in soup.entries() {
            let same = soup.bytes(&entry).unwrap() == best.bytes(&entry).unwrap();
            let of_part = entry.name.split_once('/').unwrap().1.starts_with(part);
            assert!(same || of_part, "{folder}: {}", entry.name);
            averaged += usize::from(!same);
        }
        assert!(averaged > 1);
    }

    // `evaluate` and `compare`.
    let fitness = |folder: &str| search.json(&format!("{folder}/soup.json"))["fitness"].as_f64().unwrap();
    search.ok(&["evaluate"]);
    for part in ["head", "layers"] {
        let record = search.ok(&["evaluate", "--soup", "--part", part, "--json"]);
        let record: Value = serde_json::from_str(&record).unwrap();
        assert_eq!(record["fitness"], fitness(&format!("soup-{part}")));
        let output = std::process::Command::new(PBTNAS)
            .args(["compare", "--soups", "--part", part])
            .arg(&search.state)
            .output()
            .unwrap();
        let added = fitness(&format!("soup-{part}")) - search.json("best.json")["fitness"].as_f64().unwrap();
        let table = text(&output);
        assert!(
            table.contains(&format!("soup of {part} minus best member, as measured by `pbtnas evaluate`")),
            "{table}"
        );
        let shown: f64 = columns(&table, "pbt-nas")[2].split(' ').next().unwrap().parse().unwrap();
        assert!((shown - added).abs() < 1e-4, "{added}: {table}");
    }

    // A damaged soup is reported with the command that rebuilds it.
    let record = search.path("soup-head/soup.json");
    std::fs::write(&record, "{}").unwrap();
    let faults = search.call(&["verify"]);
    assert_eq!(faults.status.code(), Some(4));
    assert!(text(&faults).contains("run `pbtnas soup --part PART` again"), "{}", text(&faults));
}

#[test]
fn mutation_and_perturbed_random_search_are_sound() {
    let config = |algorithm: &str| synthetic(0, "").replace("[search]", &format!("[search]\n{algorithm}"));
    let search = Search::init(&config("algorithm = \"mutation\""));
    search.ok(&["run"]);
    let plans: Vec<Value> = (1..3).map(|g| search.json(&format!("generations/{g:04}/plan.json"))).collect();
    let origins = plans.iter().flat_map(|plan| plan["members"].as_array().unwrap());
    let kinds: Vec<&str> = origins.map(|member| member["origin"]["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds.iter().filter(|kind| **kind == "mutation").count(), 4, "{kinds:?}");
    assert_eq!(kinds.iter().filter(|kind| **kind == "survivor").count(), 12, "{kinds:?}");
    assert!(search.ok(&["verify"]).starts_with("valid"));
    search.ok(&["best"]);

    let search = Search::init(&config("algorithm = \"random-search\"\nshrink_perturb_survivors = true"));
    search.ok(&["run"]);
    for generation in 1..3 {
        let plan = search.json(&format!("generations/{generation:04}/plan.json"));
        for member in plan["members"].as_array().unwrap() {
            assert_eq!(member["origin"]["kind"], "perturbed");
            let start = member["start"]["checkpoint"]["path"].as_str().unwrap();
            assert!(start.ends_with("start.safetensors"), "{start}");
        }
    }
    assert!(search.ok(&["verify"]).starts_with("valid"));
    let plain = Search::init(&config("algorithm = \"random-search\""));
    plain.ok(&["run"]);
    assert_ne!(search.json("best.json")["fitness"], plain.json("best.json")["fitness"]);
}
