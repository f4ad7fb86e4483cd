//! Parsers of SLURM's notation for times, memory, generic resources and lists. Pure; unknown notation is `None`.

/// A time limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Limit {
    Seconds(u64),
    Unlimited,
}

impl std::fmt::Display for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self::Seconds(seconds) = self else { return f.write_str("unlimited") };
        let (days, hours) = (seconds / 86_400, seconds / 3600 % 24);
        if days > 0 {
            write!(f, "{days}-")?;
        }
        write!(f, "{hours:02}:{:02}:{:02}", seconds / 60 % 60, seconds % 60)
    }
}

/// Parses a time limit of `--time` or of a partition: `30`, `30:00`, `1:30:00`, `2-0`, `2-12:30`, `2-12:30:00`,
/// `UNLIMITED`. Zero means unlimited (sbatch(1)).
pub fn limit(text: &str) -> Option<Limit> {
    let text = text.trim();
    if ["unlimited", "infinite", "-1"].contains(&text.to_ascii_lowercase().as_str()) {
        return Some(Limit::Unlimited);
    }
    let number = |part: &str| part.parse::<u32>().ok().map(u64::from);
    let (days, clock) = match text.split_once('-') {
        Some((days, clock)) => (Some(number(days)?), clock),
        None => (None, text),
    };
    let parts: Vec<u64> = clock.split(':').map(number).collect::<Option<_>>()?;
    let (hours, minutes, seconds) = match (days, parts.as_slice()) {
        (None, [minutes]) => (0, *minutes, 0),
        (None, [minutes, seconds]) => (0, *minutes, *seconds),
        (Some(_), [hours]) => (*hours, 0, 0),
        (Some(_), [hours, minutes]) => (*hours, *minutes, 0),
        (_, [hours, minutes, seconds]) => (*hours, *minutes, *seconds),
        _ => return None,
    };
    match ((days.unwrap_or(0) * 24 + hours) * 60 + minutes) * 60 + seconds {
        0 => Some(Limit::Unlimited),
        seconds => Some(Limit::Seconds(seconds)),
    }
}

/// Parses memory (`16G`, `500M`, `2048`, `1T`, `0.5G` as in TRES) into MiB.
pub fn mebibytes(text: &str) -> Option<u64> {
    let text = text.trim().trim_end_matches(['B', 'b']);
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "K" => 1.0 / 1024.0,
        "" | "M" => 1.0,
        "G" => 1024.0,
        "T" => 1024.0 * 1024.0,
        _ => return None,
    };
    let number: f64 = digits.parse().ok()?;
    (number.is_finite() && number >= 0.0).then(|| (number * factor).ceil() as u64)
}

/// A generic resource, requested or available.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gres {
    /// E.g. `gpu`.
    pub name: String,
    /// E.g. `a100`.
    pub kind: Option<String>,
    pub count: u64,
}

impl std::fmt::Display for Gres {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = self.kind.iter().map(|kind| format!(":{kind}")).collect::<String>();
        write!(f, "{}{kind}:{}", self.name, self.count)
    }
}

/// Parses generic resources: `gpu:1`, `gpu`, `gpu:a100:4(S:0-1),shard:8`, `gres/gpu:2`. Unknown notation is skipped.
pub fn gres(text: &str) -> Vec<Gres> {
    let mut depth = 0;
    // Parentheses hold the location on the node and may contain commas.
    let plain: String = text
        .chars()
        .filter(|c| {
            depth += i32::from(*c == '(') - i32::from(*c == ')');
            depth == 0 && *c != ')'
        })
        .collect();
    plain.split(',').filter_map(|part| one_gres(part.trim())).collect()
}

fn one_gres(text: &str) -> Option<Gres> {
    let text = text.strip_prefix("gres/").or(text.strip_prefix("gres:")).unwrap_or(text);
    let mut parts: Vec<&str> = text.split([':', '=']).filter(|part| *part != "no_consume").collect();
    let count = |text: &str| {
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let power = ["", "K", "M", "G", "T"].iter().position(|unit| *unit == &text[digits.len()..])?;
        digits.parse::<u64>().ok()?.checked_mul(1024_u64.checked_pow(power as u32)?)
    };
    let number = (parts.len() > 1).then(|| parts.last().and_then(|last| count(last))).flatten();
    if number.is_some() {
        parts.pop();
    }
    match parts.as_slice() {
        [name] if !name.is_empty() && *name != "none" => {
            Some(Gres { name: (*name).into(), kind: None, count: number.unwrap_or(1) })
        }
        [name, kind] if !name.is_empty() => {
            Some(Gres { name: (*name).into(), kind: Some((*kind).into()), count: number.unwrap_or(1) })
        }
        _ => None,
    }
}

