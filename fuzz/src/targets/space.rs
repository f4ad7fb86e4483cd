//! `space.json`: a search space, and genotypes of it.

use pbtnas_core::search::{Initial, Space, initial_population};

pub fn fuzz(input: &[u8]) {
    let Ok(space) = serde_json::from_slice::<Space>(input) else { return };
    let bytes = serde_json::to_vec_pretty(&space).expect("a space can be written");
    assert_eq!(serde_json::from_slice::<Space>(&bytes).expect("and read"), space);

    let all = || space.variables.iter().flat_map(|v| v.owns().iter().map(move |prefix| (&v.name, prefix)));
    let overlap = || {
        all()
            .enumerate()
            .any(|(i, (_, a))| all().enumerate().any(|(j, (_, b))| i != j && b.starts_with(a.as_str())))
    };
    if space.check().is_err() {
        return;
    }
    assert!(!overlap(), "a tensor may have two owners");
    for (name, prefix) in all() {
        assert_eq!(space.owner(&format!("{prefix}x")).map(|owner| &owner.name), Some(name));
    }
    assert!(space.size() > 0u32.into());
    for (_, range) in space.ranges() {
        assert!(
            [range.low(), range.high(), range.at(0.5)]
                .iter()
                .all(|&n| range.parse(&range.text(n)) == Some(n))
        );
    }
    for how in [Initial::Balanced, Initial::Uniform] {
        for mut genotype in initial_population(&space, 3, how, 1) {
            assert_eq!(space.check_genotype(&genotype), Ok(()));
            // Unknown values and variables are refused.
            let long = "x".repeat(
                1 + space.variables.iter().flat_map(|v| v.options()).map(String::len).max().unwrap_or(0),
            );
            let name = &space.variables[0].name;
            let value = genotype.get(name).unwrap_or_default().to_owned();
            genotype.set(name, &long);
            assert!(space.check_genotype(&genotype).is_err());
            genotype.set(name, &value);
            let unknown: String = space.variables.iter().map(|v| v.name.as_str()).chain(["x"]).collect();
            genotype.set(&unknown, &value);
            assert!(space.check_genotype(&genotype).is_err());
        }
    }
}
