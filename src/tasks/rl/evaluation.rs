//! How good an agent is: episodes with mean actions, side by side.

use std::path::Path;

use anyhow::Result;

use super::RlConfig;
use super::agent::Agent;
use super::environment::ACTION_REPEAT;
use super::replay::{FRAME, OBSERVATION};
use super::stage::Stage;
use super::video::Video;
use crate::search::rng;
use crate::tasks::{Interrupted, Place};

/// The last frames of an episode, as the networks see them.
struct Sight(Vec<u8>);

impl Sight {
    /// At the beginning the first frame stands for those before it.
    fn new(frame: &[u8]) -> Self {
        Self(frame.repeat(OBSERVATION / FRAME))
    }

    fn push(&mut self, frame: &[u8]) {
        self.0.drain(..FRAME.min(self.0.len()));
        self.0.extend_from_slice(frame);
    }
}

/// The returns of some episodes, whose first states are drawn at addresses of `purpose`.
///
/// All episodes take each step together: the networks see one batch, whose size does not depend on the machine.
pub fn returns(
    agent: &Agent,
    config: &RlConfig,
    place: &Place,
    purpose: &str,
    count: usize,
) -> Result<Vec<f64>> {
    let stages = (0..count).map(|_| Stage::open(config)).collect::<Result<Vec<_>>>()?;
    for (episode, stage) in stages.iter().enumerate() {
        stage.reset(rng(&place.seeds.at(&format!("{purpose} {episode}"))));
    }
    let mut sights = Vec::new();
    for stage in &stages {
        sights.push(Sight::new(&stage.look()?.pixels));
    }
    let mut returns = vec![0.0; count];
    for _ in 0..config.episode_steps() {
        if place.stop.get().is_some() {
            return Err(Interrupted.into());
        }
        let seen: Vec<u8> = sights.iter().flat_map(|sight| sight.0.iter().copied()).collect();
        let actions = agent.act(&seen);
        for (stage, action) in stages.iter().zip(actions.chunks(config.environment.action_size())) {
            stage.step(action.to_vec());
        }
        for ((stage, sight), sum) in stages.iter().zip(&mut sights).zip(&mut returns) {
            let scene = stage.look()?;
            sight.push(&scene.pixels);
            *sum += scene.reward;
        }
    }
    Ok(returns)
}

/// Width and height of a film.
const FILM: usize = 256;

/// Films an episode with mean actions; the names of the files.
pub fn film(agent: &Agent, config: &RlConfig, place: &Place, dir: &Path) -> Result<Vec<String>> {
    let stage = Stage::open(config)?;
    stage.reset(rng(&place.seeds.at("film")));
    let mut sight = Sight::new(&stage.look()?.pixels);
    let steps = config.episode_steps();
    let per_second = (config.environment.frames_per_second() / ACTION_REPEAT) as u16;
    let mut video = Video::create(&dir.join("episode.png"), (FILM, FILM), steps as u32, per_second)?;
    for _ in 0..steps {
        stage.picture(FILM as u32);
        stage.step(agent.act(&sight.0));
        video.push(&stage.look()?.image)?;
        sight.push(&stage.look()?.pixels);
    }
    video.finish()?;
    Ok(vec!["episode.png".into()])
}