/// Whether the available resources satisfy a request.
pub fn satisfies(there: &[Gres], asked: &Gres) -> bool {
    let fits = |one: &&Gres| one.name == asked.name && (asked.kind.is_none() || one.kind == asked.kind);
    there.iter().filter(fits).map(|one| one.count).fold(0, u64::saturating_add) >= asked.count
}

/// Counts the numbers of a list: `0-3,8` has five.
pub fn numbers(list: &str) -> Option<u64> {
    let count = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.parse::<u64>().ok()?, last.parse::<u64>().ok()?);
        last.checked_sub(first)?.checked_add(1)
    };
    list.split(',').try_fold(0_u64, |sum, part| sum.checked_add(count(part)?))
}

/// Counts the hosts of a list: `n[1-4,7],m3` has six.
pub fn hosts(list: &str) -> Option<u64> {
    let mut inside = false;
    let parts = list.split(|c| {
        inside = (inside || c == '[') && c != ']';
        c == ',' && !inside
    });
    let count = |part: &str| {
        let mut all = 1_u64;
        for opened in part.split('[').skip(1) {
            all = all.checked_mul(numbers(opened.split_once(']')?.0)?)?;
        }
        (!part.is_empty()).then_some(all)
    };
    parts.map(count).try_fold(0_u64, |sum, count| sum.checked_add(count?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn time_formats_of_the_sbatch_manual() {
        for (text, seconds) in [
            ("30", 1800),
            ("30:15", 1815),
            ("1:30:00", 5400),
            ("2-0", 172_800),
            ("1-12", 129_600),
            ("1-12:30", 131_400),
            ("1-12:30:05", 131_405),
            ("04:00:00", 14_400),
        ] {
            assert_eq!(limit(text), Some(Limit::Seconds(seconds)), "{text}");
        }
        for text in ["UNLIMITED", "infinite", "0", "00:00:00", "0-0"] {
            assert_eq!(limit(text), Some(Limit::Unlimited));
        }
        for text in ["", "soon", "1:2:3:4", "1-2-3", "4h", "NONE", "-5", "1-1:1:1:1"] {
            assert_eq!(limit(text), None, "{text}");
        }
        assert_eq!(Limit::Seconds(131_405).to_string(), "1-12:30:05");
        assert_eq!(Limit::Seconds(90).to_string(), "00:01:30");
        assert!(Limit::Seconds(u64::MAX) < Limit::Unlimited);
    }

    #[test]
    fn memory_sizes() {
        for (text, expected) in
            [("16G", 16_384), ("500M", 500), ("2048", 2048), ("1T", 1 << 20), ("1000K", 1), ("0.5G", 512)]
        {
            assert_eq!(mebibytes(text), Some(expected), "{text}");
        }
        assert_eq!(mebibytes("16GB"), Some(16_384));
        for text in ["", "much", "1E9X", "-1G"] {
            assert_eq!(mebibytes(text), None, "{text}");
        }
    }

    #[test]
    fn generic_resources() {
        let all = |text: &str| gres(text).iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        assert_eq!(all("gpu:1"), "gpu:1");
        assert_eq!(all("gpu"), "gpu:1");
        assert_eq!(all("gpu:a100"), "gpu:a100:1");
        assert_eq!(all("gpu:a100:4(S:0,2-3),shard:a100:8(S:0)"), "gpu:a100:4 shard:a100:8");
        assert_eq!(all("gres/gpu:2"), "gpu:2");
        assert_eq!(all("bandwidth:lustre:no_consume:4G"), "bandwidth:lustre:4294967296");
        assert_eq!(all("(null)"), "");
        let node = gres("gpu:a100:4,gpu:k80:2");
        let has = |text: &str| satisfies(&node, &gres(text)[0]);
        assert!(has("gpu:6") && has("gpu:a100:4") && has("gpu:k80"));
        assert!(!has("gpu:7") && !has("gpu:k80:3") && !has("gpu:h100") && !has("shard:1"));
    }

    #[test]
    fn lists_are_counted() {
        assert_eq!(["0", "0-3", "0-3,8", "7-7"].map(numbers), [Some(1), Some(4), Some(5), Some(1)]);
        assert_eq!(["", "x", "3-1", "1-"].map(numbers), [None; 4]);
        let lists = ["n1", "n[1-4]", "n[1-4,7],m3", "r[1-2]n[01-10]", "a,b", "gpu-3"];
        assert_eq!(lists.map(hosts), [1, 4, 6, 20, 2, 1].map(Some));
        assert_eq!(["", "n[1-", "n[x]", "n[1-4],"].map(hosts), [None; 4]);
    }

    proptest! {
        #[test]
        fn no_input_panics(text: String) {
            numbers(&text);
            hosts(&text);
            limit(&text);
            mebibytes(&text);
            gres(&text);
        }

        #[test]
        fn limits_round_trip(seconds in 1u64..10_000_000) {
            let text = Limit::Seconds(seconds).to_string();
            prop_assert_eq!(limit(&text), Some(Limit::Seconds(seconds)));
        }
    }
}
