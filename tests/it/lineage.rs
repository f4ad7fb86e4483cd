//! `pbtnas draw`, `diff` and `lineage`.

use serde_json::Value;

use crate::support::{Search, synthetic, text};

const RATE: &str = "rate = { low = 0.01, high = 0.5, scale = \"log\" }";

#[test]
fn draw_diff_and_lineage_agree_with_the_records() {
    let search = Search::init(&synthetic(0, RATE));
    let early = search.call(&["lineage"]);
    assert!(text(&early).contains("no generation yet"), "{}", text(&early));
    search.ok(&["run"]);
    let json = |arguments: &[&str]| -> Value { serde_json::from_str(&search.ok(arguments)).unwrap() };
    // A child in the last generation.
    let plan = search.json("generations/0002/plan.json");
    let members = plan["members"].as_array().unwrap();
    let child = members.iter().find(|member| member["origin"]["kind"] == "mix").unwrap();
    let (id, origin) = (child["id"].as_u64().unwrap(), &child["origin"]);
    let (base, donor) = (origin["base"].as_u64().unwrap(), origin["donor"].as_u64().unwrap());

    // The lineage agrees with the plans.
    let lineage = json(&["lineage", &id.to_string(), "--json"]);
    assert_eq!((&lineage["generation"], &lineage["member"]), (&2.into(), &id.into()));
    let ancestors = lineage["ancestors"].as_array().unwrap();
    assert_eq!(ancestors.len(), 3);
    assert_eq!((&ancestors[0]["origin"], &ancestors[1]["member"]), (origin, &base.into()));
    assert_eq!(ancestors[2]["origin"]["kind"], "random");
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

    // Differences between a child and its base: what was replaced or explored.
    let (a, b) = (format!("1/{base}"), format!("2/{id}"));
    let diff = json(&["diff", &a, &b, "--json"]);
    assert_eq!((&diff["b"]["origin"], &diff["variables"]), (origin, &8.into()));
    let listed = |key: &str, name: &Value| origin[key].as_array().is_some_and(|names| names.contains(name));
    let differing = diff["differing"].as_array().unwrap();
    let printed = search.ok(&["diff", &a, &b]);
    assert!(printed.contains(&format!("{} of 8 variables differ", differing.len())), "{printed}");
    for one in differing {
        let name = &one["variable"];
        assert!(listed("replaced", name) || listed("explored", name), "{diff}");
        let of = variables.iter().find(|known| known["variable"] == *name).unwrap();
        assert_eq!((&one["b"], &one["b_founder"]), (&of["value"], &of["founder"]));
        assert!(printed.contains(&format!("\n{} ", name.as_str().unwrap())), "{printed}");
    }

    // The drawing of a member equals that of its genotype file.
    let exported = search.path("best");
    search.ok(&["best", "--output", exported.to_str().unwrap()]);
    let genotype = exported.join("genotype.json");
    let same = search.ok(&["diff", "best", genotype.to_str().unwrap()]);
    assert!(same.contains("0 of 8 variables differ"), "{same}");
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
fn an_unknown_member_is_reported_with_the_known_ones() {
    let search = Search::init(&synthetic(0, ""));
    search.ok(&["run"]);
    let other = search.folder().join("other.json");
    std::fs::write(&other, "{\"layer0\": \"o9\"}").unwrap();
    let other = other.to_str().unwrap();
    for (arguments, message) in [
        (&["draw", "9/1"][..], "generation 9 does not exist; the run has generations 0 to 2"),
        (&["lineage", "1/8"], "member 08 does not exist; generation 1 has members 00 to 07"),
        (&["lineage", "8"], "member 08 does not exist; generation 2"),
        (&["diff", "best", "missing"], "missing does not exist; name a network as `best`, `3`"),
        (&["lineage", other], "is not a member"),
        (&["draw", other], "does not match the search space of this run"),
        (&["draw", "best", "--output", "x.png"], "x.png must end in .svg"),
    ] {
        let output = search.call(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(text(&output).contains(message), "{arguments:?}: {}", text(&output));
    }
}
