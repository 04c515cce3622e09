"""What every test shares: no test depends on how fast the machine is."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "foretoken",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    print_blob=True,
)
settings.load_profile("foretoken")
