//! The rewards of dm-control, each in [0, 1].

use std::f64::consts::LN_10;

/// The decrease of a reward outside of the range where it is 1 (those of dm_control.utils.rewards that are used here).
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Falloff {
    /// 0.1 at a distance of one margin.
    Gaussian,
    /// This value at a distance of one margin, on a straight line down to 0.
    Linear(f64),
    /// 0 at a distance of one margin, on a parabola.
    Quadratic,
}

/// 1 for `x` in `[low, high]`; outside it falls off with the distance in units of `margin`, or is 0 if `margin` is 0.
pub fn tolerance(x: f64, low: f64, high: f64, margin: f64, falloff: Falloff) -> f64 {
    if (low..=high).contains(&x) {
        return 1.0;
    }
    if margin == 0.0 {
        return 0.0;
    }
    let distance = if x < low { low - x } else { x - high } / margin;
    match falloff {
        // exp(-(distance * s)^2 / 2), where s = sqrt(-2 ln 0.1)
        Falloff::Gaussian => (-LN_10 * distance * distance).exp(),
        Falloff::Linear(value_at_margin) => {
            let scaled = distance * (1.0 - value_at_margin);
            if scaled.abs() < 1.0 { 1.0 - scaled } else { 0.0 }
        }
        Falloff::Quadratic if distance.abs() < 1.0 => 1.0 - distance * distance,
        Falloff::Quadratic => 0.0,
    }
}

/// [`tolerance`] without an upper limit.
fn at_least(x: f64, low: f64, margin: f64, falloff: Falloff) -> f64 {
    tolerance(x, low, f64::INFINITY, margin, falloff)
}

/// Walker: `height` of the torso (m), `upright` the vertical component of its z axis, forward `speed` of the centre of
/// mass (m/s).
pub fn walker(height: f64, upright: f64, speed: f64) -> f64 {
    const HEIGHT: f64 = 1.2;
    const SPEED: f64 = 8.0;
    let standing = at_least(height, HEIGHT, HEIGHT / 2.0, Falloff::Gaussian);
    let stand = (3.0 * standing + (1.0 + upright) / 2.0) / 4.0;
    let run = at_least(speed, SPEED, SPEED / 2.0, Falloff::Linear(0.5));
    stand * (5.0 * run + 1.0) / 6.0
}

/// Quadruped: `upright` the vertical component of the torso's z axis, `speed` of the torso along its x axis (m/s).
pub fn quadruped(upright: f64, speed: f64) -> f64 {
    const SPEED: f64 = 5.0;
    at_least(upright, 1.0, 2.0, Falloff::Linear(0.0)) * at_least(speed, SPEED, SPEED, Falloff::Linear(0.5))
}

/// Humanoid: `height` of the head (m), `upright` the vertical component of the torso's z axis, horizontal `speed` of
/// the centre of mass (m/s), and the motors' controls.
pub fn humanoid(height: f64, upright: f64, speed: f64, control: &[f64]) -> f64 {
    const HEIGHT: f64 = 1.4;
    const SPEED: f64 = 10.0;
    let standing = at_least(height, HEIGHT, HEIGHT / 4.0, Falloff::Gaussian);
    let stand = standing * at_least(upright, 0.9, 1.9, Falloff::Linear(0.0));
    let effort: f64 = control.iter().map(|&x| tolerance(x, 0.0, 0.0, 1.0, Falloff::Quadratic)).sum();
    let small_control = (4.0 + effort / control.len() as f64) / 5.0;
    let run = at_least(speed, SPEED, SPEED, Falloff::Linear(0.0));
    small_control * stand * (5.0 * run + 1.0) / 6.0
}
