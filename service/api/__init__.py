"""The endpoints: one file for each concern, each a blueprint."""
