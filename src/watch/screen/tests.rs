use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::{Color, Modifier};

use super::*;
use crate::report::history::Member;
use crate::report::history::testing::{attempt, beat, ended, generation, member, second};
use crate::watch::app::testing::app;
use crate::watch::estimates::Estimates;
use crate::watch::jobs::Jobs;
use crate::watch::jobs::testing::job;
use crate::watch::reader::{ReadEvent, Update};
use pbtnas_core::run::{AttemptEnd, FORMAT, Heartbeat, Outcome, ResultRecord, StartRecord};
use pbtnas_core::search::{Genotype, MemberId, Origin};
use pbtnas_engine::scheduler::slurm::Queue;
use pbtnas_engine::scheduler::slurm::parse::JobState;

const COLOURS: Paint = Paint { colours: true };

fn picture(app: &mut App, paint: Paint, (width, height): (u16, u16), now: i64) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, app, paint, second(now))).unwrap();
    terminal.backend().buffer().clone()
}

fn text(buffer: &Buffer) -> String {
    let width = buffer.area.width as usize;
    let lines = buffer.content.chunks(width).map(|line| {
        let line: String = line.iter().map(|cell| cell.symbol()).collect();
        line.trim_end().to_owned() + "\n"
    });
    lines.collect()
}

fn press(app: &mut App, key: KeyCode) {
    app.press(KeyEvent::new(key, KeyModifiers::NONE));
}

fn done(id: u32, fitness: f64, begin: i64, end: i64) -> Member {
    let mut member = member(id, Some(fitness));
    member.attempts = vec![attempt(1, begin)];
    member.attempts[0].start.job = Some(format!("41_{id}"));
    member.attempts[0].end = Some(ended(end, AttemptEnd::Done));
    if begin > 0 {
        (member.plan.origin, member.plan.start) = (Origin::Survivor, StartRecord::Parents);
        if let Some(ResultRecord { outcome: Outcome::Trained { epoch, .. }, .. }) = &mut member.result {
            *epoch = 4;
        }
    }
    member.plan.genotype =
        Genotype::new([("layer0".into(), format!("o{id}")), ("rate".into(), "0.0123456789".into())]);
    member
}

/// A member of the second generation, running since second 110, last seen at second 170.
fn running(id: u32, fraction: f64) -> Member {
    let mut member = done(id, 0.0, 110, 0);
    member.result = None;
    member.attempts[0].end = None;
    member.attempts[0].start.host = "n1".into();
    member.attempts[0].start.job = Some(format!("43_{id}"));
    let metrics = [("loss".to_owned(), 0.25), ("lr".to_owned(), 1e-5)].into();
    member.heartbeat = Some(Heartbeat { at: second(170), fraction, metrics, ..beat(1) });
    member
}

/// A search on SLURM in its second generation, with members in many states.
fn scene() -> App {
    let first = (0..8).map(|id| done(id, f64::from(id), 0, 100)).collect();
    let mut members: Vec<Member> = (0..8).map(|id| running(id, 0.5)).collect();
    members[0] = done(0, 0.5, 110, 160);
    members[1].plan.origin = Origin::Mix {
        base: MemberId(7),
        donor: MemberId(6),
        replaced: vec!["layer0".into()],
        explored: Vec::new(),
    };
    let evaluating = members[2].heartbeat.as_mut().unwrap();
    (evaluating.phase, evaluating.fraction) = ("evaluating".into(), 1.0);
    members[3].attempts[0].end = Some(ended(165, AttemptEnd::Stopped { signal: "SIGTERM".into() }));
    let message = "the program ended with 1\nTraceback (most recent call last):\n  File \"train.py\", line 7\nValueError: no";
    members[4].attempts[0].end = Some(ended(120, AttemptEnd::Failed { message: message.into() }));
    members[4].attempts.push(attempt(2, 130));
    members[4].heartbeat = Some(Heartbeat { at: second(171), ..beat(2) });
    let outcome = Outcome::Failed { reason: "out of memory".into(), attempts: 3, left: None };
    members[5].result = Some(ResultRecord { format: FORMAT, generation: 1, member: MemberId(5), outcome });
    members[6].attempts.clear();
    members[6].heartbeat = None;
    let mut app = app(vec![generation(0, first), generation(1, members)], second(172));
    let mut controller = job("44", JobState::Pending, "Dependency", "");
    controller.dependency = "afterany:43_*(unfulfilled)".into();
    app.on_jobs(Jobs {
        queue: Some(Queue {
            generation: 1,
            tasks: vec![
                job("43_1", JobState::Running, "None", "n1"),
                job("43_2", JobState::Running, "None", "n2"),
                job("43_3", JobState::Pending, "BeginTime", ""),
                job("43_6", JobState::Pending, "Priority", ""),
            ],
            steps: vec![controller],
            task_of: (0..8).map(|id| (MemberId(id), format!("43_{id}"))).collect(),
        }),
        queried_at: Some(second(160)),
        error: None,
    });
    app
}

#[test]
fn narrow_screen() {
    let seen = text(&picture(&mut scene(), COLOURS, (80, 24), 174));
    assert_eq!(seen, include_str!("testdata/narrow.txt"), "\n{seen}");
}

#[test]
fn wide_screen_with_details() {
    let mut app = scene();
    (0..4).for_each(|_| press(&mut app, KeyCode::Down));
    let seen = text(&picture(&mut app, COLOURS, (160, 50), 174));
    assert_eq!(seen, include_str!("testdata/wide.txt"), "\n{seen}");
}

