//! Off-screen rendering: an OpenGL context of EGL, on a GPU or on Mesa's software renderer.

// EGL's objects are pointers.
#![allow(unsafe_code)]

use anyhow::{Context as _, Result, anyhow, bail};
use glutin::api::egl::context::PossiblyCurrentContext;
use glutin::api::egl::device::Device;
use glutin::api::egl::display::Display;
use glutin::config::{ConfigSurfaceTypes, ConfigTemplateBuilder};
use glutin::context::{ContextApi, ContextAttributesBuilder, GlProfile, Version};
use glutin::prelude::{GlDisplay, PossiblyCurrentGlContext};

/// A context, usable in the thread that created it.
pub struct EglContext(PossiblyCurrentContext);

impl EglContext {
    /// Creates a context, current in this thread, on the device that the environment variables select, or else on the
    /// first device that works.
    pub fn new() -> Result<Self> {
        let help = "cannot render: install EGL (Debian's libegl1 libegl-mesa0 libgl1-mesa-dri, or the driver of \
                    an NVIDIA GPU)";
        let devices: Vec<_> =
            Device::query_devices().map_err(|error| anyhow!("{error}")).context(help)?.collect();
        let software: Vec<_> =
            devices.iter().map(|device| device.extensions().contains("EGL_MESA_device_software")).collect();
        let variable = |name| std::env::var(name).ok();
        let order = order(&software, variable("MUJOCO_EGL_DEVICE_ID"), variable("CUDA_VISIBLE_DEVICES"))?;
        let mut errors = Vec::new();
        for device in order {
            match on(&devices[device]) {
                Ok(context) => return Ok(Self(context)),
                Err(error) => errors.push(format!("EGL device {device}: {error}")),
            }
        }
        Err(anyhow!("{}", errors.join("; ")).context(help))
    }

    /// Makes the context current in this thread.
    pub fn make_current(&self) -> Result<()> {
        if !self.0.is_current() {
            self.0.make_current_surfaceless().map_err(|error| anyhow!("cannot render with EGL: {error}"))?;
        }
        Ok(())
    }
}

fn on(device: &Device) -> glutin::error::Result<PossiblyCurrentContext> {
    // MuJoCo renders into its own buffer, so any configuration suffices.
    let wanted = ConfigTemplateBuilder::new()
        .with_surface_type(ConfigSurfaceTypes::PBUFFER)
        .with_depth_size(24)
        .with_stencil_size(8)
        .build();
    let attributes = ContextAttributesBuilder::new()
        .with_profile(GlProfile::Compatibility)
        .with_context_api(ContextApi::OpenGl(Some(Version::new(2, 0))))
        .build(None);
    // Safety: the device was found by EGL and there is no native display; the configuration is of this display.
    unsafe {
        let display = Display::with_device(device, None)?;
        let none = glutin::error::ErrorKind::NotSupported("it has no configuration for offscreen OpenGL");
        let config = display.find_configs(wanted)?.next().ok_or(none)?;
        display.create_context(&config, &attributes)?.make_current_surfaceless()
    }
}

/// The devices in the order in which to try them. `MUJOCO_EGL_DEVICE_ID` (as in dm-control) allows a single one.
/// Otherwise GPUs come first, beginning with the one that the process trains on; if `CUDA_VISIBLE_DEVICES` hides all,
/// they come last.
fn order(software: &[bool], asked: Option<String>, visible: Option<String>) -> Result<Vec<usize>> {
    if let Some(asked) = asked {
        let device = asked.parse().ok().filter(|&device: &usize| device < software.len());
        let Some(device) = device else {
            bail!(
                "MUJOCO_EGL_DEVICE_ID is '{asked}', but EGL has devices 0 to {} on this machine",
                software.len().saturating_sub(1)
            );
        };
        return Ok(vec![device]);
    }
    let first = visible.as_deref().map(|list| list.split(',').next().unwrap_or_default().trim());
    let hidden = matches!(first, Some("" | "-1"));
    let preferred: Option<usize> = first.and_then(|first| first.parse().ok());
    let mut order: Vec<_> = (0..software.len()).collect();
    order.sort_by_key(|&device| (software[device] != hidden, Some(device) != preferred));
    Ok(order)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(software: &[bool], asked: Option<&str>, visible: Option<&str>) -> Vec<usize> {
        order(software, asked.map(Into::into), visible.map(Into::into)).unwrap()
    }

    #[test]
    fn gpu_of_training_comes_first() {
        let node = [false, false, false, true];
        assert_eq!(tried(&node, None, None), [0, 1, 2, 3]);
        assert_eq!(tried(&node, None, Some("1,2")), [1, 0, 2, 3]);
        // The software renderer, and no device.
        assert_eq!(tried(&node, None, Some("3")), [0, 1, 2, 3]);
        assert_eq!(tried(&node, None, Some("7")), [0, 1, 2, 3]);
        assert_eq!(tried(&node, None, Some("GPU-8932f937")), [0, 1, 2, 3]);
    }

    #[test]
    fn software_renderer_comes_first_if_gpus_are_hidden() {
        for hidden in ["", "-1"] {
            assert_eq!(tried(&[false, false, true], None, Some(hidden)), [2, 0, 1]);
        }
    }

    #[test]
    fn requested_device_is_used_or_an_error() {
        assert_eq!(tried(&[false, true], Some("1"), Some("0")), [1]);
        let error = order(&[false, true], Some("2".into()), None).unwrap_err();
        assert!(error.to_string().contains("devices 0 to 1"), "{error}");
        assert!(order(&[], Some("0".into()), None).is_err());
        assert!(order(&[true], Some("gpu".into()), None).is_err());
    }
}
