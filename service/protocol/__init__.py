"""Request and response shapes of the API, as pydantic models; one file for each endpoint."""