#[test]
fn jobs_pane() {
    let mut app = scene();
    press(&mut app, KeyCode::Char('j'));
    let seen = text(&picture(&mut app, COLOURS, (80, 24), 174));
    let jobs: Vec<&str> = seen.lines().skip_while(|line| !line.contains("── jobs")).skip(1).collect();
    assert_eq!(
        jobs[..5],
        [
            "44              queued    Dependency: after 43_*              controller",
            "43_1            running   n1                                  members 01",
            "43_2            running   n2                                  members 02",
            "43_3            queued    BeginTime                           members 03",
            "43_6            queued    Priority                            members 06",
        ],
        "\n{seen}"
    );
}

#[test]
fn no_color() {
    let mut app = scene();
    let plain = picture(&mut app, Paint { colours: false }, (160, 50), 174);
    assert!(plain.content.iter().all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset));
    // The selected row is still marked.
    assert!(plain.content.iter().any(|cell| cell.modifier.contains(Modifier::REVERSED)));
    let coloured = picture(&mut app, COLOURS, (160, 50), 174);
    assert!(coloured.content.iter().any(|cell| cell.fg == Color::Red));
}

#[test]
fn problems_are_shown() {
    let mut app = scene();
    app.jobs.queue = None;
    app.on_read(ReadEvent::Started, second(180));
    let lines = |app: &mut App, now| text(&picture(app, COLOURS, (80, 24), now));
    assert!(!lines(&mut app, 184).contains("no answer"));
    assert!(lines(&mut app, 220).contains("no answer from the filesystem for 40 s"));
    let late = lines(&mut app, 5000);
    assert!(late.contains("stalled: no progress for 80 min"), "{late}");
    assert!(late.contains("to resume, run `pbtnas step --state /home/me/runs/first`"), "{late}");
    app.on_read(ReadEvent::Failed("failed to read x: Permission denied".into()), second(5000));
    let late = lines(&mut app, 5000);
    assert!(late.contains("failed to read the run: failed to read x: Permission denied"), "{late}");
    assert!(!late.contains("no answer"), "{late}");
    app.jobs.error = Some("squeue failed: Socket timed out".into());
    assert!(lines(&mut app, 5000).contains("no answer from SLURM: squeue failed: Socket timed out"));
}

#[test]
fn every_screen_size_and_phase_can_be_drawn() {
    let mut started = app(vec![generation(0, vec![member(0, None)])], second(0));
    let mut empty = app(Vec::new(), second(0));
    let mut loading = App::new(empty.info.clone(), empty.zone);
    let mut scene = scene();
    for height in [1, 2, 3, 7, 8, 13, 24, 60] {
        for width in [1, 2, 9, 33, 79, 80, 100, 300] {
            for app in [&mut started, &mut empty, &mut loading, &mut scene] {
                for pane in [Pane::Closed, Pane::Details, Pane::Jobs] {
                    app.pane = Some(pane);
                    picture(app, COLOURS, (width, height), 174);
                }
            }
        }
    }
    assert!(text(&picture(&mut loading, COLOURS, (80, 24), 3)).contains("reading the run"));
    assert!(text(&picture(&mut empty, COLOURS, (80, 24), 3)).contains("no generation yet"));
}

/// 10 000 members: a key press redraws within 500 ms, on a busy machine as well.
#[test]
fn large_population_is_responsive() {
    let members = |fitness: Option<f64>| (0..10_000).map(|id| member(id, fitness)).collect();
    let mut app = app(vec![generation(0, members(Some(1.0))), generation(1, members(None))], second(0));
    let began = std::time::Instant::now();
    for _ in 0..20 {
        press(&mut app, KeyCode::PageDown);
        picture(&mut app, COLOURS, (160, 50), 10);
    }
    let took = began.elapsed() / 20;
    println!("key press and redraw with 10 000 members: {took:?}");
    assert!(took.as_millis() < 500, "{took:?}");
    let seen = text(&picture(&mut app, COLOURS, (160, 50), 10));
    assert!(seen.contains(" of 10000"), "{seen}");
}

#[test]
fn foreign_text_is_wrapped_and_sanitised() {
    let mut app = scene();
    app.jobs.error = Some("one\n    \u{1b}[31mtwo\u{1b}[0m\n".to_owned() + &"x".repeat(60));
    let seen = text(&picture(&mut app, COLOURS, (40, 24), 174));
    let notice: Vec<&str> = seen.lines().skip_while(|line| !line.starts_with("no answer")).take(4).collect();
    let long = ["x".repeat(40), "x".repeat(20)];
    assert_eq!(notice, ["no answer from SLURM: one", "    two", &long[0], &long[1]], "\n{seen}");
}

#[test]
fn update_replaces_the_last_generation() {
    let mut app = scene();
    let generations = vec![generation(1, (0..8).map(|id| done(id, 9.0, 110, 180)).collect())];
    let update = Update {
        from: 1,
        generations,
        estimates: Estimates::default(),
        read_at: second(181),
        took: std::time::Duration::ZERO,
    };
    app.on_read(ReadEvent::Updated(Box::new(update)), second(181));
    let seen = text(&picture(&mut app, COLOURS, (80, 24), 181));
    assert!(seen.contains("members  8 done"), "{seen}");
}
