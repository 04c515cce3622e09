"""What every test shares: no test depends on how fast the machine is."""

from hypothesis import HealthCheck, settings

from training.processor_cores import use_cores

# As the pipeline does: results to the bit hang on how the cores are used.
use_cores()

settings.register_profile(
    "foretoken",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    print_blob=True,
)
settings.load_profile("foretoken")
