//! Commands with their output, files and links of a Markdown page.

/// A command and the lines that are shown below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Line number in the page, from 1.
    pub line: usize,
    /// Several lines where each but the last ends with a backslash.
    pub command: String,
    /// Empty if the page shows no output.
    pub output: Vec<String>,
}

/// A fenced block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Line number of the first line of content, from 1.
    pub line: usize,
    /// The text behind the fence: `console`, `toml`, or with a file name `python train.py`.
    pub info: String,
    pub lines: Vec<String>,
}

impl Block {
    /// The file name behind the fence.
    pub fn file(&self) -> Option<&str> {
        self.info.split_once(' ').map(|(_, name)| name.trim())
    }

    /// Commands of a block `console`: lines that begin with `$ `.
    pub fn calls(&self) -> Vec<Call> {
        let mut calls: Vec<Call> = Vec::new();
        let mut open = false;
        for (number, line) in self.lines.iter().enumerate() {
            if let Some(call) = calls.last_mut().filter(|_| open) {
                call.command += &format!("\n{line}");
            } else if let Some(command) = line.strip_prefix("$ ") {
                calls.push(Call { line: self.line + number, command: command.into(), output: Vec::new() });
            } else if let Some(call) = calls.last_mut() {
                call.output.push(line.clone());
                continue;
            } else {
                panic!("line {}: a console block must begin with a command: {line:?}", self.line + number);
            }
            open = line.ends_with('\\');
        }
        calls
    }
}

/// The fenced blocks of a page, in order.
pub fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (number, line) in text.lines().enumerate() {
        match (line.strip_prefix("```"), open.take()) {
            (Some(_), Some(block)) => blocks.push(block),
            (Some(info), None) => {
                open = Some(Block { line: number + 2, info: info.trim().into(), lines: Vec::new() });
            }
            (None, Some(mut block)) => {
                block.lines.push(line.into());
                open = Some(block);
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block is never closed: {open:?}");
    blocks
}

/// The lines that are in no fenced block, with their numbers from 1.
pub fn prose(text: &str) -> Vec<(usize, &str)> {
    let mut inside = false;
    let mut lines = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.starts_with("```") {
            inside = !inside;
        } else if !inside {
            lines.push((number + 1, line));
        }
    }
    lines
}

/// The code spans of the prose, also those that continue on the next line.
pub fn spans(text: &str) -> Vec<String> {
    let prose: Vec<&str> = prose(text).into_iter().map(|(_, line)| line).collect();
    let spans = prose.join("\n");
    let spans = spans.split("\n\n").flat_map(|paragraph| paragraph.split('`').skip(1).step_by(2));
    spans.map(|span| span.replace('\n', " ")).collect()
}

/// Targets of links and pictures, without those on the web.
pub fn links(text: &str) -> Vec<String> {
    let prose: Vec<&str> = prose(text).into_iter().map(|(_, line)| line).collect();
    let text = prose.join("\n");
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.filter(|target| !target.contains("://")).map(str::to_owned).collect()
}

/// The anchors that GitHub gives to a page's headings.
pub fn anchors(text: &str) -> Vec<String> {
    let headings = prose(text).into_iter().filter(|(_, line)| line.starts_with('#'));
    let slug = |heading: &str| {
        let heading = heading.trim_start_matches('#').trim().to_lowercase();
        heading
            .chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
            .collect::<String>()
            .replace(' ', "-")
    };
    headings.map(|(_, line)| slug(line)).collect()
}

#[test]
fn blocks_calls_spans_links_and_anchors() {
    let page = "# A page: \"x\"\n\nSee `pbtnas\nstatus` and [b](b.md#c), [w](https://w).\n```console\n$ one \\\n  two\nout\n\
                $ three\n```\n```toml a.toml\nx = 1\n```\n";
    let found = blocks(page);
    assert_eq!(found.len(), 2);
    let calls = found[0].calls();
    assert_eq!(calls[0], Call { line: 6, command: "one \\\n  two".into(), output: vec!["out".into()] });
    assert_eq!((calls[1].line, calls[1].output.len()), (9, 0));
    assert_eq!((found[1].file(), found[0].file()), (Some("a.toml"), None));
    assert_eq!(spans(page), ["pbtnas status"]);
    assert_eq!(links(page), ["b.md#c"]);
    assert_eq!(anchors(page), ["a-page-x"]);
}
