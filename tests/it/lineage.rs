//! `pbtnas draw`, `diff` and `lineage`: what people ask about members of a run.

use serde_json::Value;

use crate::support::{Search, synthetic, text};

const RATE: &str = "rate = { low = 0.01, high = 0.5, scale = \"log\" }";

#[test]
fn members_are_drawn_compared_and_traced_back() {
    let search = Search::init(&synthetic(0, RATE));
    let early = search.call(&["lineage"]);
    assert!(text(&early).contains("no generation yet"), "{}", text(&early));
    search.ok(&["run"]);
    let json = |arguments: &[&str]| -> Value { serde_json::from_str(&search.ok(arguments)).unwrap() };
    // A child of the last generation.
    let plan = search.json("generations/0002/plan.json");
    let members = plan["members"].as_array().unwrap();
    let child = members.iter().find(|member| member["origin"]["kind"] == "mix").unwrap();
    let (id, origin) = (child["id"].as_u64().unwrap(), &child["origin"]);
    let (base, donor) = (origin["base"].as_u64().unwrap(), origin["donor"].as_u64().unwrap());

    // Lineage: the same ways as in lineage.json, compressed.
    let lineage = json(&["lineage", &id.to_string(), "--json"]);
    assert_eq!((&lineage["generation"], &lineage["member"]), (&2.into(), &id.into()));
    let ancestry = lineage["ancestry"].as_array().unwrap();
    assert_eq!(ancestry.len(), 3);
    assert_eq!((&ancestry[0]["origin"], &ancestry[1]["member"]), (origin, &base.into()));
    assert_eq!(ancestry[2]["origin"]["kind"], "random");
    let result = search.json(&format!("generations/0002/members/{id:02}/result.json"));
    assert_eq!(lineage["fitness"], result["outcome"]["fitness"]);
    let variables = lineage["variables"].as_array().unwrap();
    assert_eq!(variables.len(), 8);
    for variable in variables {
        let name = &variable["variable"];
        assert_eq!(variable["value"], child["genotype"][name.as_str().unwrap()]);
        let path = variable["path"].as_array().unwrap();
        assert_eq!(path[0]["generation"], variable["founder"]["generation"]);
        assert_eq!(path.last().unwrap()["member"], id);
        let taken = origin["replaced"].as_array().unwrap().contains(name);
        assert_eq!(path[path.len() - 2]["member"], if taken { donor } else { base });
    }
    let printed = search.ok(&["lineage", &id.to_string()]);
    let place = format!(" > 2/{id:02}");
    assert!(printed.contains("random") && printed.matches(&place).count() == 8, "{printed}");
    assert!(search.ok(&["lineage"]).contains("variables by founder: "));

    // Differences: of a child from its base, those that were replaced or explored.
    let (a, b) = (format!("1/{base}"), format!("2/{id}"));
    let diff = json(&["diff", &a, &b, "--json"]);
    assert_eq!(diff["relation"]["kind"], "child");
    assert_eq!((&diff["relation"]["role"], &diff["variables"]), (&"base".into(), &8.into()));
    let changed = |name: &Value| {
        let names = |key: &str| origin[key].as_array().is_some_and(|names| names.contains(name));
        names("replaced") || names("explored")
    };
    let differing = diff["differing"].as_array().unwrap();
    assert!(differing.iter().all(|one| changed(&one["variable"])), "{diff}");
    let printed = search.ok(&["diff", &a, &b]);
    assert!(printed.contains(&format!("{} of 8 variables differ", differing.len())), "{printed}");
    assert!(printed.contains("is a child of"), "{printed}");
    if let Some(rate) = differing.iter().find(|one| one["variable"] == "rate") {
        let number = |side: &str| rate[side].as_str().unwrap().parse::<f64>().unwrap();
        assert_eq!(rate["ratio"].as_f64(), Some(number("b") / number("a")));
        assert!(printed.contains("\nhyperparameters\n  rate: "), "{printed}");
    }

    // Drawings: the same architecture from the run and from its file.
    let exported = search.path("best");
    search.ok(&["best", "--output", exported.to_str().unwrap()]);
    let genotype = exported.join("genotype.json");
    let same = search.ok(&["diff", "best", genotype.to_str().unwrap()]);
    assert!(same.contains("0 of 8 variables differ, 8 are the same"), "{same}");
    let dot = search.ok(&["draw", "best"]);
    assert!(
        dot.starts_with("digraph")
            && dot.contains("layer0: o")
            && dot == search.ok(&["draw", "--output", "-"])
    );
    let file = search.folder().join("child.svg");
    search.ok(&["draw", &b, "--against", &a, "--output", file.to_str().unwrap()]);
    let svg = std::fs::read_to_string(&file).unwrap();
    assert!(svg.contains(&format!("<title>member {id:02} of generation 2")), "{svg}");
    assert_eq!(svg.contains("class=\"node table hot\""), !differing.is_empty(), "{svg}");
}

#[test]
fn a_wrong_name_is_told_with_what_there_is() {
    let search = Search::init(&synthetic(0, ""));
    search.ok(&["run"]);
    let other = search.folder().join("other.json");
    std::fs::write(&other, "{\"layer0\": \"o9\"}").unwrap();
    let other = other.to_str().unwrap();
    for (arguments, told) in [
        (&["draw", "9/1"][..], "there is no generation 9: the run has 0 to 2"),
        (&["lineage", "1/8"], "generation 1 has no member 08: it has 00 to 07"),
        (&["lineage", "8"], "generation 2 has no member 08"),
        (&["diff", "best", "nobody"], "there is no file nobody; a network is named `best`, `3`"),
        (&["lineage", other], "is no member"),
        (&["draw", other], "does not fit the space of this run"),
        (&["draw", "best", "--output", "x.png"], "x.png must end in .svg"),
    ] {
        let output = search.call(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(text(&output).contains(told), "{arguments:?}: {}", text(&output));
    }
}
