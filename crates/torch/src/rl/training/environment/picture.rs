//! Renders the image of a camera as dm-control does.

// MuJoCo renders into the context that is current in this thread.
#![allow(unsafe_code)]

use anyhow::{Result, ensure};
use mujoco_rs::wrappers::{
    MjData, MjModel, MjrContext, MjrRectangle, MjvCamera, MjvOption, MjvPerturb, MjvScene,
};

use super::SIDE;
use super::egl::EglContext;

/// As in dm-control.
const MAX_GEOMS: usize = 1000;
/// Largest width of an image in pixels.
const MAX_SIDE: u32 = 2048;

/// Renders one model through one camera.
pub struct Camera {
    scene: MjvScene,
    option: MjvOption,
    perturb: MjvPerturb,
    view: MjvCamera,
    image: Vec<u8>,
    /// Textures and buffers in the context. It must outlive them: fields are dropped in order.
    buffers: MjrContext,
    context: EglContext,
}

impl Camera {
    /// Creates the context, textures and buffers. Fails without EGL or a working device.
    pub fn new(model: &MjModel, camera: usize) -> Result<Self> {
        let context = EglContext::new()?;
        // Safety: the context is current in this thread, and is made current again before every use and before the
        // drop.
        let mut buffers = unsafe { MjrContext::new(model) };
        buffers.offscreen();
        Ok(Self {
            scene: MjvScene::new(model, MAX_GEOMS),
            option: MjvOption::default(),
            perturb: MjvPerturb::default(),
            view: MjvCamera::new_fixed(camera),
            image: Vec::new(),
            buffers,
            context,
        })
    }

    /// An image `(SIDE, SIDE, 3)`, the bottom row first.
    pub fn draw(&mut self, data: &mut MjData<Box<MjModel>>) -> Result<&[u8]> {
        self.context.make_current()?;
        self.render(data, SIDE as u32)?;
        Ok(&self.image)
    }

    /// An image `(side, side, 3)`, the bottom row first.
    pub fn draw_large(&mut self, data: &mut MjData<Box<MjModel>>, side: u32) -> Result<&[u8]> {
        ensure!((1..=MAX_SIDE).contains(&side), "an image has a width of 1 to {MAX_SIDE} pixels, not {side}");
        self.context.make_current()?;
        self.buffers.resize_offscreen(side, side);
        let drawn = self.render(data, side);
        self.buffers.resize_offscreen(SIDE as u32, SIDE as u32);
        drawn?;
        Ok(&self.image)
    }

    fn render(&mut self, data: &mut MjData<Box<MjModel>>, side: u32) -> Result<()> {
        let whole = MjrRectangle::new(0, 0, side as i32, side as i32);
        self.image.resize(3 * (side * side) as usize, 0);
        self.scene.update(data, &self.option, &self.perturb, &mut self.view);
        self.scene.render(&whole, &self.buffers);
        self.buffers.read_pixels(Some(&mut self.image), None, &whole)?;
        Ok(())
    }
}

impl Drop for Camera {
    fn drop(&mut self) {
        // On failure the context is lost, and its contents with it.
        let _ = self.context.make_current();
    }
}
