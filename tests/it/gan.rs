//! Real GANs on Fashion-MNIST, tiny ones.

use std::path::Path;

use crate::support::{Search, signal, wait_for};

/// A configuration of eight GANs, small enough for a test; `gan` holds what differs.
pub fn config(epochs: u32, gan: &str) -> String {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join(".deps/data/fashion-mnist");
    assert!(data.exists(), "{} is missing: call scripts/setup data", data.display());
    format!(
        "seed = 3\n[search]\npopulation = 8\nepochs = {epochs}\nepochs_per_step = 1\n[task]\nkind = \"gan\"\n\
         [storage]\nkeep = \"all\"\n\
         [gan]\ndata = {data:?}\nimage_size = 16\nbottom_width = 2\ngenerator_width = 8\n\
         discriminator_width = 8\nlatent = 12\ndiscriminator_steps = 2\n\
         learning_rate = 1e-3\naverage_decay = 0.9\n{gan}\n"
    )
}

#[test]
fn an_interrupted_gan_is_the_uninterrupted_one_bit_for_bit() {
    let gan = "subset = 1200\nbatch = 20\ngenerator_batch = 20\nevaluation_images = 100\nfeature_epochs = 1";
    let (calm, disturbed) = (Search::init(&config(2, gan)), Search::init(&config(2, gan)));
    for search in [&calm, &disturbed] {
        search.call(&["step"]);
    }
    // Two members, to the end of generation 0: one without a break, one with several.
    for member in ["0", "5"] {
        calm.ok(&["train", "--member", member]);
        let mut stops = 0;
        loop {
            let mut train = disturbed.start(&["train", "--member", member]);
            wait_for("an attempt", 20, || {
                let dir = disturbed.path(&format!("generations/0000/members/0{member}/attempts"));
                let begun = std::fs::read_dir(dir).ok()?.filter(|entry| {
                    entry.as_ref().unwrap().file_name().to_string_lossy().ends_with(".start.json")
                });
                (begun.count() > stops).then_some(())
            });
            std::thread::sleep(std::time::Duration::from_millis(
                if stops < 2 { 250 } else { 60_000 }.min(400),
            ));
            if stops < 2 {
                signal(train.id(), "TERM");
            }
            let code = train.wait().unwrap().code();
            if code == Some(0) {
                break;
            }
            assert_eq!(code, Some(75));
            stops += 1;
        }
        assert!(stops >= 1, "the member was too fast to be interrupted");
        let name = format!("generations/0000/members/0{member}/final.safetensors");
        assert!(std::fs::read(calm.path(&name)).unwrap() == std::fs::read(disturbed.path(&name)).unwrap());
        let fitness = |search: &Search| {
            search.json(&format!("generations/0000/members/0{member}/result.json"))["outcome"]["fitness"]
                .clone()
        };
        assert_eq!(fitness(&calm), fitness(&disturbed));
    }
}

#[test]
fn a_search_finds_better_generators_than_it_began_with() {
    let gan = "subset = 2000\nbatch = 40\ngenerator_batch = 40\nevaluation_images = 500\nfeature_epochs = 2";
    let search = Search::init(&config(4, gan));
    let table = search.ok(&["run", "--workers", "2"]);
    println!("{table}");
    let first: Vec<f64> = (0..8)
        .map(|m| {
            search.json(&format!("generations/0000/members/{m:02}/result.json"))["outcome"]["metrics"]["fid"]
                .as_f64()
                .unwrap()
        })
        .collect();
    let mean = first.iter().sum::<f64>() / 8.0;
    let best = search.json("best.json")["metrics"]["fid"].as_f64().unwrap();
    println!("mean FID of the first generation {mean:.1}, best FID {best:.1}");
    assert!(best < mean, "nothing was learnt");
    assert!(search.ok(&["verify"]).starts_with("sound"));
    let exported = search.ok(&["best"]);
    assert!(exported.contains("grid.png") && search.path("best/grid.png").exists(), "{exported}");
}
