"""The version of the program and of its HTTP API."""

VERSION = "0.1.0"
API_VERSION = "1"
