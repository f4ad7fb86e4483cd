//! Evaluates an agent in parallel episodes with mean actions.

use std::path::Path;

use anyhow::Result;

use crate::rl::RlConfig;
use crate::rl::environment::{ACTION_REPEAT, PICTURE as FRAME, SIDE};
use crate::rl::training::agent::Agent;
use crate::rl::training::env_worker::EnvWorker;
use crate::rl::training::replay::OBSERVATION;
use crate::rl::training::video::Video;
use pbtnas_core::search::rng;
use pbtnas_engine::png::encode;
use pbtnas_engine::task::{Interrupted, MemberContext};

/// The last frames of an episode: the observation of the networks.
struct FrameStack(Vec<u8>);

impl FrameStack {
    /// At the start of an episode the first frame is repeated.
    fn new(frame: &[u8]) -> Self {
        Self(frame.repeat(OBSERVATION / FRAME))
    }

    fn last(&self) -> &[u8] {
        &self.0[OBSERVATION - FRAME..]
    }

    fn push(&mut self, frame: &[u8]) {
        self.0.drain(..FRAME.min(self.0.len()));
        self.0.extend_from_slice(frame);
    }
}

/// The results of episodes with mean actions.
pub struct Episodes {
    pub returns: Vec<f64>,
    /// Frames `(3, 84, 84)` of the first episode at equal intervals.
    pub moments: Vec<Vec<u8>>,
}

/// Frames that an evaluation keeps for a preview.
const MOMENTS: u64 = 8;

/// Whether a step is one of the `MOMENTS` of an episode of `steps`; the first step always is.
fn is_moment(step: u64, steps: u64) -> bool {
    step == 0 || step * MOMENTS / steps > (step - 1) * MOMENTS / steps
}

/// Runs `count` episodes, whose first states are sampled with the keys of `purpose`.
///
/// All episodes take each step together, so that the networks get one batch whose size does not depend on the machine.
pub fn episodes(
    agent: &Agent,
    config: &RlConfig,
    place: &MemberContext,
    purpose: &str,
    count: usize,
) -> Result<Episodes> {
    let stages = (0..count).map(|_| EnvWorker::open(config)).collect::<Result<Vec<_>>>()?;
    for (episode, stage) in stages.iter().enumerate() {
        stage.reset(rng(&place.seeds.at(&format!("{purpose} {episode}"))));
    }
    let mut sights = Vec::new();
    for stage in &stages {
        sights.push(FrameStack::new(&stage.scene()?.pixels));
    }
    let (mut returns, mut moments) = (vec![0.0; count], Vec::new());
    for step in 0..config.episode_steps() {
        if let Some(sight) = sights.first().filter(|_| is_moment(step, config.episode_steps())) {
            moments.push(sight.last().to_vec());
        }
        if place.stop.get().is_some() {
            return Err(Interrupted.into());
        }
        let seen: Vec<u8> = sights.iter().flat_map(|sight| sight.0.iter().copied()).collect();
        let actions = agent.act(&seen);
        for (stage, action) in stages.iter().zip(actions.chunks(config.environment.action_size())) {
            stage.step(action.to_vec());
        }
        for ((stage, sight), sum) in stages.iter().zip(&mut sights).zip(&mut returns) {
            let scene = stage.scene()?;
            sight.push(&scene.pixels);
            *sum += scene.reward;
        }
    }
    Ok(Episodes { returns, moments })
}

/// A PNG file of frames `(3, 84, 84)` side by side.
pub fn strip(frames: &[Vec<u8>]) -> Result<Vec<u8>> {
    let mut pixels = Vec::with_capacity(frames.len() * FRAME);
    for y in 0..SIDE {
        for frame in frames {
            for x in 0..SIDE {
                pixels.extend(frame.chunks_exact(SIDE * SIDE).map(|plane| plane[y * SIDE + x]));
            }
        }
    }
    encode((frames.len() * SIDE, SIDE), png::ColorType::Rgb, &pixels)
}

/// Width and height of a film in pixels.
const FILM: usize = 256;

/// Films an episode with mean actions, and returns the names of the files.
pub fn film(agent: &Agent, config: &RlConfig, place: &MemberContext, dir: &Path) -> Result<Vec<String>> {
    let stage = EnvWorker::open(config)?;
    stage.reset(rng(&place.seeds.at("film")));
    let mut sight = FrameStack::new(&stage.scene()?.pixels);
    let steps = config.episode_steps();
    let per_second = (config.environment.frames_per_second() / ACTION_REPEAT) as u16;
    let mut video = Video::create(&dir.join("episode.png"), (FILM, FILM), steps as u32, per_second)?;
    for _ in 0..steps {
        stage.picture(FILM as u32);
        stage.step(agent.act(&sight.0));
        video.push(&stage.scene()?.image)?;
        sight.push(&stage.scene()?.pixels);
    }
    video.finish()?;
    Ok(vec!["episode.png".into()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_at_equal_intervals() {
        let moments = |steps| (0..steps).filter(|&step| is_moment(step, steps)).collect::<Vec<u64>>();
        assert_eq!(moments(500), [0, 63, 125, 188, 250, 313, 375, 438]);
        assert_eq!(moments(3), [0, 1, 2]);
    }

    #[test]
    fn frames_are_side_by_side() {
        let planes = |red, green, blue| [[red; 84 * 84], [green; 84 * 84], [blue; 84 * 84]].concat();
        let file = strip(&[planes(1, 2, 3), planes(4, 5, 6)]).unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(file)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!((info.width, info.height), (168, 84));
        assert_eq!((&pixels[..3], &pixels[84 * 3..][..3]), (&[1, 2, 3][..], &[4, 5, 6][..]));
    }
}
