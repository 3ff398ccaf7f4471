"""The published noise schedule: diffusers' Euler scheduler, set as for Stable Video Diffusion."""

from __future__ import annotations

from typing import Any


def euler_scheduler() -> Any:  # noqa: ANN401 - diffusers' own type, imported lazily
    """v-prediction, Karras sigmas 700 .. 0.002, continuous time (dicetalk.md section 5)."""
    from diffusers import EulerDiscreteScheduler

    return EulerDiscreteScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        interpolation_type="linear",
        use_karras_sigmas=True,
        sigma_min=0.002,
        sigma_max=700.0,
        timestep_spacing="leading",
        timestep_type="continuous",
        steps_offset=1,
    )
